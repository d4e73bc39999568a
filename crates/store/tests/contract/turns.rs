//! Whose turn it is: conversations, the numbers of their events, and who is who in them.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use staffetta_domain::{EventType, Leaf, MessageState, Sighting, Touch};
use staffetta_store::{Announcement, Outcome, Settlement, Store};

use crate::support::{
    afterwards, at, claim, event, on_both, outcome, proof, sighting, status, taken, tenant, text, told,
};

const PHONE: &str = "393481213456";
const USER: &str = "IT.13491208655302741918";

on_both!(
    events_of_one_user_are_numbered_without_a_gap,
    what_was_told_before_takes_no_number,
    an_event_of_nobody_has_no_number,
    racing_recorders_leave_no_gap,
    racing_recorders_of_new_users_make_one_conversation_each,
    commands_and_statuses_share_their_users_conversation,
    a_refused_command_makes_no_conversation,
    the_providers_spelling_of_a_number_is_the_same_user,
    a_status_without_a_recipient_follows_its_message,
    two_conversations_become_one_and_say_so,
    both_sides_of_a_merge_race_and_no_number_is_lost,
    one_who_changes_number_goes_on_and_the_number_goes_to_another,
    a_file_takes_the_place_of_its_placeholder,
);

/// A message of somebody who goes by these names.
fn from(name: &str, names: &[&str], seconds: i64) -> Leaf {
    Leaf { sighting: Some(Sighting { wrote: true, ..sighting(names, at(seconds)) }), ..text(name) }
}

/// The conversation and the number of each event.
fn turns(told: &[Announcement]) -> Vec<(String, i64)> {
    let turn = |told: &Announcement| {
        let data = &told.event.data;
        let conversation = data["conversation_id"].as_str().unwrap();
        assert_eq!(told.conversation.unwrap().to_string(), conversation);
        (conversation.to_owned(), data["sequence"].as_i64().unwrap())
    };
    told.iter().map(turn).collect()
}

/// Each conversation's numbers, which must be 1, 2, 3 and so on.
fn whole(told: &[Announcement]) -> BTreeMap<String, usize> {
    let mut numbers: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    for (conversation, sequence) in turns(told) {
        assert!(numbers.entry(conversation).or_default().insert(sequence), "{sequence} was given twice");
    }
    for numbers in numbers.values() {
        assert_eq!(
            numbers.iter().copied().collect::<Vec<_>>(),
            (1..=numbers.len() as i64).collect::<Vec<_>>()
        );
    }
    numbers.into_iter().map(|(conversation, numbers)| (conversation, numbers.len())).collect()
}

async fn events_of_one_user_are_numbered_without_a_gap(store: Store) {
    let mut events = store.record(&[text("wamid.A"), status("wamid.B", MessageState::Sent)]).await.unwrap();
    events.extend(store.record(&[from("wamid.C", &["44770"], 1), text("wamid.D")]).await.unwrap());
    let turns = turns(&events);
    let (anna, other) = (&turns[0].0, &turns[2].0);
    assert_ne!(anna, other);
    assert_eq!(turns, [(anna.clone(), 1), (anna.clone(), 2), (other.clone(), 1), (anna.clone(), 3)]);
    let waiting = store.unannounced(afterwards(), 10).await.unwrap();
    assert_eq!(self::turns(&waiting), turns);
}

async fn what_was_told_before_takes_no_number(store: Store) {
    let mut events = store.record(&[text("wamid.A"), text("wamid.B")]).await.unwrap();
    events.extend(store.record(&[text("wamid.B"), text("wamid.C"), text("wamid.A")]).await.unwrap());
    assert_eq!(whole(&events).into_values().collect::<Vec<_>>(), [3]);
}

async fn an_event_of_nobody_has_no_number(store: Store) {
    let leaf = Leaf::of_event(event(EventType::TemplateChanged, &["template"], "template"));
    let events = store.record(&[leaf]).await.unwrap();
    assert_eq!(events[0].conversation, None);
    assert_eq!(events[0].event.data.get("sequence"), None);
}

async fn racing_recorders_leave_no_gap(store: Store) {
    let leaves: Vec<_> = (0..120)
        .map(|number| {
            let phone = format!("39348{:04}", number % 7);
            from(&format!("wamid.{number}"), &[&phone], number)
        })
        .collect();
    let record = |turn: usize| {
        let (store, mut leaves) = (store.clone(), leaves.clone());
        leaves.rotate_left(turn * 13 % 120);
        leaves.truncate(80);
        tokio::spawn(async move { store.record(&leaves).await.unwrap() })
    };
    let told: Vec<_> =
        join_all((0..16).map(record)).await.into_iter().flat_map(|told| told.unwrap()).collect();
    let whole = whole(&told);
    assert_eq!((whole.len(), told.len()), (7, 120));
}

