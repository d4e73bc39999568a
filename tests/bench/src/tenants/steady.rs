//! The same work beside a small registry and beside a great one.

use std::{fmt, time::Duration};

use crate::{
    api::{Posted, Posting},
    delivery::{Delivered, Receiver, Telling},
    dispatch::{Beside, Database},
    figures::{median, millis},
    installation::Installation,
    pace::Pace,
    registered::Registered,
};

/// Messages a second that are posted.
const POSTS: u32 = 500;
/// Events a second that are delivered.
const EVENTS: u32 = 250;
/// Single commands.
const SINGLES: usize = 150;

/// How it went.
#[derive(Debug)]
pub(super) struct Steady {
    posted: Posted,
    delivered: Delivered,
    dispatched: Beside,
}

/// One figure beside both registries.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) what: &'static str,
    pub(super) is_aim: bool,
    better: Better,
    small: f64,
    great: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Better {
    Less,
    More,
}

impl Steady {
    /// The first so many tenants work, the others have nothing to do.
    ///
    /// Fails when something does not arrive.
    pub(super) async fn measure(
        database: &Database,
        registered: Registered,
        active: usize,
        seconds: u32,
    ) -> anyhow::Result<Self> {
        let installation = Installation::set_up(database).await?;
        let receiver = Receiver::start().await?;
        installation.gateway.apply(&registered.registry(|_| receiver.taking())).await?;

        let mut api = installation.gateway.start("api").await?;
        let pace = Pace { rate: POSTS, seconds };
        let posted = Posting::at(&installation, active)?.measure(&mut api, pace).await?;
        api.stop().await?;

        let delivered = deliver(&installation, &receiver, active, seconds).await?;
        installation.tear_down().await?;
        let dispatched = Beside::measure(database, registered, seconds, SINGLES).await?;
        Ok(Self { posted, delivered, dispatched })
    }
}

/// Events to every endpoint of that registry; p50 and p99, in milliseconds.
pub(super) async fn to_all(
    database: &Database,
    registered: Registered,
    seconds: u32,
) -> anyhow::Result<String> {
    let installation = Installation::set_up(database).await?;
    let receiver = Receiver::start().await?;
    installation.gateway.apply(&registered.registry(|_| receiver.taking())).await?;
    let delivered = deliver(&installation, &receiver, registered.tenants, seconds).await?;
    installation.tear_down().await?;
    let times = delivered.arrived.percentiles();
    Ok(format!("{} {}", millis(times.p50), millis(times.p99)))
}

async fn deliver(
    installation: &Installation<'_>,
    receiver: &Receiver,
    active: usize,
    seconds: u32,
) -> anyhow::Result<Delivered> {
    let mut delivery = installation.gateway.start("delivery").await?;
    let telling = Telling::to(installation, receiver, active, |_| true);
    let delivered = telling.measure(&mut delivery, Pace { rate: EVENTS, seconds }).await?;
    delivery.stop().await?;
    Ok(delivered)
}

/// Medians of all rounds.
pub(super) fn rows(small: &[Steady], great: &[Steady]) -> Vec<Row> {
    let row = |what, is_aim, better, figure: fn(&Steady) -> f64| Row {
        what,
        is_aim,
        better,
        small: median(small.iter().map(figure)),
        great: median(great.iter().map(figure)),
    };
    let aim = |what, figure| row(what, true, Better::Less, figure);
    let shown = |what, figure| row(what, false, Better::Less, figure);
    vec![
        aim("POST at 500/s, p50 ms", |seen| ms(seen.posted.answered.percentiles().p50)),
        aim("POST at 500/s, p99 ms", |seen| ms(seen.posted.answered.percentiles().p99)),
        shown("  answered 429 or 503", |seen| seen.posted.refused as f64),
        shown("CPU of api, \u{b5}s a message", |seen| seen.posted.cpu.service),
        aim("delivery at 250/s, p50 ms", |seen| ms(seen.delivered.arrived.percentiles().p50)),
        aim("delivery at 250/s, p99 ms", |seen| ms(seen.delivered.arrived.percentiles().p99)),
        shown("CPU of delivery, \u{b5}s an event", |seen| seen.delivered.cpu.service),
        row("dispatch at 250/s, used share", true, Better::More, |seen| seen.dispatched.used_share),
        shown("CPU of dispatcher, \u{b5}s a message", |seen| seen.dispatched.cpu),
        aim("publish to provider's socket, p50 ms", |seen| ms(seen.dispatched.arrived.p50)),
        aim("publish to provider's socket, p99 ms", |seen| ms(seen.dispatched.arrived.p99)),
    ]
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

impl Row {
    /// Beside the great registry against beside the small one.
    pub(super) fn change(&self) -> f64 {
        self.great / self.small - 1.0
    }

    /// The same, for the worse: negative if it got better.
    pub(super) fn worse(&self) -> f64 {
        match self.better {
            Better::Less => self.change(),
            Better::More => -self.change(),
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, small, great, .. } = self;
        write!(out, "  {what:<52}{small:>10.2}{great:>10.2}")?;
        if *small > 0.0 { write!(out, "{:>8.2}", great / small) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worse_is_more_or_less_as_the_figure_is_meant() {
        let row = |better, small, great| Row { what: "", is_aim: true, better, small, great };
        assert!((row(Better::Less, 10.0, 12.0).worse() - 0.2).abs() < 1e-9);
        assert!((row(Better::More, 1.0, 0.9).worse() - 0.1).abs() < 1e-9);
        assert!(row(Better::More, 0.9, 1.0).worse() < 0.0);
    }
}
