//! When the certificates end that the public addresses show.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use opentelemetry::KeyValue;
use reqwest::Url;
use staffetta_runtime::telemetry::meter;
use staffetta_runtime::{Config, certificate};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// How often they are looked at.
const EVERY: Duration = Duration::from_secs(3600);
/// And while one can't be seen, as right after an installation.
const AGAIN: Duration = Duration::from_secs(300);
/// Longest look at one.
const LIMIT: Duration = Duration::from_secs(10);

/// Looks until `stop`.
pub(super) fn watch(
    config: &Config,
    stop: CancellationToken,
) -> impl Future<Output = anyhow::Result<()>> + Send + use<> {
    let addresses = [&config.ingress.public_url, &config.api.public_url];
    let addresses: Vec<Url> =
        addresses.into_iter().flatten().filter_map(|url| url.parse().ok()).filter(is_https).collect();
    async move {
        if addresses.is_empty() {
            stop.cancelled().await;
            return Ok(());
        }
        let ends = Arc::<Mutex<BTreeMap<String, Timestamp>>>::default();
        show(Arc::clone(&ends));
        let looking = async {
            loop {
                let mut pause = EVERY;
                for address in &addresses {
                    match look(address).await {
                        Some((host, end)) => {
                            ends.lock().unwrap_or_else(PoisonError::into_inner).insert(host, end);
                        }
                        // What could not be seen now stays as it was: a certificate's end does not move by itself.
                        None => pause = AGAIN,
                    }
                }
                sleep(pause).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            never = looking => never,
        }
    }
}

/// The address's host, and when its certificate ends; `None` if that could not be seen.
async fn look(address: &Url) -> Option<(String, Timestamp)> {
    let host = address.host_str().unwrap_or_default();
    match certificate::expires(address.as_str(), LIMIT).await {
        Ok(end) => Some((host.to_owned(), end?)),
        Err(failure) => {
            warn!(host, error = &failure as &dyn std::error::Error, "a certificate could not be seen");
            None
        }
    }
}

fn show(ends: Arc<Mutex<BTreeMap<String, Timestamp>>>) {
    meter()
        .f64_observable_gauge("staffetta.certificate.expiry")
        .with_unit("s")
        .with_description("Until the certificate of a public address ends")
        .with_callback(move |gauge| {
            let now = Timestamp::now();
            for (host, end) in &*ends.lock().unwrap_or_else(PoisonError::into_inner) {
                gauge.observe(end.duration_since(now).as_secs_f64(), &[KeyValue::new("host", host.clone())]);
            }
        })
        .build();
}

fn is_https(url: &Url) -> bool {
    url.scheme() == "https"
}
