//! Who a message goes to.

use std::fmt;
use std::str::FromStr;

use crate::InvalidId;

/// A WhatsApp user, as a command names one. Personal data: it does not print.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Recipient {
    /// A phone number with its country code, digits alone.
    Phone(Box<str>),
    /// A business-scoped user id: `US.1349…`, or `US.ENT.…` for the id of a parent portfolio.
    User(Box<str>),
}

impl Recipient {
    /// What tells this user from others: digits, or the business-scoped id.
    pub fn key(&self) -> &str {
        match self {
            Self::Phone(text) | Self::User(text) => text,
        }
    }
}

impl FromStr for Recipient {
    type Err = InvalidId;

    /// Takes `+39 348 121-3456`, `393481213456` and `IT.13491208655302741918`.
    fn from_str(raw: &str) -> Result<Self, InvalidId> {
        let wrong = InvalidId {
            what: "to",
            problem: "must be a phone number with its country code (7 to 15 digits) or a business-scoped user id",
        };
        if is_user_id(raw) {
            return Ok(Self::User(raw.into()));
        }
        if raw.len() > 40 || !raw.bytes().all(|byte| byte.is_ascii_digit() || b"+-() ".contains(&byte)) {
            return Err(wrong);
        }
        if raw.rfind('+').is_some_and(|at| at > 0) {
            return Err(wrong);
        }
        let digits: String = raw.chars().filter(char::is_ascii_digit).collect();
        if (7..=15).contains(&digits.len()) && !digits.starts_with('0') {
            Ok(Self::Phone(digits.into()))
        } else {
            Err(wrong)
        }
    }
}

/// Two capital letters of a country, a dot, and up to 128 letters and digits; `ENT.` may stand between.
pub(crate) fn is_user_id(raw: &str) -> bool {
    let Some((country, rest)) = raw.split_once('.') else { return false };
    let id = rest.strip_prefix("ENT.").unwrap_or(rest);
    country.len() == 2
        && country.bytes().all(|byte| byte.is_ascii_uppercase())
        && (1..=128).contains(&id.len())
        && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Phone(_) => "Phone(…)",
            Self::User(_) => "User(…)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_in_many_dresses_and_mean_one_user() {
        for raw in ["393481213456", "+393481213456", "+39 348 121-3456", "+39 (348) 1213456"] {
            assert_eq!(raw.parse(), Ok(Recipient::Phone("393481213456".into())), "{raw}");
        }
    }

    #[test]
    fn a_business_scoped_id_is_no_number() {
        for raw in ["US.13491208655302741918", "IT.ENT.abc1"] {
            assert_eq!(raw.parse(), Ok(Recipient::User(raw.into())), "{raw}");
        }
    }

    #[test]
    fn what_is_neither_is_refused() {
        for raw in
            ["", "12", "0481213456", "39348121345678901", "abc", "39+348121345", "us.123", "US.", "US.1 2"]
        {
            assert!(raw.parse::<Recipient>().is_err(), "{raw}");
        }
    }
}
