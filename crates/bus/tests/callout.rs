//! Tenants on a real server: each reaches its own subjects with its own key, and nothing else.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::{Client, ConnectOptions};
use futures_util::StreamExt;
use staffetta_bus::{
    Bus, Callout, CalloutKeys, Credentials, RegistryFile, RegistryStore, RegistryView, Retention, Unnamed,
};
use staffetta_testkit::{NatsOptions, NatsServer, until};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Longest wait for anything. The server's for an answer about a tenant too: left to itself it waits for two seconds,
/// which are over at once on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

const REGISTRY: &str = r#"
tenant = [
    { id = "acme", api_keys = [
        { sha256 = "ACME" },
        { sha256 = "READS", scopes = ["read"] },
        { sha256 = "SENDS", scopes = ["send"] },
        { sha256 = "ADMINS", scopes = ["admin"] },
        { sha256 = "OVER", expires = "2020-01-01T00:00:00Z" },
    ] },
    { id = "beta", api_keys = [{ sha256 = "BETA" }] },
]
channel = [
    { id = "orders", tenant = "acme", provider = "cloud_api", phone_number_id = "1" },
    { id = "shop", tenant = "beta", provider = "cloud_api", phone_number_id = "2" },
]
endpoint = [
    { id = "acme-bus", tenant = "acme", kind = "nats" },
    { id = "beta-bus", tenant = "beta", kind = "nats" },
]
"#;

struct World {
    nats: NatsServer,
    bus: Bus,
    registry: RegistryView,
    keys: CalloutKeys,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

/// What a tenant's connection was refused.
type Refusals = tokio::sync::mpsc::UnboundedReceiver<String>;

impl World {
    async fn new() -> Self {
        Self::waiting(LIMIT).await
    }

    /// With a server that waits for that long until it is told who somebody is.
    async fn waiting(answer: Duration) -> Self {
        let keys = CalloutKeys::fresh().unwrap();
        let conf = include_str!("../../../deploy/nats/tenants.conf");
        let extra_config = conf
            .replace("$STAFFETTA_NATS_PASSWORD", "\"for tests\"")
            .replace("$STAFFETTA_NATS_SYS_PASSWORD", "\"for operators\"")
            .replace("$STAFFETTA_CALLOUT_ISSUER", &keys.issuer)
            .replace("$STAFFETTA_CALLOUT_XKEY", &keys.xkey)
            .replace("authorization {", &format!("authorization {{\n  timeout: {}", answer.as_secs()));
        let nats =
            NatsServer::start_with(NatsOptions { extra_config, ..NatsOptions::default() }).await.unwrap();
        let credentials = Credentials { user: "staffetta".into(), password: "for tests".to_owned().into() };
        let bus = Bus::connect_as(nats.url(), "test", Some(&credentials)).await.unwrap();
        let retention = Retention { replicas: 1, webhooks_max_bytes: 1 << 20, lane_max_commands: 100 };
        bus.set_up_streams(&retention).await.unwrap();
        let mut registry = REGISTRY.to_owned();
        for key in ["ACME", "READS", "SENDS", "ADMINS", "OVER", "BETA"] {
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.as_bytes());
            registry = registry.replace(&format!("\"{key}\""), &format!("\"{}\"", hex::encode(digest)));
        }
        let stop = CancellationToken::new();
        apply(&bus, &registry).await;
        let (view, following) = RegistryView::follow(&bus, None, stop.clone()).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(following);
        for endpoint in ["acme-bus", "beta-bus"] {
            let config = pull::Config {
                durable_name: Some(format!("endpoint-{endpoint}")),
                filter_subject: format!("staffetta.v1.event.{}.*.*", &endpoint[..4]),
                ack_policy: AckPolicy::Explicit,
                ..pull::Config::default()
            };
            bus.jetstream().create_consumer_on_stream(config, "EVENTS").await.unwrap();
        }
        Self { nats, bus, registry: view, keys, tasks, stop }
    }

    async fn answer(&mut self) {
        let callout = Callout::new(
            self.bus.clone(),
            self.registry.clone(),
            &self.keys.issuer_seed,
            Some(&self.keys.xkey_seed),
            "TENANTS",
        );
        let (callout, stop) = (callout.unwrap(), self.stop.clone());
        self.tasks.spawn(async move { callout.run(|_| {}, stop).await.unwrap() });
        // During the first it subscribes; the second goes behind that on the same connection.
        self.round_trip().await;
        self.round_trip().await;
    }

    /// Waits until the server has taken in what was said on the services' connection.
    async fn round_trip(&self) {
        let stream = async || self.bus.jetstream().get_stream("SEND").await.ok();
        until("an answer", LIMIT, stream).await.unwrap();
    }

    async fn with_token(&self, token: &str) -> Result<(Client, Refusals), async_nats::ConnectError> {
        self.connect(ConnectOptions::with_token(token.into()), "acme").await
    }

