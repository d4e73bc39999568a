//! The envelopes that this process has in hand, in whichever stage.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::jetstream::{AckKind, Message};
use futures_util::{StreamExt, stream};
use tokio::time::{sleep, timeout};

/// How often NATS is told that the envelopes in hand are still being worked on: it waits 30 seconds.
const KEEP: Duration = Duration::from_secs(8);
/// When an envelope that was given back comes again.
const COME_AGAIN: Duration = Duration::from_secs(1);
/// Longest time to tell NATS about some envelopes, and for its answer to one acknowledgement.
const ANSWER: Duration = Duration::from_secs(3);
/// Acknowledgements that are awaited at a time.
const PARALLEL: usize = 64;

/// All that is in hand. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hands(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    taken: u64,
    held: BTreeMap<u64, Arc<[Message]>>,
}

impl Hands {
    /// Takes envelopes in hand: NATS hands them to nobody else until they are let go.
    pub(crate) fn take(&self, envelopes: Vec<Message>) -> Held {
        let envelopes: Arc<[Message]> = envelopes.into();
        let mut inner = self.lock();
        inner.taken += 1;
        let number = inner.taken;
        inner.held.insert(number, Arc::clone(&envelopes));
        Held { number, envelopes, hands: self.clone() }
    }

    /// Tells NATS again and again that what is in hand is still being worked on.
    pub(crate) async fn keep(&self) -> Infallible {
        loop {
            sleep(KEEP).await;
            let held: Vec<Arc<[Message]>> = self.lock().held.values().cloned().collect();
            for envelopes in held {
                tell(&envelopes, AckKind::Progress).await;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Some envelopes in hand. Dropped, they are let go of, and come again when their time is over, unless they were
/// acknowledged.
#[derive(Debug)]
pub(crate) struct Held {
    number: u64,
    envelopes: Arc<[Message]>,
    hands: Hands,
}

impl Held {
    /// Gives them back, to be taken by whoever is better off. One that can't be given back comes again when its time
    /// is over.
    pub(crate) async fn give_back(self) {
        tell(&self.envelopes, AckKind::Nak(Some(COME_AGAIN))).await;
    }

    /// Acknowledges them and waits until NATS has taken it in. Says of how many it has not.
    pub(crate) async fn settle(&self) -> usize {
        let answers = stream::iter(self.envelopes.to_vec())
            .map(|envelope| async move { timeout(ANSWER, envelope.double_ack()).await })
            .buffer_unordered(PARALLEL)
            .filter(|answer| std::future::ready(!matches!(answer, Ok(Ok(())))));
        answers.count().await
    }
}

impl Deref for Held {
    type Target = [Message];

    fn deref(&self) -> &[Message] {
        &self.envelopes
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.hands.lock().held.remove(&self.number);
    }
}

async fn tell(envelopes: &[Message], kind: AckKind) {
    let telling = async {
        for envelope in envelopes {
            let _ = envelope.ack_with(kind).await;
        }
    };
    let _ = timeout(ANSWER, telling).await;
}
