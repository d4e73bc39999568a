//! From what may be told and what the database knows to what is written: who is who, and whose turn it is.
//!
//! Both databases run the same steps in one transaction: look up and lock, make a [`Plan`], write what it learned of
//! names, number the events, write them. The plan asks nothing and writes nothing itself.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::FromRow;
use staffetta_domain::{
    Alias, Changes, ConversationId, Direction, Directory, MessageState, Place, Profile, Reach, Touch,
};

use crate::batch::{CommandFacts, Effect, Facts, Item, facts_of, text_of};
use crate::moment::Moment;
use crate::rows::{ConversationRow, EventRow, MessageRow, Naming, Refusal, Turn, alias_key, storable};
use crate::types::Announcement;

/// A tenant and its channel: a channel that goes to another tenant takes nothing along.
pub(crate) type Home<'a> = (&'a str, &'a str);

fn home_of<'a>(item: &Item<'a>) -> Home<'a> {
    (item.event.tenant.as_str(), item.event.channel.as_str())
}

/// What has to be looked up, each list sorted and without repeats.
pub(crate) struct Questions<'a> {
    /// Channels and aliases.
    pub(crate) names: Vec<(Home<'a>, String)>,
    /// Channels and wamids of messages that are spoken of.
    pub(crate) messages: Vec<(Home<'a>, Cow<'a, str>)>,
    /// Events' ids.
    pub(crate) events: Vec<&'a str>,
}

impl<'a> Questions<'a> {
    pub(crate) fn of(items: &[Item<'a>]) -> Self {
        let (mut names, mut messages, mut events) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for item in items {
            let channel = home_of(item);
            events.insert(item.event.id.as_str());
            if let Some(sighting) = &item.sighting {
                let aliases = sighting.aliases.iter().chain(&sighting.former);
                names.extend(aliases.map(|alias| (channel, alias_key(alias))));
            }
            if let Some(effect) = item.effect {
                messages.insert((channel, storable(effect.wamid().as_str())));
            }
        }
        Self {
            names: names.into_iter().collect(),
            messages: messages.into_iter().collect(),
            events: events.into_iter().collect(),
        }
    }
}

/// Names of the conversations that were found which nobody asked for, and which a change of names may concern; empty
/// unless there is one.
pub(crate) fn concerned<'a>(items: &[Item<'a>], known: &Known) -> Vec<(Home<'a>, String)> {
    let changes =
        |item: &&Item<'a>| item.sighting.as_ref().is_some_and(|sighting| !sighting.former.is_empty());
    let channels: BTreeSet<Home<'a>> = items.iter().filter(changes).map(home_of).collect();
    let mut names = BTreeSet::new();
    for row in &known.held {
        let phone = row.phone.as_deref().map(|phone| Alias::Phone(phone.into()));
        let user = row.user_id.as_deref().map(|user| Alias::User(user.into()));
        for alias in [phone, user].iter().flatten() {
            names.extend(channels.iter().map(|channel| (*channel, alias_key(alias))));
        }
    }
    let asked = |(home, alias): &(Home<'a>, String)| {
        known.names.iter().any(|row| row.home() == *home && row.alias == *alias)
    };
    names.into_iter().filter(|name| !asked(name)).collect()
}

/// What is known of an alias. Conversations that went into another one are given as that one.
#[derive(FromRow)]
pub(crate) struct NameRow {
    pub(crate) tenant: String,
    pub(crate) channel: String,
    pub(crate) alias: String,
    pub(crate) conversation: Option<i64>,
    pub(crate) since: Option<Moment>,
    pub(crate) former: Option<i64>,
    pub(crate) until: Option<Moment>,
}

impl NameRow {
    fn home(&self) -> Home<'_> {
        (&self.tenant, &self.channel)
    }
}

