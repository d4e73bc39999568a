//! How the endpoints fare that this process owns, for whoever looks at the metrics: a lamp for each that has an actor.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use jiff::Timestamp;
use opentelemetry::KeyValue;
use staffetta_bus::Lease;
use staffetta_runtime::telemetry::meter;
use staffetta_store::EndpointKey;

/// The lamps. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Board(Arc<Mutex<Shown>>);

#[derive(Debug, Default)]
struct Shown {
    parts: HashMap<u16, Lease>,
    lamps: Vec<Weak<Lamp>>,
}

/// How one endpoint fares.
#[derive(Debug)]
pub(crate) struct Lamp {
    labels: [KeyValue; 2],
    shows: Mutex<Fares>,
}

/// See [`Lamp`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fares {
    pub(crate) state: State,
    /// When the oldest event that waits was stored.
    pub(crate) oldest: Option<Timestamp>,
    /// Events that wait by themselves, so that others go on.
    pub(crate) parked: usize,
}

/// What state an endpoint is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    #[default]
    Well,
    /// Its circuit is open.
    Broken,
    /// Nothing is delivered to it until somebody enables it.
    Disabled,
}

impl State {
    const ALL: [Self; 3] = [Self::Well, Self::Broken, Self::Disabled];

    fn as_str(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Broken => "broken",
            Self::Disabled => "disabled",
        }
    }
}

impl Lamp {
    /// How the endpoint fares now.
    pub(crate) fn show(&self, fares: Fares) {
        *lock(&self.shows) = fares;
    }

    /// Who it is, for counters. Clones cost nothing.
    pub(crate) fn labels(&self) -> &[KeyValue; 2] {
        &self.labels
    }

    fn with(&self, name: &'static str, value: &'static str) -> [KeyValue; 3] {
        let [tenant, endpoint] = self.labels.clone();
        [tenant, endpoint, KeyValue::new(name, value)]
    }
}

impl Fares {
    /// How long the oldest has waited, in seconds; 0 if none waits.
    fn age(&self, now: Timestamp) -> f64 {
        self.oldest.map_or(0.0, |oldest| now.duration_since(oldest).as_secs_f64().max(0.0))
    }
}

impl Board {
    /// The board, with its gauges.
    pub(crate) fn new() -> Self {
        let board = Self::default();
        board.show_process();
        board.show_endpoints();
        board
    }

    /// A lamp on the board, until it is dropped.
    pub(crate) fn lamp(&self, key: &EndpointKey) -> Arc<Lamp> {
        let label = |name, id: &str| KeyValue::new(name, Arc::<str>::from(id));
        let labels = [label("tenant", key.tenant.as_str()), label("endpoint_id", key.endpoint.as_str())];
        let lamp = Arc::new(Lamp { labels, shows: Mutex::default() });
        let mut shown = lock(&self.0);
        shown.lamps.retain(|lamp| lamp.strong_count() > 0);
        shown.lamps.push(Arc::downgrade(&lamp));
        lamp
    }

    /// The part is owned as long as the lease is valid, or until [`lost`](Self::lost).
    pub(crate) fn gained(&self, part: u16, lease: Lease) {
        lock(&self.0).parts.insert(part, lease);
    }

    /// The part is not owned any more.
    pub(crate) fn lost(&self, part: u16) {
        lock(&self.0).parts.remove(&part);
    }

    fn lamps(&self) -> Vec<(Arc<Lamp>, Fares)> {
        let lamps: Vec<_> = lock(&self.0).lamps.iter().filter_map(Weak::upgrade).collect();
        let shown = lamps.into_iter().map(|lamp| {
            let fares = *lock(&lamp.shows);
            (lamp, fares)
        });
        shown.collect()
    }

    fn show_process(&self) {
        let (parts, states, ages) = (self.clone(), self.clone(), self.clone());
        meter()
            .u64_observable_gauge("staffetta.delivery.parts")
            .with_description("Parts of all endpoints that the process owns")
            .with_callback(move |gauge| {
                let owned = lock(&parts.0).parts.values().filter(|lease| lease.is_valid()).count();
                gauge.observe(owned as u64, &[]);
            })
            .build();
        meter()
            .u64_observable_gauge("staffetta.delivery.endpoints")
            .with_description("Endpoints that this process serves, by state")
            .with_callback(move |gauge| {
                let lamps = states.lamps();
                for state in State::ALL {
                    let count = lamps.iter().filter(|(_, fares)| fares.state == state).count();
                    gauge.observe(count as u64, &[KeyValue::new("state", state.as_str())]);
                }
            })
            .build();
        meter()
            .f64_observable_gauge("staffetta.delivery.oldest")
            .with_unit("s")
            .with_description("Age of the oldest event that waits for an endpoint that is not disabled")
            .with_callback(move |gauge| {
                let (now, lamps) = (Timestamp::now(), ages.lamps());
                let served = lamps.iter().filter(|(_, fares)| fares.state != State::Disabled);
                gauge.observe(served.map(|(_, fares)| fares.age(now)).fold(0.0, f64::max), &[]);
            })
            .build();
    }

    fn show_endpoints(&self) {
        let (states, ages, parked) = (self.clone(), self.clone(), self.clone());
        meter()
            .u64_observable_gauge("staffetta.endpoint.state")
            .with_description("1 for the state that the endpoint is in")
            .with_callback(move |gauge| {
                for (lamp, fares) in states.lamps() {
                    gauge.observe(1, &lamp.with("state", fares.state.as_str()));
                }
            })
            .build();
        meter()
            .f64_observable_gauge("staffetta.endpoint.oldest")
            .with_unit("s")
            .with_description("Age of the oldest event that waits for the endpoint")
            .with_callback(move |gauge| {
                let now = Timestamp::now();
                for (lamp, fares) in ages.lamps() {
                    gauge.observe(fares.age(now), &lamp.labels);
                }
            })
            .build();
        meter()
            .u64_observable_gauge("staffetta.endpoint.parked")
            .with_description("Events of conversations that the endpoint refuses, which wait by themselves")
            .with_callback(move |gauge| {
                for (lamp, fares) in parked.lamps() {
                    gauge.observe(fares.parked as u64, &lamp.labels);
                }
            })
            .build();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
