//! A world of its own for each test: NATS, a database, a registry of two tenants, and as many recorders as wanted.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use async_nats::jetstream::consumer::{self, AckPolicy, pull};
use async_nats::jetstream::stream::DiscardPolicy;
use async_nats::jetstream::{Context, Message};
use bytes::Bytes;
use futures_util::StreamExt;
use jiff::Timestamp;
use prost::Message as _;
use serde_json::{Value, json};
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use sqlx::{Connection, FromRow};
use staffetta_bus::{
    Bus, Encoding, RegistryFile, RegistryStore, RegistryView, Retention, Unnamed, decode_dead_letter,
    decode_event, webhook_subject,
};
use staffetta_domain::{ChannelId, CommandId, Event, EventId, EventType, Lane, Object, TenantId};
use staffetta_proto::json::to_timestamp;
use staffetta_proto::v1::{DeadLetter, Provider, RawWebhook, WebhookEnvelope};
use staffetta_recorder::Recorder;
use staffetta_runtime::Health;
use staffetta_runtime::config::RecorderConfig;
use staffetta_store::{Claim, Store, StoreOptions};
use staffetta_testkit::{NatsOptions, NatsServer, Postgres, until};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) const LIMIT: Duration = Duration::from_secs(180);
/// How long databases and NATS may take for an answer that a test does not want to miss.
const ANSWER: Duration = Duration::from_secs(30);
/// See [`World::forget_published_ids_soon`]. A publish is repeated after three seconds.
pub(crate) const FORGOTTEN_AFTER: Duration = Duration::from_secs(5);

/// Two tenants, who read their events differently, keep them for different times, and share an account.
const REGISTRY: &str = r#"
app = [{ id = "meta-main" }, { id = "meta-other" }, { id = "beta-own", tenant = "beta" }]
tenant = [{ id = "acme", encoding = "json", retention_days = 8 }, { id = "beta" }]
channel = [
    { id = "acme-orders", tenant = "acme", provider = "cloud_api", waba_id = "WABA", phone_number_id = "100", display_phone_number = "+39 02 100" },
    { id = "acme-returns", tenant = "acme", provider = "cloud_api", waba_id = "WABA", phone_number_id = "101" },
    { id = "beta-shop", tenant = "beta", provider = "cloud_api", waba_id = "WABA", phone_number_id = "200" },
]
"#;

pub(crate) struct World {
    pub(crate) nats: NatsServer,
    pub(crate) bus: Bus,
    pub(crate) store: Store,
    pub(crate) database_url: String,
    _folder: TempDir,
    running: JoinSet<anyhow::Result<()>>,
    /// Each recorder's view of the registry.
    views: Vec<RegistryView>,
    stop: CancellationToken,
}

/// Which database a world has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

impl World {
    pub(crate) async fn new(kind: Kind) -> Self {
        // As large as messages are where nobody says anything else.
        let options = NatsOptions { max_payload: 1 << 20, ..NatsOptions::default() };
        let nats = NatsServer::start_with(options).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let database_url = match kind {
            Kind::Sqlite => format!("sqlite:{}", folder.path().join("staffetta.db").display()),
            Kind::Postgres => Postgres::shared().await.unwrap().database().await.unwrap().url().to_owned(),
        };
        let store = store(&database_url).await;
        store.migrate().await.unwrap();
        let bus = Bus::connect(nats.url(), "test").await.unwrap();
        let retention = Retention { replicas: 1, webhooks_max_bytes: 1 << 30, lane_max_commands: 1_000 };
        bus.set_up_streams(&retention).await.unwrap();
        let registry = RegistryStore::open(&bus, None).await.unwrap();
        let plan = registry.plan(vec![RegistryFile::parse(REGISTRY).unwrap()], Unnamed::Keep).await.unwrap();
        registry.apply(plan).await.unwrap();
        let (running, views, stop) = (JoinSet::new(), Vec::new(), CancellationToken::new());
        Self { nats, bus, store, database_url, _folder: folder, running, views, stop }
    }

