//! The streams and buckets: there, as they should be, in as many copies as they should be, with room, and read.

use std::time::Duration;

use jiff::SignedDuration;
use staffetta_bus::{Bus, Mismatch, StreamState};

use super::finding::{Level, Notes};
use super::patient::{Patient, within};
use super::print::{size, span};
use crate::run::retention;

/// The part of a limit (%) from which on a stream is nearly, or all but, full: as the alert `StaffettaStreamFull`.
const NEARLY_FULL: u64 = 70;
const FULL: u64 = 90;
/// Settings without which a stream does not do its work; others only say how much of it.
const ESSENTIAL: [&str; 9] = [
    "subjects",
    "retention",
    "storage",
    "discard",
    "discard_new_per_subject",
    "allow_direct",
    "allow_atomic",
    "republish",
    "deny_delete",
];

/// Streams whose messages should be gone soon, after how long they should be, and after how long they must.
const SOON: [(&str, Duration, Duration); 2] = [
    ("WEBHOOKS", Duration::from_secs(60), Duration::from_secs(300)),
    ("SEND", Duration::from_secs(600), Duration::from_secs(86_400)),
];

pub(super) async fn examine(patient: &Patient<'_>, bus: &Bus, notes: &mut Notes) {
    let settings = within(bus.stream_mismatches(&retention(patient.config))).await;
    for (name, state) in &patient.streams {
        match state {
            Ok(Some(state)) => stream(state, notes),
            Ok(None) => notes.error(
                "nats.stream",
                Some(name),
                "it is not there",
                "Run `staffetta migrate`, which makes what is missing. If it was there before, find out who deleted it: \
                 what it held is gone, and has to be brought back from a backup.",
            ),
            Err(why) => notes.error(
                "nats.stream",
                Some(name),
                why.clone(),
                "A stream that does not answer has lost its leader: look with `nats stream report` and `nats server \
                 report jetstream` whether more than half of its servers are there.",
            ),
        }
    }
    match settings {
        Ok(mismatches) => mismatches.iter().for_each(|mismatch| setting(mismatch, notes)),
        Err(why) => notes.error(
            "nats.setting",
            None,
            format!("not compared with what this version asks for: {why}"),
            "See what is said of the stream, then ask again.",
        ),
    }
}

fn stream(state: &StreamState, notes: &mut Notes) {
    let name = Some(state.name);
    let held = format!("{} messages, {}", state.messages, size(state.bytes));
    notes.ok("nats.stream", name, held);
    let copies = format!("{} of {} copies are up to date", state.current, state.replicas);
    if state.current >= state.replicas {
        notes.ok("nats.copies", name, copies);
    } else if state.current > state.replicas / 2 {
        notes.warning(
            "nats.copies",
            name,
            format!("{copies}: the next loss stops it"),
            "Bring the missing server back, or replace it (`nats stream cluster peer-remove`). `nats stream report` names \
             it.",
        );
    } else {
        notes.error(
            "nats.copies",
            name,
            format!("{copies}: it takes nothing any more"),
            "Bring the missing servers back: more than half are needed. Remove none of the others meanwhile.",
        );
    }
    if let Some(limit) = state.max_bytes {
        let percent = state.bytes.saturating_mul(100) / limit;
        let level = match percent {
            0..NEARLY_FULL => Level::Ok,
            NEARLY_FULL..FULL => Level::Warning,
            _ => Level::Error,
        };
        let seen = format!("{percent} % of {}", size(limit));
        let todo = "Find out why it is not emptied (below), then give it more room with nats.webhooks_max_bytes and \
                    `staffetta migrate`. When it is full the provider gets 503 and sends again for 7 days.";
        notes.at(level, "nats.fill", name, seen, todo);
    }
    oldest(state, notes);
}

fn oldest(state: &StreamState, notes: &mut Notes) {
    let Some((name, should, must)) = SOON.into_iter().find(|(name, ..)| *name == state.name) else { return };
    let check = if name == "WEBHOOKS" { "nats.webhooks-wait" } else { "nats.commands-wait" };
    let Some(age) = state.oldest else {
        notes.ok(check, Some(name), "nothing waits");
        return;
    };
    let level = match age {
        age if age > must => Level::Error,
        age if age > should => Level::Warning,
        _ => Level::Ok,
    };
    let todo = match name {
        "WEBHOOKS" => {
            "The recorder is down, too slow or can't write: look at nats.recorder and at the area database. More \
             replicas of the recorder help where the database has room."
        }
        _ => {
            "Commands wait: because their channel is on hold (area holds), because nobody owns its part (nats.owners), or \
             because there are more than its rate allows. Bulk that was meant to take hours is no fault."
        }
    };
    let age = SignedDuration::try_from(age).unwrap_or(SignedDuration::MAX);
    notes.at(level, check, Some(name), format!("the oldest message has waited {}", span(age)), todo);
}

fn setting(mismatch: &Mismatch, notes: &mut Notes) {
    let Mismatch { stream, setting, wanted, found } = mismatch;
    let level = if ESSENTIAL.contains(setting) { Level::Error } else { Level::Warning };
    let todo = match *setting {
        "retention" | "storage" => {
            "The server does not change this on a stream that is there: move its messages away, delete it and run \
             `staffetta migrate`."
        }
        _ => {
            "Run `staffetta migrate` with the configuration that the services have: it brings the stream up to date. If \
             somebody changed it on purpose, change the configuration instead."
        }
    };
    notes.at(
        level,
        "nats.setting",
        Some(stream),
        format!("{setting} is {found}, and should be {wanted}"),
        todo,
    );
}

#[cfg(test)]
mod tests {
    use super::super::finding::Area;
    use super::*;

    fn levels(change: impl FnOnce(&mut StreamState)) -> Vec<(&'static str, Level)> {
        let mut state = StreamState {
            name: "WEBHOOKS",
            messages: 1,
            bytes: 10,
            max_bytes: Some(100),
            oldest: Some(Duration::ZERO),
            replicas: 3,
            current: 3,
            leader: Some("n1".into()),
            consumers: 1,
            clock: None,
        };
        change(&mut state);
        let mut notes = Notes::of(Area::Nats);
        stream(&state, &mut notes);
        let found = notes.end().into_iter().filter(|finding| finding.level > Level::Ok);
        found.map(|finding| (finding.check, finding.level)).collect()
    }

    #[test]
    fn a_stream_is_well_until_it_lacks_copies_or_room_or_is_not_emptied() {
        assert_eq!(levels(|_| {}), []);
        assert_eq!(levels(|state| state.current = 2), [("nats.copies", Level::Warning)]);
        assert_eq!(levels(|state| state.current = 1), [("nats.copies", Level::Error)]);
        assert_eq!(levels(|state| state.bytes = 80), [("nats.fill", Level::Warning)]);
        assert_eq!(levels(|state| state.bytes = 95), [("nats.fill", Level::Error)]);
        let waits = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(levels(|state| state.oldest = waits(100)), [("nats.webhooks-wait", Level::Warning)]);
        assert_eq!(levels(|state| state.oldest = waits(1_000)), [("nats.webhooks-wait", Level::Error)]);
    }
}
