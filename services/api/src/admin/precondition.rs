//! Which state of an entry a change is meant for (RFC 9110, section 13): nobody overwrites what they have not seen.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use super::AdminError;
use crate::query::InvalidParameter;

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Precondition {
    /// There is no such entry: `If-None-Match: *`.
    New,
    /// It has this revision: `If-Match: "17"`.
    Revision(u64),
    /// It is there, whatever it is like: `If-Match: *`.
    There,
}

impl Precondition {
    /// What the headers say.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, AdminError> {
        let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().map(str::trim));
        match (text(header::IF_MATCH), text(header::IF_NONE_MATCH)) {
            (None, None) => Err(AdminError::NoPrecondition),
            (None, Some(Ok("*"))) => Ok(Self::New),
            (Some(Ok("*")), None) => Ok(Self::There),
            (Some(Ok(tag)), None) => match revision(tag) {
                Some(revision) => Ok(Self::Revision(revision)),
                None => Err(InvalidParameter::new("If-Match", "must be an entry's ETag, or *").into()),
            },
            (None, Some(_)) => Err(InvalidParameter::new("If-None-Match", "must be *").into()),
            (Some(_), _) => Err(InvalidParameter::new("If-Match", "must be an entry's ETag, alone").into()),
        }
    }

    /// What the registry is to expect, given the revision that the entry has now: `None` that it is new.
    pub(super) fn expect(self, now: Option<u64>) -> Result<Option<u64>, AdminError> {
        match (self, now) {
            (Self::New, None) => Ok(None),
            (Self::There, Some(now)) => Ok(Some(now)),
            (Self::Revision(wanted), Some(now)) if wanted == now => Ok(Some(now)),
            _ => Err(AdminError::Changed),
        }
    }
}

fn revision(tag: &str) -> Option<u64> {
    let inner = tag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(tag);
    if inner.bytes().all(|byte| byte.is_ascii_digit()) { inner.parse().ok() } else { None }
}

/// The header that tells a revision.
pub(super) fn etag(revision: u64) -> (HeaderName, HeaderValue) {
    let value = HeaderValue::from_str(&format!("\"{revision}\"")).expect("digits fit into a header");
    (header::ETAG, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(HeaderName, &'static str)]) -> Result<Precondition, String> {
        let pairs = pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        Precondition::of(&HeaderMap::from_iter(pairs)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_change_says_which_state_it_is_meant_for() {
        let (matching, none) = (header::IF_MATCH, header::IF_NONE_MATCH);
        assert_eq!(of(&[(none.clone(), "*")]), Ok(Precondition::New));
        assert_eq!(of(&[(matching.clone(), "*")]), Ok(Precondition::There));
        assert_eq!(of(&[(matching.clone(), "\"17\"")]), Ok(Precondition::Revision(17)));
        assert_eq!(of(&[(matching.clone(), "17")]), Ok(Precondition::Revision(17)));
        assert!(of(&[]).unwrap_err().contains("If-Match"));
        for wrong in [
            &[(matching.clone(), "\"x\"")][..],
            &[(matching.clone(), "")],
            &[(matching.clone(), "\"1\", \"2\"")],
            &[(none.clone(), "\"1\"")],
            &[(none, "*"), (matching, "*")],
        ] {
            assert!(of(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_has_changed_meanwhile_is_not_overwritten() {
        use Precondition::{New, Revision, There};
        for (precondition, now, expected) in [
            (New, None, Some(None)),
            (New, Some(1), None),
            (There, Some(3), Some(Some(3))),
            (There, None, None),
            (Revision(3), Some(3), Some(Some(3))),
            (Revision(3), Some(4), None),
            (Revision(3), None, None),
        ] {
            assert_eq!(precondition.expect(now).ok(), expected, "{precondition:?} {now:?}");
        }
    }
}
