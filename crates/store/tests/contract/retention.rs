//! What is old is forgotten, and nothing else.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use staffetta_domain::{CommandState, Direction, EventType, Leaf, MessageState, TenantId, Touch};
use staffetta_store::{Announcement, Cancelled, Claimed, ConversationFilter, Pruned, Settlement, Store};

use crate::schedule::scheduled;
use crate::support::{
    afterwards, at, cancelled, claim, event, id, new_command, on_both, outcome, proof, sighting, status,
    taken, tenant, text, wamid,
};

on_both!(
    what_is_old_goes_and_what_is_young_stays,
    no_more_goes_at_a_time_than_was_asked_for,
    the_oldest_goes_first,
    other_tenants_keep_theirs,
    what_was_never_announced_stays,
    a_command_that_has_not_ended_stays,
    a_scheduled_command_stays_and_a_cancelled_one_goes,
    a_command_is_known_until_its_end_is_old,
    a_message_goes_with_its_first_event_whatever_happened_since,
    a_message_that_only_edits_speak_of_goes_with_them,
    a_conversation_goes_last_and_whoever_writes_again_begins_anew,
    a_conversation_that_goes_on_keeps_its_count,
    conversations_that_became_one_go_together,
    pruning_beside_recorders_loses_nothing_and_tells_nothing_twice,
);

/// Records leaves, and notes that their events are announced.
async fn tell(store: &Store, leaves: &[Leaf]) -> Vec<Announcement> {
    let told = store.record(leaves).await.unwrap();
    note(store, &told).await;
    told
}

async fn note(store: &Store, told: &[Announcement]) {
    store.announced(&told.iter().map(|told| told.place).collect::<Vec<_>>()).await.unwrap();
}

/// Prunes until nothing more goes.
async fn prune(store: &Store, tenant: &TenantId, before: Timestamp) -> Pruned {
    let mut all = Pruned::default();
    loop {
        let pruned = store.prune(tenant, before, 100).await.unwrap();
        if pruned.is_empty() {
            return all;
        }
        all += pruned;
    }
}

/// Another tenant's leaf, of the same user and message.
fn of_beta(mut leaf: Leaf) -> Leaf {
    leaf.event.tenant = "beta".parse().unwrap();
    leaf.event.channel = "beta-shop".parse().unwrap();
    leaf.event.id = staffetta_domain::EventId::of(&["beta", leaf.event.id.as_str()]);
    leaf
}

/// A user's message, the user being of that number.
fn text_of(user: &str, name: &str) -> Leaf {
    let mut leaf = text(name);
    leaf.sighting = Some(sighting(&[user], at(0)));
    leaf
}

async fn conversations(store: &Store) -> usize {
    store.conversations(&tenant(), &ConversationFilter::default(), None, 100).await.unwrap().len()
}

async fn what_is_old_goes_and_what_is_young_stays(store: Store) {
    store.claim(&[claim("c-1", 1), claim("c-2", 1)]).await.unwrap();
    note(&store, &store.settle(&[taken("c-1", "wamid.1")]).await.unwrap()).await;
    let old = [text("wamid.A"), proof("wamid.1", MessageState::Sent, "c-1")];
    tell(&store, &old).await;
    let boundary = Timestamp::now();
    note(&store, &store.settle(&[taken_lately("c-2", "wamid.2")]).await.unwrap()).await;
    let young = [text("wamid.B"), status("wamid.B", MessageState::Read)];
    tell(&store, &young).await;

    let pruned = prune(&store, &tenant(), boundary).await;
    assert_eq!(pruned, Pruned { events: 3, messages: 2, commands: 1, conversations: 0, attempts: 0 });
    assert_eq!(store.command(&tenant(), &id("c-1")).await.unwrap(), None);
    assert!(store.command(&tenant(), &id("c-2")).await.unwrap().is_some());
    assert!(store.record(&young).await.unwrap().is_empty(), "known");
    // Forgotten: new again, and its command can't be asked any more.
    assert_eq!(store.record(&old).await.unwrap().len(), 2);
}

