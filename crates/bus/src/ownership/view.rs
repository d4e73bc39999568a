//! What this process has seen of the bucket LEASES, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::record::{Key, Life, PartRecord, part_key};
use super::{Group, PARTS};
use crate::lease::SILENCE;

/// A value, and since when it stands there unchanged, by this process's own boot-time clock.
#[derive(Clone, Debug)]
pub(super) struct Seen<T> {
    pub(super) revision: u64,
    pub(super) since: Duration,
    pub(super) value: T,
}

/// What becomes of parts that have no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vacancy {
    /// Nobody ever owned one.
    New,
    /// Somebody may own one whose entry went.
    Doubtful,
}

/// The bucket as seen. An older revision never replaces a newer one, however late it comes.
#[derive(Debug)]
pub(super) struct View {
    pub(super) group: Group,
    known: BTreeMap<String, u64>,
    pub(super) members: BTreeMap<String, Seen<Life>>,
    pub(super) parts: BTreeMap<u16, Seen<PartRecord>>,
    /// From when on a part without an entry may be taken.
    pub(super) vacant_from: BTreeMap<u16, Duration>,
    /// Since when owners have no entry of their own.
    pub(super) absent_since: BTreeMap<String, Duration>,
    /// Entries that only say that something was deleted.
    pub(super) markers: BTreeMap<String, Seen<()>>,
}

impl View {
    /// Nothing was seen yet.
    pub(super) fn new(group: Group, vacancy: Vacancy, now: Duration) -> Self {
        let from = match vacancy {
            Vacancy::New => now,
            Vacancy::Doubtful => now + SILENCE,
        };
        Self {
            group,
            known: BTreeMap::new(),
            members: BTreeMap::new(),
            parts: BTreeMap::new(),
            vacant_from: (0..PARTS).map(|part| (part, from)).collect(),
            absent_since: BTreeMap::new(),
            markers: BTreeMap::new(),
        }
    }

    /// How many keys the bucket holds, as far as was seen; deleted ones count until their markers go.
    pub(super) fn keys(&self) -> usize {
        self.known.len()
    }

    /// Takes one entry in; no value means that it was deleted.
    pub(super) fn apply(&mut self, key: &str, revision: u64, value: Option<&Bytes>, now: Duration) {
        if self.known.get(key).is_some_and(|known| *known >= revision) {
            return;
        }
        self.known.insert(key.into(), revision);
        match value {
            Some(_) => drop(self.markers.remove(key)),
            None => drop(self.markers.insert(key.into(), Seen { revision, since: now, value: () })),
        }
        match (Key::parse(self.group, key), value) {
            (Some(Key::Member(id)), Some(json)) => {
                self.members.insert(id, Seen { revision, since: now, value: Life::read(json) });
            }
            (Some(Key::Part(part)), Some(json)) => {
                self.vacant_from.remove(&part);
                self.parts.insert(part, Seen { revision, since: now, value: PartRecord::read(json) });
            }
            (Some(Key::Member(id)), None) => drop(self.members.remove(&id)),
            (Some(Key::Part(part)), None) => self.vacate(part, now),
            (None, _) => {}
        }
        self.note_absent(now);
    }

    /// Forgets what is not in the bucket any more, after a listing that is complete up to `through`.
    pub(super) fn retain(&mut self, listed: &BTreeSet<&str>, through: u64, now: Duration) {
        let gone: Vec<String> = self
            .known
            .iter()
            .filter(|(key, revision)| **revision <= through && !listed.contains(key.as_str()))
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            self.forget(&key, now);
        }
    }

    /// The key is gone without a trace.
    pub(super) fn forget(&mut self, key: &str, now: Duration) {
        self.known.remove(key);
        self.markers.remove(key);
        match Key::parse(self.group, key) {
            Some(Key::Member(id)) => drop(self.members.remove(&id)),
            Some(Key::Part(part)) => self.vacate(part, now),
            None => {}
        }
        self.note_absent(now);
    }

    fn vacate(&mut self, part: u16, now: Duration) {
        self.parts.remove(&part);
        self.vacant_from.entry(part).or_insert(now + SILENCE);
    }

    /// The revision on which a part without a value can be taken: that of its deletion, or 0.
    pub(super) fn part_revision(&self, part: u16) -> u64 {
        self.known.get(&part_key(self.group, part)).copied().unwrap_or(0)
    }

    /// Whether a part that was not given back names this member as its owner.
    pub(super) fn owns(&self, member: &str) -> bool {
        self.parts.values().any(|part| !part.value.released && part.value.owner == member)
    }

    fn note_absent(&mut self, now: Duration) {
        let owners = self.parts.values().map(|part| &part.value).filter(|part| !part.released);
        let absent: BTreeSet<String> =
            owners.map(|part| part.owner.clone()).filter(|owner| !self.members.contains_key(owner)).collect();
        self.absent_since.retain(|owner, _| absent.contains(owner));
        for owner in absent {
            self.absent_since.entry(owner).or_insert(now);
        }
    }
}
