//! Measures Staffetta from outside: real `staffetta` processes, a real nats-server, a real PostgreSQL.
//!
//! It knows only the contract. `cargo xtask bench` builds it and what it runs in the release profile, and starts it;
//! `docs/benchmarks.md` says what each figure means.

mod dispatch;
mod idle;
mod ingress;
mod record;

mod figures;
mod machine;

mod disk;
mod gateway;

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
        Bench::Idle(options) => idle::run(&options).await,
    }
}
