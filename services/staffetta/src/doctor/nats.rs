//! The NATS server, the streams, who reads them, and what ended on DEAD.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use staffetta_bus::{Bus, DeadStream, LetterFilter};

use super::finding::{Area, Finding, Notes};
use super::patient::{CHECK, Patient, within};
use super::print::size;
use super::{leases, recorder, streams};
use crate::terminal::printable;

/// The oldest server whose acknowledgement means one fsync for many messages.
const WANTED: (u32, u32) = (2, 15);
/// What the largest webhook of one envelope and its headers need.
const LEAST_PAYLOAD: usize = (3 << 20) + (64 << 10);
/// What the production configuration says.
const WANTED_PAYLOAD: usize = 8 << 20;
/// The part of the storage from which on it is too full.
const FULL: u64 = 80;
/// Most letters that are counted.
const MOST_LETTERS: u64 = 5_000;

pub(super) async fn examine(patient: &Patient<'_>) -> Vec<Finding> {
    let mut notes = Notes::of(Area::Nats);
    let bus = match &patient.bus {
        Ok(bus) => bus,
        Err(why) => {
            notes.error(
                "nats.connection",
                None,
                format!("no connection: {why}"),
                "Look whether the servers of nats.url run and can be reached from here, and whether nats.user and \
                 nats.password are theirs. Until then ingress answers 503 and the provider sends again for 7 days; \
                 nothing leaves.",
            );
            return notes.end();
        }
    };
    server(bus, &mut notes);
    streams::examine(patient, bus, &mut notes).await;
    let (jetstream, recorder, owners, dead) =
        tokio::join!(jetstream(bus), recorder::examine(bus), leases::examine(bus), dead(bus),);
    let mut findings = notes.end();
    findings.extend([jetstream, recorder, owners, dead].into_iter().flatten());
    findings
}

fn server(bus: &Bus, notes: &mut Notes) {
    let version = bus.server_version();
    notes.ok("nats.connection", None, format!("connected to {}", bus.server_name()));
    if is_at_least(&version, WANTED) {
        notes.ok("nats.version", None, version);
    } else {
        notes.error(
            "nats.version",
            None,
            format!("{version}, and {}.{} is needed", WANTED.0, WANTED.1),
            "Upgrade the servers one by one. An older one pays one fsync for each message where `sync_interval: always` \
             is set, and lacks ways of publishing that Staffetta uses.",
        );
    }
    let payload = bus.max_payload();
    let seen = format!("max_payload is {}", size(payload as u64));
    let todo = "Set `max_payload: 8MB` in the servers' configuration and reload them (`nats-server --signal reload`).";
    match payload {
        0..LEAST_PAYLOAD => {
            let seen = format!("{seen}: a webhook of 3 MiB, which the provider may send, can't be stored");
            notes.error("nats.payload", None, seen, todo);
        }
        LEAST_PAYLOAD..WANTED_PAYLOAD => {
            notes.warning("nats.payload", None, format!("{seen}, not 8 MiB"), todo)
        }
        _ => notes.ok("nats.payload", None, seen),
    }
}

/// Whether a version as `2.15.0-RC.1` is as new as this.
fn is_at_least(version: &str, wanted: (u32, u32)) -> bool {
    let mut numbers =
        version.trim_start_matches('v').split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    numbers.next().zip(numbers.next()).is_some_and(|found| found >= wanted)
}

async fn jetstream(bus: &Bus) -> Vec<Finding> {
    let mut notes = Notes::of(Area::Nats);
    match within(bus.jetstream().query_account()).await {
        Ok(account) => {
            let used = account.storage;
            let limit = u64::try_from(account.limits.max_storage.unwrap_or(-1)).ok().filter(|limit| *limit > 0);
            let Some(limit) = limit else {
                notes.ok("nats.jetstream", None, format!("{} stored, no limit of the account", size(used)));
                return notes.end();
            };
            let percent = used.saturating_mul(100) / limit;
            let seen = format!("{} of the account's {} stored ({percent} %)", size(used), size(limit));
            if percent >= FULL {
                let todo = "Give the account more storage, or find out which stream grows. A full account refuses every \
                            publish: webhooks get 503 and commands are refused.";
                notes.error("nats.jetstream", None, seen, todo);
            } else {
                notes.ok("nats.jetstream", None, seen);
            }
        }
        Err(why) => notes.error(
            "nats.jetstream",
            None,
            format!("JetStream does not answer: {why}"),
            "Turn JetStream on in the servers' configuration and for the account that Staffetta uses; in a cluster, look \
             whether more than half of the servers are there.",
        ),
    }
    notes.end()
}

/// What could not be processed within the last day, by who gave it up and why.
async fn dead(bus: &Bus) -> Vec<Finding> {
    let mut notes = Notes::of(Area::Nats);
    let since = Timestamp::now().saturating_sub(SignedDuration::from_hours(24)).unwrap_or(Timestamp::MIN);
    let filter = LetterFilter { since: Some(since), ..LetterFilter::default() };
    let stream = DeadStream::new(bus.clone());
    let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
    let (mut looked_at, mut next, mut left) = (0, None, 0);
    let counting = async {
        loop {
            let page = stream.page(&filter, next, 500).await?;
            looked_at += page.looked_at;
            left = page.left;
            for letter in page.letters {
                *counts.entry((letter.service, letter.reason)).or_default() += 1;
            }
            next = page.next;
            if next.is_none() || looked_at >= MOST_LETTERS {
                return Ok::<_, staffetta_bus::DeadError>(());
            }
        }
    };
    if let Err(why) = within(counting).await
        && counts.is_empty()
    {
        let todo = format!(
            "See what is said of the stream DEAD; then ask again ({} s are allowed).",
            CHECK.as_secs()
        );
        notes.error("nats.dead", None, format!("the dead letters can't be read: {why}"), todo);
        return notes.end();
    }
    if counts.is_empty() {
        notes.ok("nats.dead", None, "no dead letter in the last 24 hours");
    }
    for ((service, reason), count) in counts {
        let more = if left > 0 { "at least " } else { "" };
        let (service, reason) = (printable(&service), printable(&reason));
        notes.warning(
            "nats.dead",
            Some(&service),
            format!("{more}{count} in the last 24 hours: {reason}"),
            format!(
                "Look at one with `staffetta dead list --service {service} --reason {reason}` and `staffetta dead \
                 show`; once the cause is gone, bring them back with `staffetta dead replay`."
            ),
        );
    }
    notes.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        for (version, new_enough) in [
            ("2.15.0", true),
            ("v2.15.1", true),
            ("2.15.0-RC.2", true),
            ("2.100.0", true),
            ("3.0.0", true),
            ("2.14.9", false),
            ("2.9.25", false),
            ("", false),
            ("unknown", false),
        ] {
            assert_eq!(is_at_least(version, WANTED), new_enough, "{version}");
        }
    }
}
