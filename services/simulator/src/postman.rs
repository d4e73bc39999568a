//! Delivers webhooks: each when it is due, a bounded number at a time, again until answered with 200.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderName};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::options::{Signing, WebhookRetry, WebhookTarget};
use crate::webhooks::{Item, Update, body, signature};
use crate::world::World;

/// How many POSTs are under way at once.
const DELIVERIES: usize = 32;
/// How many updates may wait in memory; what comes on top is lost, and counted as such.
const WAITING: usize = 200_000;
/// How many updates may be on their way to the postman.
pub(crate) const INBOX: usize = 65_536;
/// How many are taken from the inbox at once.
const HANDFUL: usize = 1_024;
/// How much of an answer is read before its connection is given up.
const ANSWER_LIMIT: usize = 64 * 1024;

const SIGNATURE: HeaderName = HeaderName::from_static("x-hub-signature-256");

/// An update, and when it is due.
pub(crate) type Scheduled = (Instant, Update);

/// A POST whose body is fixed: attempts repeat the same bytes.
#[derive(Debug)]
struct Post {
    updates: Vec<Update>,
    body: Bytes,
    signature: String,
    attempts: u32,
    first: Option<Instant>,
}

#[derive(Debug)]
enum Job {
    Tell(Update),
    Repeat(Box<Post>),
}

/// Orders jobs by time, then by age.
#[derive(Debug)]
struct Due {
    at: Instant,
    age: u64,
    job: Job,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.age) == (other.at, other.age)
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.age).cmp(&(other.at, other.age))
    }
}

/// Owns every webhook that has not been answered.
#[derive(Debug)]
pub(crate) struct Postman {
    world: Arc<World>,
    client: reqwest::Client,
    inbox: mpsc::Receiver<Scheduled>,
    later: BinaryHeap<Reverse<Due>>,
    ready: VecDeque<Box<Post>>,
    running: JoinSet<(Box<Post>, bool)>,
    jobs: u64,
}

