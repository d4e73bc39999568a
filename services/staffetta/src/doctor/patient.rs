//! What is looked at: the connections that the checks share, each made once, and why one could not be made.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select_ok;
use secrecy::ExposeSecret;
use staffetta_bus::{Bus, Registry, RegistryView, StreamState};
use staffetta_runtime::Config;
use staffetta_store::{Store, StoreOptions};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::finding::Area;
use crate::parts::master_key;
use crate::run;

/// Longest time for one check.
pub(super) const CHECK: Duration = Duration::from_secs(5);

/// What every check may ask.
pub(super) struct Patient<'c> {
    pub(super) config: &'c Config,
    pub(super) bus: Result<Bus, String>,
    pub(super) streams: Vec<(&'static str, Result<Option<StreamState>, String>)>,
    pub(super) registry: Result<Arc<Registry>, String>,
    pub(super) store: Result<Store, String>,
    /// A client that follows no redirect and tries nothing twice.
    pub(super) http: reqwest::Client,
    pub(super) admin: &'c [String],
    pub(super) all_channels: bool,
}

impl<'c> Patient<'c> {
    /// Connects to what these areas need. What can't be reached is noted and not tried again.
    pub(super) async fn meet(
        config: &'c Config,
        areas: &[Area],
        admin: &'c [String],
        all_channels: bool,
    ) -> Self {
        let need = |of: &[Area]| areas.iter().any(|area| of.contains(area));
        let needs_registry =
            need(&[Area::Registry, Area::Channels, Area::Webhooks, Area::Endpoints, Area::Holds]);
        let needs_bus = needs_registry || need(&[Area::Nats, Area::Clocks]);
        let needs_store = need(&[Area::Database, Area::Clocks, Area::Endpoints, Area::Holds]);
        let unneeded = || "not asked for".to_owned();
        let ((bus, streams, registry), store) = tokio::join!(
            async {
                if !needs_bus {
                    return (Err(unneeded()), Vec::new(), Err(unneeded()));
                }
                let bus = connect(config).await;
                let Ok(connected) = &bus else {
                    let why = "there is no connection to NATS".to_owned();
                    return (bus, Vec::new(), Err(why));
                };
                let (streams, registry) = tokio::join!(streams(connected), read(config, connected));
                (bus, streams, registry)
            },
            async { if needs_store { open(config).await } else { Err(unneeded()) } },
        );
        Self { config, bus, streams, registry, store, http: client(), admin, all_channels }
    }

    /// Closes what was opened.
    pub(super) async fn leave(self) {
        if let Ok(store) = self.store {
            let _ = timeout(CHECK / 5, store.close()).await;
        }
    }
}

/// An error and what it comes from, as one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let says = error.to_string();
        // Many say again what they come from.
        if !text.contains(&says) {
            text = format!("{text}: {says}");
        }
        cause = error.source();
    }
    text
}

/// What the check gave, or that it took too long.
pub(super) async fn within<T, E: std::error::Error>(
    check: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    match timeout(CHECK, check).await {
        Ok(result) => result.map_err(|error| chain(&error)),
        Err(_) => Err(format!("no answer within {} s", CHECK.as_secs())),
    }
}

/// Tries all servers at once: one that says nothing would take the time of those after it.
async fn connect(config: &Config) -> Result<Bus, String> {
    let servers = run::servers(config);
    if servers.is_empty() {
        return Err("nats.url names no server".to_owned());
    }
    let tries = servers.into_iter().map(|server| {
        let mut config = config.clone();
        config.nats.url = Some(server);
        Box::pin(async move {
            match timeout(CHECK, run::dial(&config, "staffetta doctor")).await {
                Ok(bus) => bus.map_err(|error| format!("{error:#}")),
                Err(_) => Err(format!("no answer within {} s", CHECK.as_secs())),
            }
        })
    });
    select_ok(tries).await.map(|(bus, _)| bus)
}

async fn streams(bus: &Bus) -> Vec<(&'static str, Result<Option<StreamState>, String>)> {
    let states = bus.stream_states().await.into_iter();
    states.map(|(name, state)| (name, state.map_err(|error| chain(&error)))).collect()
}

async fn read(config: &Config, bus: &Bus) -> Result<Arc<Registry>, String> {
    // Read once and not followed.
    let view = within(RegistryView::follow(bus, master_key(config), CancellationToken::new())).await;
    view.map(|(view, _)| view.load())
}

async fn open(config: &Config) -> Result<Store, String> {
    let url = config.database_url();
    if let Some(path) = url.expose_secret().strip_prefix("sqlite:") {
        // Looking must not make it.
        let path = path.trim_start_matches("//").split('?').next().unwrap_or_default();
        if !path.starts_with(':') && !std::path::Path::new(path).exists() {
            return Err(format!("there is no file {path}"));
        }
    }
    let options = StoreOptions { max_connections: 2, timeout: CHECK };
    within(Store::connect(url.expose_secret(), &options)).await
}

fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .timeout(CHECK)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .user_agent(concat!("staffetta-doctor/", env!("CARGO_PKG_VERSION")))
        .build()
        .unwrap_or_default()
}