    /// Changes the registry.
    pub(crate) async fn apply(&self, text: &str) {
        let registry = RegistryStore::open(&self.bus, None).await.unwrap();
        let files = vec![RegistryFile::parse(text).unwrap()];
        registry.apply(registry.plan(files, Unnamed::Keep).await.unwrap()).await.unwrap();
    }

    /// A recorder with connections of its own.
    pub(crate) async fn start_recorder(&mut self) -> Health {
        let store = store(&self.database_url).await;
        Box::pin(self.start_recorder_on(store)).await
    }

    pub(crate) async fn start_recorder_on(&mut self, store: Store) -> Health {
        let health = Health::default();
        let made = recorder(self.nats.url(), store, &health, self.stop.clone());
        let (follow, view, recorder) = Box::pin(made).await;
        self.views.push(view);
        self.running.spawn(async move {
            follow.await;
            Ok(())
        });
        self.running.spawn(recorder.run(self.stop.clone()));
        health
    }

    /// Tells every recorder to stop.
    pub(crate) fn tell_to_stop(&self) {
        self.stop.cancel();
    }

    /// Stops every recorder, and sees that each ends well.
    pub(crate) async fn stop(&mut self) {
        self.tell_to_stop();
        let ending = async {
            while let Some(ended) = self.running.join_next().await {
                ended.unwrap().unwrap();
            }
        };
        tokio::time::timeout(LIMIT, ending).await.unwrap();
        self.views.clear();
        self.stop = CancellationToken::new();
    }

    /// Waits until every recorder has heard whose the number is.
    pub(crate) async fn all_know_owner(&self, number: &str, channel: &str) {
        let knows = |view: &RegistryView| {
            view.load().channel_of_number(number).is_some_and(|owner| owner.id.as_str() == channel)
        };
        until("every recorder to know the owner", LIMIT, async || self.views.iter().all(knows).then_some(()))
            .await
            .unwrap();
    }

    fn jetstream(&self) -> Context {
        let mut jetstream = self.bus.jetstream().clone();
        jetstream.set_timeout(ANSWER);
        jetstream
    }

    /// Puts one envelope on WEBHOOKS.
    pub(crate) async fn publish(&self, bodies: &[Value]) {
        let bodies: Vec<Bytes> = bodies.iter().map(|body| body.to_string().into()).collect();
        self.publish_raw(&bodies).await;
    }

    pub(crate) async fn publish_raw(&self, bodies: &[Bytes]) {
        self.publish_through("meta-main", bodies).await;
    }

    /// As that app signed them.
    pub(crate) async fn publish_through(&self, app: &str, bodies: &[Bytes]) {
        let webhooks = bodies.iter().map(|body| RawWebhook {
            id: "w".into(),
            provider: Provider::Meta.into(),
            source: app.into(),
            received_at: Some(to_timestamp(Timestamp::now())),
            body: body.clone(),
            ..RawWebhook::default()
        });
        self.publish_envelope(&WebhookEnvelope { webhooks: webhooks.collect() }).await;
    }

    pub(crate) async fn publish_envelope(&self, envelope: &WebhookEnvelope) {
        self.publish_bytes(envelope.encode_to_vec().into()).await;
    }

    pub(crate) async fn publish_bytes(&self, payload: Bytes) {
        let stored = self.jetstream().publish(webhook_subject(0), payload).await.unwrap();
        stored.await.unwrap();
    }

    /// Waits until every envelope is acknowledged and every event announced.
    pub(crate) async fn settled(&self) {
        until("everything to be recorded and told", LIMIT, async || {
            let waiting = self.bus.webhook_backlog().await.ok()?;
            let untold = self.store.unannounced(Timestamp::now(), 10).await.ok()?;
            (waiting == 0 && untold.is_empty()).then_some(())
        })
        .await
        .unwrap();
    }

    /// Every event, in the order of EVENTS.
    pub(crate) async fn events(&self) -> Vec<Event> {
        let messages = self.messages("EVENTS").await;
        messages
            .iter()
            .map(|message| decode_event(Encoding::of(message.headers.as_ref()), &message.payload).unwrap())
            .collect()
    }

