//! Messages over HTTP, as tenants send them.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use reqwest::{Client, StatusCode};
use serde_json::json;
use staffetta_testkit::until;

use crate::{
    figures::Latencies,
    gateway::{Service, client},
    installation::{CpuEach, Installation},
    pace::{Pace, Turn},
    registered::{channel, key},
};

const READY_LIMIT: Duration = Duration::from_secs(30);
/// Who is written to.
const RECIPIENTS: u32 = 20_000;

/// Tenants that post to an `api`, in turns.
#[derive(Debug)]
pub(crate) struct Posting<'a> {
    installation: &'a Installation<'a>,
    tenants: usize,
    http: Client,
    url: String,
}

/// How it went.
#[derive(Debug)]
pub(crate) struct Posted {
    /// From when a message was due to its whole answer.
    pub(crate) answered: Latencies,
    /// Answered 202, whether measured or not.
    pub(crate) taken: u64,
    /// Answered 429 or 503, whether measured or not.
    pub(crate) refused: u64,
    pub(crate) cpu: CpuEach,
}

impl<'a> Posting<'a> {
    /// The first tenants of the registry.
    pub(crate) fn at(installation: &'a Installation<'a>, tenants: usize) -> anyhow::Result<Self> {
        let url = format!("http://{}/v1", installation.api);
        Ok(Self { installation, tenants, http: client()?, url })
    }

    /// Posts at that pace to an `api` that took nothing before.
    ///
    /// Fails when it ends, and at an answer that is none of 202, 429 and 503.
    pub(crate) async fn measure(&self, api: &mut Service, pace: Pace) -> anyhow::Result<Posted> {
        self.until_known().await?;
        let before = self.installation.cpu(api)?;
        let outcome = pace.keep(async |turn| self.post(turn).await).await;
        api.check_running()?;
        let answers = outcome?;
        let cpu = self.installation.cpu(api)?.each_since(before, pace.whole());
        let (mut answered, mut taken, mut refused) = (Latencies::new(), 0, 0);
        for (turn, (status, at)) in answers {
            match status {
                StatusCode::ACCEPTED => taken += 1,
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => refused += 1,
                other => bail!("message {} was answered {other}", turn.n),
            }
            if turn.measured {
                answered.add(at.duration_since(turn.due));
            }
        }
        Ok(Posted { answered, taken, refused, cpu })
    }

    async fn post(&self, turn: Turn) -> anyhow::Result<(StatusCode, Instant)> {
        let tenant = usize::try_from(turn.n)? % self.tenants;
        let body = json!({
            "channel": channel(tenant), "id": format!("inv-{}", turn.n),
            "to": format!("39348{:07}", turn.n % RECIPIENTS), "type": "text",
            "text": { "body": format!("Invoice {} is ready", turn.n) },
        });
        let request = self.http.post(format!("{}/messages", self.url)).bearer_auth(key(tenant)).json(&body);
        let answer = request.send().await.context("posting a message")?;
        let status = answer.status();
        answer.bytes().await.context("reading an answer")?;
        Ok((status, Instant::now()))
    }

    /// Waits until each tenant's key is known.
    async fn until_known(&self) -> anyhow::Result<()> {
        for tenant in 0..self.tenants {
            until("a key to be known", READY_LIMIT, async || {
                let request = self.http.get(format!("{}/channels", self.url)).bearer_auth(key(tenant));
                (request.send().await.ok()?.status() == StatusCode::OK).then_some(())
            })
            .await?;
        }
        Ok(())
    }
}
