//! What a sighting teaches.

use jiff::{SignedDuration, Timestamp};

use super::{Conversation, Directory, KnownTie, Owner, Place, Profile, Tie, is_later};
use crate::{Alias, Sighting};

/// How much later a tie must have been seen again for that to be worth a write.
const CONFIRMED_EVERY: SignedDuration = SignedDuration::from_hours(1);

impl Directory {
    pub(super) fn open(&mut self) -> Place {
        let place = Place::New(self.opened);
        self.opened += 1;
        self.conversations.insert(place, Conversation::default());
        place
    }

    /// The names that a change did away with are free, unless somebody has taken them since.
    pub(super) fn release(&mut self, gone: &[&Alias], target: Place, old: Option<Place>, at: Timestamp) {
        for alias in gone {
            let Tie { current, former } = self.tie(alias);
            let is_theirs = |place: Place| place == target || Some(place) == old;
            let tie = match (current, former) {
                (Some((owner, since)), _) if is_theirs(owner) && !is_later(since, at) => {
                    self.lose(owner, alias, at);
                    Tie { current: None, former: Some((target, since.max(at))) }
                }
                (Some((_, since)), None) if since > at => Tie { current, former: Some((target, at)) },
                (None, Some((owner, until))) if is_theirs(owner) => {
                    Tie { current, former: Some((owner, until.max(at))) }
                }
                (None, Some((_, until))) if until < at => Tie { current, former: Some((target, at)) },
                (None, None) => Tie { current, former: Some((target, at)) },
                _ => continue,
            };
            self.write(alias, tie);
        }
    }

    /// The conversation's user doesn't go by this name any more. A number takes its id along: that is made anew with
    /// the number.
    fn lose(&mut self, place: Place, alias: &Alias, at: Timestamp) {
        let id = self.user_id(place).map(|id| Alias::User(id.into()));
        let id_since = id.and_then(|id| self.held_since(place, &id));
        let profile = self.profile(place);
        if let Alias::Phone(phone) = alias
            && profile.phone.as_ref() == Some(phone)
        {
            profile.phone = None;
        }
        let is_older = id_since.is_none_or(|since| since < at);
        let is_this = matches!(alias, Alias::User(id) if profile.user_id.as_ref() == Some(id));
        if is_this || (is_older && matches!(alias, Alias::Phone(_))) {
            profile.user_id = None;
        }
    }

    /// One conversation of two: the smaller place. What the preferred one knows of its user counts.
    pub(super) fn merge(&mut self, preferred: Place, other: Place) -> Place {
        let (winner, loser) = (preferred.min(other), preferred.max(other));
        if winner == loser {
            return winner;
        }
        let mut profile = self.profile(preferred).clone();
        let second = self.profile(other).clone();
        if profile.phone.is_none() || self.phone_since(other, &second) > self.phone_since(preferred, &profile)
        {
            profile.phone = second.phone.or(profile.phone);
        }
        profile.user_id = profile.user_id.or(second.user_id);
        profile.group = profile.group.or(second.group);
        *self.profile(winner) = profile;
        self.merged.insert(loser, winner);
        winner
    }

    /// Whether a merge of these two would be told by the event of a sighting, which belongs to the anchor's conversation.
    /// Else they wait for a sighting of their own: a conversation that ends without a word is worse than two of one user.
    fn is_told_with(&self, anchor: Option<Place>, one: Place, other: Place) -> bool {
        anchor.map(|anchor| self.settled(anchor)).is_none_or(|anchor| anchor == one || anchor == other)
    }

    /// Ties the id to the conversation. Says whether it is new, and the id of today's user: not one that is seen with
    /// a name which its user has lost since.
    pub(super) fn tie_user(&mut self, user: &Alias, sighting: &Sighting, target: Place) -> bool {
        if self.owner(user, sighting.at).place().is_some() {
            return false;
        }
        self.write(user, Tie { current: Some((target, sighting.at)), ..self.tie(user) });
        let is_of_then =
            |alias| matches!(self.owner(alias, sighting.at), Owner::Then(owner) if owner == target);
        !sighting.aliases.iter().any(is_of_then)
    }

    /// After a change the user goes by the id that it names, unless there has been another change since.
    pub(super) fn show_changed_id(&mut self, place: Place, user: &Alias) {
        let Some(since) = self.held_since(place, user) else { return };
        let other = self.user_id(place).map(|id| Alias::User(id.into()));
        if !other.and_then(|id| self.held_since(place, &id)).is_some_and(|held| is_later(held, since)) {
            self.profile(place).user_id = Some(user.text().into());
        }
    }

