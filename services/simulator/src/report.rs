//! What the simulator saw, and the figures made from it.

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hasher as _};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limits::SECOND_US;

/// Texts are kept for the detailed report up to this many characters.
const TEXT_KEPT: usize = 256;
/// So many refusals are kept for the detailed report, per number.
const REFUSALS_KEPT: usize = 1_000;

/// What the simulator saw since it started, or since the last reset.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// One entry per registered phone number id.
    pub channels: BTreeMap<String, ChannelReport>,
    /// Requests refused before a number was known to be theirs, by error code.
    pub refused: BTreeMap<u32, u64>,
    /// Webhook updates that wait for their time, a free connection, an answer or the next attempt.
    pub webhooks_waiting: u64,
    /// Webhook POSTs that were answered with 200.
    pub webhook_posts: u64,
}

/// What one number saw.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ChannelReport {
    /// Its limit: messages a second, inbound and outbound together.
    pub rate: u32,
    /// Sends that arrived, refused and cut ones included.
    pub received: u64,
    /// Sends that were accepted: the user gets them.
    pub accepted: u64,
    /// Sends answered with an error, by code.
    pub refused: BTreeMap<u32, u64>,
    /// Sends that a fault struck, by its name.
    pub faults: BTreeMap<String, u64>,
    /// Messages marked as read.
    pub marked_read: u64,
    /// Of these, the ones that also showed the user a typing indicator.
    #[serde(default)]
    pub typing: u64,
    /// What was done with files.
    #[serde(default)]
    pub media: MediaCounts,
    /// Messages of users.
    pub inbound: u64,
    /// The fullest sliding seconds.
    pub worst_second: WorstSecond,
    /// Microseconds from the first accepted send's arrival to the last one's.
    pub busy_us: u64,
    /// Accepted sends a second over that span.
    pub sends_per_second: f64,
    /// The same as a share of the limit.
    pub used_share: f64,
    /// The same as a share of what users' messages in that span left of the limit; 0 when they left nothing.
    #[serde(default)]
    pub used_of_rest: f64,
    /// The longest time between two accepted sends, in microseconds.
    #[serde(default)]
    pub longest_gap_us: u64,
    /// Accepted sends whose `biz_opaque_callback_data` had been accepted before.
    pub duplicates: u64,
    /// Accepted sends whose recipient and message had been accepted before.
    pub same_message: u64,
    /// Webhook updates of this number.
    pub webhooks: WebhookCounts,
    /// Sends and inbound messages that were counted but not logged, because the log was full: the figures
    /// that are made from it leave them out.
    pub not_logged: u64,
    /// The accepted sends in order of arrival, when asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sends: Option<Vec<SendSeen>>,
    /// The first thousand sends answered with an error, in order of arrival, when asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_at: Option<Vec<RefusalSeen>>,
}

/// One send that was answered with an error and not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RefusalSeen {
    /// When it arrived, as of [`SendSeen::at_us`].
    pub at_us: u64,
    /// Meta's error code.
    pub code: u32,
}

/// The most messages in any sliding second, by arrival.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorstSecond {
    /// Sends that arrived, refused ones included.
    pub sends: u64,
    /// Sends that were accepted.
    pub accepted: u64,
    /// Sends that arrived and messages of users.
    pub sends_and_inbound: u64,
}

/// What became of webhook updates (statuses and messages, not POSTs).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookCounts {
    /// Answered with 200.
    pub sent: u64,
    /// Attempts that failed and were put off.
    pub retried: u64,
    /// Given up, or dropped because the queue was full.
    pub lost: u64,
}

/// What a business did with files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaCounts {
    /// Files taken.
    pub uploaded: u64,
    /// Links given out.
    pub looked_up: u64,
    /// Links followed in time.
    pub downloaded: u64,
    /// Files deleted.
    pub deleted: u64,
}

/// One accepted send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendSeen {
    /// When its request arrived, before its body was read: microseconds since the simulator started.
    pub at_us: u64,
    /// The recipient: digits, or a business-scoped user id.
    pub to: String,
    /// The message's id.
    pub wamid: String,
    /// Its `biz_opaque_callback_data`.
    pub callback_data: Option<String>,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The characters of its text.
    pub text_chars: usize,
    /// Its text, or the start of it.
    pub text: Option<String>,
    /// The message that it answers.
    #[serde(default)]
    pub reply_to: Option<String>,
    /// Its template's name.
    #[serde(default)]
    pub template: Option<String>,
    /// The id of the first uploaded file in it.
    #[serde(default)]
    pub media_id: Option<String>,
}

impl SendSeen {
    pub(crate) fn keep_text(text: &str) -> String {
        match text.char_indices().nth(TEXT_KEPT) {
            Some((end, _)) => text[..end].into(),
            None => text.into(),
        }
    }
}

