//! Follows the bucket REGISTRY live.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_nats::jetstream::kv;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::RegistryError;
use super::entry::Entry;
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
/// Longest time to read all entries.
const READ: Duration = Duration::from_secs(10);

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
        let mut follower =
            Follower { bucket, master, entries: BTreeMap::new(), current: Arc::default(), changed };
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
    entries: BTreeMap<String, (u64, Entry)>,
    current: Arc<ArcSwap<Registry>>,
    changed: watch::Sender<u64>,
}

impl Follower {
    /// Reads every entry anew, shows the result, and gives back what follows from there on.
    async fn read(&mut self) -> Result<kv::Watch, async_nats::Error> {
        let reading = timeout(READ, async {
            let empty = self.bucket.status().await?.values() == 0;
            let mut watch = self.bucket.watch_with_history(">").await?;
            let mut entries = BTreeMap::new();
            let mut complete = empty;
            while !complete {
                let entry = watch.next().await.ok_or("the watch ended")??;
                // `seen_current` is true of the first one already, where the server had sent all before it said how many.
                complete = entry.delta == 0;
                apply(&mut entries, &entry);
            }
            Ok::<_, async_nats::Error>((entries, watch))
        });
        let (entries, watch) = reading.await.map_err(|_| "no answer in time")??;
        self.entries = entries;
        self.show();
        Ok(watch)
    }

    fn show(&self) {
        let entries = self.entries.values().map(|(revision, entry)| (*revision, entry));
        let registry = Registry::resolve(entries, self.master.as_deref());
        for problem in registry.problems() {
            if !self.current.load().problems().contains(problem) {
                warn!(problem, "registry");
            }
        }
        self.current.store(Arc::new(registry));
        self.changed.send_modify(|version| *version += 1);
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
        loop {
            let Ok(entry) = timeout_at(until, watch.next()).await else { return Ok(()) };
            let mut entry = Some(entry.ok_or("the watch ended")??);
            // Changes that came together are shown together.
            while let Some(changed) = entry {
                info!(key = changed.key, revision = changed.revision, "registry changed");
                apply(&mut self.entries, &changed);
                entry = watch.next().now_or_never().flatten().transpose()?;
            }
            self.show();
        }
    }
}

fn apply(entries: &mut BTreeMap<String, (u64, Entry)>, changed: &kv::Entry) {
    let entry = match changed.operation {
        kv::Operation::Put => Entry::read(&changed.key, &changed.value),
        kv::Operation::Delete | kv::Operation::Purge => None,
    };
    match entry {
        Some(entry) => {
            entries.insert(changed.key.clone(), (changed.revision, entry));
        }
        None => {
            if changed.operation == kv::Operation::Put {
                warn!(key = changed.key, "the registry holds an entry that this version cannot read");
            }
            entries.remove(&changed.key);
        }
    }
}
