//! Messages and commands at a steady pace, good ones and bad ones.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use async_nats::ConnectOptions;
use futures_util::StreamExt;
use serde_json::json;
use staffetta_simulator::{Fault, FaultKind};
use staffetta_tests::{APP, CARE, Meta, Number, ORDERS, Tenant, User, text, webhook};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::world::{BARE_APP, HELD, SLOW, SPENT, World};

/// From one round to the next.
const PACE: Duration = Duration::from_millis(250);
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// A number that nobody has registered.
const NOBODYS: Number =
    Number { channel: "nobodys", tenant: "nobody", phone_number_id: "999999", display: "390000000000" };

/// The load, until it is stopped or dropped.
#[derive(Debug)]
pub(crate) struct Load {
    tasks: JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
}

/// Whoever makes it.
#[derive(Debug)]
struct Crowd {
    meta: Meta,
    acme: Tenant,
    slow: Tenant,
    globex: Tenant,
    held: Tenant,
    spent: Tenant,
    nats_url: String,
    api_url: String,
    ingress_url: String,
    http: reqwest::Client,
}

impl Load {
    pub(crate) async fn start(world: &World) -> anyhow::Result<Self> {
        let (installation, streams) = (&world.installation, &world.streams);
        let tenant = |number| installation.tenant(number, streams);
        let crowd = Crowd {
            meta: installation.meta.clone(),
            acme: tenant(ORDERS),
            slow: tenant(SLOW),
            globex: tenant(CARE),
            held: tenant(HELD),
            spent: tenant(SPENT),
            nats_url: world.nats_url()?,
            api_url: installation.api_url(),
            ingress_url: format!("http://{}", installation.ingress_address()),
            http: reqwest::Client::builder().no_proxy().build()?,
        };
        // From time to time a send fails, each in another way; the cut ones are in doubt.
        let sometimes = |kind, probability| Fault { probability, ..Fault::always(kind) };
        installation.provider.add_fault(sometimes(FaultKind::Error { code: 131_000 }, 0.03))?;
        installation.provider.add_fault(sometimes(FaultKind::Error { code: 130_429 }, 0.01))?;
        installation.provider.add_fault(sometimes(FaultKind::FailedStatus { code: 131_026 }, 0.03))?;
        installation.provider.add_fault(sometimes(FaultKind::Error { code: 131_009 }, 0.02))?;
        installation.provider.add_fault(sometimes(FaultKind::CutBeforeAccept, 0.02))?;
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(listen(crowd.http.clone(), crowd.api_url.clone(), stop.clone()));
        tasks.spawn(crowd.run(stop.clone()));
        Ok(Self { tasks, stop })
    }

    /// Fails with what ended it.
    pub(crate) fn still_runs(&mut self) -> anyhow::Result<()> {
        match self.tasks.try_join_next() {
            None => Ok(()),
            Some(Ok(Err(error))) => Err(error.context("the load has ended")),
            Some(Ok(Ok(()))) => bail!("the load has ended"),
            Some(Err(error)) => Err(error).context("the load has panicked"),
        }
    }

    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(())
    }
}

/// Follows a tenant's events, as a browser does: again and again.
async fn listen(http: reqwest::Client, api_url: String, stop: CancellationToken) -> anyhow::Result<()> {
    let mut pace = interval(PACE);
    while stop.run_until_cancelled(pace.tick()).await.is_some() {
        let request = http.get(format!("{api_url}/v1/events")).bearer_auth("the-key-of-acme").send();
        let Some(answer) = stop.run_until_cancelled(request).await else { break };
        let Ok(answer) = answer.and_then(reqwest::Response::error_for_status) else { continue };
        let mut events = answer.bytes_stream();
        while let Some(Some(Ok(_))) = stop.run_until_cancelled(events.next()).await {}
    }
    Ok(())
}