/// A conversation whose row is locked.
#[derive(FromRow)]
pub(crate) struct HeldRow {
    pub(crate) id: i64,
    pub(crate) sequence: i64,
    /// Its version when it was found; the lock may have been waited for.
    pub(crate) seen: i64,
    pub(crate) version: i64,
    pub(crate) merged_into: Option<i64>,
    pub(crate) phone: Option<String>,
    pub(crate) user_id: Option<String>,
    pub(crate) group_id: Option<String>,
}

/// What the database knows.
#[derive(Default)]
pub(crate) struct Known {
    pub(crate) names: Vec<NameRow>,
    /// Tenant, channel, wamid, conversation.
    pub(crate) messages: Vec<(String, String, String, i64)>,
    pub(crate) held: Vec<HeldRow>,
    /// Ids of events that were told before.
    pub(crate) events: HashSet<String>,
}

impl Known {
    /// Takes in names that nobody asked for. Nobody in the batch goes by them, so they are not written, and a
    /// conversation that they lead to besides those that are held is none of the batch's.
    pub(crate) fn add_concerned(&mut self, names: Vec<NameRow>) {
        let held: HashSet<i64> = self.held.iter().map(|row| row.id).collect();
        let is_held = |id: &i64| held.contains(id);
        self.names.extend(names.into_iter().map(|row| NameRow {
            conversation: row.conversation.filter(is_held),
            former: row.former.filter(is_held),
            ..row
        }));
    }
}

/// Somebody else changed what was looked up: it must be looked up again.
pub(crate) struct Raced;

/// A conversation to be made.
pub(crate) struct NewConversation<'a> {
    pub(crate) tenant: &'a str,
    pub(crate) channel: &'a str,
    pub(crate) profile: Profile,
    pub(crate) at: Moment,
}

/// What is to be known of an alias from now on.
pub(crate) struct NewName {
    pub(crate) tenant: String,
    pub(crate) channel: String,
    pub(crate) alias: String,
    /// Whether the database has no row of it.
    pub(crate) is_new: bool,
    pub(crate) current: Option<(i64, Moment)>,
    pub(crate) former: Option<(i64, Moment)>,
}

/// A conversation, in its channel's directory.
type Spot<'a> = (Home<'a>, Place);

/// A batch of new events, each with its conversation.
pub(crate) struct Plan<'a> {
    items: Vec<(Item<'a>, Option<Spot<'a>>)>,
    changes: BTreeMap<Home<'a>, Changes>,
    names: HashSet<(String, String, String)>,
    held: HashMap<i64, i64>,
    /// The numbers of the conversations that were made.
    made: HashMap<Spot<'a>, i64>,
    profiles: HashMap<i64, Profile>,
}

impl<'a> Plan<'a> {
    pub(crate) fn of(items: Vec<Item<'a>>, known: Known) -> Result<Self, Raced> {
        if known.held.iter().any(|row| row.merged_into.is_some() || row.version != row.seen) {
            return Err(Raced);
        }
        let held: HashMap<i64, i64> = known.held.iter().map(|row| (row.id, row.sequence)).collect();
        // A conversation that was found and then not there to be locked has been forgotten meanwhile, with its names.
        let mut found = known.names.iter().flat_map(|row| [row.conversation, row.former]).flatten();
        if found.any(|id| !held.contains_key(&id)) {
            return Err(Raced);
        }
        let profiles: HashMap<i64, Profile> = known
            .held
            .into_iter()
            .map(|row| (row.id, profile(row.phone, row.user_id, row.group_id)))
            .collect();
        let mut anchors: HashMap<(Home<'_>, Cow<'_, str>), Place> = HashMap::new();
        for (tenant, channel, wamid, conversation) in &known.messages {
            if held.contains_key(conversation) {
                anchors.insert(((tenant, channel), wamid.as_str().into()), Place::Known(*conversation));
            }
        }
        let mut directories = directories(&items, &known.names, &profiles);
        let names = known.names.into_iter().map(|row| (row.tenant, row.channel, row.alias)).collect();

        let mut placed = Vec::with_capacity(items.len());
        for item in items {
            if known.events.contains(item.event.id.as_str()) {
                continue;
            }
            let channel = home_of(&item);
            let message = item.effect.map(|effect| storable(effect.wamid().as_str()));
            let anchor = message.as_ref().and_then(|wamid| anchors.get(&(channel, wamid.clone()))).copied();
            let directory = directories.get_mut(&channel);
            let place = match (&item.sighting, directory) {
                (Some(sighting), Some(directory)) if item.teaches => directory.place(sighting, anchor),
                (Some(sighting), Some(directory)) => anchor.or_else(|| directory.find(sighting)),
                _ => anchor,
            };
            if let (Some(place), Some(wamid)) = (place, message) {
                anchors.entry((channel, wamid)).or_insert(place);
            }
            placed.push((item, place.map(|place| (channel, place))));
        }
        let items = placed.into_iter().map(|(item, spot)| {
            let settled = spot.map(|(channel, place)| {
                (channel, directories.get(&channel).map_or(place, |d| d.settled(place)))
            });
            (item, settled)
        });
        let items = items.collect();
        let changes =
            directories.into_iter().map(|(channel, directory)| (channel, directory.changes())).collect();
        Ok(Self { items, changes, names, held, made: HashMap::new(), profiles })
    }