/// How much of each send the report shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Figures only.
    Figures,
    /// Figures and the list of accepted sends.
    Sends,
}

/// What one number has seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) received: u64,
    pub(crate) accepted: u64,
    pub(crate) refused: BTreeMap<u32, u64>,
    pub(crate) faults: BTreeMap<&'static str, u64>,
    pub(crate) marked_read: u64,
    pub(crate) typing: u64,
    pub(crate) media: MediaCounts,
    pub(crate) inbound: u64,
    pub(crate) webhooks: WebhookCounts,
    duplicates: u64,
    same_message: u64,
    not_logged: u64,
    callbacks: HashSet<u64>,
    messages: HashSet<u64>,
    sends_at: Vec<u64>,
    inbound_at: Vec<u64>,
    /// Shared, so that a report copies quickly under the lock.
    sends: Vec<Arc<SendSeen>>,
    refused_at: Vec<RefusalSeen>,
}

impl Ledger {
    /// A send arrived.
    pub(crate) fn arrived(&mut self, at: u64, room: &mut usize) {
        self.received += 1;
        if take(room) { self.sends_at.push(at) } else { self.not_logged += 1 }
    }

    /// A user's message arrived.
    pub(crate) fn inbound(&mut self, at: u64, room: &mut usize) {
        self.inbound += 1;
        if take(room) { self.inbound_at.push(at) } else { self.not_logged += 1 }
    }

    /// A send was accepted. `message` stands for what was sent, without callback data.
    pub(crate) fn accepted(&mut self, send: SendSeen, message: u64, room: &mut usize) {
        self.accepted += 1;
        if !take(room) {
            self.not_logged += 1;
            return;
        }
        if let Some(data) = &send.callback_data {
            self.duplicates += u64::from(!self.callbacks.insert(hash(data)));
        }
        self.same_message += u64::from(!self.messages.insert(hash(&(&send.to, message))));
        self.sends.push(Arc::new(send));
    }

    /// A send that arrived at `at_us` was answered with an error.
    pub(crate) fn refuse(&mut self, code: u32, at_us: u64) {
        *self.refused.entry(code).or_default() += 1;
        if self.refused_at.len() < REFUSALS_KEPT {
            self.refused_at.push(RefusalSeen { at_us, code });
        }
    }

    /// The figures. Takes its time on a long log: not for under a lock.
    pub(crate) fn report(mut self, rate: u32, detail: Detail) -> ChannelReport {
        self.sends.sort_by_key(|send| send.at_us);
        self.sends_at.sort_unstable();
        let accepted_at: Vec<u64> = self.sends.iter().map(|send| send.at_us).collect();
        let mut together = self.sends_at.clone();
        together.extend(&self.inbound_at);
        together.sort_unstable();
        let busy_us = accepted_at.last().zip(accepted_at.first()).map_or(0, |(last, first)| last - first);
        let sends_per_second = match busy_us {
            0 => 0.0,
            // n sends have n - 1 gaps between them.
            busy => (accepted_at.len() - 1) as f64 * SECOND_US as f64 / busy as f64,
        };
        let rest =
            f64::from(rate) - self.inbound_within(&accepted_at) as f64 * SECOND_US as f64 / busy_us as f64;
        let used_of_rest = if busy_us > 0 && rest > 0.0 { sends_per_second / rest } else { 0.0 };
        let gaps = accepted_at.windows(2).map(|pair| pair[1] - pair[0]);
        let longest_gap_us = gaps.max().unwrap_or_default();
        let (sends, refused_at) = match detail {
            Detail::Figures => (None, None),
            Detail::Sends => {
                self.refused_at.sort_unstable();
                let sends = self.sends.iter().map(|send| SendSeen::clone(send)).collect();
                (Some(sends), Some(self.refused_at))
            }
        };
        ChannelReport {
            rate,
            received: self.received,
            accepted: self.accepted,
            refused: self.refused,
            faults: self.faults.into_iter().map(|(name, count)| (name.to_owned(), count)).collect(),
            marked_read: self.marked_read,
            typing: self.typing,
            media: self.media,
            inbound: self.inbound,
            worst_second: WorstSecond {
                sends: worst_second(&self.sends_at),
                accepted: worst_second(&accepted_at),
                sends_and_inbound: worst_second(&together),
            },
            busy_us,
            sends_per_second,
            used_share: sends_per_second / f64::from(rate),
            used_of_rest,
            longest_gap_us,
            duplicates: self.duplicates,
            same_message: self.same_message,
            webhooks: self.webhooks,
            not_logged: self.not_logged,
            sends,
            refused_at,
        }
    }

    /// Users' messages after the first of these times, up to the last.
    fn inbound_within(&self, ascending: &[u64]) -> usize {
        let (Some(&first), Some(&last)) = (ascending.first(), ascending.last()) else { return 0 };
        self.inbound_at.iter().filter(|&&at| first < at && at <= last).count()
    }
}

