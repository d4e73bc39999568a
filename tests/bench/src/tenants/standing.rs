//! A registry that is applied and followed, and nothing happens.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::{
    delivery::Receiver, dispatch::Database, figures::millis, installation::Installation, machine,
    registered::Registered,
};

const SERVICES: [&str; 5] = ["ingress", "recorder", "dispatcher", "delivery", "api"];

/// What it took.
#[derive(Debug)]
pub(super) struct Standing {
    /// `staffetta apply` on an empty bucket, and again with nothing to do.
    applied: [Duration; 2],
    services: Vec<AtRest>,
}

#[derive(Debug)]
struct AtRest {
    name: &'static str,
    /// From its start until it says that it is ready.
    ready: Duration,
    /// In bytes.
    memory: u64,
}

impl Standing {
    /// Starts one service after the other, the second time: the first makes tables and buckets.
    pub(super) async fn measure(
        database: &Database,
        registered: Registered,
        rest: u64,
    ) -> anyhow::Result<Self> {
        let installation = Installation::set_up(database).await?;
        let receiver = Receiver::start().await?;
        let registry = registered.registry(|_| receiver.taking());
        let gateway = &installation.gateway;
        let mut applied = [Duration::ZERO; 2];
        for time in &mut applied {
            let start = Instant::now();
            gateway.apply(&registry).await?;
            *time = start.elapsed();
        }
        let mut services = Vec::new();
        for name in SERVICES {
            gateway.start(name).await?.stop().await?;
            let start = Instant::now();
            let service = gateway.start(name).await?;
            let ready = start.elapsed();
            sleep(Duration::from_secs(rest)).await;
            let memory = machine::resident(service.pid())?;
            services.push(AtRest { name, ready, memory });
            service.stop().await?;
        }
        installation.tear_down().await?;
        Ok(Self { applied, services })
    }
}

/// Both beside each other.
pub(super) fn table(small: &Standing, great: &Standing) -> String {
    let mut table = format!("  {:<40}{:>10}{:>10}", "", "small", "great");
    let mut add = |what: &str, small: String, great: String| {
        table += &format!("\n  {what:<40}{small:>10}{great:>10}");
    };
    for (what, n) in [("staffetta apply, ms", 0), ("again, nothing to do, ms", 1)] {
        add(what, millis(small.applied[n]), millis(great.applied[n]));
    }
    let megabytes = |bytes: u64| format!("{:.1}", bytes as f64 / f64::from(1 << 20));
    for (few, many) in small.services.iter().zip(&great.services) {
        add(&format!("{} ready after, ms", few.name), millis(few.ready), millis(many.ready));
        add(&format!("{}, MB", few.name), megabytes(few.memory), megabytes(many.memory));
    }
    table
}