impl Postman {
    pub(crate) fn new(world: Arc<World>, inbox: mpsc::Receiver<Scheduled>) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent("facebookexternalua")
            .connect_timeout(Duration::from_secs(5))
            .pool_max_idle_per_host(DELIVERIES)
            .tcp_nodelay(true)
            .build()
            .context("building the webhook client")?;
        let (later, ready, running) = (BinaryHeap::new(), VecDeque::new(), JoinSet::new());
        Ok(Self { world, client, inbox, later, ready, running, jobs: 0 })
    }

    /// Runs until `stop`. What was not delivered by then is dropped.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut handful = Vec::with_capacity(HANDFUL);
        loop {
            self.gather(Instant::now());
            self.start();
            let next = self.later.peek().map(|Reverse(due)| due.at);
            let has_room = self.later.len() + self.ready.len() < WAITING;
            tokio::select! {
                () = stop.cancelled() => break,
                taken = self.inbox.recv_many(&mut handful, HANDFUL), if has_room => {
                    if taken == 0 {
                        break;
                    }
                    for (at, update) in handful.drain(..) {
                        self.put(at, Job::Tell(update));
                    }
                }
                Some(done) = self.running.join_next() => self.settle(done),
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
        }
        self.running.shutdown().await;
    }

    fn put(&mut self, at: Instant, job: Job) {
        self.jobs += 1;
        self.later.push(Reverse(Due { at, age: self.jobs, job }));
    }

    /// Moves what is due into posts. Updates of one target share a POST, up to the batch size asked for.
    fn gather(&mut self, now: Instant) {
        let mut groups: Vec<Vec<Update>> = Vec::new();
        while self.later.peek().is_some_and(|Reverse(due)| due.at <= now) {
            let Some(Reverse(Due { job, .. })) = self.later.pop() else { break };
            let update = match job {
                Job::Repeat(post) => {
                    self.ready.push_back(post);
                    continue;
                }
                Job::Tell(update) => update,
            };
            let most = update.behaviour.batch.get();
            if most == 1 || matches!(update.item, Item::Raw(_)) {
                self.post(vec![update]);
                continue;
            }
            let place =
                groups.iter().position(|group| group.first().is_some_and(|one| goes_with(one, &update)));
            match place {
                Some(at) => {
                    groups[at].push(update);
                    if groups[at].len() >= most {
                        let full = groups.swap_remove(at);
                        self.post(full);
                    }
                }
                None => groups.push(vec![update]),
            }
        }
        for group in groups {
            self.post(group);
        }
    }

    fn post(&mut self, updates: Vec<Update>) {
        let Some((target, signing)) = updates.first().map(address) else { return };
        match body(&updates, signing) {
            Ok(body) => {
                let signature = signature(&target.app_secret, body.as_bytes());
                let post = Post { body: body.into(), signature, updates, attempts: 0, first: None };
                self.ready.push_back(Box::new(post));
            }
            Err(error) => {
                warn!(%error, "a webhook body can't be written");
                self.world.webhooks_lost(&updates);
            }
        }
    }

    fn start(&mut self) {
        while self.running.len() < DELIVERIES {
            let Some(mut post) = self.ready.pop_front() else { return };
            post.attempts += 1;
            post.first.get_or_insert_with(Instant::now);
            let client = self.client.clone();
            self.running.spawn(async move {
                let answered = deliver(&client, &post).await;
                (post, answered)
            });
        }
    }

    fn settle(&mut self, done: Result<(Box<Post>, bool), JoinError>) {
        let Ok((post, answered)) = done else {
            warn!("a webhook delivery panicked, its updates are lost");
            return;
        };
        let now = Instant::now();
        let Some(retry) = post.updates.first().map(|update| update.behaviour.retry) else { return };
        let since_first = post.first.map_or(Duration::ZERO, |first| now - first);
        if answered {
            self.world.webhooks_sent(&post.updates);
        } else if since_first >= Duration::from_millis(retry.give_up_ms) {
            debug!(attempts = post.attempts, "a webhook is given up");
            self.world.webhooks_lost(&post.updates);
        } else {
            self.world.webhooks_retried(&post.updates);
            self.put(now + wait(retry, post.attempts), Job::Repeat(post));
        }
    }
}

/// The wait after so many failed attempts.
fn wait(retry: WebhookRetry, attempts: u32) -> Duration {
    let doubled =
        retry.base_ms.saturating_mul(1_u64.checked_shl(attempts.saturating_sub(1)).unwrap_or(u64::MAX));
    Duration::from_millis(doubled.min(retry.cap_ms).max(1))
}

fn address(update: &Update) -> (&WebhookTarget, Signing) {
    (&update.source.target, update.behaviour.signing)
}

fn goes_with(one: &Update, other: &Update) -> bool {
    Arc::ptr_eq(&one.source, &other.source) || address(one) == address(other)
}

/// One attempt: true when the answer is exactly 200, the only one that Meta documents as success.
async fn deliver(client: &reqwest::Client, post: &Post) -> bool {
    let Some(update) = post.updates.first() else { return true };
    let request = client
        .post(&update.source.target.url)
        .header(CONTENT_TYPE, "application/json")
        .header(SIGNATURE, &post.signature)
        .timeout(Duration::from_millis(update.behaviour.retry.timeout_ms.max(1)))
        .body(post.body.clone());
    let mut response = match request.send().await {
        Ok(response) => response,
        Err(error) => {
            debug!(error = %error.without_url(), "a webhook got no answer");
            return false;
        }
    };
    let status = response.status();
    // Read to the end, within reason, so that the connection can be used again.
    let mut read = 0;
    while let Ok(Some(chunk)) = response.chunk().await {
        read += chunk.len();
        if read > ANSWER_LIMIT {
            break;
        }
    }
    status == StatusCode::OK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_their_cap() {
        let retry = WebhookRetry { base_ms: 50, cap_ms: 300, ..WebhookRetry::default() };
        let waits: Vec<u128> = [1, 2, 3, 4, 200].map(|attempts| wait(retry, attempts).as_millis()).into();
        assert_eq!(waits, [50, 100, 200, 300, 300]);
    }
}
