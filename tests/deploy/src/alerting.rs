//! A service that is gone is missed.

use std::time::Duration;

use anyhow::Context;
use staffetta_testkit::until;

use crate::prometheus::Prometheus;
use crate::world::World;

/// From a service's end to the alert: some scrapes and evaluations of a second each, on a machine that may be busy.
const LIMIT: Duration = Duration::from_secs(180);

const ALERT: &str = "StaffettaComponentDown";

/// Ends one service after the other, and waits for the alert that names it.
pub(crate) async fn miss_each_service(
    prometheus: &Prometheus,
    world: &mut World,
) -> anyhow::Result<Vec<String>> {
    let mut faults = Vec::new();
    for role in world.roles() {
        // A scrape that comes too late for a busy machine is missed as well, until the next one.
        let known = until("the alert to be over", LIMIT, async || {
            missing(prometheus, role).await.ok().filter(|is_missing| !*is_missing)
        });
        if known.await.is_err() {
            faults.push(format!("{ALERT} names {role}, which runs"));
        }
        world.kill(role).await?;
        let missed = until("the alert", LIMIT, async || {
            missing(prometheus, role).await.ok().filter(|is_missing| *is_missing)
        });
        if let Err(error) =
            missed.await.with_context(|| format!("{ALERT} does not name {role}, which is gone"))
        {
            faults.push(format!("{error:#}"));
        }
    }
    Ok(faults)
}

async fn missing(prometheus: &Prometheus, role: &str) -> anyhow::Result<bool> {
    let alerts = prometheus.alerts().await?;
    Ok(alerts
        .iter()
        .any(|alert| alert["labels"]["alertname"] == ALERT && alert["labels"]["component"] == role))
}