fn take(room: &mut usize) -> bool {
    let free = *room > 0;
    *room = room.saturating_sub(1);
    free
}

/// A short stand-in for a value, for the life of this process.
pub(crate) fn hash(value: &impl std::hash::Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The most of these ascending times in any span shorter than a second.
fn worst_second(times: &[u64]) -> u64 {
    let mut first = 0;
    let mut worst = 0;
    for (last, &time) in times.iter().enumerate() {
        while times[first] + SECOND_US <= time {
            first += 1;
        }
        worst = worst.max(last - first + 1);
    }
    worst as u64
}

#[cfg(test)]
mod tests {
    use rand::Rng as _;

    use super::*;
    use crate::chance::{Purpose, generator};

    #[test]
    fn the_worst_second_slides_over_the_boundaries_of_clock_seconds() {
        assert_eq!(worst_second(&[]), 0);
        assert_eq!(worst_second(&[5]), 1);
        assert_eq!(worst_second(&[0, 1_000_000]), 1, "exactly a second apart");
        assert_eq!(worst_second(&[1, 1_000_000]), 2);
        assert_eq!(worst_second(&[0, 900_000, 950_000, 1_100_000, 1_899_999, 1_900_000]), 4);
    }

    fn send(at_us: u64, to: &str, callback: &str) -> SendSeen {
        SendSeen {
            at_us,
            to: to.into(),
            wamid: "wamid.A".into(),
            callback_data: Some(callback.into()),
            kind: "text".into(),
            text_chars: 0,
            text: None,
            reply_to: None,
            template: None,
            media_id: None,
        }
    }

    #[test]
    fn the_worst_second_is_the_one_that_counting_finds() {
        let mut rng = generator(5, "100", Purpose::Stream, 0);
        for _ in 0..50 {
            let mut times: Vec<u64> = (0..60).map(|_| rng.random_range(0..4 * SECOND_US)).collect();
            times.sort_unstable();
            // The fullest second begins with one of them.
            let from =
                |start: u64| times.iter().filter(|&&at| (start..start + SECOND_US).contains(&at)).count();
            assert_eq!(worst_second(&times), times.iter().map(|&start| from(start)).max().unwrap() as u64);
        }
    }

    #[test]
    fn what_users_left_is_used_to_its_end() {
        let mut ledger = Ledger::default();
        let mut room = 1_000;
        // Four a second, of which users take one, always just before a send.
        for at in 0..=30 {
            let at_us = at * SECOND_US / 3;
            ledger.arrived(at_us, &mut room);
            ledger.accepted(send(at_us, "1", "a"), 7, &mut room);
            if at % 3 == 1 {
                ledger.inbound(at_us - 1, &mut room);
            }
        }
        ledger.inbound(100 * SECOND_US, &mut room);
        ledger.refuse(130_429, 9);
        ledger.refuse(131_056, 8);
        let report = ledger.report(4, Detail::Sends);
        assert!((report.used_share - 0.75).abs() < 1e-6 && (report.used_of_rest - 1.0).abs() < 1e-6);
        assert_eq!(report.worst_second.sends_and_inbound, 4);
        assert_eq!(report.longest_gap_us, 333_334);
        let refused = report.refused_at.unwrap();
        assert_eq!(
            refused,
            [RefusalSeen { at_us: 8, code: 131_056 }, RefusalSeen { at_us: 9, code: 130_429 }]
        );
    }

    #[test]
    fn the_figures_follow_from_the_log() {
        let mut ledger = Ledger::default();
        let mut room = 100;
        for (at, to, callback) in [(500_000, "1", "b"), (0, "1", "a"), (1_000_000, "2", "a")] {
            ledger.arrived(at, &mut room);
            ledger.accepted(send(at, to, callback), 7, &mut room);
        }
        ledger.inbound(250_000, &mut room);
        let report = ledger.report(4, Detail::Sends);
        assert_eq!(report.worst_second, WorstSecond { sends: 2, accepted: 2, sends_and_inbound: 3 });
        assert_eq!((report.duplicates, report.same_message), (1, 1));
        assert_eq!((report.sends_per_second, report.used_share), (2.0, 0.5));
        let order: Vec<u64> = report.sends.unwrap().iter().map(|send| send.at_us).collect();
        assert_eq!(order, [0, 500_000, 1_000_000]);
    }

    #[test]
    fn a_full_log_still_counts() {
        let mut ledger = Ledger::default();
        let mut room = 1;
        ledger.arrived(1, &mut room);
        ledger.arrived(2, &mut room);
        let report = ledger.report(80, Detail::Figures);
        assert_eq!((report.received, report.not_logged), (2, 1));
    }
}
