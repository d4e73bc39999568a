//! Taking letters from DEAD back to where their payloads came from.

use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Counter;
use staffetta_bus::{Bus, DeadError, DeadStream, Letter, NotReplayable, PublishError, WayBack};
use staffetta_domain::{CommandId, CommandState, TenantId};
use staffetta_runtime::crash::crash_point;
use staffetta_runtime::telemetry::meter;
use staffetta_store::{Store, StoreError};
use tokio::time::{Instant, timeout};
use tracing::info;

/// Letters that are worked on at a time.
const PARALLEL: usize = 16;
/// Longest wait for the database, for one letter.
const REVIVE: Duration = Duration::from_secs(3);
/// Longest time to publish one letter's payload, with all tries.
const PUBLISH: Duration = Duration::from_secs(4);

/// Replays letters. Clones share everything.
#[derive(Clone, Debug)]
pub struct Replays {
    bus: Bus,
    dead: DeadStream,
    store: Store,
    replayed: Counter<u64>,
}

/// Where a letter went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// The subject that its payload stands on now.
    pub subject: String,
    /// The command that it is, if it is one.
    pub command: Option<CommandId>,
}

/// Why a letter is still on DEAD.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It stays there for good.
    #[error("it can't be replayed: {0}")]
    NotReplayable(#[from] NotReplayable),
    /// Its command could not be queued again; nothing was published.
    #[error("its command could not be queued again in the database")]
    Revive(#[source] StoreError),
    /// Its command has not ended yet; nothing was published.
    #[error("its command is still being worked on: try again")]
    StillOpen,
    /// The database did not answer in time; nothing was published.
    #[error("its command could not be queued again in time")]
    ReviveTimedOut,
    /// Its payload could not be published. After [`PublishError::TimedOut`] it may be all the same.
    #[error("its payload could not be published")]
    Publish(#[source] PublishError),
    /// NATS has just stored something under the same id, which may be this command or another's.
    #[error("a message of the same id was published a moment ago: try again")]
    Contested,
    /// Its payload went back, but the letter is still there. Replaying it again is harmless.
    #[error("it went back, but could not be taken from DEAD")]
    Stays(#[source] DeadError),
}

impl Replays {
    /// Replays over `bus`, with the commands of `store`.
    pub fn new(bus: Bus, store: Store) -> Self {
        let replayed = meter()
            .u64_counter("staffetta.dead_letters.replayed")
            .with_description("Letters taken from DEAD back to where they came from, by component and reason")
            .build();
        Self { dead: DeadStream::new(bus.clone()), bus, store, replayed }
    }

    /// Publishes each letter's payload again, in the order given (one whose publish had to be repeated may be
    /// overtaken), and takes the letter from DEAD once that is acknowledged. Answers in the same order.
    ///
    /// Whatever fails, and wherever the process dies, a letter is on DEAD or its payload is back, or both: then
    /// replaying it again changes nothing, because what was recorded or sent is known.
    pub async fn replay(&self, letters: &[Letter]) -> Vec<Result<Replayed, ReplayError>> {
        let ready = each(letters.iter().map(|letter| self.prepare(letter).boxed())).await;
        let published = each(ready.into_iter().map(|way| self.publish(way).boxed())).await;
        crash_point("replay.published");
        let done = letters.iter().zip(published);
        each(done.map(|(letter, done)| self.take_away(letter, done).boxed())).await
    }

    /// The way back, free to be gone: a command that has ended would be recognised, and dropped, on SEND.
    async fn prepare(&self, letter: &Letter) -> Result<WayBack, ReplayError> {
        let way = letter.way_back()?;
        if let Some((tenant, id)) = &way.command {
            timeout(REVIVE, self.revive(tenant, id)).await.map_err(|_| ReplayError::ReviveTimedOut)??;
        }
        Ok(way)
    }

    /// A letter is written before its command ends. Replayed in between, the command would end all the same, and what
    /// was published again would be dropped with it.
    async fn revive(&self, tenant: &TenantId, id: &CommandId) -> Result<(), ReplayError> {
        if self.store.revive(tenant, id).await.map_err(ReplayError::Revive)? {
            return Ok(());
        }
        let command = self.store.command(tenant, id).await.map_err(ReplayError::Revive)?;
        match command.map(|command| command.state) {
            Some(CommandState::Sending | CommandState::InDoubt) => Err(ReplayError::StillOpen),
            _ => Ok(()),
        }
    }

    async fn publish(&self, way: Result<WayBack, ReplayError>) -> Result<Replayed, ReplayError> {
        let WayBack { subject, message_id, shared_id, headers, payload, command } = way?;
        let deadline = Instant::now() + PUBLISH;
        let stored = self.bus.publish(subject.clone(), &message_id, headers, payload, deadline).await;
        if stored.map_err(ReplayError::Publish)?.duplicate && shared_id {
            return Err(ReplayError::Contested);
        }
        Ok(Replayed { subject, command: command.map(|(_, id)| id) })
    }

    async fn take_away(
        &self,
        letter: &Letter,
        done: Result<Replayed, ReplayError>,
    ) -> Result<Replayed, ReplayError> {
        let done = done?;
        self.dead.delete(letter.id).await.map_err(ReplayError::Stays)?;
        info!(
            id = %letter.id,
            service = letter.service,
            tenant = letter.tenant.as_ref().map(tracing::field::display),
            channel = letter.channel.as_ref().map(tracing::field::display),
            reason = letter.reason,
            "dead letter replayed"
        );
        let labels = [
            KeyValue::new("component", letter.service.clone()),
            KeyValue::new("reason", letter.reason.clone()),
        ];
        self.replayed.add(1, &labels);
        Ok(done)
    }
}

/// What the futures come to, in their order. They are boxed, or the compiler can't tell that the whole may move between
/// threads.
async fn each<T>(futures: impl Iterator<Item = BoxFuture<'_, T>>) -> Vec<T> {
    let futures: Vec<_> = futures.collect();
    stream::iter(futures).buffered(PARALLEL).collect().await
}
