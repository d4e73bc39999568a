//! Names of things. Having one means that it was checked.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;

/// What is wrong with an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {problem}")]
pub struct InvalidId {
    /// The kind of id, as an error message names it.
    pub what: &'static str,
    /// What it must be.
    pub problem: &'static str,
}

macro_rules! token {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        ///
        /// Matches `[a-z0-9-]{1,63}`, so it can be a token of a NATS subject.
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Box<str>);

        impl $name {
            /// The id's text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(raw: &str) -> Result<Self, InvalidId> {
                let fits = (1..=63).contains(&raw.len())
                    && raw.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
                if fits {
                    Ok(Self(raw.into()))
                } else {
                    Err(InvalidId { what: $what, problem: "must be 1 to 63 characters of a-z, 0-9 and -" })
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

token!(
    /// One ERP customer.
    TenantId, "tenant id");
token!(
    /// One business phone number on one provider.
    ChannelId, "channel id");
token!(
    /// A Meta app: one webhook address and one app secret.
    AppId, "app id");
token!(
    /// Where a tenant wants its events.
    EndpointId, "endpoint id");

/// A command's id: the tenant's idempotency key, 1 to 128 printable ASCII characters, chosen by the tenant.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommandId(Box<str>);

impl CommandId {
    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// An id for a command that came without one: the same each time the same queue entry is read.
    pub fn made_up(origin: &[&str]) -> Self {
        Self(format!("c-{}", &digest_hex(origin)[..32]).into())
    }
}

impl FromStr for CommandId {
    type Err = InvalidId;

    fn from_str(raw: &str) -> Result<Self, InvalidId> {
        if (1..=128).contains(&raw.len()) && raw.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(raw.into()))
        } else {
            Err(InvalidId {
                what: "id",
                problem: "must be 1 to 128 printable ASCII characters without spaces",
            })
        }
    }
}

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// WhatsApp's message id, exactly as the provider sent it; compared as opaque.
///
/// It encodes the user's phone number: personal data, so it does not print.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Wamid(Box<str>);

impl Wamid {
    /// The id's text. Never for logs.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Wamid {
    type Err = InvalidId;

    fn from_str(raw: &str) -> Result<Self, InvalidId> {
        if (1..=512).contains(&raw.len()) {
            Ok(Self(raw.into()))
        } else {
            Err(InvalidId { what: "message id", problem: "must be 1 to 512 bytes" })
        }
    }
}

impl fmt::Debug for Wamid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wamid(…)")
    }
}

/// An event's id: a digest of what makes the event the same event, so that telling it again keeps the id.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(Box<str>);

impl EventId {
    /// The id of the event that `key` identifies: its parts, in order, none left out. 32 hexadecimal digits.
    pub fn of(key: &[&str]) -> Self {
        Self(digest_hex(key)[..32].into())
    }

    /// An id that was made before and kept.
    pub fn kept(id: &str) -> Self {
        Self(id.into())
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A conversation's id: `c` and a number. It says nothing of who speaks in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConversationId(i64);

impl ConversationId {
    /// The conversation that the database numbers so.
    pub fn of_number(number: i64) -> Self {
        Self(number)
    }

    /// The database's number.
    pub fn number(self) -> i64 {
        self.0
    }
}

impl FromStr for ConversationId {
    type Err = InvalidId;

    fn from_str(raw: &str) -> Result<Self, InvalidId> {
        let wrong = InvalidId { what: "conversation id", problem: "must be c and a number" };
        let digits = raw.strip_prefix('c').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        digits.and_then(|digits| digits.parse().ok()).map(Self).ok_or(wrong)
    }
}

impl fmt::Display for ConversationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}", self.0)
    }
}

/// Each part goes in with its length, so that no two keys read alike.
fn digest_hex(parts: &[&str]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    hex::encode(context.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_fit_for_a_subject() {
        for good in ["a", "acme-orders", "0", &"x".repeat(63)] {
            assert!(good.parse::<TenantId>().is_ok(), "{good}");
        }
        for bad in ["", "A", "a.b", "a b", "ä", "a*", ">", &"x".repeat(64)] {
            assert!(bad.parse::<TenantId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn parts_of_a_key_do_not_run_together() {
        assert_ne!(EventId::of(&["ab", "c"]), EventId::of(&["a", "bc"]));
        assert_eq!(EventId::of(&["ab", "c"]), EventId::of(&["ab", "c"]));
    }

    #[test]
    fn a_conversation_id_is_read_back() {
        let id = ConversationId::of_number(42);
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "c", "42", "c-1", "cx", "c99999999999999999999"] {
            assert!(bad.parse::<ConversationId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_wamid_does_not_print() {
        let wamid: Wamid = "wamid.HBgLMzkz".parse().unwrap();
        assert_eq!(format!("{wamid:?}"), "Wamid(…)");
    }
}