    /// Whether nothing of the batch is new.
    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The conversations to make, in order: what [`made`](Self::made) takes.
    pub(crate) fn new_conversations(&self) -> Vec<NewConversation<'a>> {
        let created = self.created();
        if created.is_empty() {
            return Vec::new();
        }
        let mut first_at: HashMap<Spot<'a>, Timestamp> = HashMap::with_capacity(created.len());
        for (item, spot) in &self.items {
            if let (Some(spot), Some(sighting)) = (spot, &item.sighting) {
                let first = first_at.entry(*spot).or_insert(sighting.at);
                *first = sighting.at.min(*first);
            }
        }
        let of_channel = |(channel, changes): (&Home<'a>, &'_ Changes)| {
            let channel = *channel;
            let profiles = changes.profiles.iter();
            profiles.map(|(place, profile)| ((channel, *place), profile.clone())).collect::<Vec<_>>()
        };
        let mut profiles: HashMap<Spot<'a>, Profile> = self.changes.iter().flat_map(of_channel).collect();
        let new = |spot: Spot<'a>| NewConversation {
            tenant: spot.0.0,
            channel: spot.0.1,
            profile: profiles.remove(&spot).unwrap_or_default(),
            at: first_at.get(&spot).copied().unwrap_or_else(Timestamp::now).into(),
        };
        created.into_iter().map(new).collect()
    }

    fn created(&self) -> Vec<Spot<'a>> {
        let of_channel = |(channel, changes): (&Home<'a>, &Changes)| {
            let channel = *channel;
            changes.created.clone().into_iter().map(move |number| (channel, Place::New(number)))
        };
        self.changes.iter().flat_map(of_channel).collect()
    }

    /// Takes in the numbers of the conversations that were made.
    pub(crate) fn made(&mut self, ids: Vec<i64>) {
        self.made = self.created().into_iter().zip(ids).collect();
        self.held.extend(self.made.values().map(|id| (*id, 0)));
    }

    fn number_of(&self, channel: Home<'_>, place: Place) -> i64 {
        match place {
            Place::Known(id) => id,
            place => self.made.get(&(channel, place)).copied().unwrap_or_default(),
        }
    }

    /// What was learned of names, sorted by key.
    pub(crate) fn names(&self) -> Vec<NewName> {
        let mut names = Vec::new();
        for (channel, changes) in &self.changes {
            for change in &changes.aliases {
                let owner = |owner: Option<(Place, Timestamp)>| {
                    owner.map(|(place, at)| (self.number_of(*channel, place), Moment::from(at)))
                };
                let name = (channel.0.to_owned(), channel.1.to_owned(), alias_key(&change.alias));
                let is_new = !self.names.contains(&name);
                let (current, former) = (owner(change.current), owner(change.former));
                names.push(NewName {
                    tenant: name.0,
                    channel: name.1,
                    alias: name.2,
                    is_new,
                    current,
                    former,
                });
            }
        }
        names.sort_by(|a, b| (&a.tenant, &a.channel, &a.alias).cmp(&(&b.tenant, &b.channel, &b.alias)));
        names
    }

    /// Conversations of the database whose user's names changed, by number, with the profile that they have now.
    pub(crate) fn profiles(&self) -> BTreeMap<i64, Profile> {
        let mut profiles = BTreeMap::new();
        for changes in self.changes.values() {
            let renamed = changes.aliases.iter().flat_map(|change| [change.current, change.former]).flatten();
            let merged = changes.merges.iter().flat_map(|(loser, winner)| [Place::Known(*loser), *winner]);
            for place in renamed.map(|(place, _)| place).chain(merged) {
                if let Place::Known(id) = place {
                    profiles.entry(id).or_insert_with(|| self.profiles.get(&id).cloned().unwrap_or_default());
                }
            }
            for (place, profile) in &changes.profiles {
                if let Place::Known(id) = place {
                    profiles.insert(*id, profile.clone());
                }
            }
        }
        profiles
    }

    /// Conversations that go into another one, and which.
    pub(crate) fn merges(&self) -> Vec<(i64, i64)> {
        let into = |(channel, changes): (&Home<'_>, &Changes)| {
            let numbers =
                changes.merges.iter().map(|(loser, winner)| (*loser, self.number_of(*channel, *winner)));
            numbers.collect::<Vec<_>>()
        };
        self.changes.iter().flat_map(into).collect()
    }

    /// Numbers the events: `seqs` are at least as many as there were items.
    pub(crate) fn number<'p>(&'p self, seqs: &[i64], facts: &'p CommandFacts) -> Writes<'p> {
        let mut writes = Writes::default();
        let mut sequences: HashMap<i64, i64> = HashMap::with_capacity(self.items.len());
        let mut merged = self.tales();
        for ((item, spot), seq) in self.items.iter().zip(seqs) {
            let seq = *seq;
            let conversation = spot.map(|(channel, place)| self.number_of(channel, place));
            let turn = conversation.map(|conversation| {
                let last = || self.held.get(&conversation).copied().unwrap_or_default();
                let sequence = sequences.entry(conversation).or_insert_with(last);
                *sequence += 1;
                Turn { conversation, sequence: *sequence }
            });
            let facts = facts_of(facts, item);
            let merged = conversation.and_then(|conversation| merged.remove(&conversation));
            let text = merged.as_ref().map(|merged| {
                let mut data = item.event.data.clone();
                data.insert("merged".into(), merged.clone());
                text_of(&data)
            });
            writes.events.push(EventRow {
                seq,
                event: item.event,
                subject: storable(&item.event.subject),
                text: text.unwrap_or_else(|| Arc::clone(&item.text)),
                merged,
                command: item.command.map(staffetta_domain::CommandId::as_str),
                callback_data: facts.and_then(|facts| facts.callback_data.as_deref()),
                turn,
                trace: facts.and_then(|facts| facts.trace).or(item.event.trace),
            });
            if let Some(effect) = item.effect {
                let kind = facts.and_then(|facts| facts.kind.as_deref());
                writes.touch(message_row(item, effect, kind, conversation, seq));
            }
            if let Some(turn) = turn {
                writes.speak(item, turn, seq);
                writes.rule(item, facts, turn);
            }
        }
        writes
    }

    /// What the first event of a conversation tells of those that went into it.
    fn tales(&self) -> HashMap<i64, Value> {
        let mut tales: HashMap<i64, Value> = HashMap::new();
        for (loser, winner) in self.merges() {
            let sequence = self.held.get(&loser).copied().unwrap_or_default();
            let end = json!({
                "conversation_id": ConversationId::of_number(loser).to_string(),
                "sequence": sequence,
            });
            if let Value::Array(ends) = tales.entry(winner).or_insert_with(|| json!([])) {
                ends.push(end);
            }
        }
        tales
    }
}

