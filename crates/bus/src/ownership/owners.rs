//! Who owns what, as the bucket LEASES says it to somebody who owns nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_nats::jetstream::kv;
use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};
use tokio::time::timeout;

use super::record::{Key, Life, PartRecord};
use super::{Group, PARTS};
use crate::Bus;
use crate::lease::SILENCE;
use crate::streams::{self, StreamError};

/// Longest wait for all entries.
const LISTING: Duration = Duration::from_secs(2);
/// A heartbeat this old is none any more.
const OLD: SignedDuration = SignedDuration::from_millis(SILENCE.as_millis() as i64);

/// The owners of a group's parts, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartOwners {
    /// What is owned.
    pub group: Group,
    /// The processes that take a share, and how many parts each of them owns.
    pub members: BTreeMap<String, usize>,
    /// Parts that nobody who lives owns: nothing is sent, or delivered, for them now.
    pub vacant: Vec<u16>,
}

impl Bus {
    /// Who owns the parts of each group. A process that was silent for too long owns nothing here, though its entries
    /// may still stand. Right after a start, a stop or a failover, parts are vacant for some seconds.
    ///
    /// # Errors
    /// If the bucket is not there, or not all of it came in time.
    pub async fn part_owners(&self) -> Result<[PartOwners; 2], StreamError> {
        let listing = timeout(LISTING, async {
            let asked = self.stream_state(streams::LEASES).await?;
            let ahead = asked.and_then(|state| state.clock).map_or(SignedDuration::ZERO, |clock| clock.ahead);
            let store = self.bucket(streams::LEASES).await?;
            let entries = list(&store).await;
            let entries = entries.map_err(|error| StreamError::unread(streams::LEASES, error))?;
            Ok((entries, Timestamp::now().saturating_add(ahead).unwrap_or(Timestamp::MAX)))
        });
        let (entries, now) = match listing.await {
            Ok(listed) => listed?,
            Err(_) => return Err(StreamError::unread(streams::LEASES, "no answer in time")),
        };
        Ok([Group::Send, Group::Deliver].map(|group| owners(group, &entries, now)))
    }
}

async fn list(store: &kv::Store) -> Result<Vec<kv::Entry>, async_nats::Error> {
    let mut entries = Vec::new();
    if store.stream.cached_info().state.messages == 0 {
        return Ok(entries);
    }
    let mut watch = store.watch_with_history(">").await?;
    loop {
        let entry = watch.next().await.ok_or("the watch ended")??;
        let complete = entry.seen_current;
        entries.push(entry);
        if complete {
            return Ok(entries);
        }
    }
}

/// `now` is the server's, as are the times of the entries.
fn owners(group: Group, entries: &[kv::Entry], now: Timestamp) -> PartOwners {
    let is_heard = |entry: &kv::Entry| {
        let written = Timestamp::from_nanosecond(entry.created.unix_timestamp_nanos());
        written.is_ok_and(|written| now.duration_since(written) <= OLD)
    };
    let mut parts: BTreeMap<u16, String> = BTreeMap::new();
    let mut alive: BTreeSet<String> = BTreeSet::new();
    for entry in entries.iter().filter(|entry| entry.operation == kv::Operation::Put) {
        match Key::parse(group, &entry.key) {
            Some(Key::Member(id)) if Life::read(&entry.value) != Life::Dead && is_heard(entry) => {
                alive.insert(id);
            }
            Some(Key::Part(part)) => {
                let record = PartRecord::read(&entry.value);
                if !record.released {
                    parts.insert(part, record.owner);
                }
            }
            Some(Key::Member(_)) | None => {}
        }
    }
    parts.retain(|_, owner| alive.contains(owner));
    let vacant = (0..PARTS).filter(|part| !parts.contains_key(part)).collect();
    let mut members: BTreeMap<String, usize> = alive.into_iter().map(|id| (id, 0)).collect();
    for owner in parts.into_values() {
        *members.entry(owner).or_default() += 1;
    }
    PartOwners { group, members, vacant }
}