    async fn connect(
        &self,
        options: ConnectOptions,
        tenant: &str,
    ) -> Result<(Client, Refusals), async_nats::ConnectError> {
        let (tell, refusals) = tokio::sync::mpsc::unbounded_channel();
        let told = move |event| {
            let tell = tell.clone();
            async move {
                if let async_nats::Event::ServerError(error) = event {
                    let _ = tell.send(error.to_string());
                }
            }
        };
        let options = options
            .connection_timeout(LIMIT)
            .event_callback(told)
            .custom_inbox_prefix(format!("_INBOX_{tenant}"));
        Ok((options.retry_on_initial_connect_off().connect(self.nats.url()).await?, refusals))
    }
}

/// Whether somebody is not let in. A client takes whatever the server says first for a welcome, and to one who waits for
/// a second the server says PING; what it makes of the key it says then.
async fn is_kept_out(connected: Result<(Client, Refusals), async_nats::ConnectError>) -> bool {
    match connected {
        Ok((_client, mut refusals)) => timeout(LIMIT, refusals.recv()).await.is_ok_and(|said| said.is_some()),
        Err(_) => true,
    }
}

/// The first connect decides.
trait Once {
    fn retry_on_initial_connect_off(self) -> Self;
}

impl Once for ConnectOptions {
    fn retry_on_initial_connect_off(self) -> Self {
        self.max_reconnects(1)
    }
}

async fn apply(bus: &Bus, text: &str) {
    let store = RegistryStore::open(bus, None).await.unwrap();
    let plan = store.plan(vec![RegistryFile::parse(text).unwrap()], Unnamed::Keep).await.unwrap();
    store.apply(plan).await.unwrap();
}

async fn told(bus: &Bus, tenant: &str) {
    let subject = format!("staffetta.v1.event.{tenant}.orders.message-received");
    bus.jetstream().publish(subject, "an event".into()).await.unwrap().await.unwrap();
}

async fn refused(refusals: &mut Refusals) -> String {
    timeout(LIMIT, refusals.recv()).await.unwrap().unwrap().to_lowercase()
}

#[tokio::test]
async fn a_tenant_sends_and_reads_its_own() {
    let mut world = World::new().await;
    world.answer().await;
    let (client, _) = world.with_token("ACME").await.unwrap();
    let jetstream = async_nats::jetstream::new(client.clone());
    let stored = jetstream.publish("staffetta.v1.send.acme.orders.urgent", "a command".into()).await.unwrap();
    assert_eq!(stored.await.unwrap().stream, "SEND");

    let mut live = client.subscribe("staffetta.v1.event.acme.>").await.unwrap();
    let mut answers = client.subscribe("staffetta.v1.answer.acme.>").await.unwrap();
    client.flush().await.unwrap();
    told(&world.bus, "beta").await;
    told(&world.bus, "acme").await;
    let event = timeout(LIMIT, live.next()).await.unwrap().unwrap();
    assert_eq!(event.subject.as_str(), "staffetta.v1.event.acme.orders.message-received");

    world.bus.client().publish("staffetta.v1.answer.acme.x", "an answer".into()).await.unwrap();
    assert_eq!(timeout(LIMIT, answers.next()).await.unwrap().unwrap().payload, "an answer");

    // By the consumer that keeps its place.
    let pull = async || {
        let inbox = client.new_inbox();
        let mut pulled = client.subscribe(inbox.clone()).await.unwrap();
        let next = "$JS.API.CONSUMER.MSG.NEXT.EVENTS.endpoint-acme-bus";
        let request = r#"{"batch":1,"no_wait":true}"#;
        client.publish_with_reply(next, inbox, request.into()).await.unwrap();
        timeout(LIMIT, pulled.next()).await.unwrap().unwrap()
    };
    let kept = pull().await;
    assert_eq!(kept.payload, "an event");
    timeout(LIMIT, client.request(kept.reply.unwrap(), "+ACK".into())).await.unwrap().unwrap();
    assert_eq!(pull().await.status.unwrap().as_u16(), 404);
    world.stop.cancel();
}

#[tokio::test]
async fn whoever_looks_at_its_consumer_has_one_answer() {
    let mut world = World::new().await;
    world.answer().await;
    let (client, _refusals) = world.with_token("ACME").await.unwrap();
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.unwrap();
    // A second answer to one of the questions would stand before the answer to the next.
    for _ in 0..20 {
        let subject = "$JS.API.CONSUMER.INFO.EVENTS.endpoint-acme-bus";
        client.publish_with_reply(subject, inbox.clone(), "".into()).await.unwrap();
        let answer = timeout(LIMIT, answers.next()).await.unwrap().unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap();
        assert_eq!(answer["name"], "endpoint-acme-bus", "{answer:#}");
    }
    world.stop.cancel();
}

