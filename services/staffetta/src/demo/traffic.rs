//! Light traffic with a live line, until somebody ends it.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use hdrhistogram::Histogram;
use tokio::time::{MissedTickBehavior, interval};

use super::{
    outside::{Event, Events, Outside, text_command},
    screen::{Arrow, Row, Screen, quote, span},
};

/// Two commands a second.
const EVERY: Duration = Duration::from_millis(500);
const INBOUND_PER_SECOND: u32 = 1;
/// To so many users in turn: the provider takes one message to a user every six seconds.
const USERS: u64 = 20;
/// Between two drawings of the line: on a terminal, and elsewhere.
const DRAWN_LIVE: Duration = Duration::from_millis(250);
const DRAWN_PLAIN: Duration = Duration::from_secs(10);
/// A command without an end after this long is counted as late, and forgotten.
const LATE: Duration = Duration::from_secs(60);
const LATE_MICROS: u64 = LATE.as_secs() * 1_000_000;
/// Most messages of somebody else's that are followed at a time.
const GUESTS: usize = 100;

/// What came of it all.
#[derive(Debug)]
pub(super) struct Totals {
    began: Instant,
    sent: u64,
    received: u64,
    events: u64,
    /// Ended otherwise than accepted, refused by NATS, or late.
    failed: u64,
    /// Microseconds from publish to accepted.
    waits: Histogram<u64>,
}

impl Totals {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            sent: 0,
            received: 0,
            events: 0,
            failed: 0,
            // With fixed bounds: one that grows by itself saturates at its first, tiny bound.
            waits: Histogram::new_with_bounds(1, LATE_MICROS, 3).expect("the bounds are in order"),
        }
    }

    fn waited(&mut self, time: Duration) {
        self.waits.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    fn p50(&self) -> Option<Duration> {
        (!self.waits.is_empty()).then(|| Duration::from_micros(self.waits.value_at_quantile(0.5)))
    }

    /// One line for the end; none after the round trips alone.
    pub(super) fn farewell(&self) -> Option<String> {
        (self.events > 0).then(|| format!("In all {}.", self.counts()))
    }

    fn counts(&self) -> String {
        let Self { sent, received, events, failed, .. } = self;
        let failed = if *failed > 0 { format!(" · {failed} failed") } else { String::new() };
        format!("{sent} sent · {received} received · {events} events{failed}")
    }

    fn line(&self) -> String {
        let p50 = self.p50().map_or_else(|| "…".to_owned(), span);
        let up = clock(self.began.elapsed());
        format!("  {} · publish to accepted p50 {p50} · up {up}", self.counts())
    }
}

/// Runs until dropped; what was counted is in `totals`. Messages that somebody else sends or receives meanwhile are
/// shown one by one.
pub(super) async fn run(
    outside: &Outside<'_>,
    events: &mut Events,
    screen: &Screen,
    totals: &mut Totals,
) -> anyhow::Result<()> {
    outside.users_write(INBOUND_PER_SECOND).await?;
    let mut traffic = Traffic { screen, totals, published: HashMap::new(), guests: HashMap::new() };
    let mut due = interval(EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut draw = interval(if screen.is_terminal() { DRAWN_LIVE } else { DRAWN_PLAIN });
    let mut stored = FuturesUnordered::new();
    let mut number = 0;
    loop {
        tokio::select! {
            event = events.next() => traffic.note(&event?)?,
            Some(outcome) = stored.next(), if !stored.is_empty() => {
                let (id, outcome): (String, anyhow::Result<u64>) = outcome;
                if outcome.is_err() {
                    traffic.failed(&id);
                }
            }
            _ = due.tick() => {
                number += 1;
                let (id, to) = (format!("live-{number}"), format!("39348{:07}", number % USERS));
                traffic.published.insert(id.clone(), Instant::now());
                let command = text_command(&id, &to, &format!("Order {number} has left."));
                match outside.publish(&id, &command).await {
                    Ok(storing) => stored.push(async move { (id, storing.await) }),
                    Err(_) => traffic.failed(&id),
                }
            }
            _ = draw.tick() => traffic.draw()?,
        }
    }
}

struct Traffic<'a> {
    screen: &'a Screen,
    totals: &'a mut Totals,
    /// Our own commands without an end, by id.
    published: HashMap<String, Instant>,
    /// Somebody else's messages that may still move: command ids by wamid.
    guests: HashMap<String, String>,
}

