//! What can't be told is on DEAD, and costs nobody else anything.

use bytes::Bytes;
use serde_json::{Value, json};
use staffetta_proto::v1::{BodyEncoding, Provider, RawWebhook, WebhookEnvelope};
use staffetta_testkit::until;

use crate::harness::{Kind, LIMIT, World, body, fit, text};

#[tokio::test]
async fn a_broken_leaf_goes_to_dead_and_the_others_go_on() {
    let mut world = World::new(Kind::Sqlite).await;
    world.start_recorder().await;
    let broken = json!({"messages": [text("39", "wamid.A"), "nonsense", text("39", "wamid.B")]});
    world
        .publish_raw(&[
            Bytes::from_static(b"no JSON at all"),
            body("100", &broken).to_string().into(),
            Bytes::from_static(b"{\"entry\":[]}"),
            body("100", &json!({"messages": [text("39", "wamid.C")]})).to_string().into(),
        ])
        .await;
    world.publish_bytes(Bytes::from_static(b"\xff\xff\xff")).await;
    world.settled().await;

    let told: Vec<String> = world.events().await.into_iter().map(|event| event.subject).collect();
    assert_eq!(told, ["wamid.A", "wamid.B", "wamid.C"]);
    let letters = world.letters().await;
    assert!(letters.iter().all(|letter| letter.reason == "malformed" && letter.service == "recorder"));
    let mut payloads: Vec<&[u8]> = letters.iter().map(|letter| &*letter.payload).collect();
    payloads.sort_unstable();
    assert_eq!(payloads, [&b"\"nonsense\""[..], b"no JSON at all", b"{\"entry\":[]}", b"\xff\xff\xff"]);
    let place = "webhook w: entry[0].changes[0].value.messages[1] is not an object";
    assert!(letters.iter().any(|letter| letter.detail == place));
    world.stop().await;
}

#[tokio::test]
async fn a_number_that_nobody_owns_goes_to_dead_and_can_be_replayed() {
    let mut world = World::new(Kind::Sqlite).await;
    world.start_recorder().await;
    world.publish(&[body("999", &json!({"messages": [text("39", "wamid.A")]}))]).await;
    world.settled().await;
    assert!(world.events().await.is_empty());
    let letters = world.letters().await;
    assert_eq!((letters.len(), letters[0].reason.as_str()), (1, "unrouted"));
    assert_eq!(letters[0].subject, "staffetta.v1.webhook.0");
    assert!(!letters[0].detail.contains("999"));
    assert_eq!(world.messages("DEAD").await[0].subject.as_str(), "staffetta.v1.dead.recorder.none.none");

    let claimed = String::from_utf8(letters[0].payload.to_vec()).unwrap().replace("999", "101");
    world.publish_raw(&[claimed.into()]).await;
    world.settled().await;
    let events = world.events().await;
    assert_eq!((events.len(), events[0].channel.as_str()), (1, "acme-returns"));
    world.stop().await;
}

#[tokio::test]
async fn a_tenants_own_app_speaks_for_its_channels_alone() {
    let mut world = World::new(Kind::Sqlite).await;
    world.start_recorder().await;
    let mixed = |user: &str| {
        let to = |number: &str| body(number, &json!({"messages": [text(user, &format!("wamid.{number}"))]}));
        [to("100").to_string().into(), to("200").to_string().into()]
    };
    world.publish_through("beta-own", &mixed("39")).await;
    world.settled().await;
    let events = world.events().await;
    assert_eq!((events.len(), events[0].channel.as_str()), (1, "beta-shop"));
    let letters = world.letters().await;
    assert_eq!((letters.len(), letters[0].reason.as_str()), (1, "foreign_app"));
    assert_eq!(letters[0].tenant, "");
    // The operator's app brings the same message for whoever owns the number.
    world.publish_through("meta-main", &mixed("39")).await;
    world.settled().await;
    assert_eq!(world.events().await.len(), 2);
    world.stop().await;
}

#[tokio::test]
async fn an_accounts_news_reach_each_of_its_tenants_once() {
    let mut world = World::new(Kind::Sqlite).await;
    world.start_recorder().await;
    let news = |value: Value| {
        json!({"entry": [{"id": "WABA", "time": 1_739_321_024,
                                                "changes": [{"field": "phone_number_quality_update", "value": value}]}]})
    };
    world
        .publish(&[news(json!({"event": "ONBOARDING"})), news(json!({"display_phone_number": "3902100"}))])
        .await;
    let partner = json!({"event": "PARTNER_ADDED", "waba_info": {"waba_id": "WABA"}});
    let change = json!({"field": "account_update", "value": partner});
    world
        .publish(&[json!({"entry": [{"id": "a portfolio", "time": 1_739_321_024, "changes": [change]}]})])
        .await;
    world.settled().await;
    let mut channels: Vec<String> =
        world.events().await.iter().map(|event| event.channel.to_string()).collect();
    channels.sort();
    assert_eq!(channels, ["acme-orders", "acme-orders", "acme-orders", "beta-shop", "beta-shop"]);
    world.stop().await;
}