#[tokio::test]
async fn nobody_reaches_what_is_not_its_own() {
    let mut world = World::new().await;
    world.answer().await;
    let (client, mut refusals) = world.with_token("ACME").await.unwrap();
    for subject in [
        "staffetta.v1.send.beta.orders.urgent",
        "staffetta.v1.send.beta.shop.urgent",
        "staffetta.v1.send.acme.orders.urgent.more",
        // Nobody would ever read these.
        "staffetta.v1.send.acme.shop.urgent",
        "staffetta.v1.send.acme.Orders.urgent",
        "staffetta.v1.send.acme.orders.fast",
        "staffetta.v1.event.acme.orders.message-received",
        "staffetta.v1.webhook.0",
        "staffetta.v1.dead.recorder.none.none",
        "staffetta.v1.wake.acme.orders.urgent",
        "staffetta.v1.told.acme.orders.message-received",
        "staffetta.v1.received.orders",
        "$KV.REGISTRY.tenant.acme",
        "$KV.LEASES.part.0",
        "$JS.API.INFO",
        "$JS.API.STREAM.INFO.SEND",
        "$JS.API.STREAM.PURGE.SEND",
        "$JS.API.STREAM.MSG.GET.EVENTS",
        "$JS.API.DIRECT.GET.EVENTS",
        "$JS.API.DIRECT.GET.KV_REGISTRY",
        "$JS.API.CONSUMER.CREATE.EVENTS",
        "$JS.API.CONSUMER.DELETE.EVENTS.endpoint-acme-bus",
        "$JS.API.CONSUMER.MSG.NEXT.EVENTS.endpoint-beta-bus",
        "$JS.API.CONSUMER.INFO.EVENTS.endpoint-beta-bus",
        "$JS.ACK.EVENTS.endpoint-beta-bus.1.1.1.1.1",
        "$SYS.REQ.USER.AUTH",
        "_INBOX_beta.x",
        "_INBOX.x",
    ] {
        client.publish(subject, "x".into()).await.unwrap();
        let refusal = refused(&mut refusals).await;
        assert!(refusal.contains("permissions violation for publish"), "{subject}: {refusal}");
    }
    for subject in [
        ">",
        "*",
        "staffetta.>",
        "staffetta.v1.event.>",
        "staffetta.v1.event.*.orders.*",
        "staffetta.v1.event.beta.>",
        "staffetta.v1.answer.beta.>",
        "staffetta.v1.send.acme.*.*",
        "staffetta.v1.wake.>",
        "staffetta.v1.told.acme.*.*",
        "staffetta.v1.received.*",
        "_INBOX.>",
        "_INBOX_beta.>",
        "$JS.>",
        "$KV.>",
        "$SYS.>",
    ] {
        let _subscribed = client.subscribe(subject).await.unwrap();
        let refusal = refused(&mut refusals).await;
        assert!(refusal.contains("permissions violation for subscription"), "{subject}: {refusal}");
    }
    world.stop.cancel();
}

#[tokio::test]
async fn a_key_opens_as_far_as_its_scopes_reach() {
    let mut world = World::new().await;
    world.answer().await;
    let next = "$JS.API.CONSUMER.MSG.NEXT.EVENTS.endpoint-acme-bus";
    let (sends, reads) = ("staffetta.v1.send.acme.orders.normal", "staffetta.v1.event.acme.*.*");
    for (key, may_send, may_read) in
        [("ACME", true, true), ("SENDS", true, false), ("READS", false, true), ("ADMINS", false, false)]
    {
        let (client, mut refusals) = world.with_token(key).await.unwrap();
        for (allowed, publish) in [(may_send, sends), (may_read, next)] {
            client.publish(publish, "{}".into()).await.unwrap();
            if !allowed {
                assert!(refused(&mut refusals).await.contains("publish"), "{key} {publish}");
            }
        }
        let _subscribed = client.subscribe(reads).await.unwrap();
        if !may_read {
            assert!(refused(&mut refusals).await.contains("subscription"), "{key}");
        }
        // What was refused before is told before.
        client.publish("staffetta.v1.webhook.0", "x".into()).await.unwrap();
        let refusal = refused(&mut refusals).await;
        assert!(refusal.contains("staffetta.v1.webhook.0"), "{key}: {refusal}");
        assert!(refusals.try_recv().is_err(), "{key}");
    }
    world.stop.cancel();
}

