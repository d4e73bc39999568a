//! A world of its own for each test: NATS, a database, a provider, a registry of two tenants, and as many dispatchers as
//! wanted.

use std::collections::{BTreeMap, HashSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{PullConsumer, pull};
use async_nats::jetstream::{self, stream};
use bytes::Bytes;
use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};
use prost::Message as _;
use serde_json::{Value, json};
use sqlx::Connection;
use staffetta_bus::{
    Bus, Encoding, MasterKey, RegistryFile, RegistryStore, RegistryView, Retention, Unnamed,
    decode_dead_letter, decode_event, trace_of,
};
use staffetta_dispatcher::Dispatcher;
use staffetta_domain::Event;
use staffetta_proto::json::to_struct;
use staffetta_proto::v1;
use staffetta_runtime::Health;
use staffetta_runtime::config::{DispatcherConfig, GraphConfig};
use staffetta_simulator::{
    Behaviour, ChannelReport, Detail, Fault, FaultKind, Options, SendSeen, SimChannel, Simulator,
};
use staffetta_store::{CommandRecord, Store, StoreOptions};
use staffetta_testkit::{Company, FaultProxy, NatsServer, Postgres, until};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Mutex, MutexGuard};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::pace::Beats;

/// For what comes some time, however busy the machine is: a lease that is lost on the way costs seconds.
pub(crate) const LIMIT: Duration = Duration::from_secs(300);

/// The number of `acme-orders`.
pub(crate) const NUMBER: &str = "100";
/// The number of `acme-care`.
pub(crate) const CARE: &str = "101";
pub(crate) const ANNA: &str = "393480000001";
pub(crate) const BRUNO: &str = "393480000002";

/// Which database a world has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Storage {
    Sqlite,
    Postgres,
}

/// How a world begins.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) storage: Storage,
    pub(crate) config: DispatcherConfig,
    pub(crate) registry: RegistryText,
}

impl Default for Setup {
    fn default() -> Self {
        let config = DispatcherConfig { doubt_wait_seconds: 3_600, ..DispatcherConfig::default() };
        Self { storage: Storage::Sqlite, config, registry: RegistryText::default() }
    }
}

/// What varies in the registry.
#[derive(Clone, Debug)]
pub(crate) struct RegistryText {
    pub(crate) rate: u32,
    pub(crate) token: &'static str,
    pub(crate) doubt_policy: &'static str,
    /// Who owns `acme-orders`; nobody if empty.
    pub(crate) owner: &'static str,
    /// More channels, each with a comma before it.
    pub(crate) more: &'static str,
}

impl Default for RegistryText {
    fn default() -> Self {
        Self { rate: 200, token: "token", doubt_policy: "resend", owner: "acme", more: "" }
    }
}

impl RegistryText {
    fn text(&self) -> String {
        let Self { rate, token, doubt_policy, owner, more } = self;
        let orders = match *owner {
            "" => String::new(),
            owner => format!(
                r#"{{ id = "acme-orders", tenant = "{owner}", provider = "cloud_api", waba_id = "W",
                phone_number_id = "{NUMBER}", access_token = "{token}", rate = {rate} }},"#
            )
            .replace('\n', " "),
        };
        format!(
            r#"tenant = [{{ id = "acme", encoding = "json", doubt_policy = "{doubt_policy}" }}, {{ id = "beta" }}]
            channel = [{orders} {{ id = "acme-care", tenant = "acme", provider = "cloud_api", waba_id = "W", phone_number_id = "{CARE}", access_token = "care-token", rate = 200 }}{more}]"#
        )
    }
}

pub(crate) struct World {
    pub(crate) nats: NatsServer,
    pub(crate) bus: Bus,
    pub(crate) store: Store,
    pub(crate) provider: Simulator,
    /// In front of the provider.
    pub(crate) provider_line: FaultProxy,
    /// In front of PostgreSQL.
    pub(crate) database_line: Option<FaultProxy>,
    database_url: String,
    config: DispatcherConfig,
    /// The test's own way to NATS, with more patience than a service has.
    jetstream: jetstream::Context,
    events: PullConsumer,
    /// What was read of EVENTS, by its place there.
    seen: Mutex<BTreeMap<u64, Event>>,
    pub(crate) beats: Beats,
    _folder: TempDir,
    _outside: Outside,
    /// Given up last.
    _company: Company,
}

/// The provider's own thread: what it sees does not depend on what the test is busy with.
struct Outside(Option<Runtime>);

impl Outside {
    fn new() -> Self {
        let threads = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Self(Some(threads.unwrap()))
    }

    async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        self.0.as_ref().unwrap().spawn(work).await.unwrap()
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        self.0.take().unwrap().shutdown_background();
    }
}