#[tokio::test]
async fn a_packed_body_is_unpacked_and_foreign_ones_are_kept() {
    let mut world = World::new(Kind::Sqlite).await;
    world.start_recorder().await;
    let plain = body("100", &json!({"messages": [text("39", "wamid.A")]})).to_string();
    let webhook = |provider: Provider, encoding: BodyEncoding, body: Vec<u8>| RawWebhook {
        id: "w".into(),
        provider: provider.into(),
        source: "meta-main".into(),
        encoding: encoding.into(),
        body: body.into(),
        ..RawWebhook::default()
    };
    let webhooks = vec![
        webhook(Provider::Meta, BodyEncoding::Gzip, packed(plain.as_bytes())),
        webhook(Provider::Meta, BodyEncoding::Gzip, b"not packed".to_vec()),
        webhook(Provider::Meta, BodyEncoding::Gzip, packed(&vec![b' '; (3 << 20) + 1])),
        webhook(Provider::Twilio, BodyEncoding::Unspecified, b"Body=ciao".to_vec()),
    ];
    world.publish_envelope(&WebhookEnvelope { webhooks }).await;
    world.settled().await;
    assert_eq!(world.events().await.len(), 1);
    let mut details: Vec<String> = world.letters().await.into_iter().map(|letter| letter.detail).collect();
    details.sort();
    assert_eq!(
        details,
        [
            "webhook w is of a provider that is not supported yet",
            "webhook w: its body can't be unpacked",
            "webhook w: its body is larger than 3 MiB",
        ]
    );
    world.stop().await;
}

#[tokio::test]
async fn a_leaf_that_the_database_refuses_goes_to_dead_alone() {
    let mut world = World::new(Kind::Postgres).await;
    world.sql("ALTER TABLE events ADD CHECK (subject <> 'wamid.13')").await;
    let messages: Vec<Value> = (0..40).map(|n| text("39", &format!("wamid.{n}"))).collect();
    world.publish(&[body("100", &json!({"messages": messages}))]).await;
    world.start_recorder().await;
    world.settled().await;

    assert_eq!(world.told().await.len(), 39);
    let letters = world.letters().await;
    assert_eq!((letters.len(), letters[0].reason.as_str()), (1, "refused"));
    assert_eq!((letters[0].tenant.as_str(), letters[0].channel.as_str()), ("acme", "acme-orders"));
    assert!(letters[0].payload.windows(8).any(|bytes| bytes == b"wamid.13"));
    world.stop().await;
}

#[tokio::test]
async fn a_database_that_refuses_everything_makes_nothing_dead() {
    let mut world = World::new(Kind::Postgres).await;
    world.sql("ALTER TABLE events RENAME TO elsewhere").await;
    world.publish(&[body("100", &json!({"messages": [text("39", "wamid.A"), text("39", "wamid.B")]}))]).await;
    let health = world.start_recorder().await;
    until("the recorder to be stuck", LIMIT, async || (!fit(&health)).then_some(())).await.unwrap();
    world.sql("ALTER TABLE elsewhere RENAME TO events").await;
    world.settled().await;

    assert_eq!(world.told().await.len(), 2);
    assert!(world.letters().await.is_empty());
    world.stop().await;
}

/// As a database that is mended just when somebody looks whether it is.
#[tokio::test]
async fn a_database_that_refuses_once_makes_nothing_dead() {
    let mut world = World::new(Kind::Postgres).await;
    world.sql("CREATE SEQUENCE tries").await;
    world
        .sql(
            "CREATE FUNCTION refuse_once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF nextval('tries') = 1 THEN RAISE undefined_table; END IF; RETURN NEW; END $$",
        )
        .await;
    world
        .sql("CREATE TRIGGER refusing BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION refuse_once()")
        .await;
    world.publish(&[body("100", &json!({"messages": [text("39", "wamid.A")]}))]).await;
    world.start_recorder().await;
    world.settled().await;

    assert_eq!(world.told().await.len(), 1);
    assert!(world.letters().await.is_empty());
    world.stop().await;
}

pub(crate) fn packed(body: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(body).unwrap();
    packer.finish().unwrap()
}

#[tokio::test]
async fn what_differs_in_a_byte_that_is_no_character_is_two_letters() {
    let mut world = World::new(Kind::Sqlite).await;
    world.start_recorder().await;
    for payload in [&b"\xff\xff\xff"[..], b"\xff\xff\xfe"] {
        world.publish_bytes(Bytes::from_static(payload)).await;
    }
    let foreign = |source: &str| RawWebhook {
        id: "w".into(),
        provider: Provider::Twilio.into(),
        source: source.into(),
        body: Bytes::from_static(b"Body=ciao"),
        ..RawWebhook::default()
    };
    world.publish_envelope(&WebhookEnvelope { webhooks: vec![foreign("one"), foreign("two")] }).await;
    world.settled().await;
    assert_eq!(world.letters().await.len(), 4);
    world.stop().await;
}

#[tokio::test]
async fn an_accounts_news_that_is_refused_is_a_letter_to_each_of_its_tenants() {
    let mut world = World::new(Kind::Postgres).await;
    world.sql("ALTER TABLE events ADD CHECK (subject <> 'account_review_update')").await;
    world.start_recorder().await;
    let news = json!({"entry": [{"id": "WABA", "time": 1_739_321_024,
                                 "changes": [{"field": "account_review_update", "value": {"decision": "APPROVED"}}]}]});
    world.publish(&[news]).await;
    world.settled().await;
    let mut tenants: Vec<String> = world.letters().await.into_iter().map(|letter| letter.tenant).collect();
    tenants.sort();
    assert_eq!(tenants, ["acme", "beta"]);
    world.stop().await;
}
