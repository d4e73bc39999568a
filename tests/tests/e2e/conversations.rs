//! What an ERP sees of its conversations, over the API.

use std::time::SystemTime;

use futures_util::future::try_join_all;
use serde_json::{Value, json};
use staffetta_tests::{CARE, Installation, ORDERS, Setup, Tenant, User, body, change, entry};

use crate::{all, assert_numbered_without_gaps, commands, only, orders, unix_seconds};

/// 14:13:20 on 21 September 2026, as [`clock`] writes it.
const START: i64 = 1_790_000_000;

/// So many seconds after [`START`], less than forty.
fn clock(seconds: i64) -> String {
    format!("2026-09-21T14:13:{}Z", 20 + seconds)
}

fn anna() -> User {
    User::of_phone("Anna Bianchi", "393481213456")
}

async fn conversations(tenant: &Tenant, query: &str) -> Vec<Value> {
    tenant.list(&format!("/v1/conversations?{query}"), 50).await.unwrap()
}

/// The names of those users, in this order.
async fn names(tenant: &Tenant, query: &str) -> Vec<String> {
    let found = conversations(tenant, query).await;
    found.iter().map(|one| one["user"]["name"].as_str().unwrap_or("nobody").to_owned()).collect()
}

/// The only conversation with this number.
async fn with(tenant: &Tenant, user: &User) -> Value {
    let found = conversations(tenant, &format!("number={}", user.phone.as_ref().unwrap())).await;
    assert_eq!(found.len(), 1, "{found:#?}");
    found[0].clone()
}

async fn messages(tenant: &Tenant, conversation: &Value) -> Vec<Value> {
    let path = format!("/v1/conversations/{}/messages", conversation["id"].as_str().unwrap());
    tenant.list(&path, 50).await.unwrap()
}

#[tokio::test]
async fn conversations_come_newest_first_with_what_is_unread_and_until_when_one_may_write() {
    let (staffetta, _up) = Installation::up(Setup::default()).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    let (acme, globex) = (staffetta.tenant(ORDERS, &streams), staffetta.tenant(CARE, &streams));
    let bruno = User::of_phone("Bruno Verdi", "447700900123");
    let carla = User::of_id("Carla Rossi", "IT.13491208655302741918");
    let [first, second] = [anna().text("wamid.anna-1", START), anna().text("wamid.anna-2", START + 9)];
    for body in [
        // The newer one comes first.
        anna().webhook(ORDERS, &[second]),
        bruno.webhook(ORDERS, &[bruno.text("wamid.bruno-1", START + 5)]),
        anna().webhook(ORDERS, &[first]),
        carla.webhook(ORDERS, &[carla.text("wamid.carla-1", START + 7)]),
        // The same user and the other tenant's number.
        anna().webhook(CARE, &[anna().text("wamid.anna-3", START + 8)]),
    ] {
        staffetta.meta.deliver(&body).await.unwrap();
    }
    staffetta.settled(&streams).await.unwrap();

    let listed = conversations(&acme, "").await;
    assert_eq!(names(&acme, "").await, ["Anna Bianchi", "Carla Rossi", "Bruno Verdi"]);
    let summary = |one: &Value| json!([one["unread"], one["last_message"]["wamid"], one["window_closes_at"]]);
    assert_eq!(
        listed.iter().map(summary).collect::<Vec<_>>(),
        [
            json!([2, "wamid.anna-2", "2026-09-22T14:13:29Z"]),
            json!([1, "wamid.carla-1", "2026-09-22T14:13:27Z"]),
            json!([1, "wamid.bruno-1", "2026-09-22T14:13:25Z"]),
        ]
    );
    assert_eq!(listed[0]["user"]["phone"], "393481213456");
    assert_eq!(listed[1]["user"]["user_id"], "IT.13491208655302741918");

    for (query, found) in [
        ("name=RoSSi", &["Carla Rossi"][..]),
        ("number=39348", &["Anna Bianchi"]),
        ("number=%2B44%207700", &["Bruno Verdi"]),
        ("name=a%20b&number=39", &["Anna Bianchi"]),
        ("channel=acme-orders&name=bruno", &["Bruno Verdi"]),
        ("name=nobody", &[]),
    ] {
        assert_eq!(names(&acme, query).await, found, "{query}");
    }
    // Page by page it is the same.
    for limit in [1, 2, 3] {
        assert_eq!(acme.list("/v1/conversations", limit).await.unwrap(), listed, "{limit}");
    }

    let id = listed[0]["id"].as_str().unwrap();
    for (up_to, left) in
        [(json!({ "up_to": "wamid.anna-1" }), 1), (json!({}), 0), (json!({ "up_to": "wamid.anna-1" }), 0)]
    {
        let (status, read) = acme.write(&format!("/v1/conversations/{id}/read"), &up_to).await.unwrap();
        assert_eq!((status.as_u16(), &read["unread"]), (200, &left.into()), "{read}");
    }
    assert_eq!(names(&acme, "unread=true").await, ["Carla Rossi", "Bruno Verdi"]);

    // Another tenant has its own, and these do not exist.
    assert_eq!(conversations(&globex, "").await.len(), 1);
    for path in [format!("/v1/conversations/{id}"), format!("/v1/conversations/{id}/messages")] {
        assert_eq!(acme.read(&path).await.unwrap().0.as_u16(), 200);
        let (status, problem) = globex.read(&path).await.unwrap();
        assert_eq!((status.as_u16(), &problem["type"]), (404, &"/problems/conversation-not-found".into()));
    }
    let (status, _) = globex.write(&format!("/v1/conversations/{id}/read"), &json!({})).await.unwrap();
    assert_eq!(status.as_u16(), 404);
    assert_numbered_without_gaps(&streams.events().await.unwrap());
}