    /// Ties what stands beside an id to the conversation of that id.
    pub(super) fn tie_others(
        &mut self,
        user: &Alias,
        newcomer: bool,
        sighting: &Sighting,
        mut target: Place,
        anchor: Option<Place>,
    ) -> Place {
        let at = sighting.at;
        let of_today = newcomer || self.user_id(target) == Some(user.text());
        let mut confirmed = newcomer;
        for alias in sighting.aliases.iter().filter(|alias| *alias != user) {
            match self.owner(alias, at) {
                Owner::Nobody if of_today && anchor.is_none() => self.give(alias, target, at),
                Owner::Nobody => self.give_unless_lost(alias, target, at),
                Owner::Then(owner) | Owner::Now(owner, _)
                    if owner != target
                        && self.goes_by(owner, user)
                        && self.is_told_with(anchor, target, owner) =>
                {
                    target = self.merge(target, owner);
                }
                Owner::Now(owner, since)
                    if owner != target
                        && at > since
                        && !matches!(alias, Alias::User(_))
                        && !self.goes_by(owner, user) =>
                {
                    self.reassign(alias, owner, target, at);
                }
                _ => {}
            }
            if let Owner::Now(owner, since) = self.owner(alias, at)
                && owner == target
            {
                confirmed = true;
                self.confirm(alias, target, since, at);
            }
        }
        if confirmed {
            self.profile(target).user_id.get_or_insert_with(|| user.text().into());
        }
        target
    }

    /// Ties names of which none is an id: what they lead to is one, if there are not two ids among it.
    pub(super) fn tie_equals(
        &mut self,
        sighting: &Sighting,
        mut target: Place,
        anchor: Option<Place>,
    ) -> Place {
        let at = sighting.at;
        let owners = || sighting.aliases.iter().map(|alias| self.owner(alias, at));
        let places: Vec<Place> = owners().filter_map(Owner::place).collect();
        let mut ids = places.iter().filter_map(|place| self.user_id(*place));
        let first = ids.next();
        if ids.all(|id| Some(id) == first) {
            for place in places {
                let place = self.settled(place);
                if self.is_told_with(anchor, target, place) {
                    target = self.merge(target, place);
                }
            }
        }
        for alias in &sighting.aliases {
            match self.owner(alias, at) {
                Owner::Nobody if anchor.is_none() => self.give(alias, target, at),
                Owner::Nobody => self.give_unless_lost(alias, target, at),
                Owner::Now(owner, _) if owner == target && self.profile(target).phone.is_none() => {
                    self.show(alias, target);
                }
                _ => {}
            }
        }
        target
    }

    fn give(&mut self, alias: &Alias, place: Place, at: Timestamp) {
        self.write(alias, Tie { current: Some((place, at)), ..self.tie(alias) });
        self.show(alias, place);
    }

    /// What speaks of the past (a status, an id that was changed) doesn't give a name back that was lost by a change,
    /// and its number may well be older than one of which it is not known since when it is there.
    fn give_unless_lost(&mut self, alias: &Alias, place: Place, at: Timestamp) {
        if self.tie(alias).former.is_some_and(|(owner, _)| owner == place) {
            return;
        }
        self.write(alias, Tie { current: Some((place, at)), ..self.tie(alias) });
        let shown = self.profile(place).clone();
        if shown.phone.is_none() || self.phone_since(place, &shown).is_some() {
            self.show(alias, place);
        }
    }

    /// The number went to another person.
    fn reassign(&mut self, alias: &Alias, from: Place, to: Place, at: Timestamp) {
        let lost = self.profile(from);
        if matches!(alias, Alias::Phone(phone) if lost.phone.as_ref() == Some(phone)) {
            lost.phone = None;
        }
        self.write(alias, Tie { current: Some((to, at)), former: Some((from, at)) });
        self.show(alias, to);
    }

    /// The tie was still there at this time: no sighting of an earlier owner, from before, takes the name away. Written
    /// now and then: each time would be a write for each message.
    fn confirm(&mut self, alias: &Alias, place: Place, since: Timestamp, at: Timestamp) {
        if at.duration_since(since) > CONFIRMED_EVERY {
            self.write(alias, Tie { current: Some((place, at)), ..self.tie(alias) });
        }
        if at > since || self.profile(place).phone.is_none() {
            self.show(alias, place);
        }
    }

    /// Puts the alias into the profile, unless one that was tied later stands there.
    fn show(&mut self, alias: &Alias, place: Place) {
        match alias {
            Alias::Phone(phone) => {
                let shown = self.profile(place).clone();
                if shown.phone.is_none() || self.phone_since(place, &shown) < self.held_since(place, alias) {
                    self.profile(place).phone = Some(phone.clone());
                }
            }
            Alias::Group(group) => {
                self.profile(place).group.get_or_insert_with(|| group.clone());
            }
            Alias::User(_) | Alias::Parent(_) => {}
        }
    }

    fn profile(&mut self, place: Place) -> &mut Profile {
        &mut self.conversations.entry(place).or_default().now
    }

    fn write(&mut self, alias: &Alias, tie: Tie) {
        match self.ties.get_mut(alias) {
            Some(known) => known.now = tie,
            None => {
                self.ties.insert(alias.clone(), KnownTie { now: tie, was: Tie::default() });
            }
        }
    }
}
