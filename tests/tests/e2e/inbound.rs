//! What comes in: each leaf to its owner, once, and numbered.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;
use serde_json::{Value, json};
use staffetta_testkit::until;
use staffetta_tests::{
    APP, CARE, Installation, LIMIT, Number, ORDERS, RegistryText, SECOND_APP, SeenEvent, Setup, Storage,
    Streams, User, body, change, entry, message, status,
};

use crate::{assert_numbered_without_gaps, only};

/// A number that nobody owns at first.
const NEW: Number =
    Number { channel: "acme-new", tenant: "acme", phone_number_id: "100300", display: "390281456200" };

#[tokio::test]
async fn of_a_body_with_everything_each_tenant_gets_its_own_once() {
    let (staffetta, mut up) = Installation::up(Setup::default()).await.unwrap();
    let streams = staffetta.streams().await.unwrap();
    let [first, second] = mixed();
    staffetta.meta.deliver(&body(&[first.clone(), second.clone()])).await.unwrap();
    // The same through another app, in another order.
    staffetta.meta.deliver_through(SECOND_APP, &body(&[second, first])).await.unwrap();

    let acme = [
        ("message.received", "wamid.to-orders"),
        ("message.status", "wamid.from-orders"),
        ("webhook.other", "wacid.to-orders"),
        ("template.changed", "message_template_status_update"),
    ];
    let globex = [
        ("message.received", "wamid.to-care"),
        ("message.status", "wamid.from-care"),
        ("message.echoed", "wamid.echo-of-care"),
        ("webhook.other", "of_next_year"),
        ("template.changed", "message_template_status_update"),
    ];
    let wanted: Vec<_> =
        acme.iter().chain(&globex).map(|(kind, subject)| (*kind, (*subject).to_owned())).collect();
    staffetta.told(&streams, &wanted).await.unwrap();
    staffetta.settled(&streams).await.unwrap();
    assert_eq!(told(&streams, ORDERS).await, sorted(&acme));
    assert_eq!(told(&streams, CARE).await, sorted(&globex));
    let dead = streams.dead().await.unwrap();
    let mut reasons: Vec<&str> = dead.iter().map(|letter| letter.reason.as_str()).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["malformed", "unrouted", "unrouted"], "each once, too");

    staffetta.add_channel(NEW).await.unwrap();
    // The recorder may hear of the channel a moment later: then they die again.
    until("the webhooks of the new number to be told", LIMIT, async || {
        let replayed = staffetta.run(&["dead", "replay", "--reason", "unrouted"]).await.ok()?;
        assert_eq!(replayed.code, Some(0), "{replayed:?}");
        staffetta.settled(&streams).await.ok()?;
        let left = staffetta.run(&["dead", "list", "--reason", "unrouted"]).await.ok()?;
        left.stdout.is_empty().then_some(())
    })
    .await
    .unwrap();
    let new = [("message.received", "wamid.to-new"), ("message.status", "wamid.from-new")];
    assert_eq!(told(&streams, NEW).await, sorted(&new));
    assert_eq!(told(&streams, ORDERS).await, sorted(&acme));
    assert_eq!(told(&streams, CARE).await, sorted(&globex));
    assert_numbered_without_gaps(&streams.events().await.unwrap());
    up.stop().await.unwrap();
}

/// Two entries that mix three numbers and their account.
fn mixed() -> [Value; 2] {
    let mut orders = change(
        ORDERS,
        "messages",
        json!({ "messages": [message("wamid.to-orders"), 17], "statuses": [status("wamid.from-orders", "sent")] }),
    );
    orders["value"]["contacts"] = json!([{ "profile": { "name": "Anna" }, "wa_id": "393481213456" }]);
    let echo = json!({ "from": CARE.display, "to": "393481213456", "id": "wamid.echo-of-care",
                       "timestamp": "1795257001", "type": "text", "text": { "body": "dal telefono" } });
    let call = json!({ "id": "wacid.to-orders", "from": "393481213456", "to": ORDERS.display, "event": "connect",
                       "timestamp": "1795257002", "direction": "USER_INITIATED" });
    let template = json!({ "field": "message_template_status_update", "value": {
        "event": "APPROVED", "message_template_id": 90_071_992_547_409_931_i64,
        "message_template_name": "avviso", "message_template_language": "it", "reason": "NONE" } });
    let talk =
        |to: &str, from: &str| json!({ "messages": [message(to)], "statuses": [status(from, "delivered")] });
    [
        entry(&[
            orders,
            change(CARE, "smb_message_echoes", json!({ "message_echoes": [echo] })),
            change(ORDERS, "calls", json!({ "calls": [call] })),
            template,
        ]),
        entry(&[
            change(CARE, "messages", talk("wamid.to-care", "wamid.from-care")),
            change(NEW, "messages", talk("wamid.to-new", "wamid.from-new")),
            change(CARE, "of_next_year", json!({ "something": { "else": true } })),
        ]),
    ]
}

