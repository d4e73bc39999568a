//! Who may send, and who may deliver: channels and endpoints are owned in parts, each part by one process at a time,
//! spread over all that run. [`Group`] says which of the two; they share the bucket and nothing else.
//!
//! Each process keeps one heartbeat in the bucket LEASES, renewed by compare-and-set, and all its leases live by it; so
//! what is written grows with the processes, not with the parts. A part's own entry changes only when its owner does.
//! Everybody watches the bucket and works out the same shares from it; where two see different things for a moment,
//! the compare-and-set of the part's entry decides. A part moves in one of two ways:
//!
//! - Its owner gives it back, and leaves what it sent lately for the next one, which need not wait.
//! - Its owner falls silent. After [`SILENCE`](crate::lease::SILENCE) somebody declares it dead, by compare-and-set on
//!   its heartbeat, which so can never be renewed again. Only then its parts are free.

mod bucket;
mod heartbeat;
mod member;
mod owners;
mod plan;
mod record;
mod share;
mod view;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use self::bucket::{ANSWER, Bucket, Written};
use self::member::{Ended, Member};
pub use self::owners::PartOwners;
use self::plan::Former;
use self::record::{Life, member_key};
use crate::Bus;
use crate::lease::{Lease, Tenure, boot_time};
use crate::streams::StreamError;

/// In how many parts each group is owned.
pub const PARTS: u16 = 32;

/// Pause before this process tries again to become a member.
const PAUSE: Duration = Duration::from_millis(100);
/// Longest wait for the bucket to be found again.
const FINDING: Duration = Duration::from_secs(2);

/// What is owned, each for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// The channels: who sends for them.
    Send,
    /// The endpoints: who delivers to them.
    Deliver,
}

impl Group {
    /// What its keys in the bucket begin with. SEND's have never begun with anything.
    fn prefix(self) -> &'static str {
        match self {
            Self::Send => "",
            Self::Deliver => "deliver.",
        }
    }

    /// As logs name it.
    fn name(self) -> &'static str {
        match self {
            Self::Send => "channels",
            Self::Deliver => "endpoints",
        }
    }
}

/// The part that a channel or an endpoint belongs to, by its id. Stays the same over all versions: two versions may run
/// side by side.
pub fn part_of(id: &str) -> u16 {
    // FNV-1a, 64 bits.
    let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    u16::try_from((hash ^ (hash >> 32)) % u64::from(PARTS)).unwrap_or(0)
}

/// What changes for the one who sends, or delivers.
#[derive(Debug)]
pub enum Change {
    /// A part is this process's own. Nothing was sent for it within the last window, except what
    /// `handover` tells of. If a lease of the same part was held before, that one has ended.
    Gained {
        /// The part.
        part: u16,
        /// The right to send for it.
        lease: Lease,
        /// What the owner before left, if it gave the part back.
        handover: Option<Bytes>,
    },
    /// Another process should own the part: finish what was begun, [`end`](Lease::end) the lease, and send
    /// [`Returned`]. Told once for each lease; may come late for one that was lost since.
    GiveBack {
        /// The part.
        part: u16,
    },
}

/// A part given back: nothing is sent for it any more. Counts only if its lease has [ended](Lease::end) before.
#[derive(Debug)]
pub struct Returned {
    /// The part.
    pub part: u16,
    /// What the next owner must know of what was sent within the last window. Without it the next one waits for that
    /// long.
    pub handover: Option<Bytes>,
}

/// This process's place among the owners of a group.
#[derive(Debug)]
pub struct Ownership {
    bus: Bus,
    bucket: Bucket,
    owner: String,
}

impl Ownership {
    /// Prepares to own parts of `group`; nothing is owned before [`run`](Self::run). `owner` must be unique to this
    /// start of this process, within the group, of letters, digits and `-`.
    ///
    /// # Errors
    /// If the bucket LEASES or the stream SEND is not set up, or NATS does not answer.
    pub async fn open(bus: &Bus, group: Group, owner: &str) -> Result<Self, StreamError> {
        Ok(Self { bus: bus.clone(), bucket: Bucket::open(bus, group).await?, owner: owner.into() })
    }