/// A dispatcher that runs beside the test.
pub(crate) struct Running {
    stop: CancellationToken,
    ended: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    /// Stops it, and sees that it ends well.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(LIMIT, self.ended).await.unwrap().unwrap().unwrap();
    }
}

fn master() -> Option<Arc<MasterKey>> {
    Some(Arc::new(MasterKey::new(&"test master key".to_owned().into())))
}

impl World {
    /// With one dispatcher that runs.
    pub(crate) async fn start(setup: Setup) -> (Self, Running) {
        let world = Box::pin(Self::prepare(setup)).await;
        let running = Box::pin(world.dispatcher()).await;
        (world, running)
    }

    /// Without a dispatcher.
    pub(crate) async fn prepare(setup: Setup) -> Self {
        let company = Company::others().await;
        let nats = NatsServer::start().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (database_url, database_line) = match setup.storage {
            Storage::Sqlite => (format!("sqlite:{}", folder.path().join("staffetta.db").display()), None),
            Storage::Postgres => {
                let url = Postgres::shared().await.unwrap().database().await.unwrap().url().to_owned();
                let (before, rest) = url.split_once("127.0.0.1:").unwrap();
                let (port, after) = rest.split_once('/').unwrap();
                let line = FaultProxy::before(format!("127.0.0.1:{port}").parse().unwrap()).await.unwrap();
                (format!("{before}{}/{after}", line.address()), Some(line))
            }
        };
        let store = store(&database_url, LIMIT).await;
        store.migrate().await.unwrap();
        let bus = Bus::connect(nats.url(), "test").await.unwrap();
        set_up_streams(&bus).await;
        let jetstream = jetstream::ContextBuilder::new()
            .timeout(Duration::from_secs(20))
            .ack_timeout(LIMIT)
            .build(bus.client().clone());
        let stream = jetstream.get_stream("EVENTS").await.unwrap();
        let events = stream
            .create_consumer(pull::Config { inactive_threshold: LIMIT * 4, ..pull::Config::default() })
            .await
            .unwrap();
        let number = |id: &str, token: &str| SimChannel {
            phone_number_id: id.into(),
            access_token: token.into(),
            display_phone_number: format!("39061{id}"),
            waba_id: "W".into(),
            verified_name: "Acme".into(),
            rate: NonZeroU32::new(10_000).unwrap(),
            webhook: None,
        };
        let options = Options {
            channels: vec![number(NUMBER, "token"), number(CARE, "care-token")],
            behaviour: Behaviour { statuses: Vec::new(), pair: None, ..Behaviour::default() },
            ..Options::default()
        };
        let outside = Outside::new();
        let (provider, begun, provider_line) = outside
            .run(async {
                let provider = staffetta_simulator::start(options).await.unwrap();
                let begun = Instant::now();
                let line = FaultProxy::before(provider.address()).await.unwrap();
                (provider, begun, line)
            })
            .await;
        let beats = Beats::start(begun, outside.0.as_ref().unwrap().handle());
        let world = Self {
            nats,
            bus,
            store,
            provider,
            provider_line,
            database_line,
            database_url,
            config: setup.config,
            jetstream,
            events,
            seen: Mutex::default(),
            beats,
            _folder: folder,
            _outside: outside,
            _company: company,
        };
        world.apply(&setup.registry).await;
        world
    }

    /// One more dispatcher, with connections of its own.
    pub(crate) async fn dispatcher(&self) -> Running {
        let stop = CancellationToken::new();
        let bus = Bus::connect(self.nats.url(), "dispatcher").await.unwrap();
        let following = CancellationToken::new();
        let (registry, follow) = RegistryView::follow(&bus, master(), following.clone()).await.unwrap();
        let store = store(&self.database_url, Duration::from_secs(3)).await;
        let graph = GraphConfig {
            base_url: format!("http://{}", self.provider_line.address()),
            version: "v23.0".into(),
        };
        let health = Health::default();
        let made = Dispatcher::new(&self.config, &graph, bus, registry, store, &health);
        let dispatcher = Box::pin(made).await.unwrap();
        let run = dispatcher.run(stop.clone());
        let ended = tokio::spawn(async move {
            let (outcome, ()) = tokio::join!(
                async {
                    let outcome = run.await;
                    following.cancel();
                    outcome
                },
                follow
            );
            outcome
        });
        Running { stop, ended }
    }

    /// Brings the registry to this state, other entries gone.
    pub(crate) async fn apply(&self, registry: &RegistryText) {
        let store = RegistryStore::open(&self.bus, master()).await.unwrap();
        let file = RegistryFile::parse(&registry.text()).unwrap();
        let plan = store.plan(vec![file], Unnamed::Delete).await.unwrap();
        store.apply(plan).await.unwrap();
    }

