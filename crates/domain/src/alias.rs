//! What a user, or a group, is known by.

use std::fmt;

use jiff::Timestamp;

use crate::recipient::is_user_id;

/// One name of whoever is at the other end of a conversation. Personal data: it does not print.
///
/// A user may be known by a phone number, by a business-scoped id, or by both; the number may change hands, and the id
/// changes with the number.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Alias {
    /// A phone number: digits alone.
    Phone(Box<str>),
    /// A business-scoped user id.
    User(Box<str>),
    /// A business-scoped id of the parent portfolio, which stays the same in each of its portfolios.
    Parent(Box<str>),
    /// A group's id.
    Group(Box<str>),
}

impl Alias {
    /// Reads what stands in `from`, `wa_id`, `recipient_id`, `user_id`, or in a command's `to`: Meta has put
    /// business-scoped ids where numbers belong, and empty texts where nothing does. `None` for a text without a
    /// letter or a digit, and for one of more than 256 bytes.
    pub fn of_user(raw: &str) -> Option<Self> {
        let raw = raw.trim();
        if raw.len() > 256 {
            return None;
        }
        if is_user_id(raw) {
            let is_parent = raw.get(2..).is_some_and(|rest| rest.starts_with(".ENT."));
            return Some(if is_parent { Self::Parent(raw.into()) } else { Self::User(raw.into()) });
        }
        if raw.bytes().all(|byte| byte.is_ascii_digit() || b"+-(). ".contains(&byte)) {
            let digits: String = raw.chars().filter(char::is_ascii_digit).collect();
            return (!digits.is_empty()).then(|| Self::Phone(digits.into()));
        }
        raw.chars().any(char::is_alphanumeric).then(|| Self::User(raw.into()))
    }

    /// A group's id; `None` for an empty text and for one of more than 512 bytes.
    pub fn of_group(raw: &str) -> Option<Self> {
        (1..=512).contains(&raw.len()).then(|| Self::Group(raw.into()))
    }

    /// The alias as one text, in which no two aliases are alike: what the database keeps.
    pub fn key(&self) -> String {
        let (sort, text) = match self {
            Self::Phone(text) => ('p', text),
            Self::User(text) => ('u', text),
            Self::Parent(text) => ('e', text),
            Self::Group(text) => ('g', text),
        };
        format!("{sort}:{text}")
    }

    /// The alias that [`key`](Self::key) wrote.
    pub fn from_key(key: &str) -> Option<Self> {
        let (sort, text) = key.split_once(':')?;
        let text: Box<str> = text.into();
        Some(match sort {
            "p" => Self::Phone(text),
            "u" => Self::User(text),
            "e" => Self::Parent(text),
            "g" => Self::Group(text),
            _ => return None,
        })
    }

    /// The number or id itself.
    pub fn text(&self) -> &str {
        match self {
            Self::Phone(text) | Self::User(text) | Self::Parent(text) | Self::Group(text) => text,
        }
    }
}

impl fmt::Debug for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Phone(_) => "Phone(…)",
            Self::User(_) => "User(…)",
            Self::Parent(_) => "Parent(…)",
            Self::Group(_) => "Group(…)",
        })
    }
}

/// What one payload says of one user of its channel, or of one group.
#[derive(Clone, PartialEq)]
pub struct Sighting {
    /// The names that are this user's now, as the payload ties them; of a group, its id alone. Empty where the payload
    /// names nobody: its message tells then.
    pub aliases: Vec<Alias>,
    /// Names that were this user's until now, as the payload says: a changed number, a regenerated id.
    pub former: Vec<Alias>,
    /// The name that the user goes by.
    pub name: Option<String>,
    /// The user's username.
    pub username: Option<String>,
    /// The provider's time.
    pub at: Timestamp,
    /// Whether the user wrote or called: that opens the window.
    pub wrote: bool,
}

impl fmt::Debug for Sighting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sighting")
            .field("aliases", &self.aliases)
            .field("former", &self.former)
            .field("wrote", &self.wrote)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_by_its_shape_wherever_it_stands() {
        for (raw, key) in [
            ("393481213456", Some("p:393481213456")),
            ("+39 348 121-3456", Some("p:393481213456")),
            ("US.13491208655302741918", Some("u:US.13491208655302741918")),
            ("US.ENT.abc1", Some("e:US.ENT.abc1")),
            ("someone", Some("u:someone")),
            ("", None),
            (" + ", None),
        ] {
            assert_eq!(Alias::of_user(raw).map(|alias| alias.key()).as_deref(), key, "{raw}");
        }
        assert_eq!(Alias::of_user(&"1".repeat(257)), None);
    }

    #[test]
    fn a_key_is_read_back() {
        for alias in [Alias::of_user("393481213456"), Alias::of_user("US.ENT.a"), Alias::of_group("Y2F:x")] {
            let alias = alias.unwrap();
            assert_eq!(Alias::from_key(&alias.key()), Some(alias));
        }
        assert_eq!(Alias::from_key("x:1"), None);
    }
}
