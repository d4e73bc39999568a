//! The simulator, steered and asked over HTTP.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use clap::ValueEnum;
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::backlog::Load;
use crate::gateway;

/// The token of every number.
pub(super) const TOKEN: &str = "a-token-for-benchmarks";
/// The app that webhooks come through.
pub(super) const APP: &str = "bench";
/// What signs them.
pub(super) const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// A number of the simulator's that Staffetta does not know.
const CLOCK: &str = "1999";
/// Users who write.
const WRITERS: u32 = 5_000;
/// Sends that compare the clocks.
const CLOCK_PROBES: usize = 40;

/// A running simulator.
#[derive(Debug)]
pub(crate) struct Provider {
    base: String,
    http: reqwest::Client,
}

/// What comes back through webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Webhooks {
    /// Nothing: neither ingress nor a recorder runs.
    None,
    /// Users' messages.
    Messages,
    /// Users' messages, and of each send the status `sent`, which settles doubts.
    MessagesAndStatuses,
}

/// How users' messages lie in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Spread {
    /// At equal distances
    Even,
    /// Each whenever it likes
    Poisson,
}

impl Spread {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Even => "even",
            Self::Poisson => "poisson",
        }
    }
}

/// What the simulator saw.
#[derive(Debug, Deserialize)]
pub(super) struct Report {
    pub(super) channels: BTreeMap<String, Seen>,
    pub(super) refused: BTreeMap<String, u64>,
}

/// What one number saw.
#[derive(Debug, Deserialize)]
pub(super) struct Seen {
    pub(super) accepted: u64,
    pub(super) refused: BTreeMap<String, u64>,
    pub(super) inbound: u64,
    pub(super) worst_second: Worst,
    pub(super) busy_us: u64,
    pub(super) used_share: f64,
    pub(super) duplicates: u64,
    pub(super) same_message: u64,
    pub(super) not_logged: u64,
    #[serde(default)]
    pub(super) sends: Vec<Arrival>,
}

/// The fullest sliding second.
#[derive(Debug, Deserialize)]
pub(super) struct Worst {
    /// Sends, refused ones too, and users' messages.
    pub(super) sends_and_inbound: u64,
}

/// One accepted send.
#[derive(Debug, Deserialize)]
pub(super) struct Arrival {
    pub(super) at_us: i64,
    pub(super) to: String,
    pub(super) text: Option<String>,
}

impl Report {
    /// What the `n`th number saw.
    pub(super) fn channel(&self, n: usize) -> anyhow::Result<&Seen> {
        self.channels.get(&number(n)).context("the simulator forgot a number")
    }

    /// The same, to keep.
    pub(super) fn take_channel(&mut self, n: usize) -> anyhow::Result<Seen> {
        self.channels.remove(&number(n)).context("the simulator forgot a number")
    }
}

/// The Graph id of the `n`th number.
pub(super) fn number(n: usize) -> String {
    format!("{}", 1_000_000 + n)
}

impl Provider {
    /// The pair's limit and windows are off: neither is what is measured. Webhooks go to `ingress`.
    ///
    /// Fails when the simulator does not do as asked.
    pub(super) async fn prepare(
        address: SocketAddr,
        load: Load,
        webhooks: Webhooks,
        ingress: SocketAddr,
    ) -> anyhow::Result<Self> {
        let provider = Self { base: format!("http://{address}"), http: gateway::client()? };
        let statuses = if webhooks == Webhooks::MessagesAndStatuses { json!(["sent"]) } else { json!([]) };
        let behaviour = json!({ "statuses": statuses, "pair": null, "windows": { "mode": "off" } });
        provider.put("behaviour", &behaviour).await?;
        let webhook = (webhooks != Webhooks::None).then_some(ingress);
        for n in 0..load.channels {
            provider.register(&number(n), load.rate, webhook).await?;
        }
        provider.register(CLOCK, 1_000, None).await?;
        Ok(provider)
    }