    /// Owns this process's share until `stop`, then asks everything back and returns when it is back or lost, after 25 s
    /// at the latest; no lease is valid any more then. Whenever the heartbeat is lost, all leases are, and it joins
    /// again as soon as NATS answers.
    ///
    /// Returns early if nobody listens to `changes`, or can return a part, any more. When dropped, every lease ends.
    pub async fn run(
        self,
        changes: mpsc::Sender<Change>,
        mut returned: mpsc::Receiver<Returned>,
        stop: CancellationToken,
    ) {
        let Self { bus, bucket, owner } = self;
        let mut door = Door { bus, bucket, prefix: format!("{owner}/"), starts: 0 };
        let mut former = None;
        loop {
            let entering = stop.run_until_cancelled(door.enter());
            let Some((id, tenure, revision)) = drained(&mut returned, entering).await else { return };
            let ends_with_this = Ending(&tenure);
            let (leaving, done) = (CancellationToken::new(), CancellationToken::new());
            let member = Member::new(&door.bucket, &id, former.as_ref(), &tenure, revision);
            let serving = async {
                let ended = member.serve(&changes, &mut returned, &stop, &leaving).await;
                done.cancel();
                ended
            };
            let beating = heartbeat::beat(&door.bucket, &id, revision, &tenure, &leaving, &done);
            let (ended, revision) = tokio::join!(serving, beating);
            drop(ends_with_this);
            match ended {
                Ended::Lost => former = Some(Former { prefix: door.prefix.clone(), lost_at: boot_time() }),
                Ended::AllBack => {
                    if let Some(revision) = revision {
                        door.bucket.delete(&member_key(door.bucket.group(), &id), revision).await;
                    }
                    return;
                }
                // Nobody knows what is still on its way: the others wait until this process is silent.
                Ended::Overdue | Ended::Abandoned => return,
            }
        }
    }
}

/// Whatever ends a member, be it a panic, ends its leases.
struct Ending<'a>(&'a Tenure);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.lose();
    }
}

/// Where this process becomes a member, each time under a new name.
struct Door {
    bus: Bus,
    bucket: Bucket,
    prefix: String,
    starts: u64,
}

impl Door {
    /// Tries until the first heartbeat is written. Gives back the member's id and that heartbeat's revision.
    async fn enter(&mut self) -> (String, Arc<Tenure>, u64) {
        loop {
            // Somebody may have made the bucket anew since.
            if self.starts > 0
                && let Ok(Ok(found)) = timeout(FINDING, Bucket::open(&self.bus, self.bucket.group())).await
            {
                self.bucket = found;
            }
            let id = format!("{}{}", self.prefix, self.starts);
            self.starts += 1;
            let asked_at = boot_time();
            let key = member_key(self.bucket.group(), &id);
            match self.bucket.write(&key, Life::Live.to_json(), 0, ANSWER).await {
                Written::As(revision) => return (id, Tenure::begin(asked_at), revision),
                Written::Refused => warn!("the name of this process is taken: it must be unique"),
                Written::Unknown => debug!("not among the owners yet: NATS does not answer"),
            }
            sleep(PAUSE).await;
        }
    }
}

/// Waits for `waiting`. What comes back meanwhile is of leases that are lost, and must not keep its sender waiting.
async fn drained<T>(returned: &mut mpsc::Receiver<Returned>, waiting: impl Future<Output = T>) -> T {
    tokio::pin!(waiting);
    loop {
        tokio::select! {
            waited = &mut waiting => return waited,
            Some(_) = returned.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channels_part_never_changes() {
        assert_eq!(["acme-orders", "a", "number-0001"].map(part_of), [5, 0, 2]);
    }

    #[test]
    fn channels_spread_over_the_parts() {
        let mut counts = [0_u32; PARTS as usize];
        for number in 0..3_200 {
            counts[usize::from(part_of(&format!("channel-{number}")))] += 1;
        }
        assert!(counts.iter().all(|count| (60..=140).contains(count)), "{counts:?}");
    }
}
