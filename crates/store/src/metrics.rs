//! What the store measures of itself, in the words of the semantic conventions for databases.

use std::sync::{Arc, Weak};
use std::time::Duration;

use opentelemetry::metrics::{Histogram, Meter};
use opentelemetry::{KeyValue, global};

use crate::Backend;
use crate::types::StoreError;

/// The instruments of one store and its clones.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    operations: Histogram<f64>,
    system: &'static str,
}

/// The connections that a process has to its database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Connections {
    pub(crate) idle: u64,
    pub(crate) used: u64,
    pub(crate) most: u64,
}

impl Connections {
    /// Of so many open ones, so many wait for work.
    pub(crate) fn of(open: u32, idle: usize, most: u32) -> Self {
        let idle = idle as u64;
        Self { idle, used: u64::from(open).saturating_sub(idle), most: u64::from(most) }
    }
}

impl std::iter::Sum for Connections {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            idle: sum.idle + one.idle,
            used: sum.used + one.used,
            most: sum.most + one.most,
        })
    }
}

impl Metrics {
    /// Shows the connections of `backend`, as long as there is one; a process has one store.
    pub(crate) fn of(backend: &Arc<Backend>) -> Self {
        let meter = global::meter("staffetta");
        watch(&meter, backend);
        let operations = meter
            .f64_histogram("db.client.operation.duration")
            .with_unit("s")
            .with_description("One operation of the store, with all its statements")
            .build();
        Self { operations, system: backend.system() }
    }

    /// An operation has ended, or was given up.
    pub(crate) fn ended(&self, operation: &'static str, took: Duration, failure: Option<&StoreError>) {
        let system = KeyValue::new("db.system.name", self.system);
        let operation = KeyValue::new("db.operation.name", operation);
        let took = took.as_secs_f64();
        match failure {
            None => self.operations.record(took, &[system, operation]),
            Some(failure) => {
                self.operations
                    .record(took, &[system, operation, KeyValue::new("error.type", failure.code())]);
            }
        }
    }
}

fn watch(meter: &Meter, backend: &Arc<Backend>) {
    let count: Weak<Backend> = Arc::downgrade(backend);
    let most = count.clone();
    meter
        .u64_observable_gauge("db.client.connection.count")
        .with_description("Connections of the process to the database")
        .with_callback(move |gauge| {
            if let Some(backend) = count.upgrade() {
                let Connections { idle, used, .. } = backend.connections();
                gauge.observe(idle, &[KeyValue::new("db.client.connection.state", "idle")]);
                gauge.observe(used, &[KeyValue::new("db.client.connection.state", "used")]);
            }
        })
        .build();
    meter
        .u64_observable_gauge("db.client.connection.max")
        .with_description("Connections that the process may have to the database")
        .with_callback(move |gauge| {
            if let Some(backend) = most.upgrade() {
                gauge.observe(backend.connections().most, &[]);
            }
        })
        .build();
}
