//! One API with a NATS server and a database of its own, and two tenants: `acme`, and `other` who must see nothing.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_nats::HeaderMap;
use reqwest::header::HeaderName;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use staffetta_api::Api;
use staffetta_bus::{
    Bus, Encoding, MasterKey, RegistryFile, RegistryStore, RegistryView, Retention, Unnamed, command_fields,
    decode_event,
};
use staffetta_domain::{CommandFields, Event};
use staffetta_runtime::Health;
use staffetta_runtime::config::{ApiConfig, GraphConfig, Listen};
use staffetta_store::{Store, StoreOptions};
use staffetta_testkit::{FaultProxy, NatsOptions, NatsServer, until};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How many commands a lane holds here.
pub(crate) const LANE: i64 = 5;

/// Longest wait for anything.
pub(crate) const WAIT: Duration = Duration::from_secs(60);

pub(crate) const ACME: &str = "key-of-acme";
pub(crate) const OTHER: &str = "key-of-other";

const REGISTRY: &str = r#"
[[tenant]]
id = "acme"
api_keys = ["key-of-acme"]
[[tenant]]
id = "other"
api_keys = ["key-of-other"]
[[channel]]
id = "acme-orders"
tenant = "acme"
provider = "cloud_api"
phone_number_id = "1001"
display_phone_number = "390281456000"
rate = 80
[[channel]]
id = "acme-bills"
tenant = "acme"
provider = "twilio"
[[channel]]
id = "other-orders"
tenant = "other"
provider = "cloud_api"
phone_number_id = "2002"
"#;

pub(crate) struct Gateway {
    pub(crate) nats: NatsServer,
    /// Between the API and NATS.
    pub(crate) wire: FaultProxy,
    pub(crate) bus: Bus,
    pub(crate) store: Store,
    pub(crate) health: Health,
    pub(crate) address: SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) running: JoinHandle<anyhow::Result<()>>,
    folder: TempDir,
    http: reqwest::Client,
}

/// What a gateway is started with.
pub(crate) struct Setup<'a> {
    pub(crate) nats: NatsOptions,
    /// SQLite in a folder of its own if none is named.
    pub(crate) database: Option<&'a str>,
    pub(crate) registry: &'a str,
    pub(crate) api: ApiConfig,
    pub(crate) graph: GraphConfig,
    pub(crate) master: Option<Arc<MasterKey>>,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        let listen = Listen("127.0.0.1:0".parse().unwrap());
        let api = ApiConfig { listen, ..ApiConfig::default() };
        let (nats, graph) = (NatsOptions::default(), GraphConfig::default());
        Self { nats, database: None, registry: REGISTRY, api, graph, master: None }
    }
}

impl Gateway {
    pub(crate) async fn start() -> Self {
        Self::start_as(Setup::default()).await
    }

    pub(crate) async fn start_with_nats(nats: NatsOptions) -> Self {
        Self::start_as(Setup { nats, ..Setup::default() }).await
    }

    pub(crate) async fn start_with_database(url: &str) -> Self {
        Self::start_as(Setup { database: Some(url), ..Setup::default() }).await
    }

    pub(crate) async fn start_as(setup: Setup<'_>) -> Self {
        let folder = TempDir::new().unwrap();
        let file = format!("sqlite:{}", folder.path().join("api.db").display());
        let nats = NatsServer::start_with(setup.nats).await.unwrap();
        let server = nats.url().trim_start_matches("nats://").parse().unwrap();
        let wire = FaultProxy::before(server).await.unwrap();
        let bus = Bus::connect(&wire.address().to_string(), "api test").await.unwrap();
        let retention = Retention { replicas: 1, webhooks_max_bytes: 1 << 20, lane_max_commands: LANE };
        bus.set_up_streams(&retention).await.unwrap();
        remember_ids(&bus).await;
        register_sealed(&bus, setup.registry, setup.master.clone()).await;
        let store = Store::connect(setup.database.unwrap_or(&file), &StoreOptions::default()).await.unwrap();
        store.migrate().await.unwrap();
        let (stop, health) = (CancellationToken::new(), Health::default());
        let (view, following) = RegistryView::follow(&bus, setup.master.clone(), stop.clone()).await.unwrap();
        let (bound, kept) = (bus.clone(), store.clone());
        let api =
            Api::bind(&setup.api, &setup.graph, setup.master, bound, view, kept, &health).await.unwrap();
        let address = api.address();
        let stopping = stop.clone();
        let running = tokio::spawn(async { tokio::join!(api.run(stopping), following).0 });
        let http = client().build().unwrap();
        Self { nats, wire, bus, store, health, address, stop, running, folder, http }
    }

    /// The same, as it looks from this other address of the machine.
    pub(crate) fn seen_from(&mut self, address: [u8; 4]) {
        self.http = client().local_address(IpAddr::from(address)).build().unwrap();
    }

    /// The SQLite file.
    pub(crate) fn database_file(&self) -> std::path::PathBuf {
        self.folder.path().join("api.db")
    }