fn profile(phone: Option<String>, user_id: Option<String>, group: Option<String>) -> Profile {
    Profile { phone: phone.map(Into::into), user_id: user_id.map(Into::into), group: group.map(Into::into) }
}

/// One directory for each channel that somebody was sighted on, filled with what is known.
fn directories<'a>(
    items: &[Item<'a>],
    names: &[NameRow],
    profiles: &HashMap<i64, Profile>,
) -> BTreeMap<Home<'a>, Directory> {
    let mut directories = BTreeMap::new();
    let mut asked: HashMap<(Home<'_>, String), Alias> = HashMap::new();
    let mut homes: HashMap<i64, Home<'_>> = HashMap::new();
    for item in items {
        let channel = home_of(item);
        let Some(sighting) = &item.sighting else { continue };
        directories.entry(channel).or_insert_with(Directory::new);
        for alias in sighting.aliases.iter().chain(&sighting.former) {
            asked.insert((channel, alias_key(alias)), alias.clone());
        }
    }
    for row in names {
        let owners = [row.conversation.zip(row.since), row.former.zip(row.until)];
        let [current, former] = owners.map(|owner| {
            owner.filter(|(id, _)| profiles.contains_key(id)).map(|(id, at)| (id, Timestamp::from(at)))
        });
        let Some(home) = directories.keys().copied().find(|home| *home == row.home()) else { continue };
        let name = (home, row.alias.clone());
        let alias = asked.get(&name).cloned().or_else(|| Alias::from_key(&row.alias));
        let (Some(alias), Some(directory)) = (alias, directories.get_mut(&name.0)) else { continue };
        for (id, _) in [current, former].into_iter().flatten() {
            homes.insert(id, name.0);
            directory.add_conversation(id, profiles[&id].clone());
        }
        directory.add_alias(alias, current, former);
    }
    // Those that only their messages led to: an anchor is a conversation of its channel too.
    for (id, profile) in profiles.iter().filter(|(id, _)| !homes.contains_key(id)) {
        for directory in directories.values_mut() {
            directory.add_conversation(*id, profile.clone());
        }
    }
    directories
}

