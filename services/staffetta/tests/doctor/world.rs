//! An installation, and what the doctor says of it.

use std::num::NonZeroU32;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use staffetta_bus::{Bus, Retention};
use staffetta_simulator::{Options, SimChannel, Simulator};
use staffetta_store::{Store, StoreOptions};
use staffetta_testkit::{Database, HeldPort, NatsServer, Postgres, Process, until};
use tempfile::TempDir;
use tokio::time::timeout;

/// Longest wait for anything: a machine may be so busy that parts are lost again before all of them are taken.
pub(crate) const LIMIT: Duration = Duration::from_secs(240);
pub(crate) const NUMBER: &str = "100100";
pub(crate) const ACCOUNT: &str = "900900";
/// What WEBHOOKS may hold: a server reserves it on disk.
pub(crate) const ROOM: i64 = 64 << 20;
/// What may never be printed.
pub(crate) const SECRETS: [&str; 5] =
    ["the-access-token", "the-app-secret", "shown-by-meta", "the master key of this test", "390281456000"];

const REGISTRY: &str = r#"
[[app]]
id = "meta-main"
app_secret = "the-app-secret"
verify_token = "shown-by-meta"

[[tenant]]
id = "acme"
name = "Acme"

[[channel]]
id = "acme-orders"
tenant = "acme"
provider = "cloud_api"
app = "meta-main"
waba_id = "900900"
phone_number_id = "100100"
display_phone_number = "390281456000"
access_token = "the-access-token"
rate = 80
"#;

/// Streams, schema and registry are set up; no service runs unless it is started.
pub(crate) struct World {
    pub(crate) nats: NatsServer,
    pub(crate) bus: Bus,
    pub(crate) database: Database,
    pub(crate) store: Store,
    pub(crate) provider: Simulator,
    pub(crate) folder: TempDir,
    settings: Vec<(String, String)>,
    up: Option<Process>,
    /// What it listens on, and nothing else once it has stopped.
    ports: Vec<HeldPort>,
}

/// What was said: the exit code, and the JSON.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) report: Value,
}

impl World {
    pub(crate) async fn new() -> Self {
        let nats = NatsServer::start().await.unwrap();
        let bus = Bus::connect(nats.url(), "test").await.unwrap();
        let retention = Retention { replicas: 1, webhooks_max_bytes: ROOM, lane_max_commands: 1_000_000 };
        bus.set_up_streams(&retention).await.unwrap();
        let database = Postgres::shared().await.unwrap().database().await.unwrap();
        let store = Store::connect(database.url(), &StoreOptions::default()).await.unwrap();
        store.migrate().await.unwrap();
        let channel = SimChannel {
            phone_number_id: NUMBER.into(),
            access_token: "the-access-token".into(),
            display_phone_number: "390281456000".into(),
            waba_id: ACCOUNT.into(),
            verified_name: "Acme".into(),
            rate: NonZeroU32::new(80).unwrap(),
            webhook: None,
        };
        let provider = staffetta_simulator::start(Options { channels: vec![channel], ..Options::default() });
        let provider = provider.await.unwrap();
        let folder = TempDir::new().unwrap();
        let settings = [
            ("STAFFETTA__MASTER_KEY", "the master key of this test".to_owned()),
            ("STAFFETTA__NATS__URL", nats.url().to_owned()),
            ("STAFFETTA__DATABASE__URL", database.url().to_owned()),
            ("STAFFETTA__NATS__WEBHOOKS_MAX_BYTES", ROOM.to_string()),
            ("STAFFETTA__GRAPH__BASE_URL", provider.base_url()),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let world =
            Self { nats, bus, database, store, provider, folder, settings, up: None, ports: Vec::new() };
        world.apply(REGISTRY).await;
        world
    }

    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.settings.push((name.to_owned(), value.into()));
    }

    pub(crate) async fn apply(&self, registry: &str) {
        let file = self.folder.path().join("registry.toml");
        std::fs::write(&file, registry).unwrap();
        let (code, _, err) = self.runs(&["apply", "-f", file.to_str().unwrap()]).await;
        assert_eq!(code, 0, "{err}");
    }

    /// An address for somebody to listen on, who does not do so yet.
    pub(crate) fn address(&mut self) -> String {
        let port = HeldPort::pick().unwrap();
        let address = format!("127.0.0.1:{}", port.number());
        self.ports.push(port);
        address
    }