#[tokio::test]
async fn whoever_shows_no_key_is_not_let_in() {
    let mut world = World::new().await;
    world.answer().await;
    for token in ["", "acme", "ACME ", "OVER", "staffetta", "for tests"] {
        assert!(is_kept_out(world.with_token(token).await).await, "{token}");
    }
    assert!(is_kept_out(world.connect(ConnectOptions::new(), "acme").await).await);
    let user =
        |user: &str, password: &str| ConnectOptions::with_user_and_password(user.into(), password.into());
    for (name, password) in
        [("beta", "ACME"), ("acme", "BETA"), ("acme", ""), ("acme", "OVER"), ("staffetta", "ACME")]
    {
        let connected = world.connect(user(name, password), "acme").await;
        assert!(is_kept_out(connected).await, "{name} {password}");
    }
    assert!(world.connect(user("acme", "ACME"), "acme").await.is_ok());
    world.stop.cancel();
}

#[tokio::test]
async fn a_new_tenant_needs_no_change_of_the_server() {
    let mut world = World::new().await;
    world.answer().await;
    // Two of them share the questions.
    world.answer().await;
    let digest = hex::encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"GAMMA"));
    let tenant = format!("tenant = [{{ id = \"gamma\", api_keys = [{{ sha256 = \"{digest}\" }}] }}]");
    let channel =
        "channel = [{ id = \"a\", tenant = \"gamma\", provider = \"cloud_api\", phone_number_id = \"3\" }]";
    apply(&world.bus, &format!("{tenant}\n{channel}")).await;
    until("the new tenant to be let in", LIMIT, async || {
        let options = ConnectOptions::with_token("GAMMA".into());
        let (client, _) = world.connect(options, "gamma").await.ok()?;
        // A client that is welcome at first may still be sent away.
        let jetstream = async_nats::jetstream::new(client);
        let stored = jetstream.publish("staffetta.v1.send.gamma.a.bulk", "a command".into()).await.ok()?;
        stored.await.ok()
    })
    .await
    .unwrap();
    world.stop.cancel();
}

#[tokio::test]
async fn without_an_answer_nobody_but_staffetta_is_let_in() {
    let world = World::waiting(Duration::from_secs(10)).await;
    assert!(is_kept_out(world.with_token("ACME").await).await);
    let credentials = Credentials { user: "staffetta".into(), password: "for tests".to_owned().into() };
    Bus::connect_as(world.nats.url(), "another", Some(&credentials)).await.unwrap();
    world.stop.cancel();
}

#[tokio::test]
async fn what_is_no_servers_question_gets_no_answer() {
    let mut world = World::new().await;
    world.answer().await;
    let client = world.bus.client();
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.unwrap();
    client.publish_with_reply("$SYS.REQ.USER.AUTH", inbox, "a.b.c".into()).await.unwrap();
    world.round_trip().await;
    // Whoever asks later is answered.
    let (acme, _) = world.with_token("ACME").await.unwrap();
    let subject = "staffetta.v1.send.acme.orders.normal";
    let jetstream = async_nats::jetstream::new(acme);
    jetstream.publish(subject, "a command".into()).await.unwrap().await.unwrap();
    assert!(timeout(Duration::from_millis(500), answers.next()).await.is_err(), "nobody answers");
    world.stop.cancel();
}

/// The server answers a publish on whatever subject the publisher names, and no permission keeps it from that: so tenants
/// have an account of their own, and the streams are not in it.
#[tokio::test]
async fn an_answer_cannot_be_sent_into_another_tenants_queue() {
    let mut world = World::new().await;
    world.answer().await;
    let (client, _) = world.with_token("ACME").await.unwrap();
    let (own, other) = ("staffetta.v1.send.acme.orders.normal", "staffetta.v1.send.beta.orders.urgent");
    client.publish_with_reply(own, other, "a command".into()).await.unwrap();
    client.flush().await.unwrap();
    let jetstream = world.bus.jetstream();
    until("the command to be stored", LIMIT, async || {
        let stream = jetstream.get_stream("SEND").await.ok()?;
        (stream.cached_info().state.last_sequence >= 1).then_some(())
    })
    .await
    .unwrap();
    let next = "$JS.API.CONSUMER.MSG.NEXT.EVENTS.endpoint-acme-bus";
    told(&world.bus, "acme").await;
    client.publish_with_reply(next, other, r#"{"batch":1}"#.into()).await.unwrap();
    let event = "staffetta.v1.event.beta.orders.message-received";
    client.publish_with_reply(next, event, r#"{"batch":1}"#.into()).await.unwrap();
    client.flush().await.unwrap();
    // What comes later is stored after whatever these caused.
    told(&world.bus, "acme").await;
    let stored = jetstream.publish("staffetta.v1.send.acme.orders.normal", "marker".into()).await.unwrap();
    stored.await.unwrap();
    let stream = jetstream.get_stream("SEND").await.unwrap();
    assert_eq!(stream.cached_info().state.last_sequence, 2);
    let events = jetstream.get_stream("EVENTS").await.unwrap();
    assert_eq!(events.cached_info().state.last_sequence, 2);
    world.stop.cancel();
}
