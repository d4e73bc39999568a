//! Who may send: one owner at a time, through a key of the bucket LEASES that its owner renews by compare-and-set.
//!
//! The fence is the clock, not the server: a lease is valid until the boot-time clock *before* its last renewal plus its
//! term. A newcomer takes it only after it has seen no renewal for the term, the skew of two clocks over that time, and
//! one full window of the rate limit; so nothing of the old owner's can share a second with its own first send. No wall
//! clock is compared, and none of the server's timers counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream::kv;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::streams::StreamError;
use crate::{Bus, streams};

/// How long a lease holds without renewal.
const TERM: Duration = Duration::from_millis(1_500);
/// What two machines' clocks may differ by while a term passes, and then some.
const SKEW: Duration = Duration::from_millis(300);
/// One window of the rate limit, and a little.
const WINDOW: Duration = Duration::from_millis(1_010);
/// A lease counts as lost this long before it is.
const GUARD: Duration = Duration::from_millis(100);
/// How often a newcomer looks.
const LOOK: Duration = Duration::from_millis(200);
/// Pause before a renewal that failed is tried again.
const RENEW_AGAIN: Duration = Duration::from_millis(100);
/// Longest wait for one answer.
const ANSWER: Duration = Duration::from_millis(700);

/// Time since the machine started, asleep or awake.
pub fn boot_time() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[derive(Serialize, Deserialize)]
struct Holding {
    /// The process, unique to each start.
    owner: String,
    /// Whether the owner gave the lease back.
    released: bool,
}

/// Takes leases of one key, for one process.
#[derive(Debug)]
pub struct LeaseHolder {
    bus: Bus,
    bucket: kv::Store,
    key: String,
    owner: String,
}

/// The right to send, while [`is_valid`](Lease::is_valid). Clones share it.
#[derive(Clone, Debug)]
pub struct Lease {
    epoch: i64,
    valid_until_micros: Arc<AtomicU64>,
    lost: CancellationToken,
}

impl Lease {
    /// Grows with each change of ownership.
    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    /// Whether this process may send right now. Ask right before each send, with no await in between.
    pub fn is_valid(&self) -> bool {
        let until = Duration::from_micros(self.valid_until_micros.load(Ordering::Acquire));
        boot_time() + GUARD < until
    }

    /// Fires when the lease will not be renewed any more.
    pub fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    fn extend(&self, asked_at: Duration) {
        let until = u64::try_from((asked_at + TERM).as_micros()).unwrap_or(u64::MAX);
        self.valid_until_micros.store(until, Ordering::Release);
    }
}

impl LeaseHolder {
    /// Prepares to take the lease of `key`. `owner` must be unique to this start of this process.
    ///
    /// # Errors
    /// If the bucket is not set up.
    pub async fn open(bus: &Bus, key: &str, owner: &str) -> Result<Self, StreamError> {
        let bucket = bus.bucket(streams::LEASES).await?;
        Ok(Self { bus: bus.clone(), bucket, key: key.into(), owner: owner.into() })
    }

    /// Waits until the lease is this process's own. Nothing was sent under an older lease for one window by then.
    /// `None` if `stop` came first.
    pub async fn acquire(&self, stop: &CancellationToken) -> Option<(Lease, u64)> {
        let mut seen: Option<(u64, Duration)> = None;
        loop {
            let took = tokio::select! {
                () = stop.cancelled() => return None,
                took = timeout(ANSWER * 2, self.try_acquire(&mut seen)) => took,
            };
            match took {
                Ok(Ok(Some((lease, revision)))) => return Some((lease, revision)),
                Ok(Ok(None)) => {}
                Ok(Err(error)) => debug!(key = self.key, %error, "the lease could not be read"),
                Err(_) => debug!(key = self.key, "the lease could not be read in time"),
            }
            tokio::select! {
                () = stop.cancelled() => return None,
                () = sleep(LOOK) => {}
            }
        }
    }