    /// Every dead letter.
    pub(crate) async fn letters(&self) -> Vec<DeadLetter> {
        let messages = self.messages("DEAD").await;
        messages.iter().map(|message| decode_dead_letter(&message.payload).unwrap()).collect()
    }

    pub(crate) async fn count(&self, stream: &str) -> u64 {
        let stream = self.jetstream().get_stream(stream).await.unwrap();
        stream.cached_info().state.messages
    }

    pub(crate) async fn messages(&self, stream: &str) -> Vec<Message> {
        let count = usize::try_from(self.count(stream).await).unwrap();
        if count == 0 {
            return Vec::new();
        }
        let stream = self.jetstream().get_stream(stream).await.unwrap();
        let config = pull::Config { ack_policy: AckPolicy::None, ..pull::Config::default() };
        let consumer = stream.create_consumer(config).await.unwrap();
        let batch = consumer.fetch().max_messages(count).messages().await.unwrap();
        batch.map(Result::unwrap).collect().await
    }

    /// From here on EVENTS soon forgets what was published under which id: what is announced again later shows. A publish
    /// that is repeated because its acknowledgement is late does not.
    pub(crate) async fn forget_published_ids_soon(&self) {
        let stream = self.jetstream().get_stream("EVENTS").await.unwrap();
        let mut config = stream.cached_info().config.clone();
        config.duplicate_window = FORGOTTEN_AFTER;
        self.jetstream().update_stream(config).await.unwrap();
    }

    /// From here on EVENTS takes no more than so many events; -1 lifts that.
    pub(crate) async fn limit_events(&self, most: i64) {
        let stream = self.jetstream().get_stream("EVENTS").await.unwrap();
        let mut config = stream.cached_info().config.clone();
        (config.max_messages, config.discard) = (most, DiscardPolicy::New);
        self.jetstream().update_stream(config).await.unwrap();
    }

