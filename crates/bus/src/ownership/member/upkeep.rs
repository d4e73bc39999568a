//! Makes sure that nothing of the bucket was missed, and keeps it small.

use std::time::Duration;

use futures_util::FutureExt;
use tracing::debug;

use super::{CHECK, CHECK_SOON, Done, Member};
use crate::ownership::bucket::Extent;
use crate::ownership::record::Life;

/// How long what a deletion left behind stays, so that all see it.
const MARKER: Duration = Duration::from_secs(60);
/// Most such markers removed at a time.
const SWEEP: usize = 16;

impl Member<'_> {
    /// Lists anew if the watch has not brought what stood there at the check before, or if there are other keys.
    pub(super) fn compare(&mut self, extent: Result<Extent, async_nats::Error>, now: Duration) {
        let (Ok(extent), Some(through)) = (extent, self.through) else {
            self.check_at = Some(now + CHECK_SOON);
            return;
        };
        let before = self.checked.replace(extent);
        let late = before.is_some_and(|before| through < before.last);
        let keys = self.view.keys();
        let odd = before.is_some_and(|before| before.keys != keys && extent.keys != keys);
        if late || odd {
            debug!(late, odd, "something of LEASES was missed: listing it anew");
            self.checked = None;
            // One that is under way will do.
            self.list_at = self.watch.take().map(|_| now).or(self.list_at);
        }
        let settled = through >= extent.last && extent.keys == keys;
        self.check_at = Some(now + if settled { CHECK } else { CHECK_SOON });
        self.sweep(now);
    }

    /// Removes old markers of deletions, so that the bucket does not grow with each start of a process.
    fn sweep(&mut self, now: Duration) {
        let old = self.view.markers.iter().filter(|(_, marker)| marker.since + MARKER <= now);
        let old: Vec<_> = old.take(SWEEP).map(|(key, marker)| (key.clone(), marker.revision)).collect();
        if old.is_empty() || !self.is_first() {
            return;
        }
        let bucket = self.bucket.clone();
        let sweeping = async move {
            let mut swept = Vec::new();
            for (key, revision) in old {
                if bucket.sweep(revision).await {
                    swept.push(key);
                }
            }
            Done::Swept(swept)
        };
        self.work.push(sweeping.boxed());
    }

    /// Whether it is this member's turn to tidy up.
    fn is_first(&self) -> bool {
        self.view
            .members
            .iter()
            .find(|(_, seen)| seen.value == Life::Live)
            .is_some_and(|(id, _)| id == self.id)
    }
}
