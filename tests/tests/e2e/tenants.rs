//! What belongs to whom may change, and everybody follows at once.

use std::fs;

use reqwest::Method;
use serde_json::{Value, json};
use staffetta_testkit::until;
use staffetta_tests::{
    APP, CARE, Installation, LIMIT, Number, ORDERS, RegistryText, SeenEvent, Setup, Streams, User, text,
    webhook,
};

use crate::arrivals::writes;
use crate::web::Web;
use crate::{all, apply_lines, assert_each_sent_once_in_order, channel_lines, commands};

const ACME: &str = "the-key-of-acme";
const GLOBEX: &str = "the-key-of-globex";

/// Waits until this change of this channel is told.
async fn changed(streams: &Streams, channel: &str, change: &str) -> SeenEvent {
    let source = format!("/channels/{channel}");
    let what = format!("{change} of {channel}");
    let told = until(&what, LIMIT, async || {
        let mut events = streams.events().await.ok()?;
        events.retain(|event| {
            event.kind == "channel.changed"
                && event.source.ends_with(&source)
                && event.data["change"] == change
        });
        events.pop()
    });
    told.await.unwrap()
}

/// Globex' claim to the number of acme's channel.
const TAKEN: Number = Number { channel: "globex-claim", tenant: "globex", ..ORDERS };

/// The channel that claims it, with the token that the provider takes for the number.
fn claim_lines() -> String {
    let registry = RegistryText::default();
    channel_lines(TAKEN, 250).replace(&registry.token_of(TAKEN), &registry.token_of(ORDERS))
}

#[tokio::test]
async fn a_number_belongs_to_whoever_claimed_it_last_and_both_see_it() {
    let (staffetta, _up) = Installation::up(Setup::default()).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    let (acme, globex) = (staffetta.tenant(ORDERS, &streams), staffetta.tenant(TAKEN, &streams));
    let before = commands("before", 10, 3);
    acme.send_all(&before).await.unwrap();
    staffetta.told(&streams, &all("command.accepted", &before)).await.unwrap();
    staffetta.settled(&streams).await.unwrap();

    let file = staffetta.folder().join("claim.toml");
    fs::write(&file, claim_lines()).unwrap();
    let answer = staffetta.run(&["apply", "-f", file.to_str().unwrap()]).await.unwrap();
    assert!(answer.stdout.contains("takes the number of channel.acme-orders"), "{answer:?}");
    let lost = changed(&streams, ORDERS.channel, "number_lost").await;
    let claimed = changed(&streams, TAKEN.channel, "number_claimed").await;
    let number = Value::from(ORDERS.phone_number_id);
    assert_eq!((&lost.data["phone_number_id"], &claimed.data["phone_number_id"]), (&number, &number));
    assert!(!lost.data.to_string().contains("globex") && !claimed.data.to_string().contains("acme"));

    // The one that lost it sends nothing more, and keeps what it was given; the other one sends.
    let waiting = commands("waiting", 10, 3);
    acme.send_all(&waiting).await.unwrap();
    let hold = changed(&streams, ORDERS.channel, "hold").await;
    assert!(hold.data["hold"].is_object(), "{hold:?}");
    let theirs = commands("theirs", 10, 3);
    globex.send_all(&theirs).await.unwrap();
    staffetta.told(&streams, &all("command.accepted", &theirs)).await.unwrap();
    let both = [before.clone(), theirs.clone()].concat();
    assert_each_sent_once_in_order(&staffetta.sends(ORDERS), &both);
    writes(&staffetta, &User::of_phone("Anna", "393481213456"), "wamid.after").await;
    let events = staffetta.told(&streams, &[("message.received", "wamid.after".into())]).await.unwrap();
    let heard = events.iter().filter(|event| event.subject == "wamid.after");
    let heard: Vec<&str> = heard.map(|event| event.source.as_str()).collect();
    assert_eq!(heard, ["/tenants/globex/channels/globex-claim"]);
    let web = Web::new(&staffetta);
    let path = format!("/graph/v24.0/{}/messages", ORDERS.phone_number_id);
    let refused = web.ask(ACME, Method::POST, &path, &graph_text("393481300001")).await;
    assert_eq!((refused.status, &refused.json()["error"]["error_subcode"]), (400, &33.into()), "{refused:?}");

    // Given back, it sends what it was given meanwhile.
    apply_lines(&staffetta, &elsewhere()).await;
    staffetta.told(&streams, &all("command.accepted", &waiting)).await.unwrap();
    let mut sends = staffetta.sends(ORDERS);
    sends.retain(|send| send.text.as_deref().is_some_and(|text| text.starts_with("waiting-")));
    assert_each_sent_once_in_order(&sends, &waiting);
}

/// Globex' channel with another number.
fn elsewhere() -> String {
    claim_lines().replace(&format!("{:?}", ORDERS.phone_number_id), "\"100999\"")
}

