//! Conversations by what is known of their users, and under which id.

use serde_json::json;
use staffetta_domain::{Alias, Sighting};
use staffetta_store::{ConversationFilter, Marked, Store};

use super::fixtures::{all, introduced, number, only, said, text, wamids, wrote};
use crate::support::{at, on_both, sighting, tenant};

on_both!(
    a_name_is_found_by_any_part_of_it_in_any_case,
    a_number_is_found_by_its_beginning,
    only_those_of_a_channel_or_with_something_unread,
    what_is_known_of_a_user_is_shown,
    a_group_is_a_conversation_of_its_own,
    a_merged_conversation_is_reached_under_both_ids,
    what_the_records_hold_is_not_printed,
);

/// The phones that a filter finds, in order.
async fn found(store: &Store, filter: ConversationFilter) -> Vec<String> {
    let found = store.conversations(&tenant(), &filter, None, 100).await.unwrap();
    let mut phones: Vec<_> = found.into_iter().filter_map(|record| record.phone).collect();
    phones.sort_unstable();
    phones
}

async fn a_name_is_found_by_any_part_of_it_in_any_case(store: Store) {
    let people = ["Anna Perù", "ÉLODIE", "50% off_[now]*?", r"back\slash^$.", "Οδυσσεύς", "a\u{1f4e6}b"];
    let mut leaves: Vec<_> = people.iter().enumerate().map(|(n, name)| introduced(n, name, None)).collect();
    leaves.push(introduced(6, "", Some("Anna.Bot")));
    leaves.push(text(7, "wamid.nobody", 0));
    store.record(&leaves).await.unwrap();
    for (part, expected) in [
        ("perù", vec![0]),
        ("PERÙ", vec![0]),
        ("ANNA", vec![0, 6]),
        ("anna.b", vec![6]),
        ("annaxb", vec![]),
        ("élo", vec![1]),
        ("elo", vec![]),
        ("%", vec![2]),
        ("_", vec![2]),
        ("[NOW]*?", vec![2]),
        ("]", vec![2]),
        (r"\S", vec![3]),
        ("^$.", vec![3]),
        ("ΟΔΥΣΣ", vec![4]),
        ("\u{1f4e6}", vec![5]),
        ("'; --", vec![]),
        ("\0", vec![]),
    ] {
        let filter = ConversationFilter { name: Some(part.to_owned()), ..Default::default() };
        let expected: Vec<_> = expected.into_iter().map(number).collect();
        assert_eq!(found(&store, filter).await, expected, "{part}");
    }
}

async fn a_number_is_found_by_its_beginning(store: Store) {
    store.record(&[text(1, "wamid.A", 0), text(12, "wamid.B", 0), text(2, "wamid.C", 0)]).await.unwrap();
    store.record(&[wrote(&["IT.1"], "wamid.D", 0, json!({"type": "text"}))]).await.unwrap();
    let by = |number: &str| ConversationFilter { number: Some(number.to_owned()), ..Default::default() };
    assert_eq!(found(&store, by("39348")).await.len(), 3);
    assert_eq!(found(&store, by(&number(1))).await, [number(1)]);
    assert_eq!(found(&store, by("39348000001")).await, [number(12)]);
    assert_eq!(found(&store, by("9348")).await, Vec::<String>::new());
    // A user who also has another number is found by both.
    let both = Sighting {
        aliases: [number(2).as_str(), "IT.2"].iter().filter_map(|name| Alias::of_user(name)).collect(),
        ..sighting(&[], at(1))
    };
    let mut tied = text(2, "wamid.E", 1);
    tied.sighting = Some(both);
    let moved = wrote(&["447700900123", "IT.2"], "wamid.F", 2, json!({"type": "text"}));
    store.record(&[tied]).await.unwrap();
    store.record(&[moved]).await.unwrap();
    assert_eq!(found(&store, by("4477")).await, ["447700900123"]);
    assert_eq!(found(&store, by(&number(2))).await, ["447700900123"]);
}