/// When a message was said. The provider counts in seconds: a time of ours within one must not stand behind an answer
/// that came in the same second.
fn said_at(at: Timestamp, timed: bool) -> Moment {
    let whole = if timed { Ok(at) } else { Timestamp::from_second(at.as_second()) };
    whole.unwrap_or(at).into()
}

fn message_row<'p>(
    item: &Item<'p>,
    effect: Effect<'p>,
    kind: Option<&'p str>,
    conversation: Option<i64>,
    seq: i64,
) -> MessageRow<'p> {
    let mut row = MessageRow {
        tenant: item.event.tenant.as_str(),
        channel: item.event.channel.as_str(),
        wamid: storable(effect.wamid().as_str()),
        conversation,
        direction: Direction::Out,
        kind: kind.map(storable),
        state: MessageState::Accepted,
        command: item.command.map(staffetta_domain::CommandId::as_str),
        at: Moment::from(item.event.time),
        timed: false,
        place: seq,
        content_seq: None,
        edit: None,
        withdrawn_at: None,
        steps: Vec::new(),
    };
    let spoken = |direction| match direction {
        Direction::In => MessageState::Received,
        Direction::Out => MessageState::Sent,
    };
    match effect {
        Effect::Accepted { at, timed, .. } => (row.at, row.timed) = (said_at(at, timed), timed),
        Effect::Touch(Touch::Brought { direction, kind, state, at, .. }) => {
            (row.direction, row.kind, row.state) = (*direction, Some(storable(kind)), *state);
            (row.at, row.timed, row.content_seq) = ((*at).into(), true, Some(seq));
        }
        Effect::Touch(Touch::Moved { state, at, .. }) => {
            (row.state, row.at, row.timed) = (state.unwrap_or(row.state), (*at).into(), true);
            row.steps.push(seq);
        }
        Effect::Touch(Touch::Edited { direction, at, .. }) => {
            (row.direction, row.state, row.at) = (*direction, spoken(*direction), (*at).into());
            row.edit = Some(((*at).into(), seq));
        }
        Effect::Touch(Touch::Withdrawn { direction, at, .. }) => {
            (row.direction, row.state, row.at) = (*direction, spoken(*direction), (*at).into());
            row.withdrawn_at = Some((*at).into());
        }
    }
    row
}