/// An acceptance of this moment.
fn taken_lately(command: &str, name: &str) -> staffetta_store::Outcome {
    staffetta_store::Outcome { at: afterwards(), ..taken(command, name) }
}

async fn no_more_goes_at_a_time_than_was_asked_for(store: Store) {
    let leaves: Vec<Leaf> = (0..10).map(|number| text(&format!("wamid.{number}"))).collect();
    tell(&store, &leaves).await;
    let mut steps = Vec::new();
    loop {
        let pruned = store.prune(&tenant(), afterwards(), 4).await.unwrap();
        if pruned.is_empty() {
            break;
        }
        assert!(pruned.events == 0 || pruned.conversations == 0);
        steps.push((pruned.events, pruned.conversations));
    }
    assert_eq!(steps, [(4, 0), (4, 0), (2, 0), (0, 1)]);
}

async fn the_oldest_goes_first(store: Store) {
    let leaves: Vec<Leaf> = (0..6).map(|number| text(&format!("wamid.{number}"))).collect();
    for leaf in &leaves {
        tell(&store, std::slice::from_ref(leaf)).await;
    }
    store.prune(&tenant(), afterwards(), 3).await.unwrap();
    let again: HashSet<String> =
        store.record(&leaves).await.unwrap().into_iter().map(|told| told.event.subject).collect();
    assert_eq!(again, ["wamid.0", "wamid.1", "wamid.2"].map(str::to_owned).into());
}

async fn other_tenants_keep_theirs(store: Store) {
    let own = [text("wamid.A"), status("wamid.B", MessageState::Read)];
    let others = own.clone().map(of_beta);
    tell(&store, &own).await;
    tell(&store, &others).await;
    let pruned = prune(&store, &tenant(), afterwards()).await;
    assert_eq!(pruned, Pruned { events: 2, messages: 2, commands: 0, conversations: 1, attempts: 0 });
    assert!(store.record(&others).await.unwrap().is_empty());
    let beta: TenantId = "beta".parse().unwrap();
    let theirs = store.conversations(&beta, &ConversationFilter::default(), None, 10).await.unwrap();
    assert_eq!(theirs.len(), 1);
    assert_eq!(store.conversation_messages(&beta, theirs[0].id, None, 10).await.unwrap().unwrap().len(), 2);
}

async fn what_was_never_announced_stays(store: Store) {
    let waiting = store.record(&[text("wamid.A"), text("wamid.B")]).await.unwrap();
    tell(&store, &[text("wamid.C")]).await;
    note(&store, &waiting[..1]).await;
    assert_eq!(prune(&store, &tenant(), afterwards()).await.events, 2);
    let still = store.unannounced(afterwards(), 10).await.unwrap();
    assert_eq!(still.iter().map(|told| told.event.subject.as_str()).collect::<Vec<_>>(), ["wamid.B"]);
    note(&store, &still).await;
    assert_eq!(prune(&store, &tenant(), afterwards()).await.events, 1);
}

async fn a_command_that_has_not_ended_stays(store: Store) {
    store.enqueue(&[new_command("c-1")]).await.unwrap();
    store.claim(&[claim("c-2", 1), claim("c-3", 1)]).await.unwrap();
    let doubt = store.settle(&[outcome("c-2", Settlement::InDoubt("no answer".into()))]).await.unwrap();
    let failed = store.settle(&[outcome("c-3", Settlement::Failed("no".into()))]).await.unwrap();
    note(&store, &doubt).await;
    note(&store, &failed).await;
    let pruned = prune(&store, &tenant(), afterwards()).await;
    assert_eq!((pruned.events, pruned.commands), (2, 1));
    let state = async |command: &str| store.command(&tenant(), &id(command)).await.unwrap().map(|c| c.state);
    assert_eq!(state("c-1").await, Some(CommandState::Queued));
    assert_eq!(state("c-2").await, Some(CommandState::InDoubt));
    assert_eq!(state("c-3").await, None);
}