async fn only_those_of_a_channel_or_with_something_unread(store: Store) {
    let mut elsewhere = text(3, "wamid.C", 0);
    elsewhere.event.channel = "acme-bills".parse().unwrap();
    store.record(&[text(1, "wamid.A", 0), text(2, "wamid.B", 0), elsewhere]).await.unwrap();
    let of =
        |channel: &str| ConversationFilter { channel: Some(channel.parse().unwrap()), ..Default::default() };
    assert_eq!(found(&store, of("acme-bills")).await, [number(3)]);
    assert_eq!(found(&store, of("other-orders")).await, Vec::<String>::new());
    let first = all(&store).await.into_iter().find(|record| record.phone == Some(number(1))).unwrap();
    assert!(matches!(store.mark_read(&tenant(), first.id, None).await.unwrap(), Marked::Read(_)));
    let unread = ConversationFilter { unread_only: true, ..Default::default() };
    assert_eq!(found(&store, unread.clone()).await, [number(2), number(3)]);
    let both = ConversationFilter { channel: Some("acme-orders".parse().unwrap()), ..unread };
    assert_eq!(found(&store, both).await, [number(2)]);
}

async fn what_is_known_of_a_user_is_shown(store: Store) {
    let mut leaf =
        wrote(&[&number(1), "IT.1"], "wamid.A", 30, json!({"type": "text", "text": {"body": "ciao"}}));
    if let Some(sighting) = &mut leaf.sighting {
        sighting.name = Some("Anna".into());
        sighting.username = Some("anna.b".into());
    }
    store.record(&[leaf]).await.unwrap();
    let record = only(&store).await;
    assert_eq!(record.phone, Some(number(1)));
    assert_eq!((record.user_id.as_deref(), record.group_id.as_deref()), (Some("IT.1"), None));
    assert_eq!((record.name.as_deref(), record.username.as_deref()), (Some("Anna"), Some("anna.b")));
    assert_eq!((record.unread, record.sequence, record.last_at), (1, 1, at(30)));
    assert_eq!(record.window_closes_at, Some(at(30 + 24 * 3600)));
    assert_eq!(store.conversation(&tenant(), record.id).await.unwrap(), Some(record));
}

async fn a_group_is_a_conversation_of_its_own(store: Store) {
    let mut leaf = text(1, "wamid.A", 0);
    if let Some(sighting) = &mut leaf.sighting {
        sighting.aliases = vec![Alias::of_group("Y2FwaV9ncm91cDo").unwrap()];
    }
    store.record(&[leaf, text(1, "wamid.B", 1)]).await.unwrap();
    let all = all(&store).await;
    assert_eq!(all.len(), 2);
    assert_eq!((all[1].group_id.as_deref(), all[1].phone.as_deref()), (Some("Y2FwaV9ncm91cDo"), None));
    assert_eq!(all[1].last.as_ref().unwrap().from, Some(number(1)));
}

async fn a_merged_conversation_is_reached_under_both_ids(store: Store) {
    store.record(&[text(1, "wamid.A", 0)]).await.unwrap();
    store.record(&[wrote(&["IT.1"], "wamid.B", 1, json!({"type": "text"}))]).await.unwrap();
    let before = all(&store).await;
    assert_eq!(before.len(), 2);
    store.record(&[wrote(&[&number(1), "IT.1"], "wamid.C", 2, json!({"type": "text"}))]).await.unwrap();
    let after = only(&store).await;
    assert_eq!(
        (after.unread, after.user_id.as_deref(), after.phone.clone()),
        (3, Some("IT.1"), Some(number(1)))
    );
    assert_eq!(wamids(&said(&store).await), ["wamid.C", "wamid.B", "wamid.A"]);
    for id in before.iter().map(|record| record.id) {
        assert_eq!(store.conversation(&tenant(), id).await.unwrap().as_ref(), Some(&after));
        let said = store.conversation_messages(&tenant(), id, None, 10).await.unwrap().unwrap();
        assert_eq!(said.len(), 3);
    }
    for id in before.iter().map(|record| record.id) {
        let Marked::Read(read) = store.mark_read(&tenant(), id, None).await.unwrap() else {
            panic!("not read")
        };
        assert_eq!((read.id, read.unread), (after.id, 0));
    }
}

async fn what_the_records_hold_is_not_printed(store: Store) {
    store.record(&[introduced(1, "Anna", Some("anna.b"))]).await.unwrap();
    let filter =
        ConversationFilter { name: Some("Anna".into()), number: Some(number(1)), ..Default::default() };
    let printed = format!("{:?} {:?} {filter:?}", only(&store).await, said(&store).await);
    for secret in ["Anna", "anna", &number(1), "wamid", "text of"] {
        assert!(!printed.contains(secret), "{printed}");
    }
}
