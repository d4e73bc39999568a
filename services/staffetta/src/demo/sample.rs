//! The sample tenant: its ids, its throw-away secrets, and the files that describe it.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::Path,
};

use anyhow::Context;

pub(super) const APP: &str = "meta-main";
pub(super) const TENANT: &str = "acme";
pub(super) const CHANNEL: &str = "acme-orders";
pub(super) const PHONE_NUMBER_ID: &str = "106540352242922";
const WABA_ID: &str = "102290129340398";
const DISPLAY_PHONE_NUMBER: &str = "16315551234";
/// Messages a second, sent and received together.
const RATE: u32 = 80;

/// Who writes first, and gets the messages.
pub(super) const KERRY: &str = "16315555555";

/// The ports of 127.0.0.1 that the demo uses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) api: u16,
    pub(super) ingress: u16,
    pub(super) simulator: u16,
    pub(super) admin: u16,
    pub(super) nats: u16,
}

impl Ports {
    /// The usual ones; a free one in place of each that is taken.
    ///
    /// All stay bound until all are found, so that no two are the same.
    fn pick() -> anyhow::Result<Self> {
        let mut bound = Vec::new();
        let mut pick = |usual: u16| -> anyhow::Result<u16> {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, usual))
                .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
                .context("no free port on 127.0.0.1")?;
            let port = listener.local_addr()?.port();
            bound.push(listener);
            Ok(port)
        };
        Ok(Self {
            api: pick(8080)?,
            ingress: pick(8081)?,
            simulator: pick(8082)?,
            admin: pick(9090)?,
            nats: pick(4222)?,
        })
    }
}

/// A tenant for one run. The secrets are made for it and worth nothing afterwards.
pub(super) struct Sample {
    pub(super) ports: Ports,
    pub(super) app_secret: String,
    pub(super) verify_token: String,
    pub(super) api_key: String,
    access_token: String,
    master_key: String,
    /// Another each time: the same one makes the same message ids again.
    seed: u32,
}

impl Sample {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            ports: Ports::pick()?,
            app_secret: hex::encode(rand::random::<[u8; 16]>()),
            verify_token: hex::encode(rand::random::<[u8; 12]>()),
            api_key: hex::encode(rand::random::<[u8; 12]>()),
            access_token: hex::encode(rand::random::<[u8; 24]>()),
            master_key: hex::encode(rand::random::<[u8; 32]>()),
            seed: rand::random(),
        })
    }

    pub(super) fn api(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.api)
    }

    pub(super) fn webhook(&self) -> String {
        format!("http://127.0.0.1:{}/webhooks/meta/{APP}", self.ports.ingress)
    }

    pub(super) fn simulator(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.simulator)
    }

    pub(super) fn admin(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.admin)
    }

    pub(super) fn nats(&self) -> String {
        format!("nats://127.0.0.1:{}", self.ports.nats)
    }

    /// Writes `staffetta.toml` and `registry.toml` into the folder.
    pub(super) fn write(&self, folder: &Path, nats_server: &Path) -> anyhow::Result<()> {
        fs::write(folder.join("staffetta.toml"), self.configuration(folder, nats_server))?;
        fs::write(folder.join("registry.toml"), self.registry())?;
        Ok(())
    }

    fn configuration(&self, folder: &Path, nats_server: &Path) -> String {
        let Ports { api, ingress, simulator, admin, nats } = self.ports;
        let text = |path: &Path| toml::Value::from(path.display().to_string()).to_string();
        let media = toml::Value::from(format!("file:{}", folder.join("media").display()));
        format!(
            r#"# Written by `staffetta demo`. SQLite and the data of NATS are in the data folder.
data_dir = {data}
master_key = "{master_key}"

[nats]
listen = "127.0.0.1:{nats}"
server = {nats_server}

[ingress]
listen = "127.0.0.1:{ingress}"

[api]
listen = "127.0.0.1:{api}"

[admin]
listen = "127.0.0.1:{admin}"

[simulator]
listen = "127.0.0.1:{simulator}"
seed = {seed}

# In production this is left out, and Meta is at the other end.
[graph]
base_url = "http://127.0.0.1:{simulator}"

[media]
url = {media}
"#,
            data = text(&folder.join("data")),
            nats_server = text(nats_server),
            master_key = self.master_key,
            seed = self.seed,
        )
    }

    fn registry(&self) -> String {
        let Self { app_secret, verify_token, api_key, access_token, .. } = self;
        format!(
            r#"# Written by `staffetta demo`. In production secrets are {{ env = "NAME" }} or {{ file = "/path" }}.
[[app]]
id = "{APP}"
app_secret = "{app_secret}"
verify_token = "{verify_token}"

[[tenant]]
id = "{TENANT}"
name = "Acme S.p.A."
encoding = "json"
api_keys = ["{api_key}"]

[[channel]]
id = "{CHANNEL}"
tenant = "{TENANT}"
provider = "cloud_api"
app = "{APP}"
waba_id = "{WABA_ID}"
phone_number_id = "{PHONE_NUMBER_ID}"
display_phone_number = "{DISPLAY_PHONE_NUMBER}"
access_token = "{access_token}"
rate = {RATE}
"#
        )
    }

    /// How the simulator is told of the number.
    pub(super) fn simulated_number(&self) -> serde_json::Value {
        serde_json::json!({
            "access_token": self.access_token,
            "display_phone_number": DISPLAY_PHONE_NUMBER,
            "waba_id": WABA_ID,
            "rate": RATE,
            "verified_name": "Acme S.p.A.",
            "webhook": { "url": self.webhook(), "app_secret": self.app_secret },
        })
    }

    /// The webhook with which Meta tells that Kerry wrote: the sample of Meta's own guide, with our ids.
    pub(super) fn webhook_body() -> String {
        include_str!("kerry.json")
            .replace("WHATSAPP_BUSINESS_ACCOUNT_ID", WABA_ID)
            .replace("PHONE_NUMBER_ID", PHONE_NUMBER_ID)
    }
}