#[tokio::test]
async fn a_message_that_was_edited_or_withdrawn_shows_so_in_whatever_order_it_is_told() {
    let (staffetta, _up) = Installation::up(Setup::default()).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    let acme = staffetta.tenant(ORDERS, &streams);
    let user = anna();
    let edited = user.message(
        "wamid.edit",
        START + 10,
        "edit",
        json!({ "original_message_id": "wamid.a", "message": { "type": "text", "text": { "body": "meglio" } } }),
    );
    let revoked =
        user.message("wamid.revoke", START + 11, "revoke", json!({ "original_message_id": "wamid.b" }));
    let leaves = [
        edited,
        user.text("wamid.b", START + 2),
        user.text("wamid.a", START + 1),
        revoked,
        // Of the same second, as they came.
        user.text("wamid.c", START + 3),
        user.text("wamid.d", START + 3),
    ];
    for leaf in &leaves {
        staffetta.meta.deliver(&user.webhook(ORDERS, std::slice::from_ref(leaf))).await.unwrap();
    }
    staffetta.settled(&streams).await.unwrap();

    let conversation = with(&acme, &user).await;
    let found = messages(&acme, &conversation).await;
    let order: Vec<&Value> = found.iter().map(|message| &message["wamid"]).collect();
    assert_eq!(order, ["wamid.d", "wamid.c", "wamid.b", "wamid.a"]);
    assert_eq!(found[3]["content"]["body"], "wamid.a");
    assert_eq!(
        found[3]["edited"],
        json!({ "at": clock(10), "type": "text", "content": { "body": "meglio" } })
    );
    assert_eq!(found[2]["withdrawn_at"], clock(11));
    assert_eq!(found[2].get("content"), None);
    assert_eq!(conversation["last_message"]["wamid"], "wamid.d");
    assert_eq!(conversation["sequence"], leaves.len());

    let events = streams.events().await.unwrap();
    assert_eq!(only(&events, "message.edited", "wamid.edit").data["original_wamid"], "wamid.a");
    assert_eq!(only(&events, "message.deleted", "wamid.revoke").data["original_wamid"], "wamid.b");
    assert_numbered_without_gaps(&events);
}

/// What happened to a message of the phone's own app, each at a time of its own.
const STEPS: [&[&str]; 2] = [&["echo", "sent", "delivered", "read"], &["echo", "sent", "failed"]];