/// A text, as Meta's Cloud API takes it.
#[tokio::test]
async fn a_number_that_is_given_back_is_told_of_as_well() {
    let (staffetta, _up) = Installation::up(Setup::default()).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    // Whose it was is known once something has happened on it.
    let first = commands("first", 1, 1);
    staffetta.tenant(ORDERS, &streams).send_all(&first).await.unwrap();
    staffetta.told(&streams, &all("command.accepted", &first)).await.unwrap();
    apply_lines(&staffetta, &claim_lines()).await;
    changed(&streams, TAKEN.channel, "number_claimed").await;
    apply_lines(&staffetta, &elsewhere()).await;
    changed(&streams, TAKEN.channel, "number_lost").await;
    changed(&streams, ORDERS.channel, "number_claimed").await;
}

#[tokio::test]
async fn what_is_told_late_of_a_message_says_nothing_of_another_s_command() {
    let (staffetta, _up) = Installation::up(Setup::default()).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    let (acme, globex) = (staffetta.tenant(ORDERS, &streams), staffetta.tenant(TAKEN, &streams));
    let command = text("same-id", "393481200002");
    assert_eq!(acme.post(&command).await.unwrap().0.as_u16(), 202);
    staffetta.told(&streams, &[("command.accepted", "same-id".into())]).await.unwrap();
    staffetta.settled(&streams).await.unwrap();
    apply_lines(&staffetta, &claim_lines()).await;
    changed(&streams, TAKEN.channel, "number_claimed").await;
    // Globex has a command of the same id, which waits for its time.
    let mut waits = command.clone();
    waits["send_at"] = "2027-01-01T00:00:00Z".into();
    assert_eq!(globex.post(&waits).await.unwrap().0.as_u16(), 202);

    let late = staffetta.sends(ORDERS).remove(0);
    let mut status = User::of_phone("Anna", &late.to).status(&late.wamid, "played", 1_795_257_000);
    status["biz_opaque_callback_data"] = late.callback_data.clone().into();
    staffetta.meta.deliver(&webhook(ORDERS, &[], &[status])).await.unwrap();
    let told = until("the status", LIMIT, async || {
        let mut events = streams.events().await.ok()?;
        events.retain(|event| event.is("message.status", &late.wamid) && event.data["status"] == "played");
        events.pop()
    });
    let told = told.await.unwrap();
    assert!(told.source.contains("/acme/") || !told.data.to_string().contains("same-id"), "{told:?}");
    // It is known as soon as the database lets it.
    let queued = async || (globex.state("same-id").await? == "queued").then_some(());
    until("the note of globex' own", LIMIT, queued).await.unwrap();
}

fn graph_text(to: &str) -> Value {
    json!({ "messaging_product": "whatsapp", "to": to, "type": "text", "text": { "body": "x" } })
}

#[tokio::test]
async fn a_contact_whose_switch_is_off_is_not_written_to() {
    let (staffetta, _up) = Installation::up(Setup::default()).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    let (acme, globex) = (staffetta.tenant(ORDERS, &streams), staffetta.tenant(CARE, &streams));
    let web = Web::new(&staffetta);
    let (off, other) = ("393481600001", "393481600002");
    let switch = async |on: bool| {
        let contact = json!({ "name": "Anna Bianchi", "company": "Bianchi S.r.l.", "whatsapp": on });
        web.ask(ACME, Method::PUT, &format!("/v1/contacts/+{off}"), &contact).await.status
    };
    assert_eq!(switch(false).await, 201);

    let (status, answer) = acme.post(&text("by-http", off)).await.unwrap();
    assert_eq!(
        (status.as_u16(), &answer["type"], &answer["field"]),
        (422, &"/problems/recipient-switched-off".into(), &"to".into()),
        "{answer}"
    );
    let path = format!("/graph/v24.0/{}/messages", ORDERS.phone_number_id);
    let refused = web.ask(ACME, Method::POST, &path, &graph_text(off)).await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (400, &131_026.into()), "{refused:?}");
    acme.send(&text("by-nats", &format!("+{off}"))).await.unwrap();
    acme.send(&text("to-another", other)).await.unwrap();
    globex.send(&text("of-another", off)).await.unwrap();
    let wanted = [
        ("command.rejected", "by-nats"),
        ("command.accepted", "to-another"),
        ("command.accepted", "of-another"),
    ];
    let events = staffetta.told(&streams, &wanted.map(|(kind, id)| (kind, id.to_owned()))).await.unwrap();
    let rejected = crate::only(&events, "command.rejected", "by-nats");
    assert_eq!(rejected.data["code"], "recipient_switched_off", "{rejected:?}");
    assert_eq!(staffetta.sends(ORDERS).len(), 1);
    assert_eq!(staffetta.sends(CARE).len(), 1);

    // Conversations show the contact to its tenant alone.
    let user = User::of_phone("profile name", off);
    writes(&staffetta, &user, "wamid.contact").await;
    staffetta.told(&streams, &[("message.received", "wamid.contact".into())]).await.unwrap();
    for word in ["bianchi%20s", "Anna%20B"] {
        let found = web.get(ACME, &format!("/v1/conversations?name={word}")).await.json();
        assert_eq!(found["items"][0]["contact"]["whatsapp"], false, "{word}: {found}");
        assert_eq!(
            web.get(GLOBEX, &format!("/v1/conversations?name={word}")).await.json()["items"],
            json!([])
        );
    }

    assert_eq!(switch(true).await, 200);
    assert_eq!(acme.post(&text("again", off)).await.unwrap().0.as_u16(), 202);
    staffetta.told(&streams, &[("command.accepted", "again".into())]).await.unwrap();
}

