//! An ingress with a NATS server, a registry and a provider that signs.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use bytes::Bytes;
use futures_util::future::join_all;
use reqwest::StatusCode;
use staffetta_bus::{Bus, MasterKey, RegistryFile, RegistryStore, RegistryView, Retention, Unnamed};
use staffetta_ingress::Ingress;
use staffetta_proto::{Message, v1};
use staffetta_runtime::Health;
use staffetta_runtime::config::{IngressConfig, Listen};
use staffetta_testkit::{FaultProxy, NatsOptions, NatsServer, until};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub(crate) const LIMIT: Duration = Duration::from_secs(60);
pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";
pub(crate) const VERIFY_TOKEN: &str = "meatyhamhock";

const REGISTRY: &str = r#"
    [[app]]
    id = "main"
    app_secret = "0123456789abcdef0123456789abcdef"
    verify_token = "meatyhamhock"

    [[app]]
    id = "rotating"
    app_secret = ["the new secret", "the old secret"]

    [[app]]
    id = "bare"
"#;

/// What a test chooses.
pub(crate) struct Setup {
    pub(crate) nats: NatsOptions,
    pub(crate) webhooks_max_bytes: i64,
    pub(crate) max_buffered_bytes: usize,
    pub(crate) deadline: Duration,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            nats: NatsOptions::default(),
            webhooks_max_bytes: 1 << 30,
            max_buffered_bytes: 64 << 20,
            // No machine is so slow that it passes by accident.
            deadline: Duration::from_secs(50),
        }
    }
}

pub(crate) struct Harness {
    pub(crate) nats: NatsServer,
    /// Between ingress and NATS.
    pub(crate) network: FaultProxy,
    pub(crate) health: Health,
    pub(crate) client: reqwest::Client,
    /// Past the network's faults.
    direct: Bus,
    /// As ingress is connected.
    pub(crate) bus: Bus,
    address: std::net::SocketAddr,
    stop: CancellationToken,
    running: JoinSet<anyhow::Result<()>>,
}

impl Harness {
    pub(crate) async fn start() -> Self {
        Self::start_with(Setup::default()).await
    }

    pub(crate) async fn start_with(setup: Setup) -> Self {
        let nats = NatsServer::start_with(setup.nats).await.unwrap();
        let upstream = nats.url().strip_prefix("nats://").unwrap().parse().unwrap();
        let network = FaultProxy::before(upstream).await.unwrap();
        let direct = Bus::connect(nats.url(), "test").await.unwrap();
        let retention =
            Retention { replicas: 1, webhooks_max_bytes: setup.webhooks_max_bytes, lane_max_commands: 1_000 };
        direct.set_up_streams(&retention).await.unwrap();
        apply(&direct, REGISTRY).await;

        let bus = Bus::connect(&format!("nats://{}", network.address()), "ingress").await.unwrap();
        let stop = CancellationToken::new();
        let (view, follow) = RegistryView::follow(&bus, Some(master_key()), stop.clone()).await.unwrap();
        let config = IngressConfig {
            listen: Listen("127.0.0.1:0".parse().unwrap()),
            max_buffered_bytes: setup.max_buffered_bytes,
            deadline_ms: u64::try_from(setup.deadline.as_millis()).unwrap(),
            ..IngressConfig::default()
        };
        let health = Health::default();
        let ingress = Ingress::bind(&config, bus.clone(), view, &health).await.unwrap();
        let address = ingress.address();
        let mut running = JoinSet::new();
        running.spawn(ingress.run(stop.clone()));
        running.spawn(async move {
            follow.await;
            Ok(())
        });
        let client = reqwest::Client::builder().no_proxy().timeout(LIMIT).build().unwrap();
        Self { nats, network, health, client, direct, bus, address, stop, running }
    }

    pub(crate) fn url(&self, app: &str) -> String {
        format!("http://{}/webhooks/meta/{app}", self.address)
    }

    /// A raw connection to ingress.
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A webhook for the app `main`, rightly signed.
    pub(crate) async fn post(&self, body: impl Into<Bytes>) -> Answer {
        let body = body.into();
        let signature = signature(SECRET, &body);
        self.post_to("main", body, Some(&signature)).await
    }

