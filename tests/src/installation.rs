//! Everything that one test needs, on ports and in folders of its own.

use std::collections::HashSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, ensure};
use staffetta_simulator::{Behaviour, Detail, Options, SendSeen, Simulator, WebhookTarget};
use staffetta_testkit::{Company, Lateness, NatsOptions, NatsServer, Postgres, Process, until};
use tokio::runtime::Handle;

use crate::graph_client::GraphClient;
use crate::meta::Meta;
use crate::registry::{APP, CARE, Number, ORDERS, RegistryText};
use crate::service::{self, Answer, Service};
use crate::streams::{SeenEvent, Streams};
use crate::tenant::Tenant;
use crate::{LIMIT, free_port};

/// Where messages and commands are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// A file.
    Sqlite,
    /// A database of its own on the shared PostgreSQL.
    Postgres,
}

/// What a test chooses.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The database.
    pub storage: Storage,
    /// The NATS server; none for `staffetta up` to start its own.
    pub nats: Option<NatsOptions>,
    /// Who is who, here and at the provider.
    pub registry: RegistryText,
    /// How the provider behaves.
    pub behaviour: Behaviour,
    /// Further variables of every process.
    pub settings: Vec<(&'static str, String)>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            storage: Storage::Sqlite,
            nats: Some(NatsOptions::default()),
            registry: RegistryText::default(),
            // Tests write to few users.
            behaviour: Behaviour { pair: None, ..Behaviour::default() },
            settings: Vec::new(),
        }
    }
}

/// NATS, a database, a provider and the registry, for processes of Staffetta to join. All of it ends when dropped.
#[derive(Debug)]
pub struct Installation {
    /// The NATS server, unless `staffetta up` brings its own.
    pub nats: Option<NatsServer>,
    /// The provider.
    pub provider: Simulator,
    /// The provider's hand for webhooks that it would not send by itself.
    pub meta: Meta,
    /// Nothing runs as it: it is a folder that goes with the test, however that ends.
    files: Process,
    /// What its commands run; the built `staffetta` if none is named.
    program: Option<PathBuf>,
    settings: Vec<(String, String)>,
    nats_url: String,
    api: String,
    http: reqwest::Client,
    lateness: Lateness,
    _company: Company,
}

impl Installation {
    /// Everything around Staffetta. No process of it runs yet, and the registry is empty.
    ///
    /// # Errors
    /// When a server does not come up.
    pub async fn prepare(setup: Setup) -> anyhow::Result<Self> {
        let company = Company::others().await;
        let http = service::http_client()?;
        let files = Process::new("installation")?;
        let meta = Meta::new(http.clone())?;
        let webhook = WebhookTarget { url: meta.url(APP), app_secret: RegistryText::app_secret(APP) };
        let provider = staffetta_simulator::start(Options {
            webhook: Some(webhook),
            channels: setup.registry.at_provider(),
            behaviour: setup.behaviour,
            ..Options::default()
        })
        .await?;
        let lateness = Lateness::of(&Handle::current(), Instant::now());
        let api = format!("127.0.0.1:{}", free_port()?);
        let mut settings = vec![
            ("STAFFETTA__MASTER_KEY".to_owned(), "a master key for these tests alone".to_owned()),
            ("STAFFETTA__DATA_DIR".to_owned(), files.folder().join("data").display().to_string()),
            ("STAFFETTA__GRAPH__BASE_URL".to_owned(), provider.base_url()),
            ("STAFFETTA__INGRESS__LISTEN".to_owned(), meta.address().to_owned()),
            ("STAFFETTA__API__LISTEN".to_owned(), api.clone()),
            ("STAFFETTA__NATS__SERVER".to_owned(), nats_server()?),
        ];
        let nats = match setup.nats {
            Some(options) => Some(NatsServer::start_with(options).await?),
            None => None,
        };
        let nats_url = match &nats {
            Some(nats) => {
                settings.push(("STAFFETTA__NATS__URL".to_owned(), nats.url().to_owned()));
                nats.url().to_owned()
            }
            None => {
                let listen = format!("127.0.0.1:{}", free_port()?);
                settings.push(("STAFFETTA__NATS__LISTEN".to_owned(), listen.clone()));
                format!("nats://{listen}")
            }
        };
        if setup.storage == Storage::Postgres {
            let database = Postgres::shared().await?.database().await?;
            settings.push(("STAFFETTA__DATABASE__URL".to_owned(), database.url().to_owned()));
        }
        settings.extend(setup.settings.into_iter().map(|(name, value)| (name.to_owned(), value)));
        fs::create_dir_all(files.folder().join("data"))?;
        Ok(Self {
            nats,
            provider,
            meta,
            files,
            program: None,
            settings,
            nats_url,
            api,
            http,
            lateness,
            _company: company,
        })
    }

