//! What both versions share: NATS, the database, the provider, the registry, and an endpoint of a tenant.

use std::convert::Infallible;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use staffetta_simulator::{Detail, InboundRate, SimChannel, Spread};
use staffetta_testkit::until;
use staffetta_tests::{
    APP, CARE, Hook, Installation, LIMIT, Number, ORDERS, RegistryText, Setup, Storage, Streams, message,
    webhook,
};
use tokio::sync::watch;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use crate::commands::Commands;
use crate::front::Front;
use crate::webhooks::Webhooks;

/// Two tenants, one of which reads JSON and has an endpoint, the other Protocol Buffers.
pub(crate) const CHANNELS: [Number; 4] = [
    ORDERS,
    CARE,
    Number { channel: "acme-north", tenant: "acme", phone_number_id: "200001", display: "390281457001" },
    Number { channel: "acme-south", tenant: "acme", phone_number_id: "200002", display: "390281457002" },
];
/// Messages a second on each channel, sent and received together.
pub(crate) const RATE: u32 = 20;
/// Of which the provider's own users write so many.
const INBOUND: f64 = 2.0;
/// Far more than a channel may send: the provider measures what comes and does not cut it down.
const PROVIDER_RATE: NonZeroU32 = NonZeroU32::new(1_000).expect("1000 is not zero");

/// Between two looks at what was sent: the provider's figures are dear.
const LOOK: Duration = Duration::from_millis(200);

/// How many sends of each of [`CHANNELS`] the provider has accepted.
pub(crate) type Sent = [u64; CHANNELS.len()];

/// The programs.
#[derive(Debug)]
pub(crate) struct Versions {
    pub(crate) old: PathBuf,
    pub(crate) new: PathBuf,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) staffetta: Installation,
    pub(crate) streams: Streams,
    pub(crate) hook: Hook,
    pub(crate) ingress: Front,
    pub(crate) api: Front,
}

/// Everybody who wants something of Staffetta.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) webhooks: Webhooks,
    pub(crate) commands: Commands,
    /// How many sends the provider has accepted.
    pub(crate) sent: watch::Receiver<Sent>,
    /// Events that were told before it began.
    told_before: usize,
    stop: CancellationToken,
}

/// What was asked of Staffetta, when nothing more is.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) webhooks: crate::webhooks::Delivered,
    pub(crate) commands: crate::commands::Accepted,
    pub(crate) told_before: usize,
}

impl World {
    /// All of it, with the schema, the streams and the registry that this program makes.
    pub(crate) async fn prepare(program: &Path) -> anyhow::Result<Self> {
        let registry = RegistryText { rate: RATE, ..RegistryText::default() };
        let setup = Setup { storage: Storage::Postgres, registry: registry.clone(), ..Setup::default() };
        let mut staffetta = Installation::prepare(setup).await?;
        staffetta.use_program(program);
        let migrated = staffetta.run(&["migrate"]).await?;
        ensure!(migrated.code == Some(0), "migrate failed: {migrated:?}");
        staffetta.apply(&registry).await?;
        let hook = Hook::start().await?;
        let mut more = format!(
            "[[endpoint]]\nid = \"acme-erp\"\ntenant = \"acme\"\nkind = \"webhook\"\nurl = {:?}\n",
            hook.url()
        );
        for number in &CHANNELS[2..] {
            let Number { channel, tenant, phone_number_id, display } = number;
            let access_token = registry.token_of(*number);
            more += &format!(
                "[[channel]]\nid = {channel:?}\ntenant = {tenant:?}\nprovider = \"cloud_api\"\napp = {APP:?}\n\
                 waba_id = \"900900\"\nphone_number_id = {phone_number_id:?}\n\
                 display_phone_number = {display:?}\naccess_token = {access_token:?}\nrate = {RATE}\n"
            );
            staffetta.provider.put_channel(SimChannel {
                phone_number_id: (*phone_number_id).into(),
                access_token,
                display_phone_number: (*display).into(),
                waba_id: "900900".into(),
                verified_name: (*tenant).into(),
                rate: PROVIDER_RATE,
                webhook: None,
            })?;
        }
        staffetta.add(&more).await?;
        let ingress = Front::listen(staffetta.ingress_address()).await?;
        let api = Front::listen(staffetta.api_address()).await?;
        let streams = staffetta.streams().await?;
        Ok(Self { staffetta, streams, hook, ingress, api })
    }

    /// Looks at what the provider has accepted, until it is dropped.
    pub(crate) async fn watch_sends(&self, sent: &watch::Sender<Sent>) -> Infallible {
        let mut looks = interval(LOOK);
        loop {
            looks.tick().await;
            let report = self.staffetta.provider.report(Detail::Figures);
            sent.send_replace(CHANNELS.map(|number| report.channels[number.phone_number_id].accepted));
        }
    }

    /// Lets everybody begin. An endpoint begins with what happens once it was seen, so it is seen first.
    pub(crate) async fn begin_load(&self, sent: watch::Receiver<Sent>) -> anyhow::Result<Load> {
        let mut first = Vec::new();
        let seen = until("the endpoint to begin", LIMIT, async || {
            let wamid = format!("wamid.first-{}", first.len());
            self.staffetta.meta.deliver(&webhook(ORDERS, &[message(&wamid)], &[])).await.ok()?;
            first.push(("message.received", wamid));
            (!self.hook.posts().is_empty()).then_some(())
        });
        seen.await?;
        let told_before = self.staffetta.told(&self.streams, &first).await?.len();
        for number in CHANNELS {
            let rate = InboundRate { per_second: INBOUND, users: 20, spread: Spread::Even };
            self.staffetta.provider.set_inbound_rate(number.phone_number_id, rate)?;
        }
        let stop = CancellationToken::new();
        Ok(Load {
            webhooks: Webhooks::begin(&self.staffetta, stop.clone()),
            commands: Commands::begin(&self.staffetta, &self.streams, &sent, &stop),
            sent,
            told_before,
            stop,
        })
    }

    /// Nobody writes to the provider's numbers any more.
    pub(crate) fn silence(&self) -> anyhow::Result<()> {
        for number in CHANNELS {
            let rate = InboundRate { per_second: 0.0, users: 20, spread: Spread::Even };
            self.staffetta.provider.set_inbound_rate(number.phone_number_id, rate)?;
        }
        Ok(())
    }
}

impl Load {
    /// Ends it, and waits for the answers.
    pub(crate) async fn end(self) -> anyhow::Result<Asked> {
        self.stop.cancel();
        let webhooks = self.webhooks.end().await.context("the webhooks")?;
        let commands = self.commands.end().await.context("the commands")?;
        Ok(Asked { webhooks, commands, told_before: self.told_before })
    }
}
