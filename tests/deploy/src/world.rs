//! An installation in which something of everything goes wrong, so that everything that is shown has something to show.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use staffetta_simulator::{Behaviour, Fault, FaultKind, SimChannel};
use staffetta_testkit::{FaultProxy, NatsOptions, Postgres, Process, staffetta_binary, until};
use staffetta_tests::{
    ANSWER, APP, CARE, Hook, Installation, LIMIT, Number, ORDERS, RegistryText, Service, Setup, Storage,
    Streams, free_port,
};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// A channel that may send less than it is given: commands wait.
pub(crate) const SLOW: Number =
    Number { channel: "acme-slow", tenant: "acme", phone_number_id: "100300", display: "390281456200" };
/// A channel whose token the provider does not take: it is held.
pub(crate) const HELD: Number =
    Number { channel: "globex-held", tenant: "globex", phone_number_id: "100400", display: "390281456300" };
/// A channel whose account has no calls left: it is held too.
pub(crate) const SPENT: Number =
    Number { channel: "globex-spent", tenant: "globex", phone_number_id: "100500", display: "390281456400" };
/// An app without a secret, whose webhooks nobody can verify.
pub(crate) const BARE_APP: &str = "meta-bare";

const BEFORE_OUTAGES: Duration = Duration::from_secs(25);
const OUTAGE: Duration = Duration::from_secs(8);
const ROLES: [&str; 5] = ["ingress", "recorder", "dispatcher", "delivery", "api"];
const NATS_USER: &str = "staffetta";
const NATS_PASSWORD: &str = "password-of-services";

/// Everything that runs, until it is dropped.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) installation: Installation,
    pub(crate) streams: Streams,
    services: BTreeMap<&'static str, Service>,
    http: reqwest::Client,
    nats_proxy: FaultProxy,
    database_proxy: FaultProxy,
    _hooks: Vec<Hook>,
    _tls: Process,
}

/// What `staffetta nats-keys` prints.
struct Keys {
    issuer: String,
    xkey: String,
    issuer_seed: String,
    xkey_seed: String,
}

impl World {
    /// All five services as processes of their own, with NATS, PostgreSQL and a provider, and a registry.
    pub(crate) async fn start(workspace: &Path) -> anyhow::Result<Self> {
        let (tls, public_url) = tls_server().await?;
        let nats_port = free_port()?;
        let nats_proxy = FaultProxy::before(SocketAddr::from((Ipv4Addr::LOCALHOST, nats_port))).await?;
        let database = Postgres::shared().await?.database().await?;
        let (database_proxy, database_url) = proxied(database.url()).await?;
        let keys = Keys::fresh()?;
        let accounts = fs::read_to_string(workspace.join("deploy/nats/tenants.conf"))?
            .replace("$STAFFETTA_NATS_PASSWORD", &format!("{NATS_PASSWORD:?}"))
            .replace("$STAFFETTA_NATS_SYS_PASSWORD", "\"the password of operators\"")
            .replace("$STAFFETTA_CALLOUT_ISSUER", &keys.issuer)
            .replace("$STAFFETTA_CALLOUT_XKEY", &keys.xkey);
        let settings = vec![
            ("STAFFETTA__NATS__USER", NATS_USER.to_owned()),
            ("STAFFETTA__NATS__PASSWORD", NATS_PASSWORD.to_owned()),
            ("STAFFETTA__NATS__CALLOUT__ISSUER_SEED", keys.issuer_seed),
            ("STAFFETTA__NATS__CALLOUT__XKEY_SEED", keys.xkey_seed),
            // NATS reserves it; a run needs little.
            ("STAFFETTA__NATS__WEBHOOKS_MAX_BYTES", (64 << 20).to_string()),
            // Less than an outage takes.
            ("STAFFETTA__INGRESS__DEADLINE_MS", "2000".to_owned()),
            ("STAFFETTA__DISPATCHER__DOUBT_WAIT_SECONDS", "20".to_owned()),
            ("STAFFETTA__DELIVERY__ALLOW_NETWORKS", "127.0.0.0/8".to_owned()),
            ("STAFFETTA__INGRESS__PUBLIC_URL", public_url.clone()),
            ("STAFFETTA__API__PUBLIC_URL", public_url),
            ("STAFFETTA__NATS__URL", format!("nats://{}", nats_proxy.address())),
            ("STAFFETTA__DATABASE__URL", database_url),
        ];
        let nats = NatsOptions { extra_config: accounts, port: Some(nats_port), ..NatsOptions::default() };
        let registry = RegistryText::default();
        let installation = Installation::prepare(Setup {
            // Another database is named above.
            storage: Storage::Sqlite,
            nats: Some(nats),
            registry: registry.clone(),
            behaviour: Behaviour { pair: None, ..Behaviour::default() },
            settings,
        })
        .await?;
        // Asked for as soon as the channel is known, and then for hours not again.
        let end = (Timestamp::now() + SignedDuration::from_hours(24 * 20)).as_second();
        installation.provider.set_token_end(ORDERS.phone_number_id, Some(u64::try_from(end)?))?;
        let nats = installation.nats.as_ref().context("there is no NATS")?;
        let streams = Streams::connect_as(nats.url(), NATS_USER, NATS_PASSWORD).await?;
        let mut services = BTreeMap::new();
        for role in ROLES {
            services.insert(role, installation.start(role).await?);
        }
        let hooks = vec![Hook::start().await?, Hook::start().await?, Hook::start().await?];
        hooks[1].answers(500);
        installation.apply(&registry).await?;
        installation.add(&more_of_the_registry(&registry, &hooks)).await?;
        for number in [SLOW, HELD, SPENT] {
            let access_token =
                if number == HELD { "another token".into() } else { registry.token_of(number) };
            let rate = NonZeroU32::new(1000).context("1000 is not zero")?;
            installation.provider.put_channel(SimChannel {
                phone_number_id: number.phone_number_id.into(),
                access_token,
                display_phone_number: number.display.into(),
                waba_id: account_of(number).into(),
                verified_name: number.tenant.into(),
                rate,
                webhook: None,
            })?;
        }
        let spent = Fault::always(FaultKind::Error { code: 80_007 });
        let phone_number_id = Some(SPENT.phone_number_id.into());
        installation.provider.add_fault(Fault { phone_number_id, ..spent })?;
        let http = reqwest::Client::builder().no_proxy().timeout(ANSWER).build()?;
        let world = Self {
            installation,
            streams,
            services,
            http,
            nats_proxy,
            database_proxy,
            _hooks: hooks,
            _tls: tls,
        };
        world.switch_an_endpoint_off().await?;
        Ok(world)
    }