    /// Changes the PostgreSQL database behind everybody's back.
    pub(crate) async fn sql(&self, statement: &'static str) {
        let mut connection = sqlx::PgConnection::connect(&self.database_url).await.unwrap();
        sqlx::query(statement).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    /// What the database says; the statements are for PostgreSQL and for SQLite.
    pub(crate) async fn rows<T>(&self, postgres: &'static str, sqlite: &'static str) -> Vec<T>
    where
        T: for<'r> FromRow<'r, PgRow> + for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
    {
        if self.database_url.starts_with("sqlite:") {
            let mut connection = sqlx::SqliteConnection::connect(&self.database_url).await.unwrap();
            sqlx::query_as(sqlite).fetch_all(&mut connection).await.unwrap()
        } else {
            let mut connection = sqlx::PgConnection::connect(&self.database_url).await.unwrap();
            sqlx::query_as(postgres).fetch_all(&mut connection).await.unwrap()
        }
    }

    /// The ids of the events that the database has.
    pub(crate) async fn recorded(&self) -> BTreeSet<String> {
        let rows: Vec<(String,)> =
            self.rows("SELECT replace(id::text, '-', '') FROM events", "SELECT id FROM events").await;
        rows.into_iter().map(|(id,)| id).collect()
    }

    /// The recorders' place on WEBHOOKS.
    pub(crate) async fn consumer(&self) -> consumer::Info {
        let stream = self.jetstream().get_stream("WEBHOOKS").await.unwrap();
        stream.consumer_info("recorder").await.unwrap()
    }

    /// Removes the recorder's consumer: what was not acknowledged comes again at once.
    pub(crate) async fn forget_consumer(&self) {
        let stream = self.jetstream().get_stream("WEBHOOKS").await.unwrap();
        stream.delete_consumer("recorder").await.unwrap();
    }

    /// How often each event was told, by its id.
    pub(crate) async fn told(&self) -> HashMap<String, usize> {
        let mut told = HashMap::new();
        for event in self.events().await {
            *told.entry(event.id.to_string()).or_default() += 1;
        }
        told
    }
}

pub(crate) async fn store(url: &str) -> Store {
    Store::connect(url, &StoreOptions { timeout: ANSWER, ..StoreOptions::default() }).await.unwrap()
}

/// A store that soon gives up waiting for the database.
pub(crate) async fn impatient_store(url: &str) -> Store {
    let options = StoreOptions { timeout: Duration::from_secs(3), ..StoreOptions::default() };
    until("the database to answer", LIMIT, async || Store::connect(url, &options).await.ok()).await.unwrap()
}

/// A recorder, its view of the registry, and the future that the view lives on.
pub(crate) async fn recorder(
    nats_url: &str,
    store: Store,
    health: &Health,
    stop: CancellationToken,
) -> (impl Future<Output = ()> + Send + use<>, RegistryView, Recorder) {
    let bus = Bus::connect(nats_url, "recorder").await.unwrap();
    let (registry, follow) = RegistryView::follow(&bus, None, stop).await.unwrap();
    // In the shortest time, so that pruning goes on beside everything else.
    let config = RecorderConfig { prune_interval_seconds: 1, ..RecorderConfig::default() };
    let recorder = Recorder::new(&config, bus, registry.clone(), store, health).await.unwrap();
    (follow, registry, recorder)
}

/// A body with these leaves of one number.
pub(crate) fn body(number: &str, lists: &Value) -> Value {
    let mut value = json!({"messaging_product": "whatsapp", "metadata": {"phone_number_id": number}});
    value.as_object_mut().unwrap().extend(lists.as_object().unwrap().clone());
    json!({"object": "whatsapp_business_account",
           "entry": [{"id": "WABA", "changes": [{"field": "messages", "value": value}]}]})
}

pub(crate) fn text(from: &str, wamid: &str) -> Value {
    json!({"from": from, "id": wamid, "timestamp": "1602139392", "type": "text", "text": {"body": "ciao"}})
}

pub(crate) fn status(wamid: &str, status: &str) -> Value {
    json!({"id": wamid, "status": status, "timestamp": "1602139392", "recipient_id": "393481213456"})
}

/// The conversation of an event, and its number there.
pub(crate) fn turn(event: &Event) -> Option<(String, u64)> {
    Some((event.data.get("conversation_id")?.as_str()?.to_owned(), event.data.get("sequence")?.as_u64()?))
}

/// Each conversation's numbers, in the order in which they were told. Sees that none is missing and none stands twice.
pub(crate) fn turns(events: &[Event]) -> BTreeMap<String, Vec<u64>> {
    let mut turns: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (conversation, sequence) in events.iter().filter_map(turn) {
        turns.entry(conversation).or_default().push(sequence);
    }
    for (conversation, told) in &turns {
        let mut sorted = told.clone();
        sorted.sort_unstable();
        assert!(sorted.iter().copied().eq(1..=told.len() as u64), "{conversation}: {sorted:?}");
    }
    turns
}

/// Sees that each conversation was told in its order, from 1, without gap or repeat.
pub(crate) fn in_turn(events: &[Event]) {
    for (conversation, told) in turns(events) {
        assert!(told.is_sorted(), "{conversation}: {told:?}");
    }
}

/// A claim of a command of acme.
pub(crate) fn claim(id: &str) -> Claim {
    let tenant: TenantId = "acme".parse().unwrap();
    let id: CommandId = id.parse().unwrap();
    let channel: ChannelId = "acme-orders".parse().unwrap();
    let in_doubt = Event {
        id: EventId::of(&["doubt", id.as_str()]),
        tenant: tenant.clone(),
        channel: channel.clone(),
        kind: EventType::CommandInDoubt,
        time: Timestamp::now(),
        subject: id.to_string(),
        data: Object::new(),
        trace: None,
    };
    Claim {
        tenant,
        channel,
        id,
        lane: Lane::Normal,
        user: "393481213456".into(),
        kind: "text".into(),
        content: "{}".into(),
        callback_data: Some("the tenant's own".into()),
        epoch: 1,
        sequence: 1,
        at: Timestamp::now(),
        in_doubt,
        trace: None,
    }
}

/// Whether every check passes.
pub(crate) fn fit(health: &Health) -> bool {
    health.checks().iter().all(|(_, passes)| *passes)
}