/// Types and subjects of all that was told on the number's channel.
async fn told(streams: &Streams, number: Number) -> Vec<(String, String)> {
    let source = format!("/tenants/{}/channels/{}", number.tenant, number.channel);
    let events = streams.events().await.unwrap();
    let own = events.into_iter().filter(|event| event.source == source);
    let mut told: Vec<_> = own.map(|event| (event.kind, event.subject)).collect();
    told.sort();
    told
}

fn sorted(told: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut told: Vec<_> =
        told.iter().map(|(kind, subject)| ((*kind).to_owned(), (*subject).to_owned())).collect();
    told.sort();
    told
}

#[tokio::test]
async fn two_recorders_that_die_again_and_again_tell_everything_once_and_without_a_gap() {
    let staffetta =
        Installation::prepare(Setup { storage: Storage::Postgres, ..Setup::default() }).await.unwrap();
    assert_eq!(staffetta.run(&["migrate"]).await.unwrap().code, Some(0));
    staffetta.apply(&RegistryText::default()).await.unwrap();
    let _ingress = staffetta.start("ingress").await.unwrap();
    let _api = staffetta.start("api").await.unwrap();
    let mut recorders =
        [staffetta.start("recorder").await.unwrap(), staffetta.start("recorder").await.unwrap()];
    let streams = staffetta.streams().await.unwrap();

    for round in 0..ROUNDS {
        let before = streams.waiting("EVENTS").await.unwrap();
        let died = async {
            // In the midst of it: some of this round is told, and some is not.
            let some = until("the first events of a round", LIMIT, async || {
                (streams.waiting("EVENTS").await.ok()? > before).then_some(())
            });
            some.await?;
            let recorder = &mut recorders[round % 2];
            recorder.kill().await?;
            recorder.start().await
        };
        futures_util::try_join!(post(&staffetta, round), died).unwrap();
    }

    let wanted: Vec<_> = all_bodies().flat_map(Load::told).collect();
    staffetta.told(&streams, &wanted).await.unwrap();
    staffetta.settled(&streams).await.unwrap();
    let mut events = streams.events().await.unwrap();
    let numbered = assert_numbered_without_gaps(&events);
    let mut ids = BTreeSet::new();
    events.retain(|event| ids.insert(event.id.clone()));
    for (kind, subject) in &wanted {
        only_with_statuses(&events, kind, subject);
    }
    assert_eq!(events.len(), wanted.len() + wanted.len() / 2, "each message has two statuses");
    assert_eq!(streams.dead().await.unwrap(), []);

    // The names of each user met: one conversation each, which has all that was told of it under any id.
    let acme = staffetta.tenant(ORDERS, &streams);
    let conversations = acme.list("/v1/conversations", 7).await.unwrap();
    assert_eq!(conversations.len(), USERS);
    let last: BTreeMap<&str, u64> = conversations
        .iter()
        .map(|one| (one["id"].as_str().unwrap(), one["sequence"].as_u64().unwrap()))
        .collect();
    let stayed: BTreeMap<&str, u64> = numbered
        .iter()
        .filter(|(id, _)| last.contains_key(id.as_str()))
        .map(|(id, count)| (id.as_str(), *count))
        .collect();
    assert_eq!(stayed, last);
    assert_merges_are_told(&events, &numbered, &last);
    for conversation in &conversations {
        let id = conversation["id"].as_str().unwrap();
        let messages = acme.list(&format!("/v1/conversations/{id}/messages"), 40).await.unwrap();
        let per_user = ROUNDS * BODIES / USERS;
        // What the user wrote, and what was sent to the user.
        assert_eq!(messages.len(), 2 * per_user, "{id}");
        assert_eq!(conversation["unread"], per_user, "{id}");
    }
    for recorder in &mut recorders {
        recorder.stop().await.unwrap();
    }
}