    async fn switch_an_endpoint_off(&self) -> anyhow::Result<()> {
        let acme = self.installation.tenant(ORDERS, &self.streams);
        let disabled = until("an endpoint to be known and disabled", LIMIT, async || {
            let reason = json!({ "reason": "upkeep" });
            let answer = acme.write("/v1/endpoints/acme-off/disable", &reason).await;
            answer.ok().filter(|(status, _)| status.is_success())
        });
        disabled.await.map(drop)
    }

    /// The services that run.
    pub(crate) fn roles(&self) -> Vec<&'static str> {
        self.services.keys().copied().collect()
    }

    /// Where each shows its metrics.
    pub(crate) fn targets(&self) -> Vec<String> {
        self.services.values().map(|service| service.admin_address().to_owned()).collect()
    }

    /// What each shows now.
    pub(crate) async fn scrape(&self) -> anyhow::Result<Vec<(&'static str, String)>> {
        let mut scrapes = Vec::new();
        for (role, service) in &self.services {
            let url = format!("http://{}/metrics", service.admin_address());
            let answer =
                self.http.get(url).send().await.with_context(|| format!("{role} shows no metrics"))?;
            scrapes.push((*role, answer.error_for_status()?.text().await?));
        }
        Ok(scrapes)
    }

    /// Ends one at once.
    pub(crate) async fn kill(&mut self, role: &str) -> anyhow::Result<()> {
        self.services.get_mut(role).with_context(|| format!("there is no {role}"))?.kill().await
    }

    /// Takes the database away for a moment, then NATS, once all that goes well had the time to be seen. Again and
    /// again, until whoever looks has `looked`: what an outage leaves can be seen for seconds only.
    pub(crate) async fn go_through_outages(&self, looked: &CancellationToken) -> anyhow::Result<()> {
        sleep(BEFORE_OUTAGES).await;
        self.go_through_one_of_each().await?;
        while looked.run_until_cancelled(sleep(BEFORE_OUTAGES)).await.is_some() {
            self.go_through_one_of_each().await?;
        }
        Ok(())
    }

    async fn go_through_one_of_each(&self) -> anyhow::Result<()> {
        self.database_proxy.cut().await?;
        sleep(OUTAGE).await;
        self.database_proxy.heal().await?;
        self.nats_proxy.stall().await?;
        sleep(OUTAGE).await;
        // What was held is lost now: whoever waits for an acknowledgement does not get it.
        self.nats_proxy.cut().await?;
        sleep(OUTAGE).await;
        self.nats_proxy.heal().await
    }

    /// Where tenants connect to NATS.
    pub(crate) fn nats_url(&self) -> anyhow::Result<String> {
        let nats = self.installation.nats.as_ref().context("there is no NATS")?;
        Ok(nats.url().to_owned())
    }
}