    /// All services in one process, ready; gives back their admin address.
    pub(crate) async fn up(&mut self) -> String {
        let [ingress, api, admin] = [(); 3].map(|()| self.address());
        self.set("STAFFETTA__INGRESS__LISTEN", &ingress);
        self.set("STAFFETTA__INGRESS__PUBLIC_URL", format!("http://{ingress}"));
        self.set("STAFFETTA__API__LISTEN", api);
        self.set("STAFFETTA__API__ADMIN_KEY", "an admin key for this test");
        self.set("STAFFETTA__ADMIN__LISTEN", &admin);
        let mut process = Process::new("staffetta").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_staffetta"));
        command.arg("up").current_dir(process.folder()).env_remove("STAFFETTA_CONFIG");
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        process.start(command).unwrap();
        let admin = format!("http://{admin}");
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        until("staffetta up to be ready", LIMIT, async || {
            let answer = http.get(format!("{admin}/readyz")).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await
        .unwrap();
        self.up = Some(process);
        admin
    }

    pub(crate) async fn stop(&mut self) {
        self.up.take().unwrap().stop(LIMIT).await.unwrap();
    }

    /// Runs the program to its end: its exit code, its standard output and its standard error.
    pub(crate) async fn runs(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_staffetta"));
        command.args(arguments).current_dir(self.folder.path()).kill_on_drop(true);
        command.env_remove("STAFFETTA_CONFIG").env_remove("STAFFETTA_DOCTOR_ADMIN");
        for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
            command.env_remove(proxy);
        }
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        let output = timeout(LIMIT, command.output()).await.unwrap().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// What the doctor says, as a program reads it, once whoever is there answers it in time.
    pub(crate) async fn doctor(&self, arguments: &[&str]) -> Said {
        let said = until("answers in time", LIMIT, async || {
            let said = self.doctor_once(arguments).await;
            // True of a busy machine, and nothing that a test asks.
            (!said.misses_an_answer()).then_some(said)
        });
        said.await.unwrap()
    }

    /// The same, of whatever answers in time.
    pub(crate) async fn doctor_once(&self, arguments: &[&str]) -> Said {
        let (code, out, err) = self.runs(&[&["doctor", "--format", "json"], arguments].concat()).await;
        assert_eq!(err, "");
        for secret in SECRETS {
            assert!(!out.contains(secret), "{secret} is printed: {out}");
        }
        Said { code, report: serde_json::from_str(&out).unwrap() }
    }
}

impl Said {
    pub(crate) fn findings(&self) -> &[Value] {
        self.report["findings"].as_array().unwrap()
    }

    /// Whether somebody did not answer as soon as the doctor wants it.
    fn misses_an_answer(&self) -> bool {
        let words = [
            "no answer within",
            "no answer in time",
            "not answer within",
            "not answer in time",
            "its answer took",
            "timed out",
        ];
        let seen = self.findings().iter().filter_map(|finding| finding["seen"].as_str());
        seen.into_iter().any(|seen| words.iter().any(|words| seen.contains(words)))
    }

    /// What was found by that check about that subject.
    #[track_caller]
    pub(crate) fn finding(&self, check: &str, subject: Option<&str>) -> &Value {
        let is_it = |finding: &&Value| finding["check"] == check && finding["subject"].as_str() == subject;
        self.findings()
            .iter()
            .find(is_it)
            .unwrap_or_else(|| panic!("no {check} {subject:?}: {:#}", self.report))
    }

    /// That this is how bad it is, and that these words are seen; where it is bad, that it is said what to do.
    #[track_caller]
    pub(crate) fn says(&self, level: &str, check: &str, subject: Option<&str>, words: &str) {
        let is_it = |finding: &&Value| {
            finding["check"] == check
                && finding["subject"].as_str() == subject
                && finding["level"] == level
                && finding["seen"].as_str().is_some_and(|seen| seen.contains(words))
        };
        let found = self.findings().iter().find(is_it);
        let found =
            found.unwrap_or_else(|| panic!("no {level} {check} {subject:?} {words:?}: {:#}", self.report));
        assert_eq!(found["do"].is_string(), level != "ok", "{found:#}");
    }

    /// Checks and subjects of everything that is as bad as a warning.
    pub(crate) fn problems(&self) -> Vec<String> {
        let bad = self
            .findings()
            .iter()
            .filter(|finding| matches!(finding["level"].as_str(), Some("warning" | "error")));
        bad.map(|finding| {
            format!("{} {} {}: {}", finding["level"], finding["check"], finding["subject"], finding["seen"])
        })
        .collect()
    }
}
