//! Replaces the services one by one.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use staffetta_testkit::until;
use staffetta_tests::{Installation, LIMIT, Service, free_port};
use tokio::time::timeout;

use crate::report::{Report, Step};
use crate::world::{CHANNELS, Load, Versions, World};

/// In the order in which they are replaced, both ways. On the way there the first ones are ahead of the last ones, on
/// the way back behind them: each has worked with each, whichever of the two is newer.
const SERVICES: [&str; 5] = ["ingress", "recorder", "dispatcher", "delivery", "api"];

/// How much has to happen between two replacements: webhooks that are answered, and sends of each channel.
const WEBHOOKS: usize = 75;
const SENDS: u64 = 25;

/// The running replicas: one of each service, two while it is replaced.
#[derive(Debug)]
pub(crate) struct Rollout<'a> {
    world: &'a World,
    versions: Versions,
    running: Vec<Service>,
}

impl<'a> Rollout<'a> {
    /// Starts every service of the old version.
    pub(crate) async fn begin(world: &'a World, versions: Versions) -> anyhow::Result<Self> {
        let mut rollout = Self { world, versions, running: Vec::new() };
        for role in SERVICES {
            let old = rollout.versions.old.clone();
            let (replica, address) = rollout.start(role, &old).await?;
            rollout.lead(role, address);
            rollout.running.push(replica);
        }
        Ok(rollout)
    }

    /// From the old version to the new one: first the schema, the streams and the registry, while the old one works.
    pub(crate) async fn upgrade(&mut self, load: &Load, report: &mut Report) -> anyhow::Result<()> {
        let staffetta = &self.world.staffetta;
        until_more(load).await?;
        let begun = Instant::now();
        let migrated = staffetta.run_from(&self.versions.new, &["migrate"]).await?;
        ensure!(migrated.code == Some(0), "the new version's migrate failed: {migrated:?}");
        let registry = staffetta.folder().join("registry.toml");
        let registry = registry.to_str().context("the folder's name is no text")?;
        let applied = staffetta.run_from(&self.versions.new, &["apply", "-f", registry]).await?;
        ensure!(applied.code == Some(0), "the new version's apply failed: {applied:?}");
        report.migrated(begun.elapsed());
        until_more(load).await?;
        let new = self.versions.new.clone();
        self.replace_all("new", &new, load, report).await
    }

    /// From the new version to the old one, which finds everything as the new one left it.
    pub(crate) async fn go_back(&mut self, load: &Load, report: &mut Report) -> anyhow::Result<()> {
        let old = self.versions.old.clone();
        self.replace_all("old", &old, load, report).await
    }

    /// Ends every service; each must end well.
    pub(crate) async fn end(self) -> anyhow::Result<()> {
        for mut replica in self.running {
            replica.stop().await?;
        }
        Ok(())
    }

    async fn replace_all(
        &mut self,
        version: &'static str,
        program: &Path,
        load: &Load,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        for (index, role) in SERVICES.into_iter().enumerate() {
            let step = self.replace(index, role, program, load).await;
            let step = step.with_context(|| format!("replacing {role} by the {version} version"))?;
            eprintln!("{role} is the {version} version");
            report.add(version, role, step);
        }
        Ok(())
    }

    /// One service, as a Deployment with `maxSurge: 1` and `maxUnavailable: 0` is rolled.
    async fn replace(
        &mut self,
        index: usize,
        role: &'static str,
        program: &Path,
        load: &Load,
    ) -> anyhow::Result<Step> {
        let staffetta = &self.world.staffetta;
        let sent_before = latest_send(staffetta);
        let begun = Instant::now();
        let (replica, address) = self.start(role, program).await?;
        let ready = begun.elapsed();
        // The old one is taken out of the Service, and some time later told to end.
        self.lead(role, address);
        until_more(load).await?;
        let mut old = std::mem::replace(&mut self.running[index], replica);
        let stopping = Instant::now();
        old.stop().await?;
        let stopped = stopping.elapsed();
        until_more(load).await?;
        let acknowledged = load.webhooks.answers().into_iter().filter(|answer| answer.at >= begun);
        Ok(Step {
            ready,
            stopped,
            acknowledged: acknowledged.map(|answer| answer.after).max().unwrap_or_default(),
            sends_paused: self.longest_pause_of_sends(sent_before),
            endpoint_paused: self.longest_pause_of_the_endpoint(begun),
        })
    }

    /// The longest time that a channel sent nothing since then, in the provider's microseconds.
    fn longest_pause_of_sends(&self, since: u64) -> Duration {
        let pauses = CHANNELS.iter().flat_map(|number| {
            let at: Vec<u64> = self.world.staffetta.sends(*number).iter().map(|send| send.at_us).collect();
            at.windows(2).filter(|pair| pair[1] >= since).map(|pair| pair[1] - pair[0]).max()
        });
        Duration::from_micros(pauses.max().unwrap_or_default())
    }

    /// The longest time that nothing came to the endpoint since then.
    fn longest_pause_of_the_endpoint(&self, since: Instant) -> Duration {
        let posts = self.world.hook.posts();
        let pauses = posts.windows(2).filter(|pair| pair[1].at >= since);
        pauses.map(|pair| pair[1].at.duration_since(pair[0].at)).max().unwrap_or_default()
    }

    async fn start(&self, role: &'static str, program: &Path) -> anyhow::Result<(Service, SocketAddr)> {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let settings = match role {
            "ingress" => vec![("STAFFETTA__INGRESS__LISTEN", address.to_string())],
            "api" => vec![("STAFFETTA__API__LISTEN", address.to_string())],
            _ => Vec::new(),
        };
        let mut replica = self.world.staffetta.service_of(role, program, &settings)?;
        replica.start().await?;
        Ok((replica, address))
    }

    fn lead(&self, role: &str, address: SocketAddr) {
        match role {
            "ingress" => self.world.ingress.lead_to(address),
            "api" => self.world.api.lead_to(address),
            _ => {}
        }
    }
}

/// Waits until so many webhooks more are answered, and each channel has sent so many more.
async fn until_more(load: &Load) -> anyhow::Result<()> {
    let answered = load.webhooks.answered() + WEBHOOKS;
    let mut sent = load.sent.clone();
    let wanted = sent.borrow_and_update().map(|count| count + SENDS);
    let goes_on = async {
        sent.wait_for(|now| now.iter().zip(&wanted).all(|(now, wanted)| now >= wanted)).await?;
        until("webhooks to be answered", LIMIT, async || (load.webhooks.answered() >= answered).then_some(()))
            .await
    };
    timeout(LIMIT, goes_on).await.context("the channels do not go on sending")?
}

/// When the last send of all arrived, in the provider's microseconds.
fn latest_send(staffetta: &Installation) -> u64 {
    let last = CHANNELS.iter().filter_map(|number| Some(staffetta.sends(*number).last()?.at_us));
    last.max().unwrap_or_default()
}
