//! The tenants' commands: always some more than their channels have sent, so that there is a backlog, and never many.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use reqwest::StatusCode;
use serde_json::Value;
use staffetta_tests::{Installation, LIMIT, Number, Streams, Tenant, text};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::world::{CHANNELS, Sent};

/// How many commands of each channel wait: some seconds' worth.
const BACKLOG: usize = 60;
/// To whom each channel sends.
const USERS: usize = 12;
/// Every so-manieth command goes through the HTTP API, the others straight to NATS.
const BY_API: usize = 5;
/// Before a request that was not answered well is made again.
const AGAIN: Duration = Duration::from_millis(100);

/// The commands on their way in.
#[derive(Debug)]
pub(crate) struct Commands {
    sending: JoinSet<anyhow::Result<(usize, Vec<Value>)>>,
    refused: Arc<AtomicUsize>,
}

/// What Staffetta has taken over.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// The commands of each of [`CHANNELS`], in their order.
    pub(crate) commands: Vec<Vec<Value>>,
    /// Requests to the API that had no answer, or another than 202.
    pub(crate) refused: usize,
}

impl Commands {
    pub(crate) fn begin(
        staffetta: &Installation,
        streams: &Streams,
        sent: &watch::Receiver<Sent>,
        stop: &CancellationToken,
    ) -> Self {
        let refused = Arc::<AtomicUsize>::default();
        let mut sending = JoinSet::new();
        for (index, number) in CHANNELS.into_iter().enumerate() {
            let tenant = staffetta.tenant(number, streams);
            let (sent, stop, refused) = (sent.clone(), stop.clone(), Arc::clone(&refused));
            let commands = send(index, number, tenant, sent, stop, refused);
            sending.spawn(async move { Ok((index, commands.await?)) });
        }
        Self { sending, refused }
    }

    pub(crate) async fn end(mut self) -> anyhow::Result<Accepted> {
        let mut commands = vec![Vec::new(); CHANNELS.len()];
        while let Some(sent) = self.sending.join_next().await {
            let (index, sent) = sent??;
            commands[index] = sent;
        }
        Ok(Accepted { commands, refused: self.refused.load(Ordering::Relaxed) })
    }
}

/// One after the other: each is stored before the next, so that their order is known.
async fn send(
    index: usize,
    number: Number,
    tenant: Tenant,
    mut sent: watch::Receiver<Sent>,
    stop: CancellationToken,
    refused: Arc<AtomicUsize>,
) -> anyhow::Result<Vec<Value>> {
    let mut commands = Vec::new();
    while !stop.is_cancelled() {
        let n = commands.len();
        if n >= usize::try_from(sent.borrow_and_update()[index])? + BACKLOG {
            tokio::select! {
                () = stop.cancelled() => break,
                changed = sent.changed() => changed.context("nobody looks at what is sent")?,
            }
            continue;
        }
        let command = text(&format!("{}-{n}", number.channel), &format!("3934815{:05}", n % USERS));
        if n.is_multiple_of(BY_API) {
            let posting = post(&tenant, &command, &refused);
            timeout(LIMIT, posting).await.context("the API took a command at no time")?;
        } else {
            tenant.send(&command).await.context("a command could not be published")?;
        }
        commands.push(command);
    }
    Ok(commands)
}

/// Posts a command until it is taken: its id makes it the same one each time.
async fn post(tenant: &Tenant, command: &Value, refused: &AtomicUsize) {
    loop {
        let answer = tenant.post(command).await;
        if answer.is_ok_and(|(status, _)| status == StatusCode::ACCEPTED) {
            return;
        }
        refused.fetch_add(1, Ordering::Relaxed);
        sleep(AGAIN).await;
    }
}