    /// `staffetta up` on all of it, with the registry applied.
    ///
    /// # Errors
    /// When a part does not come up.
    pub async fn up(setup: Setup) -> anyhow::Result<(Self, Service)> {
        let registry = setup.registry.clone();
        let installation = Self::prepare(setup).await?;
        let mut up = installation.service("up")?;
        up.start().await?;
        installation.apply(&registry).await?;
        installation.follows_registry().await?;
        Ok((installation, up))
    }

    /// Waits until the API knows every channel of [`RegistryText`]: a process has one view of the registry.
    async fn follows_registry(&self) -> anyhow::Result<()> {
        let listen = self.settings.iter().rfind(|(name, _)| name == "STAFFETTA__API__LISTEN");
        let api = listen.map_or_else(|| self.api.to_string(), |(_, address)| address.clone());
        let followed = until("the registry to be followed", LIMIT, async || {
            for Number { channel, tenant, .. } in [ORDERS, CARE] {
                let ask = self.http.get(format!("http://{api}/v1/channels"));
                let answer = ask.bearer_auth(RegistryText::api_key(tenant)).send().await.ok()?;
                answer.text().await.ok()?.contains(channel).then_some(())?;
            }
            Some(())
        });
        followed.await
    }

    /// A process of Staffetta, not yet started.
    ///
    /// # Errors
    /// When the system refuses it a folder or a port.
    pub fn service(&self, role: &'static str) -> anyhow::Result<Service> {
        Service::new(role, self.program.as_deref(), self.settings.clone(), self.http.clone())
    }

    /// A process of this program, with further variables; not yet started.
    ///
    /// # Errors
    /// When the system refuses it a folder or a port.
    pub fn service_of(
        &self,
        role: &'static str,
        program: &Path,
        settings: &[(&str, String)],
    ) -> anyhow::Result<Service> {
        let mut all = self.settings.clone();
        all.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        Service::new(role, Some(program), all, self.http.clone())
    }

    /// From now on whatever is started or run is this program.
    pub fn use_program(&mut self, program: &Path) {
        self.program = Some(program.to_owned());
    }

    /// A process of Staffetta, ready.
    ///
    /// # Errors
    /// When it is not ready in time.
    pub async fn start(&self, role: &'static str) -> anyhow::Result<Service> {
        let mut service = self.service(role)?;
        service.start().await?;
        Ok(service)
    }