const ROUNDS: usize = 6;
/// Bodies of a round; each comes twice.
const BODIES: usize = 120;
const USERS: usize = 24;
/// The first round in which a number and an id are told to be one user.
const MEETING: usize = 3;
/// Bodies that Meta sends at a time.
const PARALLEL: usize = 24;

/// A message of a user, and two statuses of a message to the user.
#[derive(Clone, Copy)]
struct Load(usize);

impl Load {
    /// At first by number or by id, later by both as well: then they turn out to be one.
    fn user(self) -> User {
        let Self(n) = self;
        let (name, user) = (format!("User {}", n % USERS), n % USERS);
        let (phone, id) = (format!("3934812{user:05}"), format!("IT.1349{user:05}"));
        match n / USERS {
            turn if turn % 3 == 0 => User::of_phone(&name, &phone),
            turn if turn % 3 == 1 || n < MEETING * BODIES => User::of_id(&name, &id),
            _ => User::of_both(&name, &phone, &id),
        }
    }

    fn body(self) -> Value {
        let (Self(n), user) = (self, self.user());
        let at = 1_790_000_000 + i64::try_from(n).unwrap();
        let [sent, delivered] =
            ["sent", "delivered"].map(|name| user.status(&format!("wamid.out-{n}"), name, at));
        let statuses = if n.is_multiple_of(2) { [sent, delivered] } else { [delivered, sent] };
        let statuses = change(ORDERS, "messages", json!({ "statuses": statuses }));
        let messages = user.change(ORDERS, &[user.text(&format!("wamid.in-{n}"), at)]);
        body(&[entry(&[messages, statuses])])
    }

    fn told(self) -> [(&'static str, String); 2] {
        [
            ("message.received", format!("wamid.in-{}", self.0)),
            ("message.status", format!("wamid.out-{}", self.0)),
        ]
    }
}

fn all_bodies() -> impl Iterator<Item = Load> {
    (0..ROUNDS * BODIES).map(Load)
}

/// Everything of one round, through both apps, the second time the other way round.
async fn post(staffetta: &Installation, round: usize) -> anyhow::Result<()> {
    let bodies: Vec<Value> = (round * BODIES..(round + 1) * BODIES).map(|n| Load(n).body()).collect();
    let posts: Vec<_> = bodies
        .iter()
        .zip(bodies.iter().rev())
        .flat_map(|(one, other)| [(APP, one), (SECOND_APP, other)])
        .collect();
    for some in posts.chunks(PARALLEL) {
        try_join_all(some.iter().map(|(app, body)| staffetta.meta.deliver_through(app, body))).await?;
    }
    Ok(())
}

/// As [`only`], but a message that was sent has two statuses.
#[track_caller]
fn only_with_statuses(events: &[SeenEvent], kind: &str, subject: &str) {
    if kind == "message.status" {
        let of_it = events.iter().filter(|event| event.is(kind, subject));
        let names: BTreeSet<&str> = of_it.filter_map(|event| event.data["status"].as_str()).collect();
        assert_eq!(names, BTreeSet::from(["delivered", "sent"]), "{subject}");
    } else {
        only(events, kind, subject);
    }
}

/// Whether each conversation that is no more is told, once, as part of another one, with its last number.
#[track_caller]
fn assert_merges_are_told(
    events: &[SeenEvent],
    numbered: &BTreeMap<String, u64>,
    stayed: &BTreeMap<&str, u64>,
) {
    let lists = events.iter().filter_map(|event| event.data["merged"].as_array());
    let mut told: Vec<(&str, u64)> = lists
        .flatten()
        .map(|merged| (merged["conversation_id"].as_str().unwrap(), merged["sequence"].as_u64().unwrap()))
        .collect();
    told.sort_unstable();
    let gone = numbered.iter().filter(|(id, _)| !stayed.contains_key(id.as_str()));
    assert!(!told.is_empty(), "no two conversations became one");
    assert_eq!(told, gone.map(|(id, count)| (id.as_str(), *count)).collect::<Vec<_>>());
}