#[tokio::test]
async fn each_step_of_a_message_is_kept_in_whatever_order_it_is_told() {
    let (staffetta, _up) = Installation::up(Setup::default()).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    let acme = staffetta.tenant(ORDERS, &streams);
    let mut cases = Vec::new();
    for steps in STEPS {
        for order in orders(&(0..steps.len()).collect::<Vec<_>>()) {
            // A status may name whom it is about, or nobody.
            cases.push((cases.len(), steps, order.clone(), true));
            cases.push((cases.len(), steps, order, false));
        }
    }
    assert_eq!(cases.len(), 2 * (24 + 6));

    let posts = cases.iter().map(|(n, steps, order, named)| {
        let (user, wamid) = one_of_many(*n);
        let changes: Vec<Value> =
            order.iter().map(|step| happened(&user, &wamid, steps[*step], *step, *named)).collect();
        let meta = &staffetta.meta;
        async move {
            // Together in one body, or each in its own.
            let together = if (n / 2).is_multiple_of(2) { changes.len() } else { 1 };
            for changes in changes.chunks(together) {
                meta.deliver(&body(&[entry(changes)])).await?;
            }
            anyhow::Ok(())
        }
    });
    try_join_all(posts).await.unwrap();
    staffetta.settled(&streams).await.unwrap();

    let events = streams.events().await.unwrap();
    assert_eq!(events.len(), 2 * (24 * 4 + 6 * 3));
    for (n, steps, order, named) in &cases {
        let (user, wamid) = one_of_many(*n);
        let conversation = with(&acme, &user).await;
        let found = messages(&acme, &conversation).await;
        let [message] = &found[..] else { panic!("one message after {order:?}, named: {named}: {found:#?}") };
        assert_eq!(message["wamid"], wamid);
        assert_eq!(message["content"], json!({ "body": wamid }), "after {order:?}, named: {named}");
        assert_eq!(
            (&message["direction"], &message["at"]),
            (&"out".into(), &clock(0).into()),
            "after {order:?}, named: {named}"
        );
        assert_eq!(message["state"], *steps.last().unwrap(), "after {order:?}, named: {named}: {message}");
        let told = message["statuses"].as_array().unwrap();
        assert_eq!(told.len(), steps.len() - 1, "after {order:?}, named: {named}: {message}");
        for (step, status) in told.iter().enumerate() {
            assert_eq!(status["status"], steps[step + 1], "after {order:?}, named: {named}: {message}");
            assert_eq!(
                status["at"],
                clock(i64::try_from(step).unwrap() + 1),
                "after {order:?}, named: {named}: {message}"
            );
            let priced = status["status"] == "sent";
            assert_eq!(status["pricing"]["category"], if priced { json!("utility") } else { Value::Null });
            if status["status"] == "failed" {
                assert_eq!(status["error"]["code"], 131_047);
            }
        }
        if *steps.last().unwrap() == "failed" {
            let of_it = |event: &&staffetta_tests::SeenEvent| {
                event.is("message.status", &wamid) && event.data["status"] == "failed"
            };
            let event = events.iter().find(of_it).unwrap();
            for error in [&message["error"], &event.data["error"]] {
                assert_eq!(error["code"], 131_047, "{error}");
                assert_eq!(error["details"], "More than 24 hours have passed.", "{error}");
                assert!(error["hint"].as_str().unwrap().contains("template"), "{error}");
            }
        }
        // Nobody has anything to read, and no user has opened the window.
        assert_eq!(conversation["unread"], 0);
        assert_eq!(conversation.get("window_closes_at"), None, "{conversation}");
    }
    assert_numbered_without_gaps(&events);
}

/// A user and a message of their own.
fn one_of_many(n: usize) -> (User, String) {
    (User::of_phone("Anna", &format!("3934812{n:05}")), format!("wamid.phone-{n}"))
}

fn happened(user: &User, wamid: &str, what: &str, step: usize, named: bool) -> Value {
    let at = START + i64::try_from(step).unwrap();
    if what == "echo" {
        let echo = json!({ "from": ORDERS.display, "to": user.phone, "id": wamid, "timestamp": at.to_string(),
                           "type": "text", "text": { "body": wamid } });
        return change(ORDERS, "smb_message_echoes", json!({ "message_echoes": [echo] }));
    }
    let about = if named { user.clone() } else { User::default() };
    let mut status = about.status(wamid, what, at);
    if what == "sent" {
        status["pricing"] = json!({ "billable": true, "pricing_model": "PMP", "category": "utility" });
    }
    if what == "failed" {
        status["errors"] = json!([{ "code": 131_047, "title": "Re-engagement message",
                                    "error_data": { "details": "More than 24 hours have passed." } }]);
    }
    change(ORDERS, "messages", json!({ "statuses": [status] }))
}

