//! Events that an endpoint is to be sent once more.

use jiff::Timestamp;
use sqlx::FromRow;

use crate::endpoints::EndpointKey;
use crate::moment::Moment;
use crate::types::StoreError;
use crate::{Backend, Store, ask, within};

/// A range of events that an endpoint is sent once more, and how far that has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayJob {
    /// The job's number.
    pub id: i64,
    /// The endpoint.
    pub key: EndpointKey,
    /// The sequence on EVENTS from which to go on.
    pub next: u64,
    /// The last sequence that belongs to it.
    pub last: u64,
    /// Events from then on were asked for …
    pub from: Timestamp,
    /// … up to then.
    pub until: Timestamp,
    /// When they were asked for.
    pub asked: Timestamp,
}

impl Store {
    /// Notes that an endpoint is to be sent the events from `next` up to `last`, it included, and gives back the job's
    /// number. Asking twice makes two jobs.
    ///
    /// # Errors
    /// As every method's.
    pub async fn add_replay(
        &self,
        key: &EndpointKey,
        next: u64,
        last: u64,
        from: Timestamp,
        until: Timestamp,
        at: Timestamp,
    ) -> Result<i64, StoreError> {
        let job = ReplayJob { id: 0, key: key.clone(), next, last, from, until, asked: at };
        ask!(self, add_replay(&job))
    }

    /// An endpoint's jobs that have not ended, in the order in which they were asked for.
    ///
    /// # Errors
    /// As every method's.
    pub async fn replays(&self, key: &EndpointKey) -> Result<Vec<ReplayJob>, StoreError> {
        let rows = ask!(self, replays(key))?;
        Ok(rows.into_iter().map(|row| row.job_of(key)).collect())
    }

    /// Notes how far a job has come: it never goes back. One that has ended is left alone.
    ///
    /// # Errors
    /// As every method's.
    pub async fn move_replay(&self, id: i64, next: u64) -> Result<(), StoreError> {
        ask!(self, move_replay(id, next))
    }

    /// Forgets a job: it is done, or given up.
    ///
    /// # Errors
    /// As every method's.
    pub async fn end_replay(&self, id: i64) -> Result<(), StoreError> {
        ask!(self, end_replay(id))
    }
}

/// A job.
#[derive(FromRow)]
pub(crate) struct ReplayRow {
    id: i64,
    next: i64,
    last: i64,
    from_at: Moment,
    until_at: Moment,
    asked_at: Moment,
}

impl ReplayRow {
    fn job_of(self, key: &EndpointKey) -> ReplayJob {
        ReplayJob {
            id: self.id,
            key: key.clone(),
            next: self.next.cast_unsigned(),
            last: self.last.cast_unsigned(),
            from: self.from_at.into(),
            until: self.until_at.into(),
            asked: self.asked_at.into(),
        }
    }
}