#[tokio::test]
async fn a_tenants_own_app_is_not_believed_about_anothers_numbers() {
    let (staffetta, _up) = Installation::up(Setup::default()).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    let app = "acme-app";
    let lines = format!("[[app]]\nid = {app:?}\ntenant = \"acme\"\napp_secret = \"the secret of {app}\"\n");
    apply_lines(&staffetta, &lines).await;
    let anna = User::of_phone("Anna", "393481700001");
    let about = |number: Number, wamid: &str| anna.webhook(number, &[anna.text(wamid, 1_795_257_000)]);

    staffetta.meta.deliver_through(app, &about(CARE, "wamid.made-up")).await.unwrap();
    staffetta.meta.deliver_through(app, &about(ORDERS, "wamid.true")).await.unwrap();
    staffetta.meta.deliver_through(APP, &about(CARE, "wamid.theirs")).await.unwrap();
    let wanted = ["wamid.true", "wamid.theirs"].map(|wamid| ("message.received", wamid.to_owned()));
    staffetta.told(&streams, &wanted).await.unwrap();
    let letters = until("the letter", LIMIT, async || {
        let letters = streams.dead().await.ok()?;
        (!letters.is_empty()).then_some(letters)
    });
    let letters = letters.await.unwrap();
    assert_eq!((letters.len(), letters[0].reason.as_str()), (1, "foreign_app"));
    staffetta.settled(&streams).await.unwrap();
    let events = streams.events().await.unwrap();
    assert!(events.iter().all(|event| event.subject != "wamid.made-up"));
    // Neither the one who made it up nor the other one hears of it.
    let web = Web::new(&staffetta);
    for key in [ACME, GLOBEX] {
        assert_eq!(web.get(key, "/v1/dead-letters").await.json()["items"], json!([]));
    }
}

#[tokio::test]
async fn keys_and_tenants_are_followed_without_a_restart() {
    let settings = vec![("STAFFETTA__API__ADMIN_KEY", "the key of whoever runs it".to_owned())];
    let (staffetta, _up) = Installation::up(Setup { settings, ..Setup::default() }).await.unwrap();
    let web = Web::new(&staffetta);
    let operator = "the key of whoever runs it";
    let until_status = async |key: &str, status: u16| {
        let followed = async || (web.get(key, "/v1/channels").await.status == status).then_some(());
        until("the registry to be followed", LIMIT, followed).await.unwrap();
    };

    let lines = "[[tenant]]\nid = \"initech\"\nname = \"Initech\"\napi_keys = [\"a-key-of-initech\"]\n";
    apply_lines(&staffetta, lines).await;
    until_status("a-key-of-initech", 200).await;
    assert_eq!(web.get("a-key-of-initech", "/v1/channels").await.json()["items"], json!([]));

    let made = web
        .ask(operator, Method::POST, "/admin/v1/tenants/initech/keys", &json!({ "scopes": ["read"] }))
        .await;
    assert_eq!(made.status, 201, "{made:?}");
    let (key, id) =
        (made.json()["key"].as_str().unwrap().to_owned(), made.json()["id"].as_str().unwrap().to_owned());
    until_status(&key, 200).await;
    assert_eq!(
        web.ask(&key, Method::PUT, "/v1/contacts/393481600001", &json!({ "name": "x" })).await.status,
        403
    );
    let gone =
        web.ask(operator, Method::DELETE, &format!("/admin/v1/tenants/initech/keys/{id}"), &json!({})).await;
    assert_eq!(gone.status, 204, "{gone:?}");
    until_status(&key, 401).await;
    assert_eq!(web.get("a-key-of-initech", "/v1/channels").await.status, 200);

    // Somebody who looked at an older state changes nothing.
    let path = "/admin/v1/tenants/initech";
    let entry = json!({ "name": "Initech again" });
    let put = async |tag: &str| {
        let request = web
            .request(Method::PUT, path)
            .bearer_auth(operator)
            .header("If-Match", tag)
            .body(entry.to_string());
        crate::web::told(request).await.status
    };
    assert_eq!(web.ask(operator, Method::PUT, path, &entry).await.status, 428);
    assert_eq!(put("\"1\"").await, 412);
    let tag = web.request(Method::GET, path).bearer_auth(operator).send().await.unwrap();
    let tag = tag.headers()["etag"].to_str().unwrap().to_owned();
    assert_eq!(put(&tag).await, 200);
    // The entry was replaced as a whole, and its keys with it.
    until_status("a-key-of-initech", 401).await;
}