async fn racing_recorders_of_new_users_make_one_conversation_each(store: Store) {
    for round in 0..10 {
        let record = |turn: usize| {
            let store = store.clone();
            let phones: Vec<_> = (0..10).map(|user| format!("39348{round}00{user}")).collect();
            let mut leaves: Vec<_> =
                (phones.iter()).map(|phone| from(&format!("wamid.{phone}.{turn}"), &[phone], 0)).collect();
            leaves.rotate_left(turn * 3 % 10);
            tokio::spawn(async move { store.record(&leaves).await.unwrap() })
        };
        let told: Vec<_> =
            join_all((0..6).map(record)).await.into_iter().flat_map(|told| told.unwrap()).collect();
        assert_eq!(whole(&told).into_values().collect::<Vec<_>>(), vec![6; 10]);
    }
}

async fn commands_and_statuses_share_their_users_conversation(store: Store) {
    let mut events = store.record(&[text("wamid.in")]).await.unwrap();
    store.claim(&[claim("c-1", 1)]).await.unwrap();
    events.extend(store.claim(&[claim("c-1", 2)]).await.unwrap().1);
    events.extend(store.settle(&[taken("c-1", "wamid.out")]).await.unwrap());
    events.extend(store.record(&[proof("wamid.out", MessageState::Read, "c-1")]).await.unwrap());
    store.claim(&[claim("c-2", 1)]).await.unwrap();
    events.extend(store.settle(&[outcome("c-2", Settlement::Failed("no".into()))]).await.unwrap());
    let expected = [
        ("message.received", "wamid.in"),
        ("command.in_doubt", "c-1"),
        ("command.accepted", "c-1"),
        ("message.status", "wamid.out"),
        ("command.failed", "c-2"),
    ];
    assert_eq!(told(&events), expected);
    assert_eq!(whole(&events).into_values().collect::<Vec<_>>(), [5]);
}

async fn a_refused_command_makes_no_conversation(store: Store) {
    let refused = store.settle(&[outcome("c-1", Settlement::Rejected("no".into()))]).await.unwrap();
    assert_eq!(refused[0].conversation, None);
    let accepted = store.settle(&[taken("c-2", "wamid.A")]).await.unwrap();
    assert_eq!(turns(&accepted)[0].1, 1);
}

async fn the_providers_spelling_of_a_number_is_the_same_user(store: Store) {
    let dialled = "5511987654321";
    let spelled = "551187654321";
    let mut claimed = claim("c-1", 1);
    claimed.user = dialled.into();
    store.claim(&[claimed]).await.unwrap();
    let answer =
        Outcome { user: Some(dialled.into()), called: Some(spelled.into()), ..taken("c-1", "wamid.out") };
    let mut events = store.settle(&[answer]).await.unwrap();
    events.extend(store.record(&[from("wamid.in", &[spelled], 3)]).await.unwrap());
    // Another one whose answer was lost: its status names the command, and the number in the other spelling.
    let mut claimed = claim("c-2", 1);
    claimed.user = "5521987654321".into();
    store.claim(&[claimed]).await.unwrap();
    let mut early = proof("wamid.early", MessageState::Sent, "c-2");
    early.sighting = Some(sighting(&["552187654321"], at(4)));
    events.extend(store.record(&[early]).await.unwrap());
    events.extend(store.record(&[from("wamid.in.2", &["552187654321"], 5)]).await.unwrap());
    let mut numbers: Vec<_> = whole(&events).into_values().collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [2, 3]);
}

async fn a_status_without_a_recipient_follows_its_message(store: Store) {
    let mut events = store.record(&[status("wamid.A", MessageState::Sent)]).await.unwrap();
    let mut bare = status("wamid.A", MessageState::Read);
    bare.sighting = Some(sighting(&[], at(9)));
    events.extend(store.record(&[bare]).await.unwrap());
    assert_eq!(whole(&events).into_values().collect::<Vec<_>>(), [2]);
}