    async fn register(&self, number: &str, rate: u32, ingress: Option<SocketAddr>) -> anyhow::Result<()> {
        let mut channel = json!({
            "access_token": TOKEN, "display_phone_number": format!("39{number}"), "waba_id": "900", "rate": rate,
        });
        if let Some(ingress) = ingress {
            let url = format!("http://{ingress}/webhooks/meta/{APP}");
            channel["webhook"] = json!({ "url": url, "app_secret": SECRET });
        }
        self.put(&format!("channels/{number}"), &channel).await
    }

    /// Lets users write to the first number from now on; 0 ends it.
    pub(super) async fn write(&self, per_second: f64, spread: Spread) -> anyhow::Result<()> {
        let stream = json!({ "per_second": per_second, "users": WRITERS, "spread": spread.name() });
        self.put(&format!("inbound/{}", number(0)), &stream).await
    }

    async fn put(&self, what: &str, body: &Value) -> anyhow::Result<()> {
        let url = format!("{}/_sim/{what}", self.base);
        let answer = self.http.put(url).json(body).send().await.context("asking the simulator")?;
        ensure!(answer.status().is_success(), "the simulator refused {what}: {}", answer.text().await?);
        Ok(())
    }

    /// Figures only.
    pub(super) async fn report(&self) -> anyhow::Result<Report> {
        self.read_report("report").await
    }

    /// With each accepted send.
    pub(super) async fn detailed_report(&self) -> anyhow::Result<Report> {
        self.read_report("report?detail=1").await
    }

    async fn read_report(&self, what: &str) -> anyhow::Result<Report> {
        let answer = self.http.get(format!("{}/_sim/{what}", self.base)).send().await;
        let answer = answer.context("asking the simulator")?;
        ensure!(answer.status() == StatusCode::OK, "the simulator has no report");
        answer.json().await.context("the simulator's report is not as expected")
    }

    /// Finds what our clock, in microseconds since `origin`, is ahead of the simulator's. A send arrives after it was
    /// made and before it is answered: the narrowest bounds of many are taken.
    pub(super) async fn compare_clocks(&self, origin: Instant) -> anyhow::Result<Offset> {
        let mut bounds = Vec::with_capacity(CLOCK_PROBES);
        for n in 0..CLOCK_PROBES {
            let body = json!({
                "messaging_product": "whatsapp", "to": format!("3934810{n:05}"), "type": "text",
                "text": { "body": n.to_string() },
            });
            let request = self
                .http
                .post(format!("{}/v24.0/{CLOCK}/messages", self.base))
                .bearer_auth(TOKEN)
                .json(&body);
            let before = micros_since(origin);
            let answer = request.send().await.context("sending to the simulator")?;
            let after = micros_since(origin);
            ensure!(answer.status() == StatusCode::OK, "the simulator refused a send");
            answer.bytes().await.context("reading the simulator's answer")?;
            bounds.push((n.to_string(), before, after));
        }
        let report = self.detailed_report().await?;
        let arrivals = &report.channels.get(CLOCK).context("the simulator forgot a number")?.sends;
        let (mut least, mut most) = (i64::MIN, i64::MAX);
        for (text, before, after) in bounds {
            let arrival = arrivals.iter().find(|arrival| arrival.text.as_ref() == Some(&text));
            let at = arrival.context("the simulator forgot a send")?.at_us;
            least = least.max(before - at);
            most = most.min(after - at);
        }
        ensure!(least <= most, "the clocks do not run alike");
        Ok(Offset { least, most })
    }
}

/// Bounds of what is to be added to the simulator's microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offset {
    least: i64,
    most: i64,
}

impl Offset {
    /// The likeliest time of an arrival on our clock.
    pub(super) fn ours(self, at_us: i64) -> i64 {
        at_us + i64::midpoint(self.least, self.most)
    }

    /// How far that may be off, either way, in microseconds.
    pub(super) fn doubt_us(self) -> i64 {
        (self.most - self.least) / 2
    }
}

/// A time on our clock, or between two, as the simulator counts.
pub(super) fn micros(time: Duration) -> i64 {
    time.as_micros().try_into().unwrap_or(i64::MAX)
}

pub(super) fn micros_since(origin: Instant) -> i64 {
    micros(origin.elapsed())
}
