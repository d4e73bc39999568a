//! What has to change so that the registry holds what files say.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::RegistryError;
use super::bucket::{Held, Slots};
use super::check::Check;
use super::diff::{self, Change, Changed};
use super::entry::{Entry, rank};
use super::file::{Location, RegistryFile};
use crate::secret::MasterKey;

/// What becomes of entries that no file names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unnamed {
    /// They stay.
    Keep,
    /// They go.
    Delete,
}

/// A plan that [`super::RegistryStore::apply`] carries out: it holds the revisions that it was made for.
#[derive(Debug)]
pub struct Plan {
    pub(super) steps: Vec<Step>,
    claims: Vec<NumberClaim>,
}

#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) change: Change,
    /// What is written; `None` deletes.
    pub(super) entry: Option<Entry>,
    /// The revision that the key has now, 0 for none.
    pub(super) expected: u64,
}

/// What becomes of a number that more than one channel names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NumberClaim {
    /// The plan moves it.
    Takes {
        /// The key of the channel that has it then.
        channel: String,
        /// The key of the one that has it now.
        from: String,
    },
    /// A file names it, and another channel claimed it later: there it stays.
    Lost {
        /// The key of the channel in the file.
        channel: String,
        /// The key of the one that has it.
        to: String,
    },
}

impl fmt::Display for NumberClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Takes { channel, from } => write!(f, "! {channel} takes the number of {from}"),
            Self::Lost { channel, to } => write!(f, "! {channel} has lost its number to {to}"),
        }
    }
}

impl Plan {
    /// What the plan does, in order.
    pub fn changes(&self) -> impl Iterator<Item = &Change> {
        self.steps.iter().map(|step| &step.change)
    }

    /// Numbers that move with it, or that have moved away.
    pub fn claims(&self) -> &[NumberClaim] {
        &self.claims
    }

    /// Compares what the files say with what is stored.
    pub(super) fn new(
        stored: &Slots,
        files: Vec<RegistryFile>,
        unnamed: Unnamed,
        master: Option<&MasterKey>,
    ) -> Result<Self, RegistryError> {
        let wanted = Wanted::collect(files)?;
        let others = stored
            .iter()
            .filter(|_| unnamed == Unnamed::Keep)
            .filter_map(|(key, slot)| Some((key.as_str(), slot.entry()?)));
        Check::new(&wanted.entries, others).run().map_err(|problem| {
            let other = problem.other.and_then(|other| Some(wanted.places.get(&other)?.of(problem.key)));
            let other = other.map(|other| format!(" ({other})")).unwrap_or_default();
            RegistryError::Wrong {
                place: wanted.places.get(&problem.entry).map(|at| at.of(problem.key)),
                entry: problem.entry,
                key: problem.key.map(str::to_owned),
                problem: problem.text + &other,
            }
        })?;
        let mut steps = Vec::new();
        for (key, entry) in wanted.in_order() {
            if let Some((change, entry, expected)) = wanted.step(key, entry, stored, master)? {
                steps.push(Step { change, entry: Some(entry), expected });
            }
        }
        if unnamed == Unnamed::Delete {
            // What refers to others goes before them.
            let mut unnamed: Vec<_> =
                stored.iter().filter(|(key, _)| !wanted.entries.contains_key(*key)).collect();
            unnamed.sort_by_key(|(key, _)| std::cmp::Reverse(rank(key)));
            for (key, slot) in unnamed {
                if !matches!(slot.held, Held::Deleted) {
                    let change = Change { key: key.clone(), what: Changed::Deleted };
                    steps.push(Step { change, entry: None, expected: slot.revision });
                }
            }
        }
        let claims = claims(stored, &wanted.entries, &steps);
        Ok(Self { steps, claims })
    }
}

/// What the files say.
struct Wanted {
    entries: BTreeMap<String, Entry>,
    places: HashMap<String, Location>,
}

