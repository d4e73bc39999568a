//! The attempt log: each try to deliver an event to an endpoint, and what came of it. Kept for seven days.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sqlx::FromRow;
use staffetta_domain::{EventId, EventType};

use crate::endpoints::EndpointKey;
use crate::moment::Moment;
use crate::types::StoreError;
use crate::{Backend, Store, ask, within};

/// How long attempts are kept: as long as events can be delivered.
const KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);

/// One try to deliver an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// To which endpoint.
    pub key: EndpointKey,
    /// Which event.
    pub event: EventId,
    /// The event's type.
    pub kind: EventType,
    /// When the try began.
    pub at: Timestamp,
    /// Which try, from 1.
    pub attempt: u32,
    /// How long it took; kept in whole microseconds.
    pub duration: Duration,
    /// The HTTP status that was answered, if one was.
    pub status: Option<u16>,
    /// Why it failed, without personal data; `None` if it did not.
    pub error: Option<String>,
}

/// Which attempts are wanted. The default is all of them.
#[derive(Clone, Debug, Default)]
pub struct AttemptFilter {
    /// Those of this event.
    pub event: Option<EventId>,
    /// Only those that failed.
    pub failed_only: bool,
}

/// An attempt's place in its endpoint's log, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptCursor {
    /// When the try began.
    pub at: Timestamp,
    /// Which it is, among those of the same moment.
    pub id: i64,
}

impl Store {
    /// Adds attempts to the log. Logging the same again adds it again.
    ///
    /// # Errors
    /// As every method's.
    pub async fn log_attempts(&self, attempts: &[Attempt]) -> Result<(), StoreError> {
        if attempts.is_empty() {
            return Ok(());
        }
        ask!(self, log_attempts(attempts))
    }

    /// At most `limit` of an endpoint's attempts, those before `after`, newest first.
    ///
    /// # Errors
    /// As every method's, and [`StoreError::Corrupt`].
    pub async fn attempts(
        &self,
        key: &EndpointKey,
        filter: &AttemptFilter,
        after: Option<AttemptCursor>,
        limit: u32,
    ) -> Result<Vec<(AttemptCursor, Attempt)>, StoreError> {
        // Nothing was ever logged of what no event is called.
        if filter.event.as_ref().is_some_and(|event| !is_digest(event)) {
            return Ok(Vec::new());
        }
        let after = after.unwrap_or(AttemptCursor { at: Timestamp::MAX, id: i64::MAX });
        let rows = ask!(self, attempts(key, filter, after, limit))?;
        rows.into_iter().map(|row| row.attempt_of(key)).collect()
    }
}

/// What was tried before then is forgotten, if what was recorded before `before` is.
pub(crate) fn kept_since(before: Timestamp, now: Timestamp) -> Moment {
    now.checked_sub(KEPT).unwrap_or(Timestamp::MIN).max(before).into()
}

/// Whether the id is one that an event may have: PostgreSQL keeps it as a number.
fn is_digest(event: &EventId) -> bool {
    let event = event.as_str();
    event.len() == 32 && event.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// A duration as the databases keep it.
pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// An attempt.
#[derive(FromRow)]
pub(crate) struct AttemptRow {
    id: i64,
    event: String,
    r#type: String,
    at: Moment,
    attempt: i32,
    micros: i64,
    status: Option<i32>,
    error: Option<String>,
}

impl AttemptRow {
    fn attempt_of(self, key: &EndpointKey) -> Result<(AttemptCursor, Attempt), StoreError> {
        let corrupt = || StoreError::Corrupt("an attempt");
        let at = self.at.into();
        let attempt = Attempt {
            key: key.clone(),
            event: EventId::kept(&self.event),
            kind: EventType::from_name(&self.r#type).ok_or_else(corrupt)?,
            at,
            attempt: u32::try_from(self.attempt).map_err(|_| corrupt())?,
            duration: Duration::from_micros(u64::try_from(self.micros).map_err(|_| corrupt())?),
            status: self.status.map(u16::try_from).transpose().map_err(|_| corrupt())?,
            error: self.error,
        };
        Ok((AttemptCursor { at, id: self.id }, attempt))
    }
}
