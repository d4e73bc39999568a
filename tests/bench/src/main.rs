//! Measures Staffetta from outside: real `staffetta` processes, a real nats-server, a real PostgreSQL.
//!
//! It knows only the contract. `cargo xtask bench` builds it and what it runs in the release profile, and starts it;
//! `docs/benchmarks.md` says what each figure means.

mod api;
mod delivery;
mod dispatch;
mod idle;
mod ingress;
mod record;
mod tenants;

mod figures;
mod machine;
mod pace;

mod disk;
mod gateway;
mod installation;
mod registered;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "staffetta-bench", about, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// Webhooks through ingress, beside raw publishing of the same payloads
    Ingress(ingress::Options),
    /// Commands through the dispatcher to the simulator
    Dispatch(dispatch::Options),
    /// A backlog of webhooks through the recorder, beside raw inserts of the same rows
    Record(record::Options),
    /// `POST /v1/messages`, beside publishing to SEND alone
    Api(api::Options),
    /// Events to endpoints, with some of them dead and slow
    Delivery(delivery::Options),
    /// A great registry against a small one
    Tenants(tenants::Options),
    /// Memory at rest
    Idle(idle::Options),
}

/// One thread: the load generator shares the machine with what it loads.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    println!("{}", machine::describe());
    if cfg!(debug_assertions) {
        println!("built in the dev profile: the figures mean nothing");
    }
    match cli.bench {
        Bench::Ingress(options) => ingress::run(&options).await,
        Bench::Dispatch(options) => dispatch::run(&options).await,
        Bench::Record(options) => record::run(&options).await,
        Bench::Api(options) => api::run(&options).await,
        Bench::Delivery(options) => delivery::run(&options).await,
        Bench::Tenants(options) => tenants::run(&options).await,
        Bench::Idle(options) => idle::run(&options).await,
    }
}