impl Wanted {
    fn collect(files: Vec<RegistryFile>) -> Result<Self, RegistryError> {
        let mut wanted = Self { entries: BTreeMap::new(), places: HashMap::new() };
        for located in files.into_iter().flat_map(|file| file.entries) {
            let key = located.entry.key();
            let at = located.at.of(Some("id"));
            if let Some(before) = wanted.places.insert(key.clone(), located.at) {
                return Err(RegistryError::Wrong {
                    place: Some(at),
                    entry: key,
                    key: Some("id".into()),
                    problem: format!("stands there twice, with one id: also {}", before.of(Some("id"))),
                });
            }
            wanted.entries.insert(key, located.entry);
        }
        Ok(wanted)
    }

    /// Those first that others refer to.
    fn in_order(&self) -> Vec<(&String, &Entry)> {
        let mut entries: Vec<_> = self.entries.iter().collect();
        entries.sort_by_key(|(key, _)| rank(key));
        entries
    }

    /// What has to be done for an entry, if anything.
    fn step(
        &self,
        key: &str,
        entry: &Entry,
        stored: &Slots,
        master: Option<&MasterKey>,
    ) -> Result<Option<(Change, Entry, u64)>, RegistryError> {
        let slot = stored.get(key);
        let old = slot.and_then(|slot| slot.entry());
        let mut fresh = entry.clone().for_storage(old, master).map_err(|problem| RegistryError::Secret {
            place: self.places.get(key).map(|at| at.of(problem.field())),
            problem,
        })?;
        let what = match old {
            None => Changed::Created,
            Some(old) => {
                let fields = diff::fields(old, &fresh, master);
                if fields.is_empty() {
                    return Ok(None);
                }
                Changed::Updated(fields)
            }
        };
        if let Some(slot) = slot {
            keep_claim(&mut fresh, slot.entry(), slot.revision);
        }
        let change = Change { key: key.to_owned(), what };
        Ok(Some((change, fresh, slot.map_or(0, |slot| slot.revision))))
    }
}

/// Lets a channel's entry that replaces another keep that one's claim to the number, if it makes none of its own.
pub(super) fn keep_claim(fresh: &mut Entry, old: Option<&Entry>, revision: u64) {
    if let (Entry::Channel(fresh), Some(Entry::Channel(old))) = (fresh, old) {
        fresh.claimed = (!fresh.claims_anew(old)).then(|| old.claim(revision));
    }
}

/// Who has each number now, who will have it, and which file's channel has lost it.
fn claims(stored: &Slots, wanted: &BTreeMap<String, Entry>, steps: &[Step]) -> Vec<NumberClaim> {
    /// A claim of what is about to be written is younger than all that is written.
    const NEW: u64 = u64::MAX;
    fn note<'a>(
        holders: &mut HashMap<&'a str, (u64, &'a str)>,
        key: &'a str,
        entry: &'a Entry,
        revision: u64,
    ) {
        let Entry::Channel(channel) = entry else { return };
        let Some(number) = channel.phone_number_id.as_deref() else { return };
        let claim = (channel.claim(revision), key);
        let holder = holders.entry(number).or_insert(claim);
        *holder = claim.max(*holder);
    }
    let written: HashMap<&str, &Step> = steps.iter().map(|step| (step.change.key.as_str(), step)).collect();
    let (mut now, mut then) = (HashMap::new(), HashMap::new());
    for (key, slot) in stored {
        let Some(entry) = slot.entry() else { continue };
        note(&mut now, key, entry, slot.revision);
        if !written.contains_key(key.as_str()) {
            note(&mut then, key, entry, slot.revision);
        }
    }
    for step in steps {
        if let Some(entry) = &step.entry {
            note(&mut then, &step.change.key, entry, NEW);
        }
    }
    let mut claims = Vec::new();
    for (number, (_, holder)) in &then {
        if let Some((_, from)) = now.get(number)
            && from != holder
        {
            claims.push(NumberClaim::Takes { channel: (*holder).to_owned(), from: (*from).to_owned() });
        }
    }
    for (key, entry) in wanted {
        if let Entry::Channel(channel) = entry
            && let Some(number) = channel.phone_number_id.as_deref()
            && let Some((_, holder)) = then.get(number)
            && holder != key
        {
            claims.push(NumberClaim::Lost { channel: key.clone(), to: (*holder).to_owned() });
        }
    }
    claims.sort_by_key(ToString::to_string);
    claims
}