    /// A request without a key.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://{}{path}", self.address))
    }

    pub(crate) async fn post(&self, message: &Value) -> Answer {
        self.post_with(message, &[]).await
    }

    /// Posts a message, and waits until one that is taken in is known.
    pub(crate) async fn post_with(&self, message: &Value, headers: &[(HeaderName, &str)]) -> Answer {
        let answer = self.post_once(message, headers).await;
        if answer.status == StatusCode::ACCEPTED {
            self.known(ACME, answer.header("location")).await;
        }
        answer
    }

    /// The message at this address, once it is known. What the queue has is known as soon as the database lets it: no
    /// sooner is promised.
    pub(crate) async fn known(&self, key: &str, path: &str) -> Answer {
        let what = format!("{path} to be known");
        let known = until(&what, WAIT, async || {
            let answer = self.get_as(key, path).await;
            (answer.status == StatusCode::OK).then_some(answer)
        });
        known.await.unwrap()
    }

    /// Posts a message, known afterwards or not.
    pub(crate) async fn post_once(&self, message: &Value, headers: &[(HeaderName, &str)]) -> Answer {
        let mut request = self.request(Method::POST, "/v1/messages").bearer_auth(ACME).json(message);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        Answer::of(request.send().await.unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.get_as(ACME, path).await
    }

    pub(crate) async fn get_as(&self, key: &str, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path).bearer_auth(key).send().await.unwrap()).await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::PUT, path).bearer_auth(ACME).json(body).send().await.unwrap()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.delete_as(ACME, path).await
    }

    pub(crate) async fn delete_as(&self, key: &str, path: &str) -> Answer {
        Answer::of(self.request(Method::DELETE, path).bearer_auth(key).send().await.unwrap()).await
    }

    /// Everything on EVENTS, oldest first.
    pub(crate) async fn events(&self) -> Vec<Event> {
        let mut stream = self.bus.jetstream().get_stream("EVENTS").await.unwrap();
        let state = stream.info().await.unwrap().state.clone();
        let mut events = Vec::new();
        for sequence in state.first_sequence.max(1)..=state.last_sequence {
            let message = stream.get_raw_message(sequence).await.unwrap();
            let encoding = Encoding::of(Some(&message.headers));
            events.push(decode_event(encoding, &message.payload).unwrap());
        }
        events
    }

    /// The same, once there are so many.
    pub(crate) async fn told(&self, least: usize) -> Vec<Event> {
        let told = until("the events to be told", WAIT, async || {
            let events = self.events().await;
            (events.len() >= least).then_some(events)
        });
        told.await.unwrap()
    }

    /// Everything on SEND, oldest first.
    pub(crate) async fn queue(&self) -> Vec<Queued> {
        let mut stream = self.bus.jetstream().get_stream("SEND").await.unwrap();
        let state = stream.info().await.unwrap().state.clone();
        let mut queue = Vec::new();
        // An empty stream begins and ends at 0, which is no number of a message.
        for sequence in state.first_sequence.max(1)..=state.last_sequence {
            let message = stream.direct_get(sequence).await.unwrap();
            let encoding = Encoding::of(Some(&message.headers));
            queue.push(Queued {
                subject: message.subject.to_string(),
                fields: command_fields(encoding, &message.payload).unwrap(),
                headers: message.headers,
                encoding,
            });
        }
        queue
    }
}

/// Each request has a connection of its own: one that is used again may just then be closed by the API, as idle.
fn client() -> reqwest::ClientBuilder {
    reqwest::Client::builder().no_proxy().timeout(WAIT).pool_max_idle_per_host(0)
}

/// The clock stands still as long as this lives, so that what is counted by the second does not depend on how fast the
/// machine is. Nothing may wait for a time meanwhile.
pub(crate) struct StoodClock {
    /// A paused clock is moved on whenever nobody has anything to do, unless a blocking task runs: one waits for this.
    _blocking: std::sync::mpsc::Sender<()>,
}

impl StoodClock {
    pub(crate) fn stop() -> Self {
        let (blocking, ended) = std::sync::mpsc::channel();
        tokio::task::spawn_blocking(move || ended.recv());
        tokio::time::pause();
        Self { _blocking: blocking }
    }
}

impl Drop for StoodClock {
    fn drop(&mut self) {
        tokio::time::resume();
    }
}

/// Lets SEND know a message id for longer than any test takes. Else a slow machine needs longer than that to fill a
/// lane, and a publish that is repeated for want of an answer is there twice.
async fn remember_ids(bus: &Bus) {
    let jetstream = bus.jetstream();
    let mut send = jetstream.get_stream("SEND").await.unwrap().cached_info().config.clone();
    send.duplicate_window = Duration::from_secs(600);
    jetstream.update_stream(send).await.unwrap();
}

/// Adds these entries to the registry.
pub(crate) async fn register(bus: &Bus, entries: &str) {
    register_sealed(bus, entries, None).await;
}

/// The same, secrets of theirs included.
async fn register_sealed(bus: &Bus, entries: &str, master: Option<Arc<MasterKey>>) {
    let registry = RegistryStore::open(bus, master).await.unwrap();
    let plan = registry.plan(vec![RegistryFile::parse(entries).unwrap()], Unnamed::Keep).await.unwrap();
    registry.apply(plan).await.unwrap();
}

/// One entry of SEND.
pub(crate) struct Queued {
    pub(crate) subject: String,
    pub(crate) headers: HeaderMap,
    pub(crate) encoding: Encoding,
    pub(crate) fields: CommandFields,
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) json: Value,
}

impl Answer {
    pub(crate) async fn of(response: Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        let json = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() };
        Self { status, headers, json }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// Asserts that it is this problem, whole.
    #[track_caller]
    pub(crate) fn is_problem(&self, status: u16, slug: &str) {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.json["type"], format!("/problems/{slug}"), "{self:?}");
        assert_eq!(self.json["status"], status);
        assert!(self.json["title"].is_string() && self.json["detail"].is_string(), "{self:?}");
    }
}

/// A text that can be sent.
pub(crate) fn text(id: &str) -> Value {
    json!({
        "id": id, "channel": "acme-orders", "to": "393481213456", "type": "text", "text": {"body": "Fattura pronta"},
    })
}

/// `value` with these fields in place of its own.
pub(crate) fn with(mut value: Value, fields: &Value) -> Value {
    for (name, field) in fields.as_object().unwrap() {
        value[name] = field.clone();
    }
    value
}
