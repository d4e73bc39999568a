//! Finding what was committed and never announced.

use std::error::Error;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rand::Rng;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::announcer::Announcer;

/// Between two sweeps, give or take a fifth, so that replicas don't sweep together.
const PAUSE: Duration = Duration::from_secs(5);
/// Younger events are being announced by whoever recorded them.
const GRACE: SignedDuration = SignedDuration::from_secs(10);
/// Most events that are read at a time, give or take a batch.
const PAGE: u32 = 500;

/// What one page of a sweep found.
enum Page {
    /// Nothing, or the last of it, and it is announced.
    Last,
    /// There may be more.
    Full,
    /// Something could not be read, published or marked.
    Stuck,
}

impl Announcer {
    /// Every five seconds, announces the events that were committed more than ten seconds ago and never marked: what a
    /// crash or a long outage left. Returns after `stop`, once the page in hand is done.
    pub async fn sweep(self, stop: CancellationToken) {
        loop {
            let pause = PAUSE.mul_f64(rand::rng().random_range(0.8..1.2));
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(pause) => {}
            }
            self.sweep_once(GRACE, &stop).await;
        }
    }

    /// Announces the events that are not yet, whatever their age, in the order in which they were committed: for
    /// whoever knows that some may have been left. Others may be announcing the same ones at the same moment; EVENTS
    /// keeps each once. Returns early after `stop`, and leaves what fails to the sweep.
    ///
    /// Says whether everything that was committed before the call is announced.
    pub async fn catch_up(&self, stop: &CancellationToken) -> bool {
        self.sweep_once(SignedDuration::ZERO, stop).await
    }

    async fn sweep_once(&self, grace: SignedDuration, stop: &CancellationToken) -> bool {
        let before = Timestamp::now() - grace;
        while !stop.is_cancelled() && self.bus.is_connected() {
            match self.sweep_page(before).await {
                Page::Full => {}
                Page::Last => return true,
                Page::Stuck => return false,
            }
        }
        false
    }

    async fn sweep_page(&self, before: Timestamp) -> Page {
        let found = match self.store.unannounced(before, PAGE).await {
            Ok(found) => found,
            Err(failure) => {
                warn!(error = &failure as &dyn Error, "events that were never announced could not be read");
                return Page::Stuck;
            }
        };
        if found.is_empty() {
            return Page::Last;
        }
        let published = self.publish(&found).await;
        info!(
            announced = published.places.len(),
            left = published.left,
            "swept up events that were never announced"
        );
        if let Err(failure) = self.mark(&published.places).await {
            warn!(error = &failure as &dyn Error, "announced events could not be marked yet");
            return Page::Stuck;
        }
        match (published.left, found.len() < PAGE as usize) {
            (0, true) => Page::Last,
            (0, false) => Page::Full,
            _ => Page::Stuck,
        }
    }
}
