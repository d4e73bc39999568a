//! The provider's webhooks: messages and statuses, alone and together, at a steady pace.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;
use staffetta_tests::{Installation, LIMIT, Meta, User, status, webhook};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::world::CHANNELS;

/// Between two webhooks.
const PACE: Duration = Duration::from_millis(40);
/// Before a webhook that was not taken comes again.
const AGAIN: Duration = Duration::from_millis(100);
/// Who writes.
const USERS: usize = 30;
/// Most webhooks that wait for their answer.
const UNDER_WAY: usize = 200;
/// The status names that follow one another.
const STATUSES: [&str; 3] = ["sent", "delivered", "read"];

/// The webhooks on their way.
#[derive(Debug)]
pub(crate) struct Webhooks {
    answers: Arc<Mutex<Vec<Answered>>>,
    sending: JoinSet<anyhow::Result<Delivered>>,
}

/// One attempt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered {
    pub(crate) at: Instant,
    pub(crate) after: Duration,
    /// None: the connection broke or was refused.
    pub(crate) status: Option<u16>,
}

/// What was answered with 200.
#[derive(Debug, Default)]
pub(crate) struct Delivered {
    /// The wamids of messages.
    pub(crate) messages: Vec<String>,
    /// The wamid and the name of each status.
    pub(crate) statuses: Vec<(String, &'static str)>,
    pub(crate) answers: Vec<Answered>,
}

impl Webhooks {
    pub(crate) fn begin(staffetta: &Installation, stop: CancellationToken) -> Self {
        let answers = Arc::default();
        let mut sending = JoinSet::new();
        sending.spawn(send(staffetta.meta.clone(), Arc::clone(&answers), stop));
        Self { answers, sending }
    }

    /// How many attempts were answered so far.
    pub(crate) fn answered(&self) -> usize {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Every attempt that was answered so far, in the order of the answers.
    pub(crate) fn answers(&self) -> Vec<Answered> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) async fn end(mut self) -> anyhow::Result<Delivered> {
        let mut delivered = self.sending.join_next().await.context("nobody sends")???;
        delivered.answers = self.answers();
        Ok(delivered)
    }
}

async fn send(
    meta: Meta,
    answers: Arc<Mutex<Vec<Answered>>>,
    stop: CancellationToken,
) -> anyhow::Result<Delivered> {
    let mut delivered = Delivered::default();
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut under_way = JoinSet::new();
    for n in 0_usize.. {
        tokio::select! {
            () = stop.cancelled() => break,
            _ = pace.tick() => {}
        }
        while under_way.len() >= UNDER_WAY {
            under_way.join_next().await.context("none is under way")???;
        }
        let body = body(n, &mut delivered);
        under_way.spawn(until_taken(meta.clone(), body, Arc::clone(&answers)));
    }
    while let Some(taken) = under_way.join_next().await {
        taken??;
    }
    Ok(delivered)
}

/// A body like no other, noted as delivered: nobody ends before it is.
fn body(n: usize, delivered: &mut Delivered) -> Value {
    let number = CHANNELS[n % CHANNELS.len()];
    let user = User::of_phone("Anna", &format!("3934814{:05}", n % USERS));
    let mut messages = Vec::new();
    let mut statuses = Vec::new();
    let mut write = |part: &str| {
        let wamid = format!("wamid.in-{n}-{part}");
        messages.push(user.text(&wamid, 1_795_257_000 + i64::try_from(n).unwrap_or_default()));
        delivered.messages.push(wamid);
    };
    match n % 3 {
        0 => write("a"),
        1 => {}
        _ => {
            write("a");
            write("b");
        }
    }
    if !n.is_multiple_of(3) {
        // In no order: the last one first.
        for name in STATUSES.iter().rev().take(1 + n % 2) {
            let wamid = format!("wamid.out-{n}");
            statuses.push(status(&wamid, name));
            delivered.statuses.push((wamid, name));
        }
    }
    webhook(number, &messages, &statuses)
}

/// Posts it until it is answered with 200, as Meta does.
async fn until_taken(meta: Meta, body: Value, answers: Arc<Mutex<Vec<Answered>>>) -> anyhow::Result<()> {
    let taken = timeout(LIMIT, async {
        loop {
            let at = Instant::now();
            let status = meta.post(&body).await.ok().map(|status| status.as_u16());
            let answer = Answered { at, after: at.elapsed(), status };
            answers.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
            if status == Some(200) {
                return;
            }
            sleep(AGAIN).await;
        }
    });
    taken.await.context("a webhook was never taken")
}
