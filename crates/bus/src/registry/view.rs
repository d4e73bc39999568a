//! Follows the bucket REGISTRY live.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_nats::jetstream::kv;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::RegistryError;
use super::bucket::{self, Held, Slots};
use super::snapshot::Registry;
use crate::secret::MasterKey;
use crate::{Bus, streams};

/// The registry as it is now. Clones share it.
#[derive(Clone, Debug)]
pub struct RegistryView {
    current: Arc<ArcSwap<Registry>>,
    changed: watch::Receiver<u64>,
}

/// How often everything is read again, so that secrets in files and a missed change are found.
const REFRESH: Duration = Duration::from_secs(60);
/// Pause before the bucket is followed again after it could not be.
const PAUSE: Duration = Duration::from_millis(500);
/// Least pause between two times that changes are shown. One change alone shows at once; of many in a row those of
/// each pause show together.
const PACE: Duration = Duration::from_millis(100);
/// Most of what the process does may go into showing changes: a tenth. The registry is followed within a second all the
/// same.
const SHARE: u32 = 10;
const LONGEST_PACE: Duration = Duration::from_millis(500);

impl RegistryView {
    /// Reads the whole bucket, then follows it in the returned future until `stop`. While NATS is away the last known
    /// registry stays.
    ///
    /// # Errors
    /// If the bucket could not be read now.
    pub async fn follow(
        bus: &Bus,
        master: Option<Arc<MasterKey>>,
        stop: CancellationToken,
    ) -> Result<(Self, impl Future<Output = ()> + Send + use<>), RegistryError> {
        let bucket = bus.bucket(streams::REGISTRY).await;
        let bucket = bucket.map_err(|error| RegistryError::Unavailable("read", error.into()))?;
        let (changed, receiver) = watch::channel(0);
        let mut follower = Follower { bucket, master, slots: Slots::new(), current: Arc::default(), changed };
        let watch = follower.read().await.map_err(|error| RegistryError::Unavailable("read", error))?;
        let view = Self { current: Arc::clone(&follower.current), changed: receiver };
        Ok((view, follower.run(watch, stop)))
    }

    /// The registry at this moment.
    pub fn load(&self) -> Arc<Registry> {
        self.current.load_full()
    }

    /// Returns when the registry has changed since the last call, at once if it changed in between.
    pub async fn changed(&mut self) {
        if self.changed.changed().await.is_err() {
            // Nobody follows the bucket any more: the process is stopping.
            std::future::pending::<()>().await;
        }
    }
}

struct Follower {
    bucket: kv::Store,
    master: Option<Arc<MasterKey>>,
    slots: Slots,
    current: Arc<ArcSwap<Registry>>,
    changed: watch::Sender<u64>,
}

impl Follower {
    /// Reads every entry anew, shows the result, and gives back what follows from there on.
    async fn read(&mut self) -> Result<kv::Watch, async_nats::Error> {
        let (slots, watch) = bucket::read(&self.bucket).await?;
        for key in slots.keys() {
            warn_of_unreadable(&slots, key);
        }
        self.slots = slots;
        self.show().await?;
        Ok(watch)
    }

    /// Resolves what is known now. Secrets in files are read for it, so it is done aside.
    async fn show(&mut self) -> Result<(), async_nats::Error> {
        let slots = std::mem::take(&mut self.slots);
        let master = self.master.clone();
        let resolving = spawn_blocking(move || {
            let registry = Registry::resolve(bucket::entries(&slots), master.as_deref())
                .with_unreadable_endpoints(bucket::unreadable_endpoints(&slots));
            (slots, registry)
        });
        let (slots, registry) = resolving.await?;
        self.slots = slots;
        let before = self.current.load();
        let known: HashSet<&String> = before.problems().iter().collect();
        for problem in registry.problems().iter().filter(|problem| !known.contains(problem)) {
            warn!(problem, "registry");
        }
        self.current.store(Arc::new(registry));
        self.changed.send_modify(|version| *version += 1);
        Ok(())
    }

    async fn run(mut self, mut watch: kv::Watch, stop: CancellationToken) {
        loop {
            let followed = tokio::select! {
                () = stop.cancelled() => return,
                followed = self.follow_watch(&mut watch) => followed,
            };
            if let Err(error) = followed {
                warn!(%error, "the registry could not be followed, trying again");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = sleep(PAUSE) => {}
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                read = self.read() => match read {
                    Ok(fresh) => watch = fresh,
                    Err(error) => warn!(%error, "the registry could not be read again"),
                }
            }
        }
    }

    /// Shows changes as they come. `Ok` when it is time to read everything again.
    async fn follow_watch(&mut self, watch: &mut kv::Watch) -> Result<(), async_nats::Error> {
        let until = Instant::now() + REFRESH;
        let mut next_show = Instant::now();
        let mut changes = 0;
        loop {
            tokio::select! {
                biased;
                () = sleep_until(until) => return Ok(()),
                () = sleep_until(next_show), if changes > 0 => {
                    // What is here already goes along.
                    while let Some(changed) = watch.next().now_or_never() {
                        self.take(&changed.ok_or("the watch ended")??);
                        changes += 1;
                    }
                    let start = Instant::now();
                    self.show().await?;
                    info!(changes, "registry changed");
                    changes = 0;
                    next_show = Instant::now() + (start.elapsed() * SHARE).clamp(PACE, LONGEST_PACE);
                }
                changed = watch.next() => {
                    self.take(&changed.ok_or("the watch ended")??);
                    changes += 1;
                }
            }
        }
    }

    fn take(&mut self, changed: &kv::Entry) {
        debug!(key = changed.key, revision = changed.revision, "registry entry changed");
        bucket::take(&mut self.slots, changed);
        warn_of_unreadable(&self.slots, &changed.key);
    }
}

fn warn_of_unreadable(slots: &Slots, key: &str) {
    if slots.get(key).is_some_and(|slot| matches!(slot.held, Held::Unreadable)) {
        warn!(key, "the registry holds an entry that this version cannot read");
    }
}