    /// Publishes a command in JSON on a lane of `acme-orders`.
    pub(crate) async fn send(&self, lane: &str, command: &Value) {
        self.publish(&format!("acme.acme-orders.{lane}"), json_headers(), command.to_string()).await;
    }

    pub(crate) async fn send_all(&self, lane: &str, commands: &[Value]) {
        for command in commands {
            self.send(lane, command).await;
        }
    }

    /// Puts anything at all on SEND.
    pub(crate) async fn publish(&self, place: &str, headers: HeaderMap, payload: impl Into<Bytes>) {
        let subject = format!("staffetta.v1.send.{place}");
        let stored = self.jetstream.publish_with_headers(subject, headers, payload.into()).await;
        stored.unwrap().await.unwrap();
    }

    /// Changes the PostgreSQL database behind everybody's back.
    pub(crate) async fn sql(&self, statement: &'static str) {
        let mut connection = sqlx::PgConnection::connect(&self.database_url).await.unwrap();
        sqlx::query(statement).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    /// Every event that EVENTS holds by now, in their order there.
    pub(crate) async fn events(&self) -> Vec<Event> {
        let read = async || Some(self.read_events().await?.values().cloned().collect());
        until("EVENTS to be read to its end", LIMIT, read).await.unwrap()
    }

    /// `None` while something that EVENTS holds has not come: a consumer hears a moment later of what is stored.
    async fn read_events(&self) -> Option<MutexGuard<'_, BTreeMap<u64, Event>>> {
        let stored = self.stream("EVENTS").await?.cached_info().state.messages;
        let mut seen = self.seen.lock().await;
        if (seen.len() as u64) < stored {
            let mut batch = self.events.fetch().max_messages(1_000).messages().await.ok()?;
            while let Some(message) = batch.next().await {
                let message = message.ok()?;
                let headers = message.headers.as_ref();
                let event = decode_event(Encoding::of(headers), &message.payload).unwrap();
                let event = Event { trace: trace_of(headers), ..event };
                seen.insert(message.info().unwrap().stream_sequence, event);
                message.ack().await.ok()?;
            }
        }
        (seen.len() as u64 >= stored).then_some(seen)
    }

    async fn stream(&self, name: &str) -> Option<stream::Stream> {
        self.jetstream.get_stream(name).await.ok()
    }

    /// Waits until each command has an event of this kind, and gives back the events of the kind.
    pub(crate) async fn told(&self, kind: &str, ids: &[&str]) -> Vec<Event> {
        let kind = format!("staffetta.command.{kind}");
        until(&format!("{kind} of {ids:?}"), LIMIT, async || {
            // Whoever sends shares the thread with those who look: looking must cost little.
            let seen = self.read_events().await?;
            let of_kind = || seen.values().filter(|event| event.kind.as_str() == kind);
            let told: HashSet<&str> = of_kind().map(|event| &*event.subject).collect();
            ids.iter().all(|id| told.contains(id)).then(|| of_kind().cloned().collect())
        })
        .await
        .unwrap()
    }

    /// Waits until each of these commands is accepted.
    pub(crate) async fn accepted(&self, commands: &[Value]) -> Vec<Event> {
        let ids: Vec<&str> = commands.iter().map(|command| command["id"].as_str().unwrap()).collect();
        self.told("accepted", &ids).await
    }

    /// Waits for the `n`-th change of a hold, and gives back all.
    pub(crate) async fn holds(&self, n: usize) -> Vec<Event> {
        until("the hold to be told", LIMIT, async || {
            let mut events = self.events().await;
            events.retain(|event| event.kind.as_str() == "staffetta.channel.changed");
            (events.len() >= n).then_some(events)
        })
        .await
        .unwrap()
    }

    /// Waits until SEND is empty and every event is announced.
    pub(crate) async fn settled(&self) {
        until("SEND to be empty", LIMIT, async || {
            // In this order: how a command ended is written before it leaves SEND.
            let waiting = self.waiting().await;
            let later = Timestamp::now() + SignedDuration::from_hours(1);
            let untold = self.store.unannounced(later, 1).await.ok()?;
            (waiting == 0 && untold.is_empty()).then_some(())
        })
        .await
        .unwrap();
    }

    /// How many commands SEND holds.
    pub(crate) async fn waiting(&self) -> u64 {
        let send = until("SEND to be there", LIMIT, async || self.stream("SEND").await).await.unwrap();
        send.cached_info().state.messages
    }

    /// What SEND holds, oldest first.
    pub(crate) async fn queued(&self) -> Vec<Value> {
        let send = until("SEND to be there", LIMIT, async || self.stream("SEND").await).await.unwrap();
        let mut queued = Vec::new();
        for sequence in 1..=send.cached_info().state.last_sequence {
            if let Ok(message) = send.get_raw_message(sequence).await {
                queued.push(serde_json::from_slice(&message.payload).unwrap());
            }
        }
        queued
    }

