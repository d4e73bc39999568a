//! When a request really left, for the rate is counted from there.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use rustix::time::{ClockId, clock_gettime};

/// The moments at which a request's body was written and its answer came, by the boot-time clock. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct WriteStamp(Arc<Moments>);

#[derive(Debug, Default)]
struct Moments {
    written: AtomicU64,
    answered: AtomicU64,
}

const PENDING: u64 = 0;
const VOID: u64 = u64::MAX;

/// What a stamp says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Not yet written.
    Pending,
    /// Written at this time since the machine started.
    At(Duration),
    /// It never was and never will be.
    Never,
}

impl WriteStamp {
    /// What the stamp says now.
    pub fn written(&self) -> Written {
        match self.0.written.load(Ordering::Acquire) {
            PENDING => Written::Pending,
            VOID => Written::Never,
            micros => Written::At(Duration::from_micros(micros)),
        }
    }

    /// Marks the request as written at `at`; only the first mark counts. False if it was said that it never will be:
    /// then it must not be written any more.
    pub fn mark(&self, at: Duration) -> bool {
        let micros = u64::try_from(at.as_micros()).unwrap_or(VOID - 1).clamp(1, VOID - 1);
        let marked = self.0.written.compare_exchange(PENDING, micros, Ordering::AcqRel, Ordering::Acquire);
        marked != Err(VOID)
    }

    /// When the answer began to come, if it did: the request had arrived by then.
    pub fn answered(&self) -> Option<Duration> {
        match self.0.answered.load(Ordering::Acquire) {
            PENDING => None,
            micros => Some(Duration::from_micros(micros)),
        }
    }

    /// Marks the request as answered at `at`.
    pub fn answer(&self, at: Duration) {
        self.0.answered.store(u64::try_from(at.as_micros()).unwrap_or(u64::MAX), Ordering::Release);
    }

    /// Says that the request will never be written, unless it was. True if it never will be.
    pub fn void(&self) -> bool {
        let voided = self.0.written.compare_exchange(PENDING, VOID, Ordering::AcqRel, Ordering::Acquire);
        voided.is_ok() || voided == Err(VOID)
    }
}

/// Time since the machine started, asleep or awake.
pub(super) fn boot_time() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// Asked right before a request is written, with no await in between: false, and it is not.
pub type Fence = Arc<dyn Fn() -> bool + Send + Sync>;

/// The sender lost the right to send while the request waited for its connection.
#[derive(Debug)]
pub(super) struct Fenced;

impl std::fmt::Display for Fenced {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the right to send was lost")
    }
}

impl std::error::Error for Fenced {}

/// A body that notes when the connection asks for it: the connection stands, and the request's head goes out with it.
pub(super) struct StampedBody {
    body: Option<Bytes>,
    stamp: WriteStamp,
    fence: Fence,
}

impl StampedBody {
    pub(super) fn new(body: Bytes, stamp: WriteStamp, fence: Fence) -> Self {
        Self { body: Some(body), stamp, fence }
    }
}

impl Body for StampedBody {
    type Data = Bytes;
    type Error = Fenced;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fenced>>> {
        let Some(body) = self.body.take() else { return Poll::Ready(None) };
        let now = boot_time();
        // The sender may have given up on the request while the connection still held it.
        if !(self.fence)() || !self.stamp.mark(now) {
            return Poll::Ready(Some(Err(Fenced)));
        }
        Poll::Ready(Some(Ok(Frame::data(body))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.body.as_ref().map_or(0, |body| body.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_mark_counts() {
        let stamp = WriteStamp::default();
        assert_eq!(stamp.written(), Written::Pending);
        stamp.mark(Duration::from_secs(1));
        stamp.mark(Duration::from_secs(2));
        assert!(!stamp.void());
        assert_eq!(stamp.written(), Written::At(Duration::from_secs(1)));
    }

    #[test]
    fn what_was_never_written_stays_so() {
        let stamp = WriteStamp::default();
        assert!(stamp.void());
        assert!(!stamp.mark(Duration::from_secs(1)));
        assert!(stamp.void());
        assert_eq!(stamp.written(), Written::Never);
    }

    #[test]
    fn a_request_that_was_given_up_is_not_written_any_more() {
        let stamp = WriteStamp::default();
        let mut body = StampedBody::new("x".into(), stamp.clone(), Arc::new(|| true));
        stamp.void();
        let polled = Pin::new(&mut body).poll_frame(&mut Context::from_waker(std::task::Waker::noop()));
        assert!(matches!(polled, Poll::Ready(Some(Err(Fenced)))));
    }
}
