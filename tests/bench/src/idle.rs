//! `idle`: what a process holds in memory when nothing is going on.

use std::time::Duration;

use anyhow::Context;
use clap::Args;
use staffetta_testkit::{NatsOptions, NatsServer, NatsSync, Postgres};
use tokio::time::sleep;

use crate::{
    figures::{Aim, Met},
    gateway::{Gateway, Service, free_address},
    machine,
};

/// How `bench idle` measures.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Seconds at rest before the look
    #[arg(long, default_value_t = 5)]
    rest: u64,
}

const SERVICES: [&str; 6] = ["ingress", "recorder", "dispatcher", "delivery", "api", "simulator"];

/// Each process should hold less, in bytes.
const WANTED: u64 = 40 << 20;

const REGISTRY: &str = r#"
    [[app]]
    id = "main"
    app_secret = "0123456789abcdef0123456789abcdef"
    verify_token = "meatyhamhock"

    [[tenant]]
    id = "acme"
    api_keys = ["a key for benchmarks"]

    [[channel]]
    id = "acme-orders"
    tenant = "acme"
    provider = "cloud_api"
    app = "main"
    waba_id = "900"
    phone_number_id = "100"
    display_phone_number = "390600000000"
    access_token = "a token for benchmarks"
"#;

/// Prints a line for each process.
///
/// Fails when one does not start, or does not end well.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let rest = Duration::from_secs(options.rest);
    println!("\nmemory after {} s at rest", options.rest);
    // The services with PostgreSQL and a NATS server of somebody else's, as in production.
    let nats =
        NatsServer::start_with(NatsOptions { sync: NatsSync::Always, ..NatsOptions::default() }).await?;
    let mut gateway = Gateway::new()?;
    gateway.set("STAFFETTA__NATS__URL", nats.url());
    gateway.set("STAFFETTA__DATABASE__URL", Postgres::shared().await?.database().await?.url());
    listen_on_free_ports(&mut gateway)?;
    gateway.apply(REGISTRY).await?;
    for name in SERVICES {
        let service = gateway.start(name).await?;
        println!("{}", line(name, at_rest(&service, rest).await?));
        service.stop().await?;
    }
    drop(nats);

    // All in one process with SQLite and a NATS server that it starts, as on one machine. No simulator.
    let mut gateway = Gateway::new()?;
    listen_on_free_ports(&mut gateway)?;
    gateway.unset("STAFFETTA__SIMULATOR__LISTEN");
    gateway.set("STAFFETTA__NATS__LISTEN", free_address()?.to_string());
    let up = gateway.start("up").await?;
    let held = at_rest(&up, rest).await?;
    let children = machine::children(up.pid())?;
    let nats = children.into_iter().find(|&child| machine::name(child).starts_with("nats-server"));
    let nats = machine::resident(nats.context("`up` has no NATS server")?)?;
    println!("{}", line("up", held));
    println!("      the NATS server that `up` started: {}", megabytes(nats));
    up.stop().await
}

fn listen_on_free_ports(gateway: &mut Gateway) -> anyhow::Result<()> {
    for variable in ["STAFFETTA__INGRESS__LISTEN", "STAFFETTA__API__LISTEN", "STAFFETTA__SIMULATOR__LISTEN"] {
        gateway.set(variable, free_address()?.to_string());
    }
    Ok(())
}

async fn at_rest(service: &Service, rest: Duration) -> anyhow::Result<u64> {
    sleep(rest).await;
    machine::resident(service.pid())
}

fn line(name: &str, held: u64) -> Aim {
    Aim {
        what: name.into(),
        measured: megabytes(held),
        wanted: "less than 40 MB".into(),
        met: Met::when(held < WANTED),
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / f64::from(1 << 20))
}
