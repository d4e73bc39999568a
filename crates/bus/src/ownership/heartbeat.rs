//! A process's sign of life: one write per third of a term, whatever it owns.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::bucket::{ANSWER, Bucket, Written};
use super::record::{Life, member_key};
use crate::lease::{TERM, Tenure, boot_time};

/// Pause before a heartbeat that failed is tried again.
const AGAIN: Duration = Duration::from_millis(100);

/// Renews the member's entry, whose revision is `revision`, until `done`; gives back its revision then. `None` as soon
/// as the tenure is lost, and then all its leases know.
///
/// From `leaving` on the entry says so.
pub(super) async fn beat(
    bucket: &Bucket,
    id: &str,
    mut revision: u64,
    tenure: &Tenure,
    leaving: &CancellationToken,
    done: &CancellationToken,
) -> Option<u64> {
    let group = bucket.group();
    let key = member_key(group, id);
    let mut said = Life::Live;
    let mut pause = TERM / 3;
    loop {
        tokio::select! {
            () = done.cancelled() => return Some(revision),
            () = tenure.lost().cancelled() => return None,
            () = leaving.cancelled(), if said == Life::Live => {}
            () = sleep(pause) => {}
        }
        let asked_at = boot_time();
        if !tenure.is_valid() {
            warn!(parts_of = group.name(), "no heartbeat in time: all parts are lost");
            tenure.lose();
            return None;
        }
        let life = if leaving.is_cancelled() { Life::Leaving } else { Life::Live };
        pause = AGAIN;
        match bucket.write(&key, life.to_json(), revision, tenure.left().min(ANSWER)).await {
            Written::As(renewed) => {
                revision = renewed;
                said = life;
                if tenure.extend(asked_at) {
                    pause = TERM / 3;
                }
            }
            // A heartbeat whose answer was lost may be what stands there.
            Written::Refused => match bucket.read(&key).await {
                Ok(Some((json, own))) if Life::read(&json) != Life::Dead => revision = own,
                Ok(_) => {
                    warn!(
                        parts_of = group.name(),
                        "another process declared this one dead: all parts are lost"
                    );
                    tenure.lose();
                    return None;
                }
                Err(_) => {}
            },
            Written::Unknown => {}
        }
        if said == Life::Live && life == Life::Leaving {
            // The select would come back at once.
            tokio::select! {
                () = tenure.lost().cancelled() => return None,
                () = sleep(AGAIN) => {}
            }
        }
    }
}
