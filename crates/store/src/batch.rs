//! What a batch may tell, and what each event does, before the database was asked anything.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use staffetta_domain::{
    Alias, CommandId, Event, Leaf, Object, Reach, Sighting, TenantId, Touch, TraceParent, Wamid,
};

use crate::moment::Moment;
use crate::rows::{alias_key, storable};
use crate::types::{Claim, Outcome, Settlement};

/// A command's tenant and id.
pub(crate) type CommandKey<'a> = (&'a str, &'a str);

/// An event that is told if it is new, with all that it does then.
#[derive(Clone)]
pub(crate) struct Item<'a> {
    pub(crate) event: &'a Event,
    /// The command that the event belongs to.
    pub(crate) command: Option<&'a CommandId>,
    /// Whether it is told only if its command moved.
    pub(crate) conditional: bool,
    pub(crate) sighting: Option<Cow<'a, Sighting>>,
    /// Whether the sighting may make a conversation, or teach a name.
    pub(crate) teaches: bool,
    pub(crate) effect: Option<Effect<'a>>,
    /// What it says of whether its user can be written to.
    pub(crate) reach: Option<&'a Reach>,
    /// The event's data as JSON: written before the transaction begins, while nobody waits for it.
    pub(crate) text: Arc<str>,
}

/// What an event does to a message.
#[derive(Clone, Copy)]
pub(crate) enum Effect<'a> {
    Touch(&'a Touch),
    /// The provider took a command's message. The time is ours if the provider has not named one.
    Accepted {
        wamid: &'a Wamid,
        at: Timestamp,
        timed: bool,
    },
}

impl<'a> Effect<'a> {
    pub(crate) fn wamid(self) -> &'a Wamid {
        match self {
            Self::Touch(touch) => touch.wamid(),
            Self::Accepted { wamid, .. } => wamid,
        }
    }

    /// When it happened, if the provider has named a time.
    pub(crate) fn named_at(self) -> Option<Timestamp> {
        match self {
            Self::Touch(
                Touch::Brought { at, .. }
                | Touch::Moved { at, .. }
                | Touch::Edited { at, .. }
                | Touch::Withdrawn { at, .. },
            ) => Some(*at),
            Self::Accepted { at, timed, .. } => timed.then_some(at),
        }
    }
}

/// An event's data, as the databases keep it.
pub(crate) fn text_of(data: &Object) -> Arc<str> {
    serde_json::to_string(data).expect("an object of JSON values is JSON").into()
}

impl<'a> Item<'a> {
    /// An event that concerns nothing but itself.
    pub(crate) fn of_event(event: &'a Event) -> Self {
        Self {
            event,
            command: None,
            conditional: false,
            sighting: None,
            teaches: false,
            effect: None,
            reach: None,
            text: text_of(&event.data),
        }
    }

    pub(crate) fn command_key(&self) -> Option<CommandKey<'a>> {
        self.command.map(|command| (self.event.tenant.as_str(), command.as_str()))
    }

    /// Adds a name that the database knows of the same user.
    fn add_alias(&mut self, alias: Alias) {
        let Some(sighting) = &mut self.sighting else { return };
        let is_group = sighting.aliases.iter().any(|alias| matches!(alias, Alias::Group(_)));
        if !is_group && !sighting.aliases.contains(&alias) {
            sighting.to_mut().aliases.push(alias);
        }
    }
}

/// What the database knows of a command.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// Whether this very batch moved it.
    pub(crate) moved: bool,
    pub(crate) user: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) callback_data: Option<String>,
    /// The template's name, if it is one and somebody asked.
    pub(crate) template: Option<String>,
    /// The work on it, in its trace.
    pub(crate) trace: Option<TraceParent>,
}

/// By tenant and id.
#[derive(Default)]
pub(crate) struct CommandFacts(HashMap<String, HashMap<String, Facts>>);

impl CommandFacts {
    fn get(&self, (tenant, id): CommandKey<'_>) -> Option<&Facts> {
        self.0.get(tenant)?.get(id)
    }
}

impl FromIterator<((String, String), Facts)> for CommandFacts {
    fn from_iter<I: IntoIterator<Item = ((String, String), Facts)>>(entries: I) -> Self {
        let mut facts = Self::default();
        for ((tenant, id), known) in entries {
            facts.0.entry(tenant).or_default().insert(id, known);
        }
        facts
    }
}

/// The facts of an item's command.
pub(crate) fn facts_of<'f>(facts: &'f CommandFacts, item: &Item<'_>) -> Option<&'f Facts> {
    facts.get(item.command_key()?)
}