    /// Every dead letter.
    pub(crate) async fn letters(&self) -> Vec<v1::DeadLetter> {
        let mut stream = self.stream("DEAD").await.unwrap();
        let last = stream.info().await.unwrap().state.last_sequence;
        let mut letters = Vec::new();
        for sequence in 1..=last {
            letters
                .push(decode_dead_letter(&stream.get_raw_message(sequence).await.unwrap().payload).unwrap());
        }
        letters
    }

    /// The reasons of all dead letters.
    pub(crate) async fn reasons(&self) -> Vec<String> {
        self.letters().await.into_iter().map(|letter| letter.reason).collect()
    }

    /// What the database knows of a command of acme.
    pub(crate) async fn record(&self, id: &str) -> Option<CommandRecord> {
        self.store.command(&"acme".parse().unwrap(), &id.parse().unwrap()).await.unwrap()
    }

    /// What the provider saw of a number.
    pub(crate) fn report(&self, number: &str) -> ChannelReport {
        self.provider.report(Detail::Sends).channels[number].clone()
    }

    /// What the provider accepted of `acme-orders`, in order of arrival.
    pub(crate) fn sends(&self) -> Vec<SendSeen> {
        self.report(NUMBER).sends.unwrap()
    }

    /// The texts that the provider accepted, in order of arrival.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.sends().into_iter().filter_map(|send| send.text).collect()
    }

    /// Waits until the provider has accepted so many.
    pub(crate) async fn sent(&self, count: u64) {
        until("the provider to have accepted some", LIMIT, async || {
            let report = self.provider.report(Detail::Figures);
            (report.channels[NUMBER].accepted >= count).then_some(())
        })
        .await
        .unwrap();
    }

    /// Waits until no send has arrived for a while.
    pub(crate) async fn quiet(&self) {
        until("the sending to pause", LIMIT, async || {
            let before = self.provider.report(Detail::Figures).channels[NUMBER].accepted;
            tokio::time::timeout(Duration::from_millis(300), self.sent(before + 1)).await.err()
        })
        .await
        .unwrap();
    }

    pub(crate) fn fault(&self, fault: Fault) {
        self.provider.add_fault(fault).unwrap();
    }

    /// An error for the next `count` sends.
    pub(crate) fn error(&self, code: u32, count: u64) {
        self.fault(Fault::times(FaultKind::Error { code }, count));
    }
}

pub(crate) async fn set_up_streams(bus: &Bus) {
    let retention = Retention { replicas: 1, webhooks_max_bytes: 1 << 30, lane_max_commands: 100_000 };
    bus.set_up_streams(&retention).await.unwrap();
}

async fn store(url: &str, timeout: Duration) -> Store {
    let options = StoreOptions { timeout, ..StoreOptions::default() };
    Store::connect(url, &options).await.unwrap()
}

pub(crate) fn json_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("Content-Type", "application/json");
    headers
}

/// A command to send a text, which is the command's own id: so that it is known again at the provider.
pub(crate) fn text(id: &str, to: &str) -> Value {
    json!({ "id": id, "to": to, "type": "text", "text": { "body": id } })
}

/// Texts to some users in turn.
pub(crate) fn texts(prefix: &str, count: usize, users: usize) -> Vec<Value> {
    (0..count).map(|n| text(&format!("{prefix}-{n:04}"), &format!("39333{:07}", n % users))).collect()
}

/// The same in Protocol Buffers.
pub(crate) fn protobuf(command: &Value) -> Vec<u8> {
    let field = |name: &str| command[name].as_str().unwrap_or_default().to_owned();
    v1::SendCommand {
        id: field("id"),
        to: field("to"),
        r#type: field("type"),
        text: command["text"].as_object().map(to_struct),
        ..v1::SendCommand::default()
    }
    .encode_to_vec()
}

/// Each command went out once, and those of one recipient in the order of `commands`.
pub(crate) fn assert_once_in_order(sends: &[SendSeen], commands: &[Value]) {
    let order = |to: &str, all: &mut dyn Iterator<Item = (String, String)>| -> Vec<String> {
        all.filter(|(recipient, _)| recipient == to).map(|(_, text)| text).collect()
    };
    let sent = || sends.iter().map(|send| (send.to.clone(), send.text.clone().unwrap_or_default()));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let wanted = || commands.iter().map(|command| (text(&command["to"]), text(&command["text"]["body"])));
    assert_eq!(sends.len(), commands.len());
    for (to, _) in wanted() {
        assert_eq!(order(&to, &mut sent()), order(&to, &mut wanted()), "to {to}");
    }
}
