//! A strict stand-in for Meta's Cloud API over real HTTP.
//!
//! It takes sends and refuses them as Meta does, posts signed status webhooks, lets users write, fails on
//! demand, and reports what it saw. It needs nothing: no NATS, no database. Every random choice follows
//! from a seed. What it checks follows Meta's rules, never what our dispatcher happens to send.

mod options;

mod cloud_api;
mod control;
mod server;

mod inbound;
mod sends;
mod world;

mod chance;
mod faults;
mod graph_error;
mod limits;
mod media;
mod profile;
mod received;
mod registration;
mod rules;
mod statuses;
mod templates;
mod throughput;
mod tokens;
mod usage;
mod users;
mod validate;

mod escape;
mod postman;
mod webhooks;

mod report;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use control::ControlError;
pub use faults::{Fault, FaultKind};
pub use inbound::{InboundError, InboundMessage, InboundRate, Spread};
pub use options::{
    Behaviour, DEFAULT_RATE, Delays, InvalidOption, MediaLife, Options, PairLimit, Signing, SimChannel,
    StatusKind, UserIds, WebhookRetry, WebhookTarget, WindowMode, WindowState, Windows,
};
pub use report::{
    ChannelReport, Detail, MediaCounts, RefusalSeen, Report, SendSeen, WebhookCounts, WorstSecond,
};
pub use templates::{Template, TemplateCategory, TemplateStatus};
pub use throughput::{ThroughputLevel, Upgrade};
pub use usage::{BusinessUsage, Usage};
pub use users::UserState;

use postman::Postman;
use world::World;

/// A running simulator. It stops when it is dropped.
#[derive(Debug)]
pub struct Simulator {
    address: SocketAddr,
    world: Arc<World>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

/// Binds the address and serves from then on. Fails on an impossible option, or an address that is taken.
pub async fn start(options: Options) -> anyhow::Result<Simulator> {
    options.behaviour.check()?;
    if let Some(webhook) = &options.webhook {
        webhook.check()?;
    }
    for channel in &options.channels {
        channel.check().with_context(|| format!("channel {}", channel.phone_number_id))?;
    }
    let listener = TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("the simulator can't listen on {}", options.listen))?;
    let address = listener.local_addr().context("reading the simulator's address")?;
    let (post, inbox) = mpsc::channel(postman::INBOX);
    let world = Arc::new(World::new(&options, post));
    let stop = CancellationToken::new();
    let router = cloud_api::routes().merge(control::routes()).with_state(world.clone());
    let postman = Postman::new(world.clone(), inbox)?;
    let mut tasks = JoinSet::new();
    tasks.spawn(server::serve(listener, router, stop.clone()));
    tasks.spawn(postman.run(stop.clone()));
    tasks.spawn(inbound::run(world.clone(), stop.clone()));
    tracing::info!(%address, seed = options.seed, "the simulator listens");
    Ok(Simulator { address, world, stop, tasks })
}

impl Simulator {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The Graph base URL to give to a client.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Runs until `stop`, then ends as [`stop`](Self::stop) does. Fails when a part of it ended by itself.
    pub async fn run_until(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        tokio::select! {
            () = stop.cancelled() => {
                self.stop().await;
                Ok(())
            }
            ended = self.tasks.join_next() => match ended {
                Some(Err(error)) => Err(error).context("a part of the simulator panicked"),
                _ => bail!("a part of the simulator ended by itself"),
            },
        }
    }

    /// Answers what is being asked, for two seconds at most, then stops. Webhooks not yet delivered are
    /// dropped.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }

    /// Registers a number, or replaces its configuration; what it has seen stays. Fails on an impossible
    /// value.
    pub fn put_channel(&self, channel: SimChannel) -> Result<(), ControlError> {
        self.world.put_channel(channel)
    }

    /// Gives a number a new token: the one before is refused with 190 from now on. Fails on an unknown
    /// number and on an empty token.
    pub fn set_token(&self, phone_number_id: &str, access_token: &str) -> Result<(), ControlError> {
        self.world.set_token(phone_number_id, access_token.to_owned())
    }