/// An account that has used up its calls holds all of its channels.
fn account_of(number: Number) -> &'static str {
    if number == SPENT { "900901" } else { "900900" }
}

/// A way to the database that can be cut, and the URL that leads through it.
async fn proxied(url: &str) -> anyhow::Result<(FaultProxy, String)> {
    let place = url.rsplit_once('@').map_or(url, |(_, place)| place);
    let address = place.split('/').next().unwrap_or_default();
    let proxy = FaultProxy::before(address.parse().with_context(|| format!("no address in {url}"))?).await?;
    let through = url.replace(address, &proxy.address().to_string());
    Ok((proxy, through))
}

/// An app that nobody gave a secret, three more channels, three endpoints, and a key that ends.
fn more_of_the_registry(registry: &RegistryText, hooks: &[Hook]) -> String {
    let end = Timestamp::now() + SignedDuration::from_hours(24 * 60);
    let mut text = format!(
        "[[tenant]]\nid = \"acme\"\nname = \"acme\"\nencoding = \"json\"\n\
         api_keys = [\"the-key-of-acme\", {{ key = \"the-key-of-acmes-till\", name = \"till\", expires = {end} }}]\n"
    );
    text += &format!("[[app]]\nid = {BARE_APP:?}\nverify_token = \"shown by Meta\"\n");
    for (number, rate) in [(SLOW, 5), (HELD, 80), (SPENT, 80)] {
        let Number { channel, tenant, phone_number_id, display } = number;
        let (token, account) = (registry.token_of(number), account_of(number));
        text += &format!(
            "[[channel]]\nid = {channel:?}\ntenant = {tenant:?}\nprovider = \"cloud_api\"\napp = {APP:?}\n\
             waba_id = {account:?}\nphone_number_id = {phone_number_id:?}\ndisplay_phone_number = {display:?}\n\
             access_token = {token:?}\nrate = {rate}\n"
        );
    }
    let endpoints = [("acme-erp", ORDERS), ("globex-broken", CARE), ("acme-off", ORDERS)];
    for ((id, number), hook) in endpoints.into_iter().zip(hooks) {
        let (tenant, url) = (number.tenant, hook.url());
        text +=
            &format!("[[endpoint]]\nid = {id:?}\ntenant = {tenant:?}\nkind = \"webhook\"\nurl = {url:?}\n");
    }
    text
}

/// Answers anything over TLS: the arguments are a port, a certificate and its key.
const TLS_SERVER: &str = "
import http.server, ssl, sys
server = http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), http.server.SimpleHTTPRequestHandler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2], sys.argv[3])
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
";

/// A server with a certificate that ends, and its URL.
async fn tls_server() -> anyhow::Result<(Process, String)> {
    let mut process = Process::new("tls")?;
    let (certificate, key) = (process.folder().join("certificate.pem"), process.folder().join("key.pem"));
    let mut make = Command::new("openssl");
    make.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "20",
    ]);
    make.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
    let made = make
        .arg("-out")
        .arg(&certificate)
        .arg("-keyout")
        .arg(&key)
        .output()
        .context("openssl did not start")?;
    ensure!(made.status.success(), "openssl makes no certificate: {}", String::from_utf8_lossy(&made.stderr));
    let served = process.folder().join("served");
    fs::create_dir(&served)?;
    let port = free_port()?;
    let mut serve = Command::new("python3");
    serve.args(["-c", TLS_SERVER, &port.to_string()]).arg(&certificate).arg(&key).current_dir(served);
    process.start(serve)?;
    let open = until("the TLS server", LIMIT, async || TcpStream::connect(("127.0.0.1", port)).await.ok());
    drop(open.await.with_context(|| process.log_end())?);
    Ok((process, format!("https://localhost:{port}")))
}

impl Keys {
    fn fresh() -> anyhow::Result<Self> {
        let printed = Command::new(staffetta_binary()?).arg("nats-keys").output()?;
        ensure!(printed.status.success(), "`staffetta nats-keys` failed: {printed:?}");
        let text = String::from_utf8(printed.stdout)?;
        let of = |name: &str| {
            let value = text
                .lines()
                .find_map(|line| line.trim().strip_prefix(name)?.trim_start().strip_prefix([':', '=']));
            let value = value.with_context(|| format!("`staffetta nats-keys` prints no {name}"))?;
            anyhow::Ok(value.trim().trim_matches('"').to_owned())
        };
        Ok(Self {
            issuer: of("issuer")?,
            xkey: of("xkey")?,
            issuer_seed: of("issuer_seed")?,
            xkey_seed: of("xkey_seed")?,
        })
    }
}