async fn a_scheduled_command_stays_and_a_cancelled_one_goes(store: Store) {
    store.schedule(&[scheduled("c-1", at(0)), scheduled("c-2", at(0))]).await.unwrap();
    let Cancelled::Done(events) = store.cancel(&tenant(), &id("c-2"), cancelled("c-2")).await.unwrap() else {
        panic!("not done");
    };
    note(&store, &events).await;
    assert_eq!(prune(&store, &tenant(), at(0)).await, Pruned::default());
    let pruned = prune(&store, &tenant(), afterwards()).await;
    assert_eq!((pruned.events, pruned.commands), (1, 1));
    assert_eq!(store.command(&tenant(), &id("c-2")).await.unwrap(), None);
    let due = store.due(at(0), 10).await.unwrap();
    assert_eq!(due.iter().map(|command| command.id.as_str()).collect::<Vec<_>>(), ["c-1"]);
    assert_eq!(store.command(&tenant(), &id("c-1")).await.unwrap().unwrap().state, CommandState::Queued);
}

/// What counts is when it ended, not when it was first heard of: until then a copy is recognised.
async fn a_command_is_known_until_its_end_is_old(store: Store) {
    store.claim(&[claim("c-1", 1)]).await.unwrap();
    let doubt = store.settle(&[outcome("c-1", Settlement::InDoubt("no answer".into()))]).await.unwrap();
    note(&store, &doubt).await;
    let boundary = Timestamp::now();
    note(&store, &store.settle(&[taken_lately("c-1", "wamid.1")]).await.unwrap()).await;
    let pruned = prune(&store, &tenant(), boundary).await;
    assert_eq!((pruned.events, pruned.commands), (1, 0));
    let (claimed, _) = store.claim(&[claim("c-1", 2)]).await.unwrap();
    assert_eq!(claimed, [Claimed::Known(CommandState::Accepted)]);
    let pruned = prune(&store, &tenant(), afterwards() + SignedDuration::from_hours(1)).await;
    assert_eq!((pruned.events, pruned.commands), (1, 1));
}

async fn a_message_goes_with_its_first_event_whatever_happened_since(store: Store) {
    store.claim(&[claim("c-1", 1)]).await.unwrap();
    note(&store, &store.settle(&[taken("c-1", "wamid.1")]).await.unwrap()).await;
    tell(&store, &[text("wamid.A"), proof("wamid.1", MessageState::Sent, "c-1")]).await;
    let boundary = Timestamp::now();
    tell(&store, &[edit_of("wamid.A"), proof("wamid.1", MessageState::Read, "c-1")]).await;
    let pruned = prune(&store, &tenant(), boundary).await;
    assert_eq!(pruned, Pruned { events: 3, messages: 2, commands: 1, conversations: 0, attempts: 0 });
    let there = store.conversations(&tenant(), &ConversationFilter::default(), None, 10).await.unwrap();
    let messages = store.conversation_messages(&tenant(), there[0].id, None, 10).await.unwrap().unwrap();
    assert_eq!((there.len(), messages.len()), (1, 0));
    let pruned = prune(&store, &tenant(), afterwards()).await;
    assert_eq!(pruned, Pruned { events: 2, messages: 0, commands: 0, conversations: 1, attempts: 0 });
}

async fn a_message_that_only_edits_speak_of_goes_with_them(store: Store) {
    tell(&store, &[edit_of("wamid.A")]).await;
    let pruned = prune(&store, &tenant(), afterwards()).await;
    assert_eq!(pruned, Pruned { events: 1, messages: 1, commands: 0, conversations: 1, attempts: 0 });
}

fn edit_of(name: &str) -> Leaf {
    let touch = Touch::Edited { wamid: wamid(name), direction: Direction::In, at: at(60) };
    let edit = event(EventType::MessageEdited, &["edit", name], "wamid.E");
    let sighting = Some(sighting(&["393481213456"], at(60)));
    Leaf { event: edit, sighting, touch: Some(touch), settles: None, reach: None }
}