    /// Runs `staffetta` with these arguments to its end.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn run(&self, arguments: &[&str]) -> anyhow::Result<Answer> {
        service::run(self.program.as_deref(), arguments, &self.settings, self.files.folder()).await
    }

    /// Runs this program with these arguments to its end.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn run_from(&self, program: &Path, arguments: &[&str]) -> anyhow::Result<Answer> {
        service::run(Some(program), arguments, &self.settings, self.files.folder()).await
    }

    /// `staffetta apply -f`, which must go well; gives back what it printed.
    ///
    /// # Errors
    /// When it does not.
    pub async fn apply(&self, registry: &RegistryText) -> anyhow::Result<String> {
        let file = self.files.folder().join("registry.toml");
        fs::write(&file, registry.toml())?;
        let file = file.to_str().context("the folder's name is no text")?;
        let answer = self.run(&["apply", "-f", file]).await?;
        ensure!(answer.code == Some(0), "apply failed: {answer:?}");
        Ok(answer.stdout)
    }

    /// Applies a channel of this number, as far as webhooks need one.
    ///
    /// # Errors
    /// When `staffetta apply` does not end well.
    pub async fn add_channel(&self, number: Number) -> anyhow::Result<()> {
        let Number { channel, tenant, phone_number_id, display } = number;
        let text = format!(
            "[[channel]]\nid = {channel:?}\ntenant = {tenant:?}\nprovider = \"cloud_api\"\n\
             phone_number_id = {phone_number_id:?}\ndisplay_phone_number = {display:?}\n"
        );
        self.add(&text).await
    }

    /// Applies further entries of the registry.
    ///
    /// # Errors
    /// When `staffetta apply` does not end well.
    pub async fn add(&self, entries: &str) -> anyhow::Result<()> {
        let file = self.files.folder().join("more.toml");
        fs::write(&file, entries)?;
        let file = file.to_str().context("the folder's name is no text")?;
        let answer = self.run(&["apply", "-f", file]).await?;
        ensure!(answer.code == Some(0), "apply failed: {answer:?}");
        Ok(())
    }

    /// Where Staffetta keeps its files.
    #[must_use]
    pub fn data_dir(&self) -> std::path::PathBuf {
        self.files.folder().join("data")
    }

    /// A folder for the test's own files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.files.folder()
    }

    /// Where ingress is to listen.
    #[must_use]
    pub fn ingress_address(&self) -> &str {
        self.meta.address()
    }

    /// Where the API is to listen.
    #[must_use]
    pub fn api_address(&self) -> &str {
        &self.api
    }

    /// Where the API is.
    #[must_use]
    pub fn api_url(&self) -> String {
        format!("http://{}", self.api)
    }

    /// The streams, which must be there or come up.
    ///
    /// # Errors
    /// When NATS can't be reached.
    pub async fn streams(&self) -> anyhow::Result<Streams> {
        Streams::connect(&self.nats_url).await
    }

    /// The tenant of a number.
    #[must_use]
    pub fn tenant(&self, number: Number, streams: &Streams) -> Tenant {
        Tenant::new(number, streams.clone(), &self.api, self.http.clone())
    }

    /// A program written for Meta's Cloud API, which uses Staffetta's in its place as the tenant of a number.
    #[must_use]
    pub fn graph_client(&self, number: Number) -> GraphClient {
        GraphClient::new(&self.api, number, self.files.folder())
    }

    /// What the provider accepted from a number, in order of arrival.
    #[must_use]
    pub fn sends(&self, number: Number) -> Vec<SendSeen> {
        let mut report = self.provider.report(Detail::Sends);
        report.channels.remove(number.phone_number_id).and_then(|channel| channel.sends).unwrap_or_default()
    }

    /// How late the provider, and with it the test, came to what was due, by the provider's clock.
    #[must_use]
    pub fn lateness(&self) -> &Lateness {
        &self.lateness
    }

    /// Waits until these events are told, and gives back all events so far.
    ///
    /// # Errors
    /// When none of those that are missing is told in time: names one.
    pub async fn told(&self, streams: &Streams, wanted: &[(&str, String)]) -> anyhow::Result<Vec<SeenEvent>> {
        let mut missing: HashSet<_> =
            wanted.iter().map(|(kind, subject)| ((*kind).to_owned(), subject.clone())).collect();
        let mut seen = 0;
        while !missing.is_empty() {
            let before = missing.len();
            let told = until("events", LIMIT, async || {
                seen = streams.strike_off(seen, &mut missing).await.ok()?;
                (missing.len() < before).then_some(())
            });
            let told = told.await;
            told.with_context(|| {
                format!("{} not told, among them {:?}", missing.len(), missing.iter().next())
            })?;
        }
        streams.events().await
    }

    /// Waits until nothing is on its way any more: no webhook at the provider, none on WEBHOOKS, nothing on SEND.
    /// Whatever a webhook led to is told by then: its events come before its acknowledgement.
    ///
    /// # Errors
    /// When something stays: names what.
    pub async fn settled(&self, streams: &Streams) -> anyhow::Result<()> {
        let mut left = (0, 0, 0);
        let settled = until("everything to be settled", LIMIT, async || {
            let send = streams.waiting("SEND").await.ok()?;
            let at_provider = self.provider.report(Detail::Figures).webhooks_waiting;
            left = (at_provider, streams.waiting("WEBHOOKS").await.ok()?, send);
            (left == (0, 0, 0)).then_some(())
        });
        let settled = settled.await;
        settled.with_context(|| format!("left at the provider, on WEBHOOKS, on SEND: {left:?}"))
    }
}

/// The program that `staffetta up` starts: the one that the tests themselves start.
fn nats_server() -> anyhow::Result<String> {
    let program = staffetta_locate::nats_server(&env::current_exe()?);
    let program = program.context("no nats-server of 2.15 or newer: run `cargo xtask tools`")?;
    Ok(program.display().to_string())
}
