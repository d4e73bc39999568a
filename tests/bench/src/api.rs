//! `api`: `POST /v1/messages`, beside publishing to SEND alone.

mod posting;
mod raw;

use std::time::Duration;

use anyhow::ensure;
use clap::Args;

pub(crate) use self::posting::{Posted, Posting};
use crate::{
    disk,
    dispatch::Database,
    figures::{Aim, Latencies, Met, PERCENTILES_HEAD, millis},
    installation::Installation,
    pace::Pace,
    registered::Registered,
};

/// How `bench api` measures.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Messages a second
    #[arg(long, default_value_t = 500)]
    rate: u32,
    /// Measured seconds
    #[arg(long, default_value_t = 20)]
    seconds: u32,
    /// Tenants that send, each with a key and a channel of its own
    #[arg(long, default_value_t = 8)]
    tenants: usize,
}

/// 99 of 100 answers come within this.
const ANSWER: Duration = Duration::from_millis(10);

/// Prints how long answers took beside how long NATS alone took, then the aims.
///
/// Fails when a message is answered with anything but 202, 429 or 503, or is not on SEND afterwards.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let &Options { rate, seconds, tenants } = options;
    ensure!((1..=1_000).contains(&tenants), "1 to 1000 tenants");
    println!("{}", disk::describe()?);
    let database = Database::start().await?;
    let installation = Installation::set_up(&database).await?;
    let registered = Registered { endpoints: 0, ..Registered::one_each(tenants) };
    installation.gateway.apply(&registered.registry(|_| String::new())).await?;
    let pace = Pace { rate, seconds };

    println!("\n{rate} messages a second for {seconds} s, {tenants} keys; nobody takes them off SEND");
    let mut api = installation.gateway.start("api").await?;
    let posted = Posting::at(&installation, tenants)?.measure(&mut api, pace).await?;
    let held = installation.held("SEND").await?;
    let taken = posted.taken;
    ensure!(held == taken, "{taken} messages were answered 202, {held} are on SEND");
    api.stop().await?;
    let raw = raw::measure(&installation.jetstream, tenants, pace).await?;
    installation.tear_down().await?;

    println!("  {:<44}{PERCENTILES_HEAD}   max ms", "");
    println!("{}", line("POST /v1/messages to its 202", &posted.answered));
    println!("{}", line("publish to SEND to its acknowledgement", &raw));
    let Posted { cpu, refused, .. } = &posted;
    println!(
        "  CPU \u{b5}s a message: api {:.0}, nats-server {:.0}, PostgreSQL {:.0}",
        cpu.service, cpu.nats, cpu.postgres
    );
    println!("\naims");
    let p99 = posted.answered.percentiles().p99;
    println!(
        "{}",
        Aim {
            what: format!("POST /v1/messages at {rate}/s, p99"),
            measured: format!("{} ms", millis(p99)),
            wanted: format!("less than {} ms", ANSWER.as_millis()),
            met: Met::when(p99 < ANSWER),
        }
    );
    println!(
        "{}",
        Aim {
            what: "answered 429 or 503".into(),
            measured: refused.to_string(),
            wanted: "none".into(),
            met: Met::when(*refused == 0),
        }
    );
    Ok(())
}

fn line(what: &str, latencies: &Latencies) -> String {
    format!("  {what:<44}{} {:>8}", latencies.percentiles(), millis(latencies.longest()))
}