async fn two_conversations_become_one_and_say_so(store: Store) {
    let by_phone = store.record(&[from("wamid.A", &[PHONE], 1), from("wamid.B", &[PHONE], 2)]).await.unwrap();
    let by_user = store.record(&[from("wamid.C", &[USER], 3)]).await.unwrap();
    let (phone, user) = (turns(&by_phone)[0].0.clone(), turns(&by_user)[0].0.clone());
    assert_ne!(phone, user);
    let both = store.record(&[from("wamid.D", &[PHONE, USER], 4)]).await.unwrap();
    assert_eq!(turns(&both), [(phone.clone(), 3)]);
    let expected = serde_json::json!([{ "conversation_id": user, "sequence": 1 }]);
    assert_eq!(both[0].event.data["merged"], expected);
    let later = store.record(&[from("wamid.E", &[USER], 5), from("wamid.F", &[PHONE], 6)]).await.unwrap();
    assert_eq!(turns(&later), [(phone.clone(), 4), (phone, 5)]);
    assert!(later.iter().all(|told| told.event.data.get("merged").is_none()));
    let waiting = store.unannounced(afterwards(), 10).await.unwrap();
    assert_eq!(waiting[3].event.data["merged"], expected);
}

async fn both_sides_of_a_merge_race_and_no_number_is_lost(store: Store) {
    for round in 0..10 {
        let (phone, user) = (format!("39348000{round}"), format!("IT.9000{round}"));
        let names = [vec![phone.clone()], vec![user.clone()], vec![phone, user]];
        store.record(&[from(&format!("wamid.{round}.p"), &[&names[0][0]], 0)]).await.unwrap();
        let record = |turn: usize| {
            let (store, names) = (store.clone(), names.clone());
            tokio::spawn(async move {
                let names: Vec<_> = names[turn % 3].iter().map(String::as_str).collect();
                let leaves: Vec<_> = (0..5)
                    .map(|number| from(&format!("wamid.{round}.{turn}.{number}"), &names, number))
                    .collect();
                store.record(&leaves).await.unwrap()
            })
        };
        let told: Vec<_> =
            join_all((0..9).map(record)).await.into_iter().flat_map(|told| told.unwrap()).collect();
        assert_eq!(told.len(), 45);
    }
    let all = store.unannounced(afterwards(), 1000).await.unwrap();
    assert_eq!(all.len(), 460);
    whole(&all);
    // Each user's conversation goes on alone.
    for round in 0..10 {
        let leaves = [
            from(&format!("wamid.{round}.last.p"), &[&format!("39348000{round}")], 99),
            from(&format!("wamid.{round}.last.u"), &[&format!("IT.9000{round}")], 99),
        ];
        let last = turns(&store.record(&leaves).await.unwrap());
        assert_eq!(last[0].0, last[1].0);
    }
}

async fn one_who_changes_number_goes_on_and_the_number_goes_to_another(store: Store) {
    let mut change = from("wamid.system", &["393480000002", "IT.2"], 10);
    change.sighting.as_mut().unwrap().former = sighting(&["393480000001", "IT.1"], at(10)).aliases;
    let leaves = [
        from("wamid.old", &["393480000001", "IT.1"], 1),
        from("wamid.new", &["393480000002", "IT.2"], 20),
        change,
        from("wamid.late", &["393480000001"], 9),
    ];
    let mut told = Vec::new();
    for leaf in leaves {
        told.extend(store.record(&[leaf]).await.unwrap());
    }
    let turns_so_far = turns(&told);
    assert_eq!(turns_so_far[3].0, turns_so_far[0].0);
    let next = store.record(&[from("wamid.next", &["393480000001", "IT.3"], 100_000)]).await.unwrap();
    assert_ne!(turns(&next)[0].0, turns_so_far[0].0);
    assert_eq!(turns(&next)[0].1, 1);
}

async fn a_file_takes_the_place_of_its_placeholder(store: Store) {
    let kind_of = |kind: &str, name: &str| {
        let mut leaf = text(name);
        leaf.event = event(EventType::MessageReceived, &["message", name, kind], name);
        if let Some(Touch::Brought { kind: brought, .. }) = &mut leaf.touch {
            *brought = kind.into();
        }
        leaf
    };
    let told = store
        .record(&[
            kind_of("media_placeholder", "wamid.A"),
            kind_of("media_placeholder", "wamid.B"),
            kind_of("image", "wamid.B"),
        ])
        .await
        .unwrap();
    store.record(&[kind_of("image", "wamid.A")]).await.unwrap();
    let conversation = told[0].conversation.unwrap();
    let messages = store.conversation_messages(&tenant(), conversation, None, 10).await.unwrap().unwrap();
    let kinds: Vec<_> = messages.iter().map(|message| message.kind.as_deref()).collect();
    assert_eq!(kinds, [Some("image"), Some("image")]);
}
