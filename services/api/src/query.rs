//! The part of an address after the question mark.

use std::str::FromStr;

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use jiff::Timestamp;
use staffetta_domain::InvalidId;

/// A parameter that isn't as it must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {problem}")]
pub(crate) struct InvalidParameter {
    pub(crate) name: String,
    pub(crate) problem: String,
}

impl InvalidParameter {
    pub(crate) fn new(name: &str, problem: impl Into<String>) -> Self {
        Self { name: name.to_owned(), problem: problem.into() }
    }
}

/// As axum hands it over.
pub(crate) type RawParameters = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// The parameters that nobody has taken yet.
pub(crate) struct Parameters(Vec<(String, String)>);

/// Longest part of a name that is looked for, in characters.
const LONGEST_NAME: usize = 100;

/// Most digits of a phone number.
const MOST_DIGITS: usize = 15;

/// Longest name of a parameter that is told back.
const NAME_LIMIT: usize = 40;

impl Parameters {
    /// Takes them in, each once, and none that isn't in `known`.
    pub(crate) fn of(raw: RawParameters, known: &[&str]) -> Result<Self, InvalidParameter> {
        let Query(parameters) = raw.map_err(|_| InvalidParameter::new("query", "can't be read"))?;
        for (at, (name, _)) in parameters.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                let short: String = name.chars().take(NAME_LIMIT).collect();
                let problem = format!("is no parameter here; there are {}", known.join(", "));
                return Err(InvalidParameter::new(&short, problem));
            }
            if parameters[..at].iter().any(|(before, _)| before == name) {
                return Err(InvalidParameter::new(name, "is given twice"));
            }
        }
        Ok(Self(parameters))
    }

    /// The text of one parameter.
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(at).1)
    }

    /// One parameter that is an id.
    pub(crate) fn id<T: FromStr<Err = InvalidId>>(
        &mut self,
        name: &str,
    ) -> Result<Option<T>, InvalidParameter> {
        let parse = |raw: String| {
            raw.parse().map_err(|invalid: InvalidId| InvalidParameter::new(name, invalid.problem))
        };
        self.take(name).map(parse).transpose()
    }

    /// One parameter that is a time.
    pub(crate) fn moment(&mut self, name: &str) -> Result<Option<Timestamp>, InvalidParameter> {
        let wrong = |_| InvalidParameter::new(name, "must be a time like 2026-11-21T09:30:00Z");
        self.take(name).map(|text| text.parse()).transpose().map_err(wrong)
    }

    /// One parameter that is a part of a name.
    pub(crate) fn name(&mut self) -> Result<Option<String>, InvalidParameter> {
        match self.take("name") {
            Some(name) if !(1..=LONGEST_NAME).contains(&name.chars().count()) => {
                Err(InvalidParameter::new("name", format!("must be 1 to {LONGEST_NAME} characters")))
            }
            name => Ok(name),
        }
    }

    /// One parameter that is the beginning of a phone number: its digits. A `+` that was not escaped comes as a space.
    pub(crate) fn number(&mut self) -> Result<Option<String>, InvalidParameter> {
        let Some(raw) = self.take("number") else { return Ok(None) };
        let digits: String = raw.chars().filter(char::is_ascii_digit).collect();
        let fits = raw.chars().all(|sign| sign.is_ascii_digit() || "+-(). ".contains(sign));
        if fits && (1..=MOST_DIGITS).contains(&digits.len()) {
            Ok(Some(digits))
        } else {
            let problem = "must be the beginning of a phone number with its country code, 1 to 15 digits";
            Err(InvalidParameter::new("number", problem))
        }
    }

    /// How many items a page may have.
    pub(crate) fn limit(&mut self) -> Result<u32, InvalidParameter> {
        let Some(raw) = self.take("limit") else { return Ok(50) };
        match raw.parse() {
            Ok(limit) if (1..=200).contains(&limit) => Ok(limit),
            _ => Err(InvalidParameter::new("limit", "must be a number from 1 to 200")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<Parameters, InvalidParameter> {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Parameters::of(Ok(Query(pairs.collect())), &["limit", "name", "number", "since"])
    }

    #[test]
    fn each_parameter_is_known_and_given_once() {
        let mut parameters = of(&[("name", "x"), ("limit", "7")]).ok().unwrap();
        assert_eq!(parameters.take("name").as_deref(), Some("x"));
        assert_eq!(parameters.limit(), Ok(7));
        assert_eq!(of(&[("name", "x"), ("name", "y")]).err().unwrap().name, "name");
        assert_eq!(of(&[("nome", "x")]).err().unwrap().name, "nome");
        assert_eq!(of(&[(&"x".repeat(500), "x")]).err().unwrap().name.len(), 40);
    }

    #[test]
    fn a_number_comes_in_many_dresses() {
        let number = |raw: &str| of(&[("number", raw)]).ok().unwrap().number();
        for raw in ["39348", "+39 348", " 39348", "+39 (3)4-8"] {
            assert_eq!(number(raw).unwrap().as_deref(), Some("39348"), "{raw}");
        }
        for wrong in ["", "+", "x39", "1234567890123456", "３９"] {
            assert!(number(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_and_a_time_are_checked() {
        let name = |raw: &str| of(&[("name", raw)]).ok().unwrap().name();
        assert_eq!(name("Perù").unwrap().as_deref(), Some("Perù"));
        assert!(name("").is_err() && name(&"x".repeat(101)).is_err());
        let since = |raw: &str| of(&[("since", raw)]).ok().unwrap().moment("since");
        assert_eq!(since("2026-11-21T10:30:00+01:00"), Ok("2026-11-21T09:30:00Z".parse().ok()));
        assert_eq!(since("yesterday").unwrap_err().name, "since");
    }

    #[test]
    fn a_limit_has_limits() {
        assert_eq!(of(&[]).ok().unwrap().limit(), Ok(50));
        for wrong in ["", "0", "201", "-1", "ten", "99999999999"] {
            assert!(of(&[("limit", wrong)]).ok().unwrap().limit().is_err(), "{wrong}");
        }
    }
}
