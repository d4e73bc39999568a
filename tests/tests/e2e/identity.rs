//! Who is who, as far as WhatsApp says it.

use serde_json::{Value, json};
use staffetta_tests::{Installation, ORDERS, SeenEvent, Setup, Streams, Tenant, User, body, change, entry};

use crate::{assert_numbered_without_gaps, only};

const START: i64 = 1_790_000_000;
const DAY: i64 = 86_400;

/// The conversation of a message, as its event says.
fn of_message(events: &[SeenEvent], wamid: &str) -> String {
    only(events, "message.received", wamid).data["conversation_id"].as_str().unwrap().to_owned()
}

/// All events once nothing is on its way.
async fn settled(staffetta: &Installation, streams: &Streams) -> Vec<SeenEvent> {
    staffetta.settled(streams).await.unwrap();
    let events = streams.events().await.unwrap();
    assert_numbered_without_gaps(&events);
    events
}

async fn conversation(tenant: &Tenant, id: &str) -> Value {
    let (status, answer) = tenant.read(&format!("/v1/conversations/{id}")).await.unwrap();
    assert_eq!(status.as_u16(), 200, "{answer}");
    answer
}

/// What was said there, the last first.
async fn wamids(tenant: &Tenant, id: &str) -> Vec<String> {
    let messages = tenant.list(&format!("/v1/conversations/{id}/messages"), 50).await.unwrap();
    messages.iter().map(|message| message["wamid"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_number_and_an_id_that_turn_out_to_be_one_user_become_one_conversation() {
    let (staffetta, _up) = Installation::up(Setup::default()).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    let acme = staffetta.tenant(ORDERS, &streams);
    // Each of them first.
    for (n, id_first) in [false, true].into_iter().enumerate() {
        let (phone, id) = (format!("39348121345{n}"), format!("IT.1349120865530274191{n}"));
        let by_phone = User::of_phone("Anna", &phone);
        let by_id = User::of_id("Anna B.", &id);
        let both = User::of_both("Anna Bianchi", &phone, &id);
        let (one, other) = if id_first { (&by_id, &by_phone) } else { (&by_phone, &by_id) };
        let wamid = |what: &str| format!("wamid.{what}-{n}");
        let posts = [
            (one, wamid("first"), START),
            (other, wamid("second"), START + 1),
            (other, wamid("third"), START + 2),
        ];
        for (user, wamid, at) in &posts {
            staffetta.meta.deliver(&user.webhook(ORDERS, &[user.text(wamid, *at)])).await.unwrap();
            staffetta.settled(&streams).await.unwrap();
        }
        let events = settled(&staffetta, &streams).await;
        let (stays, goes) = (of_message(&events, &posts[0].1), of_message(&events, &posts[1].1));
        assert_ne!(stays, goes);
        assert_eq!(of_message(&events, &posts[2].1), goes);

        staffetta.meta.deliver(&both.webhook(ORDERS, &[both.text(&wamid("tie"), START + 3)])).await.unwrap();
        for (n, user) in [&by_phone, &by_id].into_iter().enumerate() {
            let wamid = wamid(&format!("after-{n}"));
            staffetta.meta.deliver(&user.webhook(ORDERS, &[user.text(&wamid, START + 4)])).await.unwrap();
        }
        let events = settled(&staffetta, &streams).await;
        let tie = only(&events, "message.received", &wamid("tie"));
        assert_eq!(tie.data["conversation_id"], stays);
        assert_eq!(tie.data["merged"], json!([{ "conversation_id": goes, "sequence": 2 }]));
        for after in ["after-0", "after-1"] {
            assert_eq!(of_message(&events, &wamid(after)), stays);
        }
        let merged: Vec<_> = events.iter().filter(|event| event.data.get("merged").is_some()).collect();
        assert_eq!(merged.len(), n + 1, "it is told once");

        let found = conversation(&acme, &goes).await;
        assert_eq!(found, conversation(&acme, &stays).await);
        assert_eq!((&found["id"], &found["unread"]), (&stays.as_str().into(), &6.into()), "{found}");
        assert_eq!(
            (&found["user"]["phone"], &found["user"]["user_id"]),
            (&phone.into(), &id.into()),
            "{found}"
        );
        let said = wamids(&acme, &goes).await;
        assert_eq!(said[2..], ["tie", "third", "second", "first"].map(wamid));
    }
    assert_eq!(acme.list("/v1/conversations", 50).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_status_may_be_what_ties_a_number_and_an_id() {
    let (staffetta, _up) = Installation::up(Setup::default()).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    let acme = staffetta.tenant(ORDERS, &streams);
    let by_phone = User::of_phone("Anna", "393481213456");
    let by_id = User::of_id("Anna", "IT.13491208655302741918");
    let both = User::of_both("Anna", "393481213456", "IT.13491208655302741918");
    let sent =
        change(ORDERS, "messages", json!({ "statuses": [both.status("wamid.out", "sent", START + 2)] }));
    // All of it in one body.
    let changes = [
        by_id.change(ORDERS, &[by_id.text("wamid.by-id", START)]),
        by_phone.change(ORDERS, &[by_phone.text("wamid.by-phone", START + 1)]),
        sent,
    ];
    staffetta.meta.deliver(&body(&[entry(&changes)])).await.unwrap();
    settled(&staffetta, &streams).await;
    let found = acme.list("/v1/conversations", 50).await.unwrap();
    assert_eq!(found.len(), 1, "{found:#?}");
    let said = wamids(&acme, found[0]["id"].as_str().unwrap()).await;
    assert_eq!(said, ["wamid.out", "wamid.by-phone", "wamid.by-id"]);
}

#[tokio::test]
async fn a_user_with_a_new_number_goes_on_and_the_next_with_the_old_one_begins() {
    let (staffetta, _up) = Installation::up(Setup::default()).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    let acme = staffetta.tenant(ORDERS, &streams);
    let (old, new) = ("393481213456", "393481219999");
    let before = User::of_phone("Anna", old);
    let after = User::of_phone("Anna", new);
    let next = User::of_phone("Bruno", old);
    let change = json!({ "body": "Anna changed", "wa_id": new, "type": "user_changed_number" });
    let changed = before.message("wamid.change", START + DAY, "system", change);
    for body in [
        before.webhook(ORDERS, &[before.text("wamid.before", START)]),
        body(&[entry(&[staffetta_tests::change(ORDERS, "messages", json!({ "messages": [changed] }))])]),
        after.webhook(ORDERS, &[after.text("wamid.after", START + 2 * DAY)]),
        next.webhook(ORDERS, &[next.text("wamid.next", START + 60 * DAY)]),
        after.webhook(ORDERS, &[after.text("wamid.again", START + 61 * DAY)]),
    ] {
        staffetta.meta.deliver(&body).await.unwrap();
        staffetta.settled(&streams).await.unwrap();
    }

    let events = settled(&staffetta, &streams).await;
    let anna = of_message(&events, "wamid.before");
    for wamid in ["wamid.change", "wamid.after", "wamid.again"] {
        assert_eq!(of_message(&events, wamid), anna, "{wamid}");
    }
    let bruno = of_message(&events, "wamid.next");
    assert_ne!(bruno, anna);
    let named = |id: String| {
        let acme = &acme;
        async move {
            let found = conversation(acme, &id).await;
            (found["user"]["name"].clone(), found["user"]["phone"].clone())
        }
    };
    assert_eq!(named(anna.clone()).await, ("Anna".into(), new.into()));
    assert_eq!(named(bruno.clone()).await, ("Bruno".into(), old.into()));
    assert_eq!(wamids(&acme, &bruno).await, ["wamid.next"]);
    assert_eq!(wamids(&acme, &anna).await, ["wamid.again", "wamid.after", "wamid.change", "wamid.before"]);
}

#[tokio::test]
async fn a_user_whose_id_changed_goes_on() {
    let (staffetta, _up) = Installation::up(Setup::default()).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    let (old, new) = ("IT.13491208655302741918", "IT.70010000000000000002");
    let (before, after) = (User::of_id("Anna", old), User::of_id("Anna", new));
    let update = json!({ "user_id_update": [{ "detail": "changed", "timestamp": (START + DAY).to_string(),
                                              "user_id": { "previous": old, "current": new } }] });
    for body in [
        before.webhook(ORDERS, &[before.text("wamid.before", START)]),
        body(&[entry(&[change(ORDERS, "user_id_update", update)])]),
        after.webhook(ORDERS, &[after.text("wamid.after", START + 2 * DAY)]),
    ] {
        staffetta.meta.deliver(&body).await.unwrap();
        staffetta.settled(&streams).await.unwrap();
    }
    let events = settled(&staffetta, &streams).await;
    let conversation = of_message(&events, "wamid.before");
    assert_eq!(of_message(&events, "wamid.after"), conversation);
    let update = only(&events, "webhook.other", "user_id_update");
    assert_eq!(update.data["conversation_id"], conversation);
    assert_eq!(update.data["sequence"], 2);
}

#[tokio::test]
async fn two_ids_are_two_users_even_with_one_number() {
    let (staffetta, _up) = Installation::up(Setup::default()).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    let anna = User::of_both("Anna", "393481213456", "IT.13491208655302741918");
    let bruno = User::of_both("Bruno", "393481213456", "IT.70010000000000000002");
    for (user, wamid, at) in [
        (&anna, "wamid.anna", START),
        (&bruno, "wamid.bruno", START + 60 * DAY),
        (&anna, "wamid.late", START + 1),
    ] {
        staffetta.meta.deliver(&user.webhook(ORDERS, &[user.text(wamid, at)])).await.unwrap();
        staffetta.settled(&streams).await.unwrap();
    }
    let events = settled(&staffetta, &streams).await;
    assert_ne!(of_message(&events, "wamid.anna"), of_message(&events, "wamid.bruno"));
    assert_eq!(of_message(&events, "wamid.late"), of_message(&events, "wamid.anna"));
}

#[tokio::test]
async fn a_conversation_does_not_end_untold_because_of_a_status_in_a_third_one() {
    let (staffetta, _up) = Installation::up(Setup::default()).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    let by_phone = User::of_phone("Anna", "393481213456");
    let by_id = User::of_id("Anna", "IT.13491208655302741918");
    let both = User::of_both("Anna", "393481213456", "IT.13491208655302741918");
    let echo = json!({ "from": ORDERS.display, "to": "393481210000", "id": "wamid.out", "timestamp": START.to_string(),
                       "type": "text", "text": { "body": "to another number" } });
    let echo = change(ORDERS, "smb_message_echoes", json!({ "message_echoes": [echo] }));
    let read = both.status("wamid.out", "read", START + 3);
    for body in [
        body(&[entry(&[echo])]),
        by_phone.webhook(ORDERS, &[by_phone.text("wamid.by-phone", START + 1)]),
        by_id.webhook(ORDERS, &[by_id.text("wamid.by-id", START + 2)]),
        body(&[entry(&[change(ORDERS, "messages", json!({ "statuses": [read] }))])]),
        by_phone.webhook(ORDERS, &[by_phone.text("wamid.phone-again", START + 4)]),
        by_id.webhook(ORDERS, &[by_id.text("wamid.id-again", START + 5)]),
        both.webhook(ORDERS, &[both.text("wamid.tie", START + 6)]),
    ] {
        staffetta.meta.deliver(&body).await.unwrap();
        staffetta.settled(&streams).await.unwrap();
    }
    let events = settled(&staffetta, &streams).await;
    let (stays, goes) = (of_message(&events, "wamid.by-phone"), of_message(&events, "wamid.by-id"));
    assert_ne!(stays, goes);
    assert_eq!(of_message(&events, "wamid.tie"), stays);
    let last = assert_numbered_without_gaps(&events)[&goes];
    let told: Vec<&Value> = events.iter().filter_map(|event| event.data.get("merged")).collect();
    assert_eq!(told, [&json!([{ "conversation_id": goes, "sequence": last }])]);
}
