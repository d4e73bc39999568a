//! `delivery`: events from EVENTS to endpoints, with some of them dead and slow, beside posting the same bodies.

mod receiver;
mod telling;

use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Args;

pub(crate) use self::{
    receiver::Receiver,
    telling::{Delivered, Telling},
};
use crate::{
    disk,
    dispatch::Database,
    figures::{Aim, Latencies, Met, PERCENTILES_HEAD, Percentiles, median, millis},
    gateway::{client, free_address},
    installation::Installation,
    pace::Pace,
    registered::Registered,
};

/// How `bench delivery` measures.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Events a second, all endpoints together
    #[arg(long, default_value_t = 250)]
    rate: u32,
    /// Measured seconds of each round
    #[arg(long, default_value_t = 20)]
    seconds: u32,
    /// Endpoints where there are many, each of a tenant of its own
    #[arg(long, default_value_t = 100)]
    endpoints: usize,
    /// Rounds with many endpoints, in turns: all well, one dead and one slow
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

/// 99 of 100 events come within this.
const ARRIVAL: Duration = Duration::from_millis(30);
/// So much may a dead endpoint and a slow one change for the others.
const CHANGE: f64 = 10.0;

/// How endpoints are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ways {
    AllWell,
    /// The first refuses connections, the second never answers.
    OneDeadOneSlow,
}

impl Ways {
    fn url(self, n: usize, receiver: &Receiver, nobody: &str) -> String {
        match (self, n) {
            (Self::OneDeadOneSlow, 0) => format!("http://{nobody}/events"),
            (Self::OneDeadOneSlow, 1) => receiver.never_answering(),
            _ => receiver.taking(),
        }
    }

    fn is_well(self, n: usize) -> bool {
        self == Self::AllWell || n > 1
    }
}

/// Prints a line for each, then the aims.
///
/// Fails when an event does not come to an endpoint that is well.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let &Options { rate, seconds, endpoints, rounds } = options;
    ensure!((3..=1_000).contains(&endpoints) && rounds > 0, "3 to 1000 endpoints, and a round or more");
    println!("{}", disk::describe()?);
    let database = Database::start().await?;
    let pace = Pace { rate, seconds };

    println!(
        "\n{rate} events a second for {seconds} s, put on EVENTS; from their acknowledgement to the receiver"
    );
    println!("  {:<44}{PERCENTILES_HEAD}   max ms", "");
    let posted = raw(pace).await?;
    println!("{}", line("a POST of such a body from here", &posted));
    let one = round(&database, 1, Ways::AllWell, pace).await?;
    println!("{}", line("one endpoint", &one.arrived));
    let (mut well, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let all = round(&database, endpoints, Ways::AllWell, pace).await?;
        println!("{}", line(&format!("{endpoints} endpoints"), &all.arrived));
        well.push(all);
        let others = round(&database, endpoints, Ways::OneDeadOneSlow, pace).await?;
        println!("{}", line("  the others, one dead and one slow", &others.arrived));
        beside.push(others);
    }
    println!("{}", cpu_line("one endpoint", &[one.cpu]));
    println!("{}", cpu_line(&format!("{endpoints} endpoints"), &cpus(&well)));
    println!("{}", cpu_line("  one dead and one slow", &cpus(&beside)));

    println!("\naims");
    for aim in aims(&one, &well, &beside) {
        println!("{aim}");
    }
    Ok(())
}

fn aims(one: &Delivered, well: &[Delivered], beside: &[Delivered]) -> [Aim; 3] {
    let (all, others) = (medians(well), medians(beside));
    let arrival = |what: &str, p99: Duration| Aim {
        what: format!("{what}, p99"),
        measured: format!("{} ms", millis(p99)),
        wanted: format!("less than {} ms", ARRIVAL.as_millis()),
        met: Met::when(p99 < ARRIVAL),
    };
    let change = (others.p99.as_secs_f64() / all.p99.as_secs_f64() - 1.0) * 100.0;
    [
        arrival("one endpoint", one.arrived.percentiles().p99),
        arrival("many endpoints, median of the rounds", all.p99),
        Aim {
            what: "the others' p99 beside a dead and a slow one".into(),
            measured: format!("{change:+.1} %"),
            wanted: format!("less than {CHANGE:+} %"),
            met: Met::when(change < CHANGE),
        },
    ]
}

/// Of several rounds.
fn medians(rounds: &[Delivered]) -> Percentiles {
    Percentiles::medians(&rounds.iter().map(|round| round.arrived.percentiles()).collect::<Vec<_>>())
}

fn cpus(rounds: &[Delivered]) -> Vec<crate::installation::CpuEach> {
    rounds.iter().map(|round| round.cpu).collect()
}

/// An installation of its own, so that no round finds what another left.
async fn round(database: &Database, endpoints: usize, ways: Ways, pace: Pace) -> anyhow::Result<Delivered> {
    let installation = Installation::set_up(database).await?;
    let receiver = Receiver::start().await?;
    let nobody = free_address()?.to_string();
    let registry = Registered::one_each(endpoints).registry(|n| ways.url(n, &receiver, &nobody));
    installation.gateway.apply(&registry).await?;
    let mut delivery = installation.gateway.start("delivery").await?;
    let telling = Telling::to(&installation, &receiver, endpoints, |n| ways.is_well(n));
    let delivered = telling.measure(&mut delivery, pace).await?;
    delivery.stop().await?;
    installation.tear_down().await?;
    Ok(delivered)
}

/// The receiver asked from here, as often: from just before the request until it has come.
async fn raw(pace: Pace) -> anyhow::Result<Latencies> {
    let receiver = Receiver::start().await?;
    let (http, url) = (client()?, receiver.taking());
    let sent = pace
        .keep(async |turn| {
            let (id, body) = (telling::event_id(turn.n.into()), telling::body(0, turn.n.into()));
            let request = http.post(&url).header("webhook-id", &id).body(body);
            let at = Instant::now();
            request.send().await?.error_for_status()?;
            Ok((id, at))
        })
        .await?;
    let (mut latencies, came) = (Latencies::new(), receiver.came());
    for (_, (id, at)) in sent.into_iter().filter(|(turn, _)| turn.measured) {
        let came = came.get(&id).copied().unwrap_or(at);
        latencies.add(came.saturating_duration_since(at));
    }
    Ok(latencies)
}

fn line(what: &str, latencies: &Latencies) -> String {
    format!("  {what:<44}{} {:>8}", latencies.percentiles(), millis(latencies.longest()))
}

fn cpu_line(what: &str, cpu: &[crate::installation::CpuEach]) -> String {
    format!(
        "  CPU \u{b5}s an event, {what}: delivery {:.0}, nats-server {:.0}, PostgreSQL {:.0}",
        median(cpu.iter().map(|cpu| cpu.service)),
        median(cpu.iter().map(|cpu| cpu.nats)),
        median(cpu.iter().map(|cpu| cpu.postgres))
    )
}
