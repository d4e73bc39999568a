//! This machine's clock against NATS', the database's and the provider's.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use staffetta_bus::ClockReading;
use tokio::time::Instant;

use super::finding::{Area, Finding, Level, Notes};
use super::patient::{Patient, within};
use super::print::span;
use super::reach;

/// The least difference that is worth a warning, and that is an error.
const NOTICEABLE: Duration = Duration::from_millis(500);
const WRONG: Duration = Duration::from_secs(2);
/// What an HTTP date leaves out.
const SECOND: Duration = Duration::from_secs(1);

const ADVICE: &str = "Let all machines keep their clocks by NTP (`timedatectl`, `chronyc tracking`). Times in events and in \
                    the attempt log are written by one machine and compared by another: holds, expiry, schedules and \
                    retention are wrong by as much.";

pub(super) async fn examine(patient: &Patient<'_>) -> Vec<Finding> {
    let mut notes = Notes::of(Area::Clocks);
    let (database, provider) = tokio::join!(database(patient), provider(patient));
    compare("NATS", nats(patient), &mut notes);
    match database {
        Ok(None) => notes.ok("clocks.skew", Some("database"), "SQLite has this machine's"),
        Ok(Some(reading)) => compare("database", Ok(reading), &mut notes),
        Err(why) => compare("database", Err(why), &mut notes),
    }
    compare("provider", provider, &mut notes);
    notes.end()
}

fn compare(whose: &str, reading: Result<ClockReading, String>, notes: &mut Notes) {
    let reading = match reading {
        Ok(reading) => reading,
        Err(why) => {
            let todo = "See the area that it belongs to; its clock can be compared once it answers.";
            notes.error("clocks.skew", Some(whose), format!("can't be compared: {why}"), todo);
            return;
        }
    };
    let least = reading.at_least();
    let level = match least {
        least if least > WRONG => Level::Error,
        least if least > NOTICEABLE => Level::Warning,
        _ => Level::Ok,
    };
    let direction = if reading.ahead.is_negative() { "behind" } else { "ahead of" };
    let seen = format!(
        "{} {direction} this machine, give or take {} ms",
        span(reading.ahead),
        reading.uncertainty.as_millis()
    );
    notes.at(level, "clocks.skew", Some(whose), seen, ADVICE);
}

/// The clock that differs most, of the servers that answered for the streams.
fn nats(patient: &Patient<'_>) -> Result<ClockReading, String> {
    patient.bus.as_ref().map_err(|_| "there is no connection to NATS".to_owned())?;
    let states = patient.streams.iter().filter_map(|(_, state)| state.as_ref().ok()?.as_ref()?.clock);
    states.max_by_key(ClockReading::at_least).ok_or_else(|| "no stream answered".to_owned())
}

async fn database(patient: &Patient<'_>) -> Result<Option<ClockReading>, String> {
    let store = patient.store.as_ref().map_err(Clone::clone)?;
    // The first question may open a connection, which takes longer than the question.
    within(store.ping()).await?;
    let (asked, started) = (Timestamp::now(), Instant::now());
    let shown = within(store.server_time()).await?;
    Ok(shown.map(|shown| ClockReading::of(asked, started.elapsed(), shown, Duration::ZERO)))
}

async fn provider(patient: &Patient<'_>) -> Result<ClockReading, String> {
    let reached = reach::reach(&patient.http, &patient.config.graph.base_url).await?;
    let date = reached.date.as_deref().ok_or("its answer has no Date")?;
    let shown = jiff::fmt::rfc2822::parse(date).map_err(|_| "its Date can't be read")?.timestamp();
    let round_trip = reached.took;
    if round_trip > SECOND {
        return Err(format!(
            "its answer took {}",
            span(SignedDuration::try_from(round_trip).unwrap_or_default())
        ));
    }
    Ok(ClockReading::of(reached.asked, round_trip, shown, SECOND))
}
