//! A world of its own for each test: NATS, a database, a web service, a registry, and as many deliveries as wanted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use staffetta_bus::{
    Bus, DeadStream, Encoding, LetterFilter, MasterKey, RegistryFile, RegistryStore, RegistryView, Retention,
    Unnamed, event_message, event_subject,
};
use staffetta_delivery::Delivery;
use staffetta_domain::{Event, EventId, EventType};
use staffetta_runtime::{Config, Health};
use staffetta_store::{EndpointKey, EndpointState, Store, StoreOptions};
use staffetta_testkit::{Company, NatsServer, Postgres, until};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::receiver::{Receiver, Seen};

/// For what comes some time, however busy the machine is: a lease that is lost on the way costs seconds.
pub(crate) const LIMIT: Duration = Duration::from_secs(300);

/// Which database a world has.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Storage {
    Sqlite,
    Postgres,
}

pub(crate) struct World {
    pub(crate) nats: NatsServer,
    pub(crate) bus: Bus,
    pub(crate) store: Store,
    pub(crate) receiver: Receiver,
    pub(crate) folder: TempDir,
    pub(crate) config: Config,
    database_url: String,
    published: AtomicU64,
    /// Given up last.
    _company: Company,
}

/// A delivery that runs beside the test.
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

    /// Ends it in the middle of whatever it does.
    pub(crate) async fn kill(self) {
        self.ended.abort();
        let _ = self.ended.await;
    }
}

fn master() -> Option<Arc<MasterKey>> {
    Some(Arc::new(MasterKey::new(&"test master key".to_owned().into())))
}