/// What is written once names are known.
#[derive(Default)]
pub(crate) struct Writes<'p> {
    /// In the order in which they are told.
    pub(crate) events: Vec<EventRow<'p>>,
    /// By channel and wamid.
    pub(crate) messages: BTreeMap<(&'p str, Cow<'p, str>), MessageRow<'p>>,
    /// By number.
    pub(crate) conversations: BTreeMap<i64, ConversationRow<'p>>,
}

impl<'p> Writes<'p> {
    fn touch(&mut self, row: MessageRow<'p>) {
        match self.messages.get_mut(&(row.channel, row.wamid.clone())) {
            Some(known) => known.merge(row),
            None => {
                self.messages.insert((row.channel, row.wamid.clone()), row);
            }
        }
    }

    fn speak(&mut self, item: &'p Item<'_>, turn: Turn, seq: i64) {
        let row = self.conversations.entry(turn.conversation).or_default();
        row.sequence = turn.sequence;
        let said = match item.effect {
            Some(Effect::Touch(Touch::Brought { wamid, at, unread, .. })) => {
                row.unread += i32::from(*unread);
                Some(((*at).into(), wamid))
            }
            Some(Effect::Accepted { wamid, at, timed }) => Some((said_at(at, timed), wamid)),
            _ => None,
        };
        if let Some((at, wamid)) = said {
            let last = (at, seq, storable(wamid.as_str()));
            row.last = row.last.take().max(Some(last));
        }
        let Some(sighting) = &item.sighting else { return };
        let at = Moment::from(sighting.at);
        if sighting.wrote {
            row.wrote_at = row.wrote_at.max(Some(at));
        }
        let is_named = sighting.name.is_some() || sighting.username.is_some();
        if is_named && row.named.as_ref().is_none_or(|before| before.at <= at) {
            let (name, username) = (sighting.name.as_deref(), sighting.username.as_deref());
            row.named = Some(Naming { at, name: name.map(storable), username: username.map(storable) });
        }
    }

    /// Keeps what the event says of whether the conversation's user can be written to.
    fn rule(&mut self, item: &'p Item<'_>, facts: Option<&'p Facts>, turn: Turn) {
        let Some(reach) = item.reach else { return };
        let row = self.conversations.entry(turn.conversation).or_default();
        let at = item.effect.and_then(Effect::named_at).unwrap_or(item.event.time);
        let (place, code, template) = match reach {
            Reach::Agreed => (&mut row.muted, None, None),
            Reach::Refused { code, template } => {
                let place = if Reach::is_marketing(*code) { &mut row.muted } else { &mut row.held };
                let known = || facts.and_then(|facts| facts.template.as_deref());
                (place, Some(*code), template.as_deref().or_else(known))
            }
        };
        let at = Moment::from(at);
        if place.as_ref().is_none_or(|before| before.at < at) {
            *place = Some(Refusal { at, code, template: template.map(storable) });
        }
    }

    /// The batch that the events are announced as: the first one's number.
    pub(crate) fn batch(&self) -> i64 {
        self.events.first().map_or(0, |row| row.seq)
    }

    /// The committed events, in order.
    pub(crate) fn announcements(self) -> Vec<Announcement> {
        let batch = self.batch();
        self.events.into_iter().map(|row| row.announce(batch)).collect()
    }
}
