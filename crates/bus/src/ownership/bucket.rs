//! The bucket LEASES: written by compare-and-set only, every answer awaited for a short time.

use std::collections::BTreeSet;
use std::time::Duration;

use async_nats::jetstream::kv;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::timeout;

use super::Group;
use super::view::{Vacancy, View};
use crate::Bus;
use crate::lease::boot_time;
use crate::streams::{self, StreamError};

/// Longest wait for the answer to one write.
pub(super) const ANSWER: Duration = Duration::from_millis(700);
/// Longest wait for all entries.
const LISTING: Duration = Duration::from_secs(2);
/// LEASES made this much later than SEND was made anew: somebody may own parts that it says nothing of.
const MADE_TOGETHER: Duration = Duration::from_secs(2);
/// Nobody was here before if the first write of a member has a number below this.
const FIRST_WRITES: u64 = 128;
/// Epochs count from the year 2020, so that they fit for long.
const EPOCHS_FROM: i128 = 1_577_836_800;

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// It stands there, with this revision.
    As(u64),
    /// The entry had another revision: nothing was written now. An earlier try of the same may have been.
    Refused,
    /// Nobody knows: it may stand there, or may yet.
    Unknown,
}

/// What the stream says of itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) last: u64,
    pub(super) keys: usize,
}

/// The bucket as it is now. Clones share the connection.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    bus: Bus,
    group: Group,
    store: kv::Store,
    /// In nanoseconds since 1970.
    made_at: i128,
    made_with_send: bool,
}

/// All entries, and what follows them.
pub(super) struct Listing {
    entries: Vec<kv::Entry>,
    through: u64,
    pub(super) watch: kv::Watch,
}

impl Bucket {
    pub(super) async fn open(bus: &Bus, group: Group) -> Result<Self, StreamError> {
        let store = bus.bucket(streams::LEASES).await?;
        let made_at = store.stream.cached_info().created.unix_timestamp_nanos();
        let send_made_at = bus.stream_made_at(streams::SEND).await?;
        let made_with_send = made_at.abs_diff(send_made_at) < MADE_TOGETHER.as_nanos();
        Ok(Self { bus: bus.clone(), group, store, made_at, made_with_send })
    }

    /// Whose parts this is about. The other groups' entries are seen, and mean nothing here.
    pub(super) fn group(&self) -> Group {
        self.group
    }

    /// The epoch of a taking: grows with the revisions, and from each bucket to the next.
    pub(super) fn epoch(&self, revision: u64) -> i64 {
        let seconds = (self.made_at / 1_000_000_000 - EPOCHS_FROM).clamp(0, i128::from(i32::MAX));
        i64::try_from((seconds << 32) + i128::from(revision)).unwrap_or(i64::MAX)
    }

    /// What a member whose first write had this number must think of parts without an entry.
    pub(super) fn vacancy(&self, first_write: u64) -> Vacancy {
        if self.made_with_send && first_write < FIRST_WRITES { Vacancy::New } else { Vacancy::Doubtful }
    }

    /// Writes the entry if its revision is still this one; 0 if there must be none. Waits at most `limit`.
    pub(super) async fn write(&self, key: &str, value: Bytes, revision: u64, limit: Duration) -> Written {
        // A disconnected client would send it when it is back, long after it was decided.
        if !self.bus.is_connected() {
            return Written::Unknown;
        }
        match timeout(limit, self.store.update(key, value, revision)).await {
            Ok(Ok(revision)) => Written::As(revision),
            Ok(Err(error)) if error.kind() == kv::UpdateErrorKind::WrongLastRevision => Written::Refused,
            Ok(Err(_)) | Err(_) => Written::Unknown,
        }
    }

    /// Deletes the entry if its revision is still this one.
    pub(super) async fn delete(&self, key: &str, revision: u64) -> bool {
        if !self.bus.is_connected() {
            return false;
        }
        let deleted = timeout(ANSWER, self.store.delete_expect_revision(key, Some(revision))).await;
        matches!(deleted, Ok(Ok(())))
    }

    /// Removes what a deletion left behind.
    pub(super) async fn sweep(&self, revision: u64) -> bool {
        matches!(timeout(ANSWER, self.store.stream.delete_message(revision)).await, Ok(Ok(true)))
    }

    /// The entry's value and revision. `Err` if there was no answer.
    pub(super) async fn read(&self, key: &str) -> Result<Option<(Bytes, u64)>, async_nats::Error> {
        let entry = timeout(ANSWER, self.store.entry(key)).await??;
        let entry = entry.filter(|entry| entry.operation == kv::Operation::Put);
        Ok(entry.map(|entry| (entry.value, entry.revision)))
    }

    /// Reads all entries. There must be one at least: the member's own.
    pub(super) async fn list(&self) -> Result<Box<Listing>, async_nats::Error> {
        let listing = timeout(LISTING, async {
            let through = self.store.stream.get_info().await?.state.last_sequence;
            let mut watch = self.store.watch_with_history(">").await?;
            let mut entries = Vec::new();
            loop {
                let entry = watch.next().await.ok_or("the watch ended")??;
                let complete = entry.seen_current;
                entries.push(entry);
                if complete {
                    return Ok::<_, async_nats::Error>(Box::new(Listing { entries, through, watch }));
                }
            }
        });
        listing.await?
    }

    /// How far the bucket has come.
    pub(super) async fn extent(&self) -> Result<Extent, async_nats::Error> {
        let info = timeout(ANSWER, self.store.stream.get_info()).await??;
        let keys = usize::try_from(info.state.messages).unwrap_or(usize::MAX);
        Ok(Extent { last: info.state.last_sequence, keys })
    }
}

impl Listing {
    /// Brings the view up to date. Gives back the revision up to which it is.
    pub(super) fn show(&self, view: &mut View) -> u64 {
        let now = boot_time();
        for entry in &self.entries {
            apply(view, entry, now);
        }
        let listed: BTreeSet<&str> = self.entries.iter().map(|entry| entry.key.as_str()).collect();
        view.retain(&listed, self.through, now);
        self.entries.iter().map(|entry| entry.revision).fold(self.through, u64::max)
    }
}

/// Takes an entry of the watch in.
pub(super) fn apply(view: &mut View, entry: &kv::Entry, now: Duration) {
    let value = (entry.operation == kv::Operation::Put).then_some(&entry.value);
    view.apply(&entry.key, entry.revision, value, now);
}