#[tokio::test]
async fn what_was_sent_through_staffetta_stands_beside_what_the_user_wrote() {
    let (staffetta, _up) = Installation::up(Setup::default()).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    let acme = staffetta.tenant(ORDERS, &streams);
    let mut command = commands("answer", 1, 1).remove(0);
    let user = User::of_phone("Anna", command["to"].as_str().unwrap());
    // A moment ago, so that one may answer.
    let asked = unix_seconds(SystemTime::now()) - 60;
    staffetta.meta.deliver(&user.webhook(ORDERS, &[user.text("wamid.question", asked)])).await.unwrap();
    command["callback_data"] = "order 7".into();
    acme.send(&command).await.unwrap();
    staffetta.told(&streams, &all("command.accepted", std::slice::from_ref(&command))).await.unwrap();
    staffetta.settled(&streams).await.unwrap();

    let events = streams.events().await.unwrap();
    let conversation = with(&acme, &user).await;
    for event in &events {
        assert_eq!(event.data["conversation_id"], conversation["id"], "{event:#?}");
    }
    let found = messages(&acme, &conversation).await;
    let [answer, question] = &found[..] else { panic!("two messages: {found:#?}") };
    assert_eq!(question["wamid"], "wamid.question");
    assert_eq!((&answer["command_id"], &answer["callback_data"]), (&"answer-0".into(), &"order 7".into()));
    assert_eq!((&answer["state"], &answer["content"]["body"]), (&"read".into(), &"answer-0".into()));
    assert_eq!(answer["statuses"].as_array().unwrap().len(), 3);
    assert_eq!(assert_numbered_without_gaps(&events).len(), 1);
}

#[tokio::test]
async fn a_group_is_one_conversation_whoever_writes_in_it() {
    let (staffetta, _up) = Installation::up(Setup::default()).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    let acme = staffetta.tenant(ORDERS, &streams);
    let bruno = User::of_both("Bruno", "447700900123", "GB.13491208655302741918");
    let group = "Y2FwaV9ncm91cDpleGFtcGxlMQ==";
    let mut changes = Vec::new();
    for (n, user) in [anna(), bruno.clone()].iter().enumerate() {
        let mut text = user.text(&format!("wamid.group-{n}"), START + 1 + i64::try_from(n).unwrap());
        text["group_id"] = group.into();
        let status = json!({ "id": "wamid.out", "status": "delivered", "timestamp": START.to_string(),
                             "recipient_id": group, "recipient_type": "group",
                             "recipient_participant_id": user.phone });
        changes.extend([
            user.change(ORDERS, &[text]),
            change(ORDERS, "messages", json!({ "statuses": [status] })),
        ]);
    }
    // The same user elsewhere.
    changes.push(bruno.change(ORDERS, &[bruno.text("wamid.alone", START + 5)]));
    staffetta.meta.deliver(&body(&[entry(&changes)])).await.unwrap();
    staffetta.settled(&streams).await.unwrap();

    let listed = conversations(&acme, "").await;
    let [alone, together] = &listed[..] else { panic!("two conversations: {listed:#?}") };
    assert_eq!(alone["user"]["name"], "Bruno");
    assert_eq!((&together["group"]["id"], together.get("user")), (&group.into(), None), "{together}");
    assert_eq!(together["unread"], 2);
    let said = messages(&acme, together).await;
    let summary: Vec<Value> =
        said.iter().map(|one| json!([one["wamid"], one["name"], one["from"]])).collect();
    assert_eq!(
        summary,
        [
            json!(["wamid.group-1", "Bruno", "447700900123"]),
            json!(["wamid.group-0", "Anna Bianchi", "393481213456"]),
            json!(["wamid.out", null, null]),
        ]
    );
    let of_whom = said[2]["statuses"].as_array().unwrap().iter().map(|status| &status["participant"]);
    assert_eq!(of_whom.collect::<Vec<_>>(), ["393481213456", "447700900123"]);
    let numbered = assert_numbered_without_gaps(&streams.events().await.unwrap());
    assert_eq!(numbered[together["id"].as_str().unwrap()], 4);
}
