//! The simulator, steered and asked over HTTP.

use std::{collections::BTreeMap, net::SocketAddr, time::Instant};

use anyhow::{Context, ensure};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::gateway;

/// The token of every number.
pub(super) const TOKEN: &str = "a-token-for-benchmarks";
/// A number of the simulator's that Staffetta does not know.
const CLOCK: &str = "1999";
/// Sends that compare the clocks.
const CLOCK_PROBES: usize = 40;

/// A running simulator.
#[derive(Debug)]
pub(crate) struct Provider {
    base: String,
    http: reqwest::Client,
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
    pub(super) sends: u64,
}

/// One send.
#[derive(Debug, Deserialize)]
pub(super) struct Arrival {
    pub(super) at_us: i64,
    pub(super) text: Option<String>,
}

/// The Graph id of the `n`th number.
pub(super) fn number(n: usize) -> String {
    format!("{}", 1_000_000 + n)
}

impl Provider {
    /// Limits of the pair and statuses are off: neither is what is measured.
    ///
    /// Fails when the simulator does not do as asked.
    pub(super) async fn prepare(address: SocketAddr, channels: usize, rate: u32) -> anyhow::Result<Self> {
        let provider = Self { base: format!("http://{address}"), http: gateway::client()? };
        provider.put("behaviour", &json!({ "statuses": [], "pair": null })).await?;
        for n in 0..channels {
            provider.register(&number(n), rate).await?;
        }
        provider.register(CLOCK, 1_000).await?;
        Ok(provider)
    }

    async fn register(&self, number: &str, rate: u32) -> anyhow::Result<()> {
        let channel = json!({
            "access_token": TOKEN, "display_phone_number": format!("39{number}"), "waba_id": "900", "rate": rate,
        });
        self.put(&format!("channels/{number}"), &channel).await
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

    /// Starts the report anew.
    pub(super) async fn forget(&self) -> anyhow::Result<()> {
        let url = format!("{}/_sim/report", self.base);
        let answer = self.http.request(Method::DELETE, url).send().await.context("asking the simulator")?;
        ensure!(answer.status().is_success(), "the simulator keeps its report");
        Ok(())
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

pub(super) fn micros_since(origin: Instant) -> i64 {
    origin.elapsed().as_micros().try_into().unwrap_or(i64::MAX)
}