impl Crowd {
    async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for round in 0_u64.. {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = pace.tick() => {}
            }
            // What fails while something is away is a part of what is to be seen.
            let _ = self.users_write(round).await;
            let _ = self.tenants_send(round).await;
            if round.is_multiple_of(8) {
                let _ = self.things_go_wrong(round).await;
            }
        }
        Ok(())
    }

    async fn users_write(&self, round: u64) -> anyhow::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        for number in [ORDERS, CARE] {
            let user = User::of_phone("Anna", &format!("3934815{:05}", round % 50));
            let wamid = format!("wamid.{}-{round}", number.channel);
            let body = user.webhook(number, &[user.text(&wamid, i64::try_from(now)?)]);
            self.meta.post(&body).await?;
            // As Meta does: the same again, now and then.
            if round.is_multiple_of(5) {
                self.meta.post(&body).await?;
            }
        }
        Ok(())
    }

    async fn tenants_send(&self, round: u64) -> anyhow::Result<()> {
        let to = format!("3934816{:05}", round % 40);
        let command = |name: &str| text(&format!("{name}-{round}"), &to);
        self.acme.send(&command("normal")).await?;
        self.globex.send_protobuf(&command("care")).await?;
        self.in_lane(&self.acme, ORDERS, "urgent", &command("urgent")).await?;
        self.in_lane(&self.acme, ORDERS, "bulk", &command("bulk")).await?;
        for part in ["a", "b", "c"] {
            self.in_lane(&self.slow, SLOW, "bulk", &command(&format!("slow-{part}"))).await?;
        }
        self.held.send(&command("held")).await?;
        self.in_lane(&self.spent, SPENT, "normal", &command("spent")).await?;
        self.acme.post(&command("posted")).await?;
        self.acme.read("/v1/channels").await?;
        self.acme.read("/v1/conversations").await?;
        Ok(())
    }

    async fn in_lane(
        &self,
        tenant: &Tenant,
        number: Number,
        lane: &str,
        command: &serde_json::Value,
    ) -> anyhow::Result<()> {
        let subject = tenant.subject(number.channel, lane);
        tenant
            .send_bytes(subject, command["id"].as_str(), "application/json", command.to_string().into())
            .await
    }

    /// What each of them is answered with is the tests' business.
    async fn things_go_wrong(&self, round: u64) -> anyhow::Result<()> {
        // Nobody's number, no webhook at all, an unknown app, one without a secret, a wrong
        // signature.
        let user = User::of_phone("Berta", "393481500000");
        let wamid = format!("wamid.nobodys-{round}");
        self.meta.post(&user.webhook(NOBODYS, &[user.text(&wamid, 1_795_257_000)])).await?;
        self.meta.post(&json!({ "entry": [] })).await?;
        self.meta.post_text("nobodys-app", webhook(ORDERS, &[], &[]).to_string()).await?;
        self.meta.post_text(BARE_APP, webhook(ORDERS, &[], &[]).to_string()).await?;
        let forged = self.http.post(format!("{}/webhooks/meta/{APP}", self.ingress_url));
        forged.header("X-Hub-Signature-256", "sha256=00").body("{}").send().await?;
        // A command that says nothing, one that nobody can read, and one that was published before under another name.
        let subject = self.acme.subject(ORDERS.channel, "normal");
        self.acme.send_bytes(subject.clone(), None, "application/json", b"no JSON".to_vec()).await?;
        self.acme.send(&json!({ "id": format!("empty-{round}"), "to": "12", "type": "text" })).await?;
        let again = text(&format!("normal-{round}"), &format!("3934816{:05}", round % 40));
        self.acme.send_bytes(subject, None, "application/json", again.to_string().into()).await?;
        // What does not exist, and a key that nobody has.
        self.globex.read("/v1/messages/nothing").await?;
        self.http.get(format!("{}/v1/channels", self.api_url)).bearer_auth("nobody").send().await?;
        // A tenant at NATS, with its key and with another.
        for key in ["the-key-of-acme", "nobody"] {
            let options = ConnectOptions::with_token(key.into()).custom_inbox_prefix("_INBOX_acme");
            // The second is refused.
            let _ = timeout(CONNECT_LIMIT, options.connect(&self.nats_url)).await?;
        }
        self.replay_a_letter().await
    }

    async fn replay_a_letter(&self) -> anyhow::Result<()> {
        let (_, letters) = self.acme.read("/v1/dead-letters").await?;
        let Some(id) = letters["items"][0]["id"].as_str() else { return Ok(()) };
        self.acme.write(&format!("/v1/dead-letters/{id}/replay"), &json!({})).await?;
        Ok(())
    }
}
