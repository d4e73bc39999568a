//! What a process shows of what stands around it: NATS and its streams, the registry, the certificates of its public
//! addresses.
//!
//! Every process that uses NATS looks at the streams, so that a backlog is seen even if the component that should work
//! on it is gone.

mod certificates;
mod streams;

use opentelemetry::KeyValue;
use staffetta_bus::{Bus, RegistryView};
use staffetta_runtime::telemetry::meter;
use staffetta_runtime::{Config, Task};
use tokio_util::sync::CancellationToken;

use crate::parts::Part;

/// Shows which components run in this process.
pub(crate) fn components(parts: &[Part]) {
    let components: Vec<_> = parts.iter().map(|part| part.component()).collect();
    meter()
        .u64_observable_gauge("staffetta.component.info")
        .with_description("1 for each component that runs in the process")
        .with_callback(move |gauge| {
            for component in &components {
                let version = KeyValue::new("version", env!("CARGO_PKG_VERSION"));
                gauge.observe(1, &[KeyValue::new("component", *component), version]);
            }
        })
        .build();
}

/// Shows the connection, the streams and the registry, and gives the tasks that look again and again.
pub(crate) fn surroundings(
    config: &Config,
    parts: &[Part],
    bus: &Bus,
    registry: &RegistryView,
    stop: &CancellationToken,
) -> Vec<Task> {
    connection(bus.clone());
    entries(registry.clone());
    let mut tasks: Vec<Task> = vec![("streams", Box::pin(streams::watch(bus.clone(), stop.clone())))];
    if parts.contains(&Part::Api) {
        keys(registry.clone());
        tasks.push(("certificates", Box::pin(certificates::watch(config, stop.clone()))));
    }
    tasks
}

fn connection(bus: Bus) {
    let connects = bus.clone();
    meter()
        .u64_observable_gauge("staffetta.nats.connected")
        .with_description("1 if connected to NATS")
        .with_callback(move |gauge| gauge.observe(u64::from(bus.is_connected()), &[]))
        .build();
    meter()
        .u64_observable_counter("staffetta.nats.connects")
        .with_description("Connections made to NATS: more than one says that it was lost")
        .with_callback(move |counter| counter.observe(connects.connects(), &[]))
        .build();
}

fn entries(registry: RegistryView) {
    meter()
        .u64_observable_gauge("staffetta.registry.entries")
        .with_description("Entries of the registry as the process sees it")
        .with_callback(move |gauge| {
            let registry = registry.load();
            for (kind, count) in [
                ("app", registry.apps().count()),
                ("tenant", registry.tenants().count()),
                ("channel", registry.channels().count()),
                ("endpoint", registry.endpoints().count()),
            ] {
                gauge.observe(count as u64, &[KeyValue::new("kind", kind)]);
            }
        })
        .build();
}

fn keys(registry: RegistryView) {
    meter()
        .f64_observable_gauge("staffetta.key.expiry")
        .with_unit("s")
        .with_description("Until an API key ends, where it has an end")
        .with_callback(move |gauge| {
            let now = jiff::Timestamp::now();
            for key in registry.load().keys() {
                let Some(end) = key.expires else { continue };
                let labels = [
                    KeyValue::new("tenant", key.tenant.id.to_string()),
                    KeyValue::new("key", key.id.clone()),
                ];
                gauge.observe(end.duration_since(now).as_secs_f64(), &labels);
            }
        })
        .build();
}