/// A command that a status proves to have been accepted.
pub(crate) struct Proof<'a> {
    pub(crate) tenant: &'a TenantId,
    pub(crate) command: &'a CommandId,
    pub(crate) wamid: Option<Cow<'a, str>>,
}

/// Leaves, taken apart.
pub(crate) struct Recording<'a> {
    /// In the order of the leaves, each event once, an `accepted` right before the status that proves it.
    pub(crate) items: Vec<Item<'a>>,
    /// Sorted by key, each key once.
    pub(crate) proofs: Vec<Proof<'a>>,
}

impl<'a> Recording<'a> {
    pub(crate) fn of(leaves: &'a [Leaf]) -> Self {
        let mut items = Vec::with_capacity(leaves.len());
        let mut ids = HashSet::with_capacity(leaves.len());
        let mut proofs = BTreeMap::new();
        for leaf in leaves {
            let sighting = leaf.sighting.as_ref().map(Cow::Borrowed);
            if let Some(settles) = &leaf.settles {
                let key = (&leaf.event.tenant, &settles.command);
                let wamid = leaf.touch.as_ref().map(Touch::wamid);
                proofs.entry(key).or_insert_with(|| Proof {
                    tenant: key.0,
                    command: key.1,
                    wamid: wamid.map(|wamid| storable(wamid.as_str())),
                });
                if ids.insert(&settles.accepted.id) {
                    let at = settles.accepted.time;
                    items.push(Item {
                        event: &settles.accepted,
                        command: Some(&settles.command),
                        conditional: true,
                        sighting: sighting.clone(),
                        teaches: true,
                        effect: wamid.map(|wamid| Effect::Accepted { wamid, at, timed: true }),
                        reach: None,
                        text: text_of(&settles.accepted.data),
                    });
                }
            }
            if ids.insert(&leaf.event.id) {
                let command = match (&leaf.touch, &leaf.settles) {
                    (Some(Touch::Moved { command: Some(command), .. }), _) => Some(command),
                    (_, settles) => settles.as_ref().map(|settles| &settles.command),
                };
                items.push(Item {
                    event: &leaf.event,
                    command,
                    conditional: false,
                    sighting,
                    teaches: true,
                    effect: leaf.touch.as_ref().map(Effect::Touch),
                    reach: leaf.reach.as_ref(),
                    text: text_of(&leaf.event.data),
                });
            }
        }
        Self { items, proofs: proofs.into_values().collect() }
    }

    /// The commands that the leaves name, in order, each once; and of each whether the name of its template, if it is
    /// one, is wanted.
    pub(crate) fn commands(&self) -> Vec<(CommandKey<'a>, bool)> {
        let mut commands = BTreeMap::new();
        for item in &self.items {
            let Some(key) = item.command_key() else { continue };
            let is_refused = matches!(item.reach, Some(Reach::Refused { template: None, .. }));
            *commands.entry(key).or_default() |= is_refused;
        }
        commands.into_iter().collect()
    }
}

/// The items that are left once it is known which commands moved, with what the database knows of their users.
pub(crate) fn informed<'a>(items: &[Item<'a>], facts: &CommandFacts) -> Vec<Item<'a>> {
    let mut left = Vec::with_capacity(items.len());
    for item in items {
        let facts = facts_of(facts, item);
        if item.conditional && !facts.is_some_and(|facts| facts.moved) {
            continue;
        }
        let mut item = item.clone();
        let user = facts.and_then(|facts| facts.user.as_deref());
        if let Some(alias) = user.and_then(Alias::of_user) {
            item.add_alias(alias);
        }
        left.push(item);
    }
    left
}

/// A claim's texts, fit for the database.
pub(crate) struct ClaimRow<'a> {
    pub(crate) claim: &'a Claim,
    pub(crate) user: Cow<'a, str>,
    /// The user's name among all those that are known.
    pub(crate) alias: Option<String>,
    pub(crate) kind: Cow<'a, str>,
    pub(crate) content: Cow<'a, str>,
    pub(crate) callback_data: Option<Cow<'a, str>>,
    pub(crate) trace: Option<String>,
}

impl ClaimRow<'_> {
    /// The user's phone number, digits alone, if that is what the user goes by.
    pub(crate) fn number(&self) -> Option<&str> {
        self.alias.as_deref()?.strip_prefix("p:")
    }
}

/// What a batch of claims writes.
pub(crate) struct Claiming<'a> {
    /// Sorted by key, each key once.
    pub(crate) rows: Vec<ClaimRow<'a>>,
    /// The `in_doubt` events, in the order of the claims, one for each row.
    pub(crate) items: Vec<Item<'a>>,
}

