//! Who is who: which conversation a sighting belongs to, and what it teaches about its user's names.
//!
//! Pure: a [`Directory`] is filled with what the database knows of some names, is shown sightings one after the other,
//! and says what has to be written.
//!
//! A business-scoped id is one person's for good. A phone number is somebody's for a time: it is looked up at the time
//! of the sighting, because a sighting may come late. Of two mistakes, one person in two conversations is the lesser:
//! two persons in one conversation can't be told apart again. So two ids meet only where a payload says that one
//! followed the other.

mod learn;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::{Alias, Sighting};

/// A conversation: one that the database has, or one that has to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// The database's number of it.
    Known(i64),
    /// Its number among the new ones of this directory.
    New(usize),
}

/// The names that a conversation's user goes by now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// The phone number that was tied to the user last.
    pub phone: Option<Box<str>>,
    /// The user's business-scoped id.
    pub user_id: Option<Box<str>>,
    /// The group's id: then there is no user.
    pub group: Option<Box<str>>,
}

/// What the database has to know of one alias from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AliasChange {
    /// The alias.
    pub alias: Alias,
    /// Whose it is, and since when.
    pub current: Option<(Place, Timestamp)>,
    /// Whose it was, and until when.
    pub former: Option<(Place, Timestamp)>,
}

/// What has to be written. Places in it are settled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The conversations to make: numbers of [`Place::New`], ascending.
    pub created: Vec<usize>,
    /// Aliases that are new or differ.
    pub aliases: Vec<AliasChange>,
    /// Conversations of the database that went into another one, and which.
    pub merges: Vec<(i64, Place)>,
    /// Profiles of the conversations that are new, or whose profile differs.
    pub profiles: Vec<(Place, Profile)>,
}

/// For how long after a change its user's old names may still turn up, in a status for example. Nobody else is given a
/// number that soon.
const ECHO: SignedDuration = SignedDuration::from_hours(24);

/// What is known of some names of one channel.
#[derive(Debug, Default)]
pub struct Directory {
    conversations: BTreeMap<Place, Conversation>,
    ties: BTreeMap<Alias, KnownTie>,
    /// Where conversations have gone: always to a smaller place.
    merged: BTreeMap<Place, Place>,
    opened: usize,
}

#[derive(Debug, Default)]
struct Conversation {
    now: Profile,
    /// As the database has it.
    was: Profile,
}

#[derive(Debug, Default)]
struct KnownTie {
    now: Tie,
    /// As the database has it.
    was: Tie,
}

/// Whose an alias is since when, and whose it was until when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tie {
    current: Option<(Place, Timestamp)>,
    former: Option<(Place, Timestamp)>,
}

/// Whose an alias was at some time.
#[derive(Clone, Copy)]
enum Owner {
    Nobody,
    /// One who has lost it since.
    Then(Place),
    /// One who has it now, and since when that is certain.
    Now(Place, Timestamp),
}

impl Owner {
    fn place(self) -> Option<Place> {
        match self {
            Self::Nobody => None,
            Self::Then(place) | Self::Now(place, _) => Some(place),
        }
    }
}

impl Directory {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in a conversation of the database.
    ///
    /// Which of two phone numbers, or of two ids, was tied last is certain only if the ties of the profile's names are
    /// taken in too ([`add_alias`](Self::add_alias)): one whose tie is unknown counts as older. Where no sighting has
    /// former names, no more than the profile's number hangs on that.
    pub fn add_conversation(&mut self, id: i64, profile: Profile) {
        let conversation = Conversation { now: profile.clone(), was: profile };
        self.conversations.insert(Place::Known(id), conversation);
    }

    /// Takes in what the database knows of an alias. Its conversations must have been taken in.
    pub fn add_alias(
        &mut self,
        alias: Alias,
        current: Option<(i64, Timestamp)>,
        former: Option<(i64, Timestamp)>,
    ) {
        let known = |(id, at)| (Place::Known(id), at);
        let tie = Tie { current: current.map(known), former: former.map(known) };
        self.ties.insert(alias, KnownTie { now: tie, was: tie });
    }

    /// Where the sighting belongs, having learned from it. `anchor` is the conversation of the message that the
    /// sighting is about, if that is known (it must have been taken in): it is the answer then, and names that nobody
    /// has become its user's. `None` if there is neither an anchor nor an alias.
    pub fn place(&mut self, sighting: &Sighting, anchor: Option<Place>) -> Option<Place> {
        let anchor = anchor.map(|place| self.settled(place));
        if sighting.aliases.is_empty() && sighting.former.is_empty() {
            return anchor;
        }
        let gone = gone(sighting);
        let old = self.look_up_gone(&gone, sighting.at);
        let target = match (self.look_up(&sighting.aliases, sighting.at).or(old), anchor) {
            (Some(found), _) => found,
            (None, Some(anchor)) if self.nothing_speaks_against(anchor, sighting) => anchor,
            (None, Some(anchor)) => return Some(anchor),
            (None, None) => self.open(),
        };
        self.release(&gone, target, old, sighting.at);
        let target = old.map_or(target, |old| self.merge(target, old));
        let learned = match user_of(&sighting.aliases) {
            Some(user) => {
                let newcomer = self.tie_user(user, sighting, target);
                if !gone.is_empty() {
                    self.show_changed_id(target, user);
                }
                self.tie_others(user, newcomer, sighting, target, anchor)
            }
            None => self.tie_equals(sighting, target, anchor),
        };
        Some(self.settled(anchor.unwrap_or(learned)))
    }

