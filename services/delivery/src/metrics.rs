//! What the service measures of itself. Nothing is labelled by endpoint, tenant or address: there may be thousands.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use jiff::Timestamp;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram};
use staffetta_runtime::telemetry::{meter, seconds};

/// The instruments, made once. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    /// Tries by outcome (delivered, unsaid, failed, refused, gone, missing, not_now) and format.
    pub(crate) attempts: Counter<u64>,
    /// From a request to its answer, by format.
    pub(crate) duration: Histogram<f64>,
    /// From an event's place on EVENTS to its delivery.
    pub(crate) lag: Histogram<f64>,
    /// Tries that are missing in the attempt log.
    pub(crate) unlogged: Counter<u64>,
    /// Events that were given up, by reason.
    pub(crate) given_up: Counter<u64>,
    board: Board,
}

/// The lamps of all endpoints that this process serves.
#[derive(Clone, Debug, Default)]
struct Board(Arc<Mutex<Vec<Weak<Lamp>>>>);

/// How one endpoint fares.
#[derive(Debug, Default)]
pub(crate) struct Lamp {
    /// When the oldest event that waits was stored, in microseconds since 1970; 0 if none does.
    oldest: AtomicI64,
    broken: AtomicBool,
    resting: AtomicBool,
}

impl Lamp {
    pub(crate) fn show(&self, oldest: Option<Timestamp>, broken: Broken, resting: Resting) {
        self.oldest.store(oldest.map_or(0, Timestamp::as_microsecond), Ordering::Relaxed);
        self.broken.store(broken.0, Ordering::Relaxed);
        self.resting.store(resting.0, Ordering::Relaxed);
    }
}

/// Whether an endpoint's circuit is broken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Broken(pub(crate) bool);

/// Whether nothing is delivered to an endpoint until somebody enables it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resting(pub(crate) bool);

impl Board {
    fn lamps(&self) -> Vec<Arc<Lamp>> {
        let mut lamps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lamps.retain(|lamp| lamp.strong_count() > 0);
        lamps.iter().filter_map(Weak::upgrade).collect()
    }
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let counter = |name, description| meter().u64_counter(name).with_description(description).build();
        let board = Board::default();
        let (states, ages) = (board.clone(), board.clone());
        meter()
            .u64_observable_gauge("staffetta.delivery.endpoints")
            .with_description("Endpoints that this process serves, by state")
            .with_callback(move |observer| {
                let (mut well, mut broken, mut resting) = (0, 0, 0);
                for lamp in states.lamps() {
                    if lamp.resting.load(Ordering::Relaxed) {
                        resting += 1;
                    } else if lamp.broken.load(Ordering::Relaxed) {
                        broken += 1;
                    } else {
                        well += 1;
                    }
                }
                for (state, count) in [("well", well), ("broken", broken), ("disabled", resting)] {
                    observer.observe(count, &[KeyValue::new("state", state)]);
                }
            })
            .build();
        meter()
            .f64_observable_gauge("staffetta.delivery.oldest")
            .with_unit("s")
            .with_description("Age of the oldest event that waits for an endpoint that is not disabled")
            .with_callback(move |observer| {
                let lamps = ages.lamps();
                let waiting = lamps.iter().filter(|lamp| !lamp.resting.load(Ordering::Relaxed));
                let oldest =
                    waiting.map(|lamp| lamp.oldest.load(Ordering::Relaxed)).filter(|at| *at > 0).min();
                let age = oldest.map_or(0, |oldest| Timestamp::now().as_microsecond() - oldest);
                observer.observe(age.max(0) as f64 / 1e6, &[]);
            })
            .build();
        Self {
            attempts: counter("staffetta.delivery.attempts", "Tries, by outcome and format"),
            duration: seconds("staffetta.delivery.duration", "From a request to its answer"),
            lag: seconds("staffetta.delivery.lag", "From an event's place on EVENTS to its delivery"),
            unlogged: counter("staffetta.delivery.unlogged", "Tries that are missing in the attempt log"),
            given_up: counter("staffetta.delivery.given_up", "Events that were given up, by reason"),
            board,
        }
    }

    /// A lamp on the board, until it is dropped.
    pub(crate) fn lamp(&self) -> Arc<Lamp> {
        let lamp = Arc::<Lamp>::default();
        self.board.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&lamp));
        lamp
    }
}