/// A webhook of tenant `acme`, as an entry in TOML.
pub(crate) fn webhook(world: &World, id: &str) -> String {
    format!(r#"{{ id = "{id}", tenant = "acme", kind = "webhook", url = "{}" }}"#, world.receiver.url(id))
}

impl World {
    pub(crate) async fn prepare(storage: Storage) -> Self {
        let company = Company::others().await;
        let nats = NatsServer::start().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let database_url = match storage {
            Storage::Sqlite => format!("sqlite:{}", folder.path().join("staffetta.db").display()),
            Storage::Postgres => Postgres::shared().await.unwrap().database().await.unwrap().url().to_owned(),
        };
        let store = store(&database_url, LIMIT).await;
        store.migrate().await.unwrap();
        let bus = Bus::connect(nats.url(), "test").await.unwrap();
        let retention = Retention { replicas: 1, webhooks_max_bytes: 1 << 30, lane_max_commands: 100_000 };
        bus.set_up_streams(&retention).await.unwrap();
        let mut config = Config::default();
        config.nats.url = Some(nats.url().to_owned());
        config.delivery.request_timeout_ms = 60_000;
        config.delivery.spool_root = Some(folder.path().to_owned());
        let receiver = Receiver::start().await;
        Self {
            nats,
            bus,
            store,
            receiver,
            folder,
            config,
            database_url,
            published: AtomicU64::new(0),
            _company: company,
        }
    }

    /// With one delivery that runs, and these endpoints.
    pub(crate) async fn start(storage: Storage, endpoints: &[&str]) -> (Self, Running) {
        let world = Self::prepare(storage).await;
        let running = world.begin(endpoints).await;
        (world, running)
    }

    /// One that gives up a request after two seconds.
    pub(crate) async fn start_impatient(storage: Storage, endpoints: &[&str]) -> (Self, Running) {
        let mut world = Self::prepare(storage).await;
        world.config.delivery.request_timeout_ms = 2_000;
        let running = world.begin(endpoints).await;
        (world, running)
    }

    async fn begin(&self, endpoints: &[&str]) -> Running {
        let entries: Vec<String> = endpoints.iter().map(|id| webhook(self, id)).collect();
        self.apply(&entries).await;
        let running = self.delivery().await;
        for id in endpoints {
            self.begun(id).await;
        }
        running
    }

    /// One more delivery, with connections of its own.
    pub(crate) async fn delivery(&self) -> Running {
        let stop = CancellationToken::new();
        let bus = Bus::connect(self.nats.url(), "delivery").await.unwrap();
        let following = CancellationToken::new();
        let (registry, follow) = RegistryView::follow(&bus, master(), following.clone()).await.unwrap();
        let store = store(&self.database_url, Duration::from_secs(10)).await;
        let delivery = Delivery::new(&self.config, bus, registry, store, &Health::default()).await.unwrap();
        let run = delivery.run(stop.clone());
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

    /// Brings the registry to these endpoints, other entries gone.
    pub(crate) async fn apply(&self, endpoints: &[String]) {
        let text = format!(
            r#"tenant = [{{ id = "acme", encoding = "json" }}, {{ id = "beta" }}]
            channel = [{{ id = "acme-orders", tenant = "acme", provider = "cloud_api", waba_id = "W", phone_number_id = "100", access_token = "t" }}]
            endpoint = [{}]"#,
            endpoints.join(", ")
        );
        let store = RegistryStore::open(&self.bus, master()).await.unwrap();
        let file = RegistryFile::parse(&text).unwrap();
        let plan = store.plan(vec![file], Unnamed::Delete).await.unwrap();
        store.apply(plan).await.unwrap();
    }

    /// Waits until the endpoint's delivery has begun somewhere, and says under which lease.
    pub(crate) async fn begun(&self, id: &str) -> i64 {
        self.state_of(id, |state| state.cursor > 0).await.epoch
    }

    /// Whether the endpoint was delivered to under this lease to the end, now that nobody delivers any more. A lease may
    /// be lost on a busy machine; then comes again what was not noted yet.
    pub(crate) async fn had_one_lease(&self, id: &str, epoch: i64) -> bool {
        self.state_of(id, |_| true).await.epoch == epoch
    }

    /// Waits until the endpoint's state in the database is like that.
    pub(crate) async fn state_of(&self, id: &str, like: impl Fn(&EndpointState) -> bool) -> EndpointState {
        until(&format!("a state of endpoint {id}"), LIMIT, async || {
            self.store.endpoint_state(&key(id)).await.unwrap().filter(&like)
        })
        .await
        .unwrap()
    }

    /// Publishes the next event of a conversation: `n` grows by one with each event of the world.
    pub(crate) async fn tell(&self, conversation: &str) -> Event {
        self.tell_of("acme", EventType::MessageReceived, conversation).await
    }

    pub(crate) async fn tell_of(&self, tenant: &str, kind: EventType, conversation: &str) -> Event {
        let n = self.published.fetch_add(1, Ordering::Relaxed);
        let event = Event {
            id: EventId::of(&[tenant, &n.to_string()]),
            tenant: tenant.parse().unwrap(),
            channel: "acme-orders".parse().unwrap(),
            kind,
            time: Timestamp::now(),
            subject: format!("wamid.{n}"),
            data: json!({ "conversation_id": conversation, "n": n }).as_object().unwrap().clone(),
            trace: None,
        };
        self.publish(&event).await;
        event
    }

    /// Publishes an event once more, or one of the test's own.
    pub(crate) async fn publish(&self, event: &Event) {
        let (headers, payload) = event_message(event, Encoding::Json);
        let deadline = Instant::now() + LIMIT;
        self.bus.publish(event_subject(event), event.id.as_str(), headers, payload, deadline).await.unwrap();
    }

    /// Publishes events of some conversations in turn.
    pub(crate) async fn tell_many(&self, count: usize, conversations: usize) -> Vec<Event> {
        let mut events = Vec::new();
        for n in 0..count {
            events.push(self.tell(&format!("c{}", n % conversations)).await);
        }
        events
    }

    /// Waits until something has come to this path, whatever was answered.
    pub(crate) async fn tried(&self, path: &str) {
        let came = async || (!self.receiver.seen(path).is_empty()).then_some(());
        until("a first try", LIMIT, came).await.unwrap();
    }

    /// Waits until all of these were taken at this path, and gives back everything that was.
    pub(crate) async fn taken(&self, path: &str, events: &[Event]) -> Vec<Seen> {
        let what = format!("{} events at {path}", events.len());
        let waiting = until(&what, LIMIT, async || {
            // Whoever delivers shares the thread with those who look: looking must cost little.
            let has = self.receiver.has_taken(path, events.iter().map(|event| event.id.as_str()));
            has.then(|| self.receiver.taken(path))
        });
        waiting.await.unwrap()
    }

    /// Waits until nothing came to this path for a while.
    pub(crate) async fn quiet(&self, path: &str) -> usize {
        until("requests to pause", LIMIT, async || {
            let before = self.receiver.seen(path).len();
            let more = until("one more", Duration::from_millis(1_500), async || {
                (self.receiver.seen(path).len() > before).then_some(())
            });
            more.await.is_err().then_some(before)
        })
        .await
        .unwrap()
    }

    /// The reasons of all dead letters.
    pub(crate) async fn letters(&self) -> Vec<String> {
        let dead = DeadStream::new(self.bus.clone());
        let page = until("the dead letters", LIMIT, async || {
            dead.page(&LetterFilter::default(), None, 1_000).await.ok()
        });
        page.await.unwrap().letters.into_iter().map(|letter| letter.reason).collect()
    }
}

pub(crate) fn key(endpoint: &str) -> EndpointKey {
    EndpointKey { tenant: "acme".parse().unwrap(), endpoint: endpoint.parse().unwrap() }
}

async fn store(url: &str, timeout: Duration) -> Store {
    let options = StoreOptions { timeout, ..StoreOptions::default() };
    Store::connect(url, &options).await.unwrap()
}

/// Each event came, and those of one conversation came in their order, repeats aside.
pub(crate) fn assert_in_order(taken: &[Seen], events: &[Event]) {
    let mut firsts: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for seen in taken {
        let of = firsts.entry(seen.conversation.clone()).or_default();
        if !of.contains(&seen.n) {
            of.push(seen.n);
        }
    }
    for (conversation, seen) in &firsts {
        assert!(seen.is_sorted(), "{conversation} came in the order {seen:?}");
    }
    assert_eq!(firsts.values().map(Vec::len).sum::<usize>(), events.len());
}
