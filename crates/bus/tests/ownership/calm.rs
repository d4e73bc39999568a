//! Whether the machine kept up with the owners.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{DefaultGuard, Subscriber, set_default};
use tracing::{Event, Metadata};

/// A machine that keeps a heartbeat waiting for a second takes its owner's parts away, and rightly so: others take them
/// without a handover, and what is said of a quiet handing over holds no more. Who expects that asks first whether it
/// has come to this.
///
/// Hears what the owners on its own thread log.
pub(crate) struct Calm {
    lost: Arc<AtomicBool>,
    _listening: DefaultGuard,
}

impl Calm {
    pub(crate) fn listen() -> Self {
        let lost = Arc::<AtomicBool>::default();
        Self { _listening: set_default(Listener(Arc::clone(&lost))), lost }
    }

    /// Whether no owner has lost anything so far.
    pub(crate) fn holds(&self) -> bool {
        !self.lost.load(Ordering::SeqCst)
    }

    /// Something else shows that the machine did not keep up.
    pub(crate) fn ends(&self) {
        self.lost.store(true, Ordering::SeqCst);
    }
}

struct Listener(Arc<AtomicBool>);

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target().starts_with("staffetta_bus::ownership")
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Heard(&self.0));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Heard<'a>(&'a AtomicBool);

impl Visit for Heard<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // "parts lost", "all parts are lost", "the part is lost".
        if field.name() == "message" && format!("{value:?}").contains("lost") {
            self.0.store(true, Ordering::SeqCst);
        }
    }
}
