//! One webhook after the other, however fast the answers come: from its 200 to its event at a subscriber.

use std::{
    cell::RefCell,
    collections::HashMap,
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use async_nats::jetstream::consumer::{DeliverPolicy, push::OrderedConfig};
use aws_lc_rs::hmac;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, future::try_join, stream};
use reqwest::{Client, StatusCode};
use staffetta_testkit::until;
use tokio::time::{sleep_until, timeout};

use super::{
    Load,
    bed::{Bed, EVENTS},
    population::{APP, SECRET},
    webhooks::Webhooks,
};
use crate::{
    figures::{Latencies, PERCENTILES_HEAD, millis},
    gateway::{Service, client},
};

/// Webhooks before the measured ones: connections open, statements are prepared.
const WARM_UP: Duration = Duration::from_secs(3);
const READY_LIMIT: Duration = Duration::from_secs(30);
/// After the last webhook the events come within this, or the run fails.
const LAST_EVENTS: Duration = Duration::from_secs(60);
/// Webhooks a second at the most.
const FASTEST: u32 = 10_000;

/// How often, and how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) rate: u32,
    pub(super) seconds: u32,
}

/// How it went.
#[derive(Debug)]
pub(super) struct EndToEnd {
    pace: Pace,
    /// From when a webhook was due to its 200.
    answered: Latencies,
    /// From its 200 to its event.
    announced: Latencies,
}

/// Starts ingress beside a running recorder, and posts.
///
/// Fails when a webhook is not answered 200, and when its event does not come.
pub(super) async fn measure(
    bed: &Bed,
    recorder: &mut Service,
    load: Load,
    pace: Pace,
) -> anyhow::Result<EndToEnd> {
    ensure!((1..=FASTEST).contains(&pace.rate), "webhooks a second must be 1 to {FASTEST}");
    let mut ingress = bed.start("ingress").await?;
    let door = Door::new(bed)?;
    // Other webhooks than those of the backlog.
    let mut webhooks = Webhooks::new(load.population, load.seed.wrapping_add(1), super::now()?);
    door.until_open(webhooks.next_message().0).await?;

    let warm_up = pace.rate * u32::try_from(WARM_UP.as_secs())?;
    let whole = warm_up + pace.rate * pace.seconds;
    let all: Vec<_> = (0..whole).map(|_| webhooks.next_message()).collect();
    let mut arrivals = arrivals(bed).await?;
    let start = Instant::now();
    let answers = RefCell::new(HashMap::new());
    let posting = stream::iter(all.iter().zip(0_u32..))
        .map(async |((body, wamid), n)| {
            let due = start + Duration::from_secs(1) * n / pace.rate;
            sleep_until(due.into()).await;
            let status = door.post(body.clone()).await?;
            let at = Instant::now();
            ensure!(status == StatusCode::OK, "ingress answered {status}");
            answers.borrow_mut().insert(wamid.as_str(), Answer { due, at, measured: n >= warm_up });
            Ok(())
        })
        // Two seconds' worth: none waits for another's answer, unless ingress is far too slow.
        .buffer_unordered(usize::try_from(pace.rate * 2)?)
        .try_for_each(async |()| Ok(()));
    let listening = async {
        let mut seen = HashMap::new();
        while seen.len() < all.len() {
            let (wamid, at) = arrivals.next().await.context("EVENTS ended")??;
            seen.entry(wamid).or_insert(at);
        }
        anyhow::Ok(seen)
    };
    let limit = WARM_UP + Duration::from_secs(pace.seconds.into()) + LAST_EVENTS;
    let outcome = timeout(limit, try_join(posting, listening)).await;
    ingress.check_running()?;
    recorder.check_running()?;
    let ((), seen) = outcome.with_context(|| format!("not all events came within {limit:?}"))??;
    drop(arrivals);
    ingress.stop().await?;

    let (mut answered, mut announced) = (Latencies::new(), Latencies::new());
    for (wamid, answer) in answers.into_inner().into_iter().filter(|(_, answer)| answer.measured) {
        let at = seen.get(wamid).context("an event is missing")?;
        answered.add(answer.at.duration_since(answer.due));
        // One that overtook its own 200 took no time.
        announced.add(at.saturating_duration_since(answer.at));
    }
    Ok(EndToEnd { pace, answered, announced })
}

#[derive(Debug)]
struct Answer {
    due: Instant,
    at: Instant,
    measured: bool,
}

/// Each event's subject and when it came, from now on.
async fn arrivals(
    bed: &Bed,
) -> anyhow::Result<impl StreamExt<Item = anyhow::Result<(String, Instant)>> + Unpin> {
    let stream = bed.jetstream.get_stream_no_info(EVENTS).await.context("no stream EVENTS")?;
    let config = OrderedConfig {
        deliver_subject: bed.client.new_inbox(),
        deliver_policy: DeliverPolicy::New,
        ..OrderedConfig::default()
    };
    let consumer = stream.create_consumer(config).await.context("following EVENTS")?;
    let messages = consumer.messages().await.context("following EVENTS")?;
    Ok(messages.map(|message| {
        let at = Instant::now();
        let message = message.context("following EVENTS")?;
        let subject = message.headers.as_ref().and_then(|headers| headers.get("ce-subject"));
        Ok((subject.context("an event has no subject")?.as_str().to_owned(), at))
    }))
}

/// Where webhooks go in.
#[derive(Debug)]
struct Door {
    http: Client,
    url: String,
    key: hmac::Key,
}

impl Door {
    fn new(bed: &Bed) -> anyhow::Result<Self> {
        Ok(Self {
            http: client()?,
            url: format!("http://{}/webhooks/meta/{APP}", bed.ingress),
            key: hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()),
        })
    }

    async fn post(&self, body: Bytes) -> anyhow::Result<StatusCode> {
        let signature = format!("sha256={}", hex::encode(hmac::sign(&self.key, &body)));
        let request = self.http.post(&self.url).header("X-Hub-Signature-256", signature);
        let answer = request.header("Content-Type", "application/json").body(body).send().await;
        Ok(answer.context("posting a webhook")?.status())
    }

    /// Waits until ingress knows the app, by one webhook.
    async fn until_open(&self, body: Bytes) -> anyhow::Result<()> {
        until("ingress to take a webhook", READY_LIMIT, async || {
            let status = self.post(body.clone()).await.ok()?;
            (status == StatusCode::OK).then_some(())
        })
        .await
    }
}

impl EndToEnd {
    /// From the 200 to the event.
    pub(super) fn p99(&self) -> Duration {
        self.announced.percentiles().p99
    }
}

impl fmt::Display for EndToEnd {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pace { rate, seconds } = self.pace;
        writeln!(out, "  {rate} webhooks a second, for {seconds} s{:>15}{PERCENTILES_HEAD}   max ms", "")?;
        let line = |what, latencies: &Latencies| {
            format!("  {what:<46}{} {:>8}", latencies.percentiles(), millis(latencies.longest()))
        };
        writeln!(out, "{}", line("from when it was due to its 200", &self.answered))?;
        write!(out, "{}", line("from its 200 to its event at a subscriber", &self.announced))
    }
}
