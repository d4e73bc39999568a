//! Which channels have stopped, as the database says: one that has nothing to send has no actor to show it.

use std::time::Duration;

use staffetta_bus::RegistryView;
use staffetta_store::Store;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::board::{Board, ChannelLabels};
use crate::machine::Held;

/// How often the database is asked.
const EVERY: Duration = Duration::from_secs(15);
/// Longest time for its answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Shows it on the board until `stop`. While the database does not answer, what it said last stands.
pub(crate) async fn watch(store: Store, registry: RegistryView, board: Board, stop: CancellationToken) {
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let watching = async {
        loop {
            tick.tick().await;
            match timeout(ANSWER, store.holds(None)).await {
                Ok(Ok(holds)) => {
                    let registry = registry.load();
                    let held = holds.into_iter().filter_map(|hold| {
                        let channel = registry.channel(&hold.channel)?;
                        let reason =
                            Held::reason(&hold.class).filter(|_| channel.tenant.id == hold.tenant)?;
                        Some((ChannelLabels::of(&hold.tenant, &hold.channel), reason))
                    });
                    board.held(held.collect());
                }
                _ => debug!("the database does not say which channels have stopped"),
            }
        }
    };
    stop.run_until_cancelled(watching).await;
}
