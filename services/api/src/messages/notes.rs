//! Making commands known once they are on SEND, those of many requests together: a commit costs the database about the
//! same for one as for a hundred.

use std::time::Duration;

use staffetta_store::{NewCommand, Store};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::warn;

use crate::problem::chain;

/// Longest wait of one request for its note.
const NOTE_TIME: Duration = Duration::from_secs(1);

/// Most commands of one commit.
const BATCH: usize = 256;

/// Commits at a time: while one is on its way to the disk, the next is being gathered and a second can leave.
const COMMITS: usize = 2;

/// Most requests that wait for a commit; the next has to wait for room, within its time.
const WAITING: usize = 4 * BATCH;

/// A command, and whom to tell when it is known.
type Note = (NewCommand, oneshot::Sender<()>);

/// Where requests leave their commands. [`work`](Self::work) commits them.
#[derive(Debug)]
pub(crate) struct Notes {
    sender: mpsc::Sender<Note>,
    waiting: Mutex<mpsc::Receiver<Note>>,
}

impl Default for Notes {
    fn default() -> Self {
        let (sender, waiting) = mpsc::channel(WAITING);
        Self { sender, waiting: Mutex::new(waiting) }
    }
}

impl Notes {
    /// Makes the command known before the dispatcher has seen it. The queue has it already: without this it is only
    /// known a little later.
    pub(super) async fn note(&self, command: &NewCommand) {
        let (done, told) = oneshot::channel();
        let noted = timeout(NOTE_TIME, async {
            self.sender.send((command.clone(), done)).await.ok()?;
            told.await.ok()
        });
        if noted.await.ok().flatten().is_none() {
            warn!(tenant = %command.tenant, command = %command.id, "a queued command could not be noted in time");
        }
    }

    /// Commits what requests leave, for as long as it is awaited. What waits when it is dropped is not noted.
    pub(crate) async fn work(&self, store: &Store) {
        let mut waiting = self.waiting.lock().await;
        let mut commits = JoinSet::new();
        loop {
            let mut batch = Vec::new();
            if waiting.recv_many(&mut batch, BATCH).await == 0 {
                return;
            }
            while commits.len() >= COMMITS {
                commits.join_next().await;
            }
            // More may have come while the commits before were on their way.
            while batch.len() < BATCH
                && let Ok(note) = waiting.try_recv()
            {
                batch.push(note);
            }
            commits.spawn(commit(store.clone(), batch));
        }
    }
}

async fn commit(store: Store, batch: Vec<Note>) {
    let (commands, waiting): (Vec<NewCommand>, Vec<oneshot::Sender<()>>) = batch.into_iter().unzip();
    // Within the store's own time, even if nobody waits any more: a command that is known late is still known.
    match store.enqueue(&commands).await {
        Ok(()) => {
            for done in waiting {
                let _ = done.send(());
            }
        }
        // Whoever waits is told by nobody, and says which command it was.
        Err(error) => warn!(error = chain(&error), "queued commands could not be noted"),
    }
}
