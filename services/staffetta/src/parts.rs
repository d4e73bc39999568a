//! Each service, made from the configuration and handed to the process's life.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use secrecy::ExposeSecret;
use staffetta_api::{Api, NatsCallout};
use staffetta_bus::{Bus, MasterKey, RegistryView};
use staffetta_delivery::Delivery;
use staffetta_dispatcher::Dispatcher;
use staffetta_ingress::Ingress;
use staffetta_recorder::Recorder;
use staffetta_runtime::config::SimulatorConfig;
use staffetta_runtime::{Config, Health, Task};
use staffetta_store::{Store, StoreError, StoreOptions};
use tokio_util::sync::CancellationToken;

use crate::watch;

/// What a process can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Ingress,
    Recorder,
    Dispatcher,
    Delivery,
    Api,
    Simulator,
}

impl Part {
    /// How it is called in metrics and configuration.
    pub(crate) fn component(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Recorder => "recorder",
            Self::Dispatcher => "dispatcher",
            Self::Delivery => "delivery",
            Self::Api => "api",
            Self::Simulator => "simulator",
        }
    }

    /// What a process of it alone is called in traces and logs.
    pub(crate) fn service_name(self) -> &'static str {
        match self {
            Self::Ingress => "staffetta-ingress",
            Self::Recorder => "staffetta-recorder",
            Self::Dispatcher => "staffetta-dispatcher",
            Self::Delivery => "staffetta-delivery",
            Self::Api => "staffetta-api",
            Self::Simulator => "staffetta-simulator",
        }
    }

    fn needs_database(self) -> bool {
        matches!(self, Self::Recorder | Self::Dispatcher | Self::Delivery | Self::Api)
    }

    fn needs_bus(self) -> bool {
        self != Self::Simulator
    }
}

/// Prepares the parts: each has its address and what it needs, and works once its task runs.
pub(crate) async fn start(
    parts: &[Part],
    config: &Config,
    bus: Option<&Bus>,
    stop: &CancellationToken,
    health: &Health,
) -> anyhow::Result<Vec<Task>> {
    let mut tasks: Vec<Task> = Vec::new();
    let store = match parts.iter().any(|part| part.needs_database()) {
        true => Some(open_store(config).await?),
        false => None,
    };
    watch::components(parts);
    let registry = match bus {
        Some(bus) => {
            let registry = follow_registry(config, bus, &mut tasks, stop, health).await?;
            tasks.extend(watch::surroundings(config, parts, bus, &registry, stop));
            Some(registry)
        }
        None => None,
    };
    for part in parts {
        let stop = stop.clone();
        let (bus, registry, store) = (bus.cloned(), registry.clone(), store.clone());
        let bus = || bus.context("a connection to NATS");
        let registry = || registry.context("the registry");
        let store = || store.context("a database");
        match part {
            Part::Ingress => {
                let ingress = Ingress::bind(&config.ingress, bus()?, registry()?, health).await?;
                tasks.push(("ingress", Box::pin(ingress.run(stop))));
            }
            Part::Recorder => {
                let recorder = Recorder::new(&config.recorder, bus()?, registry()?, store()?, health).await?;
                tasks.push(("recorder", Box::pin(recorder.run(stop))));
            }
            Part::Dispatcher => {
                let (bus, registry, store) = (bus()?, registry()?, store()?);
                let dispatcher =
                    Dispatcher::new(&config.dispatcher, &config.graph, bus, registry, store, health).await?;
                tasks.push(("dispatcher", Box::pin(dispatcher.run(stop))));
            }
            Part::Delivery => {
                let (bus, registry, store) = (bus()?, registry()?, store()?);
                let delivery = Delivery::new(config, bus, registry, store, health).await?;
                tasks.push(("delivery", Box::pin(delivery.run(stop))));
            }
            Part::Api => {
                let (bus, registry) = (bus()?, registry()?);
                if let Some(callout) = NatsCallout::new(&config.nats.callout, bus.clone(), registry.clone())?
                {
                    tasks.push(("callout", Box::pin(callout.run(stop.clone()))));
                }
                let api = Api::bind(
                    &config.api,
                    &config.graph,
                    master_key(config),
                    bus,
                    registry,
                    store()?,
                    health,
                )
                .await?;
                tasks.push(("api", Box::pin(api.run(stop))));
            }
            Part::Simulator => {
                let listen = config.simulator.listen.unwrap_or_else(SimulatorConfig::default_listen);
                let options = staffetta_simulator::Options {
                    listen: listen.0,
                    seed: config.simulator.seed,
                    ..staffetta_simulator::Options::default()
                };
                let simulator = staffetta_simulator::start(options).await?;
                tasks.push(("simulator", Box::pin(simulator.run_until(stop))));
            }
        }
    }
    Ok(tasks)
}

/// Whether any of the parts talks to NATS.
pub(crate) fn need_bus(parts: &[Part]) -> bool {
    parts.iter().any(|part| part.needs_bus())
}

/// Opens the database and brings its schema up to date.
pub(crate) async fn open_store(config: &Config) -> anyhow::Result<Store> {
    let store = connect_store(config).await.context("opening the database")?;
    store.migrate().await.context("bringing the database up to date")?;
    Ok(store)
}

/// Opens the database as it is.
pub(crate) async fn connect_store(config: &Config) -> Result<Store, StoreError> {
    let options = StoreOptions {
        max_connections: config.database.max_connections,
        timeout: Duration::from_millis(config.database.timeout_ms),
    };
    Store::connect(config.database_url().expose_secret(), &options).await
}

/// The key that seals and opens the registry's secrets, with the one before it, if they are configured.
pub(crate) fn master_key(config: &Config) -> Option<Arc<MasterKey>> {
    let master = MasterKey::new(config.master_key.as_ref()?);
    Some(Arc::new(match &config.previous_master_key {
        Some(previous) => master.with_previous(previous),
        None => master,
    }))
}

async fn follow_registry(
    config: &Config,
    bus: &Bus,
    tasks: &mut Vec<Task>,
    stop: &CancellationToken,
    health: &Health,
) -> anyhow::Result<RegistryView> {
    let connection = bus.clone();
    health.add("nats", move || connection.is_connected());
    let (view, following) = RegistryView::follow(bus, master_key(config), stop.clone()).await?;
    tasks.push((
        "registry",
        Box::pin(async {
            following.await;
            Ok(())
        }),
    ));
    Ok(view)
}