    pub(crate) async fn post_to(&self, app: &str, body: impl Into<Bytes>, signature: Option<&str>) -> Answer {
        let mut request = self.client.post(self.url(app)).body(body.into());
        if let Some(signature) = signature {
            request = request.header("X-Hub-Signature-256", signature);
        }
        Answer::of(request.send().await.unwrap()).await
    }

    pub(crate) async fn post_all(&self, bodies: impl IntoIterator<Item = String>) -> Vec<Answer> {
        join_all(bodies.into_iter().map(|body| self.post(body))).await
    }

    /// Changes the registry; ingress hears of it a moment later.
    pub(crate) async fn apply(&self, registry: &str) {
        apply(&self.direct, registry).await;
    }

    /// Every envelope on WEBHOOKS, in order.
    pub(crate) async fn envelopes(&self) -> Vec<v1::WebhookEnvelope> {
        let mut jetstream = self.direct.jetstream().clone();
        jetstream.set_timeout(LIMIT);
        let mut stream = jetstream.get_stream("WEBHOOKS").await.unwrap();
        let state = stream.info().await.unwrap().state.clone();
        let mut envelopes = Vec::new();
        if state.messages > 0 {
            for sequence in state.first_sequence..=state.last_sequence {
                let message = stream.get_raw_message(sequence).await.unwrap();
                envelopes.push(v1::WebhookEnvelope::decode(message.payload).unwrap());
            }
        }
        envelopes
    }

    /// Every webhook on WEBHOOKS, in order.
    pub(crate) async fn webhooks(&self) -> Vec<v1::RawWebhook> {
        self.envelopes().await.into_iter().flat_map(|envelope| envelope.webhooks).collect()
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.health.checks().iter().all(|(_, ready)| *ready)
    }

    pub(crate) async fn until(&self, what: &str, mut state: impl AsyncFnMut(&Self) -> bool) {
        until(what, LIMIT, async || state(self).await.then_some(())).await.unwrap();
    }

    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// A second ingress on the same address.
    pub(crate) async fn bind_again(&self) -> anyhow::Result<Ingress> {
        let follow = RegistryView::follow(&self.bus, Some(master_key()), self.stop.clone());
        let (view, _) = follow.await.unwrap();
        let config = IngressConfig { listen: Listen(self.address), ..IngressConfig::default() };
        Ingress::bind(&config, self.bus.clone(), view, &Health::default()).await
    }

    /// Waits until everything has ended after [`stop`](Self::stop), which must go well.
    pub(crate) async fn ended(&mut self) {
        timeout(LIMIT, async {
            while let Some(ended) = self.running.join_next().await {
                ended.unwrap().unwrap();
            }
        })
        .await
        .unwrap();
    }
}

/// What ingress answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: Option<String>,
    pub(crate) retry_after: Option<u32>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) async fn of(response: reqwest::Response) -> Self {
        let header =
            |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        Self {
            status: response.status(),
            content_type: header("content-type"),
            retry_after: header("retry-after").map(|seconds| seconds.parse().unwrap()),
            body: response.text().await.unwrap(),
        }
    }

    /// Whether it is this error, told as one.
    #[track_caller]
    pub(crate) fn assert_problem(&self, status: u16, slug: &str) {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.content_type.as_deref(), Some("application/problem+json"), "{self:?}");
        assert!(self.body.contains(&format!(r#""type":"/problems/{slug}""#)), "{self:?}");
        assert_eq!(self.retry_after.is_some(), status == 503, "{self:?}");
    }
}

pub(crate) fn signature(secret: &str, body: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    format!("sha256={}", hex::encode(hmac::sign(&key, body)))
}

/// Bytes that no compression makes smaller, the same every time.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn master_key() -> Arc<MasterKey> {
    Arc::new(MasterKey::new(&"a master key for tests".to_owned().into()))
}

async fn apply(bus: &Bus, registry: &str) {
    let store = RegistryStore::open(bus, Some(master_key())).await.unwrap();
    let plan = store.plan(vec![RegistryFile::parse(registry).unwrap()], Unnamed::Keep).await.unwrap();
    store.apply(plan).await.unwrap();
}