    /// Where the sighting belongs as far as is known; learns nothing.
    pub fn find(&self, sighting: &Sighting) -> Option<Place> {
        self.look_up(&sighting.aliases, sighting.at)
            .or_else(|| self.look_up_gone(&gone(sighting), sighting.at))
    }

    /// The conversation that this place has gone into; itself if it has not.
    pub fn settled(&self, mut place: Place) -> Place {
        while let Some(winner) = self.merged.get(&place) {
            place = *winner;
        }
        place
    }

    /// All that has to be written.
    pub fn changes(&self) -> Changes {
        let created = (0..self.opened).filter(|number| !self.merged.contains_key(&Place::New(*number)));
        let aliases = self.ties.iter().filter_map(|(alias, tie)| {
            let Tie { current, former } = self.settled_tie(tie.now);
            (Tie { current, former } != tie.was).then(|| AliasChange {
                alias: alias.clone(),
                current,
                former,
            })
        });
        let merges = self.merged.keys().filter_map(|place| match place {
            Place::Known(id) => Some((*id, self.settled(*place))),
            Place::New(_) => None,
        });
        let profiles = self.conversations.iter().filter(|(place, conversation)| {
            let differs = matches!(place, Place::New(_)) || conversation.now != conversation.was;
            differs && !self.merged.contains_key(place)
        });
        Changes {
            created: created.collect(),
            aliases: aliases.collect(),
            merges: merges.collect(),
            profiles: profiles.map(|(place, conversation)| (*place, conversation.now.clone())).collect(),
        }
    }
}

impl Directory {
    fn look_up(&self, aliases: &[Alias], at: Timestamp) -> Option<Place> {
        let Some(user) = user_of(aliases) else {
            return aliases.iter().find_map(|alias| self.owner(alias, at).place());
        };
        let others = || aliases.iter().filter(|alias| *alias != user);
        self.owner(user, at)
            .place()
            .or_else(|| {
                others()
                    .filter_map(|alias| self.owner(alias, at).place())
                    .find(|owner| self.goes_by(*owner, user))
            })
            .or_else(|| others().find_map(|alias| self.gave_up(alias, at)))
    }

    /// Whose the names were that a change did away with. A number that a user with an id has only had for less long
    /// than that is already the next person's.
    fn look_up_gone(&self, gone: &[&Alias], at: Timestamp) -> Option<Place> {
        let ids = gone.iter().filter(|alias| matches!(alias, Alias::User(_)));
        let by_id = || ids.clone().find_map(|alias| self.owner(alias, at).place());
        let by_rest = || {
            gone.iter().find_map(|alias| match self.owner(alias, at) {
                Owner::Now(place, since) if is_later(since, at) && self.user_id(place).is_some() => None,
                owner => owner.place(),
            })
        };
        by_id().or_else(by_rest)
    }

    fn owner(&self, alias: &Alias, at: Timestamp) -> Owner {
        match self.tie(alias) {
            Tie { former: Some((place, until)), .. } if at <= until => Owner::Then(place),
            Tie { current: Some((place, since)), .. } => Owner::Now(place, since),
            _ => Owner::Nobody,
        }
    }

    /// Who gave the alias up by a change after this time, if nobody has taken it since. An id that was seen with it
    /// before is one that the change did away with.
    fn gave_up(&self, alias: &Alias, at: Timestamp) -> Option<Place> {
        match self.tie(alias) {
            Tie { current: None, former: Some((place, until)) } if at <= until => Some(place),
            _ => None,
        }
    }

    fn tie(&self, alias: &Alias) -> Tie {
        self.ties.get(alias).map(|tie| self.settled_tie(tie.now)).unwrap_or_default()
    }

    fn settled_tie(&self, tie: Tie) -> Tie {
        let settled = |(place, at)| (self.settled(place), at);
        Tie { current: tie.current.map(settled), former: tie.former.map(settled) }
    }

    fn user_id(&self, place: Place) -> Option<&str> {
        self.conversations.get(&place)?.now.user_id.as_deref()
    }

    /// Whether the conversation may be that of the user with this id: it knows no other.
    fn goes_by(&self, place: Place, user: &Alias) -> bool {
        self.user_id(place).is_none_or(|id| id == user.text())
    }

    /// Whether the names of a sighting about the anchor's message, of which none has led anywhere, may be its user's.
    fn nothing_speaks_against(&self, anchor: Place, sighting: &Sighting) -> bool {
        user_of(&sighting.aliases).is_none_or(|user| {
            let unowned = |alias| self.owner(alias, sighting.at).place().is_none();
            self.goes_by(anchor, user) && sighting.aliases.iter().all(unowned)
        })
    }

    /// Since when the conversation has the alias, if that is known.
    fn held_since(&self, place: Place, alias: &Alias) -> Option<Timestamp> {
        self.tie(alias).current.filter(|(owner, _)| *owner == place).map(|(_, since)| since)
    }

    fn phone_since(&self, place: Place, profile: &Profile) -> Option<Timestamp> {
        self.held_since(place, &Alias::Phone(profile.phone.clone()?))
    }
}

fn user_of(aliases: &[Alias]) -> Option<&Alias> {
    aliases.iter().find(|alias| matches!(alias, Alias::User(_)))
}

/// The names that the sighting does away with.
fn gone(sighting: &Sighting) -> Vec<&Alias> {
    sighting.former.iter().filter(|alias| !sighting.aliases.contains(alias)).collect()
}

/// Whether this is too long after a change to be an echo of what was before.
fn is_later(time: Timestamp, change: Timestamp) -> bool {
    time.duration_since(change) > ECHO
}

#[cfg(test)]
mod tests;