    /// When the number's token ends, in Unix seconds; from then on it is refused with 190. `None`: never.
    ///
    /// # Errors
    /// When the number is not registered.
    pub fn set_token_end(&self, phone_number_id: &str, end: Option<u64>) -> Result<(), ControlError> {
        self.world.set_token_end(phone_number_id, end)
    }

    /// Begins an upgrade of a number's throughput: sends are refused with 131057 until its outage is over, then
    /// the new rate holds and the webhook is told. Fails on an unknown number and a rate below the one before.
    pub fn upgrade(&self, phone_number_id: &str, upgrade: Upgrade) -> Result<(), ControlError> {
        self.world.upgrade(phone_number_id, upgrade)
    }

    /// Makes a number report this level, or with `None` the one that follows from its rate. Fails on an
    /// unknown number.
    pub fn set_throughput_level(
        &self,
        phone_number_id: &str,
        level: Option<ThroughputLevel>,
    ) -> Result<(), ControlError> {
        self.world.set_level(phone_number_id, level)
    }

    /// Replaces what is known of a template, for all accounts; a change of its status goes to their webhooks.
    /// Fails on a name that no template can have, and beyond ten thousand templates.
    pub fn put_template(&self, name: &str, template: Template) -> Result<(), ControlError> {
        self.world.put_template(name, template)
    }

    /// Says how a user stands to one number, or with `None` to all; the beginning and the end of an opt-out go
    /// to the webhook. Fails on what is not a user, an unknown number, and beyond a hundred thousand users.
    pub fn put_user(
        &self,
        user: &str,
        stands: UserState,
        phone_number_id: Option<&str>,
    ) -> Result<(), ControlError> {
        self.world.put_user(user, stands, phone_number_id)
    }

    /// Says how much of the call limits is used: answers tell it, and at 100 percent sends are refused. Fails
    /// on a percentage above 100.
    pub fn set_usage(&self, usage: Usage) -> Result<(), ControlError> {
        self.world.set_usage(usage)
    }

    /// Replaces how all numbers behave that have no behaviour of their own. Fails on an impossible value.
    pub fn set_behaviour(&self, behaviour: Behaviour) -> Result<(), ControlError> {
        self.world.set_behaviour(behaviour)
    }

    /// Gives a number a behaviour of its own, or takes it away with `None`. Fails on an unknown number.
    pub fn set_channel_behaviour(
        &self,
        phone_number_id: &str,
        behaviour: Option<Behaviour>,
    ) -> Result<(), ControlError> {
        self.world.set_channel_behaviour(phone_number_id, behaviour)
    }

    /// Puts a fault in force. Fails on an impossible probability, and beyond a thousand faults.
    pub fn add_fault(&self, fault: Fault) -> Result<(), ControlError> {
        self.world.add_fault(fault)
    }

    /// Ends all faults.
    pub fn clear_faults(&self) {
        self.world.state().faults.clear();
    }

    /// Makes a user's message arrive and gives back its wamid. Fails on an unknown number, one without a
    /// webhook, and a message that is not one.
    pub fn inbound(&self, message: InboundMessage) -> Result<String, InboundError> {
        self.world.inbound(message)
    }

    /// Keeps a file that a user will send to this number, and gives back the id for the message. Fails on an
    /// unknown number.
    pub fn put_media(
        &self,
        phone_number_id: &str,
        mime_type: &str,
        bytes: impl Into<bytes::Bytes>,
    ) -> Result<String, ControlError> {
        self.world.put_media(phone_number_id, mime_type.to_owned(), bytes.into())
    }

    /// Sets a steady stream of users' messages to a number; a rate of 0 ends it.
    pub fn set_inbound_rate(&self, phone_number_id: &str, rate: InboundRate) -> Result<(), InboundError> {
        self.world.set_stream(phone_number_id, rate)
    }

    /// What was seen so far.
    #[must_use]
    pub fn report(&self, detail: Detail) -> Report {
        self.world.report(detail)
    }

    /// Forgets what was seen. Limits and windows go on, and ids stay unique.
    pub fn reset_report(&self) {
        self.world.state().reset_report();
    }
}