    async fn try_acquire(
        &self,
        seen: &mut Option<(u64, Duration)>,
    ) -> Result<Option<(Lease, u64)>, async_nats::Error> {
        let now = boot_time();
        let entry = self.bucket.entry(&self.key).await?;
        let standing = entry.filter(|entry| entry.operation == kv::Operation::Put);
        let Some(standing) = standing else {
            let revision = self.bucket.create(&self.key, self.holding(Released::No)).await?;
            return Ok(Some(self.lease(revision, now)));
        };
        let since = match *seen {
            Some((revision, since)) if revision == standing.revision => since,
            _ => {
                *seen = Some((standing.revision, now));
                now
            }
        };
        let holding: Option<Holding> = serde_json::from_slice(&standing.value).ok();
        let free_after = match holding {
            Some(holding) if holding.released || holding.owner == self.owner => WINDOW,
            _ => TERM + SKEW + WINDOW,
        };
        if now < since + free_after {
            return Ok(None);
        }
        let revision = self.bucket.update(&self.key, self.holding(Released::No), standing.revision).await?;
        Ok(Some(self.lease(revision, now)))
    }

    fn lease(&self, revision: u64, asked_at: Duration) -> (Lease, u64) {
        let lease = Lease {
            epoch: i64::try_from(revision).unwrap_or(i64::MAX),
            valid_until_micros: Arc::default(),
            lost: CancellationToken::new(),
        };
        lease.extend(asked_at);
        info!(key = self.key, epoch = lease.epoch, "lease taken");
        (lease, revision)
    }

    /// Renews the lease until `stop`, then gives it back; returns early if it is lost. Afterwards it is not valid, and
    /// `lost` has fired.
    pub async fn keep(&self, lease: &Lease, mut revision: u64, stop: &CancellationToken) {
        let _lost = lease.lost.clone().drop_guard();
        let kept = self.renew(lease, &mut revision, stop).await;
        lease.valid_until_micros.store(0, Ordering::Release);
        if !kept {
            return;
        }
        let released =
            timeout(ANSWER, self.bucket.update(&self.key, self.holding(Released::Yes), revision)).await;
        match released {
            Ok(Ok(_)) => info!(key = self.key, epoch = lease.epoch, "lease given back"),
            _ => warn!(key = self.key, epoch = lease.epoch, "lease not given back: it runs out by itself"),
        }
    }

    /// True once `stop` has fired, false as soon as the lease is lost.
    async fn renew(&self, lease: &Lease, revision: &mut u64, stop: &CancellationToken) -> bool {
        let mut pause = TERM / 3;
        loop {
            tokio::select! {
                () = stop.cancelled() => return true,
                () = sleep(pause) => {}
            }
            pause = RENEW_AGAIN;
            let asked_at = boot_time();
            // A disconnected client would send the renewal when it is back, long after the lease was lost.
            if self.bus.is_connected() {
                let renewal = self.bucket.update(&self.key, self.holding(Released::No), *revision);
                match timeout(ANSWER, renewal).await {
                    Ok(Ok(renewed)) => {
                        *revision = renewed;
                        lease.extend(asked_at);
                        pause = TERM / 3;
                    }
                    Ok(Err(error)) if error.kind() == kv::UpdateErrorKind::WrongLastRevision => {
                        // A renewal whose answer was lost may be what stands there.
                        match timeout(ANSWER, self.own_revision()).await {
                            Ok(Some(own)) => *revision = own,
                            _ => {
                                warn!(key = self.key, epoch = lease.epoch, "lease lost to another owner");
                                return false;
                            }
                        }
                    }
                    Ok(Err(error)) => debug!(key = self.key, %error, "lease not renewed"),
                    Err(_) => debug!(key = self.key, "lease not renewed in time"),
                }
            }
            if !lease.is_valid() {
                warn!(key = self.key, epoch = lease.epoch, "lease ran out");
                return false;
            }
        }
    }

    async fn own_revision(&self) -> Option<u64> {
        let entry = self.bucket.entry(&self.key).await.ok()??;
        let holding: Holding = serde_json::from_slice(&entry.value).ok()?;
        (holding.owner == self.owner && !holding.released).then_some(entry.revision)
    }

    fn holding(&self, released: Released) -> bytes::Bytes {
        let holding = Holding { owner: self.owner.clone(), released: released == Released::Yes };
        serde_json::to_vec(&holding).expect("two plain fields").into()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Released {
    Yes,
    No,
}