impl<'a> Claiming<'a> {
    pub(crate) fn of(claims: &'a [Claim]) -> Self {
        let mut rows = BTreeMap::new();
        let mut items = Vec::with_capacity(claims.len());
        for claim in claims {
            rows.entry((&claim.tenant, &claim.id)).or_insert_with(|| {
                let sighting = sighting_of([Some(claim.user.as_str()), None], claim.at);
                items.push(command_item(&claim.in_doubt, &claim.id, sighting));
                ClaimRow {
                    claim,
                    user: storable(&claim.user),
                    alias: Alias::of_user(&claim.user).as_ref().map(alias_key),
                    kind: storable(&claim.kind),
                    content: storable(&claim.content),
                    callback_data: claim.callback_data.as_deref().map(storable),
                    trace: claim.trace.map(|trace| trace.to_string()),
                }
            });
        }
        Self { rows: rows.into_values().collect(), items }
    }
}

/// An outcome's texts, fit for the database.
pub(crate) struct OutcomeRow<'a> {
    pub(crate) outcome: &'a Outcome,
    pub(crate) user: Option<Cow<'a, str>>,
    pub(crate) reason: Option<Cow<'a, str>>,
    pub(crate) wamid: Option<Cow<'a, str>>,
}

impl OutcomeRow<'_> {
    /// Whether the try does not count.
    pub(crate) fn postponed(&self) -> bool {
        matches!(self.outcome.settlement, Settlement::Postponed(_))
    }

    /// When the missing answer's request was made, as far as an outcome without a claim can tell.
    pub(crate) fn claimed(&self) -> Option<Moment> {
        matches!(self.outcome.settlement, Settlement::InDoubt(_)).then(|| self.at())
    }

    pub(crate) fn at(&self) -> Moment {
        self.outcome.at.into()
    }
}

/// What a batch of outcomes writes.
pub(crate) struct Settling<'a> {
    /// Sorted by key, each key once.
    pub(crate) rows: Vec<OutcomeRow<'a>>,
    /// In the order of the outcomes.
    pub(crate) items: Vec<Item<'a>>,
}

impl<'a> Settling<'a> {
    pub(crate) fn of(outcomes: &'a [Outcome]) -> Self {
        let mut rows = BTreeMap::new();
        let mut items = Vec::with_capacity(outcomes.len());
        for outcome in outcomes {
            rows.entry((&outcome.tenant, &outcome.id)).or_insert_with(|| {
                let accepted = match &outcome.settlement {
                    Settlement::Accepted(wamid) => Some(wamid),
                    _ => None,
                };
                items.extend(outcome.event.iter().map(|event| {
                    let names = [outcome.user.as_deref(), outcome.called.as_deref()];
                    let sighting = sighting_of(names, outcome.at);
                    Item {
                        // Of somebody who can't be reached, that is to be known before the next command leaves.
                        teaches: accepted.is_some() || outcome.reach.is_some(),
                        effect: accepted.map(|wamid| Effect::Accepted {
                            wamid,
                            at: outcome.at,
                            timed: false,
                        }),
                        reach: outcome.reach.as_ref(),
                        ..command_item(event, &outcome.id, sighting)
                    }
                }));
                OutcomeRow {
                    outcome,
                    user: outcome.user.as_deref().map(storable),
                    reason: outcome.settlement.reason().map(storable),
                    wamid: accepted.map(|wamid| storable(wamid.as_str())),
                }
            });
        }
        Self { rows: rows.into_values().collect(), items }
    }
}

/// An event of a command that teaches nothing of its user: the user may never have been written to.
fn command_item<'a>(event: &'a Event, id: &'a CommandId, sighting: Sighting) -> Item<'a> {
    Item {
        event,
        command: Some(id),
        conditional: true,
        sighting: Some(Cow::Owned(sighting)),
        teaches: false,
        effect: None,
        reach: None,
        text: text_of(&event.data),
    }
}

/// The event of a command that is taken back: the database knows its user, if anybody does.
pub(crate) fn cancelled_item<'a>(event: &'a Event, id: &'a CommandId) -> Item<'a> {
    command_item(event, id, sighting_of([None, None], event.time))
}

fn sighting_of(names: [Option<&str>; 2], at: Timestamp) -> Sighting {
    let aliases = names.into_iter().flatten().filter_map(Alias::of_user).collect();
    Sighting { aliases, former: Vec::new(), name: None, username: None, at, wrote: false }
}
