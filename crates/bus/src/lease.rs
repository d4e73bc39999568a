//! The right to send, and the clock that bounds it.
//!
//! The fence is the clock, not the server: a lease is valid until the boot-time clock *before* its process's last
//! heartbeat plus its term. A newcomer takes over only after it has seen no heartbeat for the term, the skew of two
//! clocks over that time, and one full window of the rate limit; so nothing of the old owner's can share a second with
//! its own first send. No wall clock is compared, and none of the server's timers counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio_util::sync::CancellationToken;

/// How long a lease holds without a heartbeat.
pub(crate) const TERM: Duration = Duration::from_millis(1_500);
/// What two machines' clocks may differ by while a term passes, and then some.
pub(crate) const SKEW: Duration = Duration::from_millis(300);
/// One window of the rate limit, and a little.
pub(crate) const WINDOW: Duration = Duration::from_millis(1_010);
/// A lease counts as lost this long before it is.
const GUARD: Duration = Duration::from_millis(100);
/// How long a process must be silent before what it owned may be taken.
pub(crate) const SILENCE: Duration = TERM.saturating_add(SKEW).saturating_add(WINDOW);

/// Time since the machine started, asleep or awake.
pub fn boot_time() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The right to send for the channels of one part, while [`is_valid`](Lease::is_valid). Clones share it.
#[derive(Clone, Debug)]
pub struct Lease(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    epoch: i64,
    tenure: Arc<Tenure>,
    ended: AtomicBool,
    lost: CancellationToken,
}

impl Lease {
    pub(crate) fn new(epoch: i64, tenure: &Arc<Tenure>) -> Self {
        let lost = tenure.lost.child_token();
        Self(Arc::new(Inner { epoch, tenure: Arc::clone(tenure), ended: AtomicBool::new(false), lost }))
    }

    /// Grows with each change of the part's ownership, also when the bucket LEASES is made anew.
    pub fn epoch(&self) -> i64 {
        self.0.epoch
    }

    /// Whether this process may send right now. Ask right before each send, with no await in between. Once it is false
    /// it stays so.
    pub fn is_valid(&self) -> bool {
        !self.has_ended() && self.0.tenure.is_valid()
    }

    /// Fires when the lease is not valid any more and will not be again. It may fire a little later than
    /// [`is_valid`](Self::is_valid) turns false.
    pub fn lost(&self) -> &CancellationToken {
        &self.0.lost
    }

    /// Gives the right up: from now on the lease is not valid in this process, and `lost` has fired.
    pub fn end(&self) {
        self.0.ended.store(true, Ordering::Release);
        self.0.lost.cancel();
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.0.ended.load(Ordering::Acquire)
    }
}

/// One stay of this process among the members: from its first heartbeat to its last. All its leases share this clock.
#[derive(Debug)]
pub(crate) struct Tenure {
    valid_until_micros: AtomicU64,
    lost: CancellationToken,
}

impl Tenure {
    /// Begins with the heartbeat that was asked for at `asked_at`.
    pub(crate) fn begin(asked_at: Duration) -> Arc<Self> {
        Arc::new(Self { valid_until_micros: AtomicU64::new(until(asked_at)), lost: CancellationToken::new() })
    }

    pub(crate) fn is_valid(&self) -> bool {
        is_before(boot_time(), self.valid_until_micros.load(Ordering::Acquire))
    }

    /// How long it stays valid without another heartbeat.
    pub(crate) fn left(&self) -> Duration {
        let until = Duration::from_micros(self.valid_until_micros.load(Ordering::Acquire));
        until.saturating_sub(boot_time() + GUARD)
    }

    /// Counts a heartbeat. False if it came too late: who has once seen the tenure invalid must never see it valid
    /// again.
    pub(crate) fn extend(&self, asked_at: Duration) -> bool {
        let now = boot_time();
        let extended =
            self.valid_until_micros.fetch_update(Ordering::AcqRel, Ordering::Acquire, |standing| {
                is_before(now, standing).then(|| standing.max(until(asked_at)))
            });
        extended.is_ok()
    }

    /// Afterwards no lease of this tenure is valid, and all of them know.
    pub(crate) fn lose(&self) {
        self.valid_until_micros.store(0, Ordering::Release);
        self.lost.cancel();
    }

    pub(crate) fn lost(&self) -> &CancellationToken {
        &self.lost
    }
}

fn until(asked_at: Duration) -> u64 {
    u64::try_from((asked_at + TERM).as_micros()).unwrap_or(u64::MAX)
}

fn is_before(now: Duration, until_micros: u64) -> bool {
    now + GUARD < Duration::from_micros(until_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenure_that_ran_out_is_never_valid_again() {
        let now = boot_time();
        let tenure = Tenure::begin(now.saturating_sub(TERM));
        let lease = Lease::new(1, &tenure);
        assert!(!lease.is_valid());
        assert!(!tenure.extend(now), "the heartbeat came too late");
        assert!(!lease.is_valid() && tenure.left().is_zero());
    }

    #[test]
    fn an_ended_lease_leaves_the_others_of_its_tenure_alone() {
        let tenure = Tenure::begin(boot_time() + Duration::from_secs(60));
        let (ended, other) = (Lease::new(1, &tenure), Lease::new(2, &tenure));
        ended.clone().end();
        assert!(!ended.is_valid() && ended.lost().is_cancelled());
        assert!(other.is_valid() && !other.lost().is_cancelled());
        tenure.lose();
        assert!(!other.is_valid() && other.lost().is_cancelled());
        assert!(!tenure.extend(boot_time()));
    }
}