impl Traffic<'_> {
    fn note(&mut self, event: &Event) -> anyhow::Result<()> {
        self.totals.events += 1;
        match event.kind.as_str() {
            "staffetta.message.received" => {
                self.totals.received += 1;
                // The simulator's own users have numbers of this form.
                if !event.text("from").starts_with("39333") {
                    let text = event.data["text"]["body"].as_str().unwrap_or(event.text("type"));
                    self.guest("received", Arrow::Left("webhook"), &format!("\"{}\"", quote(text)))?;
                }
            }
            "staffetta.message.status" => {
                let (wamid, status) = (&event.subject, event.text("status"));
                if let Some(id) = self.guests.get(wamid).cloned() {
                    self.guest(status, Arrow::Left(status), &quote(&id))?;
                    if matches!(status, "read" | "failed") {
                        self.guests.remove(wamid);
                    }
                }
            }
            kind => self.command(kind, event)?,
        }
        Ok(())
    }

    /// A command's end.
    fn command(&mut self, kind: &str, event: &Event) -> anyhow::Result<()> {
        let Some(end) = kind.strip_prefix("staffetta.command.") else { return Ok(()) };
        if end == "in_doubt" {
            return Ok(());
        }
        let accepted = end == "accepted";
        self.totals.sent += u64::from(accepted);
        if event.subject.starts_with("live-") {
            match self.published.remove(&event.subject) {
                Some(at) if accepted => self.totals.waited(event.at.saturating_duration_since(at)),
                Some(_) => self.totals.failed += 1,
                None => {}
            }
            return Ok(());
        }
        if !accepted {
            self.totals.failed += 1;
            return self.guest(end, Arrow::Nothing, &quote(&event.subject));
        }
        if self.guests.len() < GUESTS {
            self.guests.insert(event.text("wamid").to_owned(), event.subject.clone());
        }
        self.guest(end, Arrow::Right("message"), &quote(&event.subject))
    }

    fn failed(&mut self, id: &str) {
        if self.published.remove(id).is_some() {
            self.totals.failed += 1;
        }
    }

    /// Somebody else's message moved.
    fn guest(&self, what: &str, whatsapp: Arrow<'_>, note: &str) -> anyhow::Result<()> {
        let time = clock(self.totals.began.elapsed());
        self.screen.row(&time, Row { erp: Arrow::Left(what), whatsapp, note })?;
        self.draw_line()
    }

    fn draw(&mut self) -> anyhow::Result<()> {
        let before = self.published.len();
        self.published.retain(|_, at| at.elapsed() < LATE);
        self.totals.failed += (before - self.published.len()) as u64;
        if !self.screen.is_terminal() {
            return Ok(self.screen.line(&self.totals.line())?);
        }
        self.draw_line()
    }

    fn draw_line(&self) -> anyhow::Result<()> {
        Ok(self.screen.passing(&self.totals.line())?)
    }
}

/// Minutes and seconds.
fn clock(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_of_the_times_that_were_measured() {
        let mut totals = Totals::new();
        assert_eq!(totals.p50(), None);
        for ms in [9, 12, 400] {
            totals.waited(Duration::from_millis(ms));
        }
        totals.waited(Duration::MAX);
        totals.waited(Duration::from_millis(1));
        assert_eq!(span(totals.p50().unwrap()), "12 ms");
    }
}