async fn a_conversation_goes_last_and_whoever_writes_again_begins_anew(store: Store) {
    let first = tell(&store, &[text("wamid.A"), text("wamid.B")]).await;
    let step = store.prune(&tenant(), afterwards(), 1).await.unwrap();
    assert_eq!((step.events, conversations(&store).await), (1, 1));
    prune(&store, &tenant(), afterwards()).await;
    assert_eq!(conversations(&store).await, 0);

    let again = tell(&store, &[text("wamid.C")]).await;
    assert_ne!(again[0].conversation, first[0].conversation);
    assert_eq!(again[0].event.data["sequence"], 1);
    let next = tell(&store, &[text("wamid.D")]).await;
    assert_eq!(next[0].conversation, again[0].conversation);
}

async fn a_conversation_that_goes_on_keeps_its_count(store: Store) {
    tell(&store, &[text("wamid.A"), text("wamid.B")]).await;
    let boundary = Timestamp::now();
    let kept = tell(&store, &[text("wamid.C")]).await;
    prune(&store, &tenant(), boundary).await;
    let next = tell(&store, &[text("wamid.D")]).await;
    assert_eq!(next[0].conversation, kept[0].conversation);
    assert_eq!(next[0].event.data["sequence"], 4);
}

async fn conversations_that_became_one_go_together(store: Store) {
    let user = "US.13491208655302741918";
    tell(&store, &[text_of("393481213456", "wamid.A"), text_of(user, "wamid.B")]).await;
    let mut tie = text("wamid.C");
    tie.sighting = Some(sighting(&["393481213456", user], at(10)));
    tell(&store, &[tie]).await;
    assert_eq!(conversations(&store).await, 1);
    let pruned = prune(&store, &tenant(), afterwards()).await;
    assert_eq!(pruned, Pruned { events: 3, messages: 3, commands: 0, conversations: 2, attempts: 0 });
    let told = tell(&store, &[text_of("393481213456", "wamid.D"), text_of(user, "wamid.E")]).await;
    assert_ne!(told[0].conversation, told[1].conversation, "nothing is known of them any more");
}

/// Whatever is announced is old at once: conversations come and go under the recorders' hands.
async fn pruning_beside_recorders_loses_nothing_and_tells_nothing_twice(store: Store) {
    let record = |turn: usize| {
        let store = store.clone();
        async move {
            let mut told = Vec::new();
            for round in 0..40 {
                let leaf = |user: usize| {
                    let user = (user + turn) % 5;
                    text_of(&format!("3934800000{user}"), &format!("wamid.{turn}.{round}.{user}"))
                };
                let leaves: Vec<Leaf> = (0..5).map(leaf).collect();
                told.extend(tell(&store, &leaves).await);
            }
            told
        }
    };
    let recording = [0, 1, 2].map(|turn| tokio::spawn(record(turn)));
    let pruners = [(); 2].map(|()| {
        let store = store.clone();
        tokio::spawn(async move {
            loop {
                store.prune(&tenant(), Timestamp::now(), 7).await.unwrap();
            }
        })
    });
    let mut told = Vec::new();
    for recorder in recording {
        told.extend(recorder.await.unwrap());
    }
    for pruner in pruners {
        assert!(!pruner.is_finished());
        pruner.abort();
        let _ = pruner.await;
    }

    assert_eq!(told.len(), 600);
    let mut sequences: HashMap<_, Vec<u64>> = HashMap::new();
    for told in &told {
        let sequence = told.event.data.get("sequence").and_then(Value::as_u64).unwrap();
        sequences.entry(told.conversation.unwrap()).or_default().push(sequence);
    }
    for (conversation, mut numbers) in sequences {
        numbers.sort_unstable();
        assert!(numbers.iter().copied().eq(1..=numbers.len() as u64), "{conversation}: {numbers:?}");
    }
    // Each user has one conversation, whoever came in between.
    let last: Vec<Leaf> =
        (0..5).map(|user| text_of(&format!("3934800000{user}"), &format!("wamid.last.{user}"))).collect();
    tell(&store, &last).await;
    assert_eq!(conversations(&store).await, 5);
}
