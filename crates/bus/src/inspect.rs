//! NATS seen from outside: how full the streams are, how far behind, in how many copies, and whether they are what this
//! version makes of them.
//!
//! Read only, every answer awaited for a short time: what is called here may be called while nothing is well.

use std::time::Duration;

use async_nats::jetstream::response::Response;
use async_nats::jetstream::{ErrorCode, consumer, stream};
use futures_util::future::{join_all, try_join_all};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout};

use crate::Bus;
use crate::streams::{self, Retention, StreamError, bucket_stream};

/// Longest wait for one answer.
const ANSWER: Duration = Duration::from_secs(2);

/// The streams and buckets of the contract, as [`StreamState`] names them.
pub const STREAMS: [&str; 6] =
    [streams::WEBHOOKS, streams::SEND, streams::EVENTS, streams::DEAD, streams::REGISTRY, streams::LEASES];

/// A stream or a bucket, as it was a moment ago.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamState {
    /// One of [`STREAMS`].
    pub name: &'static str,
    /// Messages kept.
    pub messages: u64,
    /// Their size in bytes, as the server counts it.
    pub bytes: u64,
    /// How many bytes it may hold; `None` without a limit of its own.
    pub max_bytes: Option<u64>,
    /// How long the first message that is kept had been there, by the server's clock; `None` if none is kept.
    pub oldest: Option<Duration>,
    /// In how many copies it should be.
    pub replicas: usize,
    /// How many copies are there and current, the leader's included. 1 on a lone server.
    pub current: usize,
    /// The server that leads it; `None` on a lone server, and while nobody leads.
    pub leader: Option<String>,
    /// How many consumers read it.
    pub consumers: usize,
    /// The clock of the server that answered for it; `None` if it told no time.
    pub clock: Option<ClockReading>,
}

/// A consumer, as it was a moment ago.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerState {
    /// The stream it reads.
    pub stream: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Messages that it has not handed out yet.
    pub pending: u64,
    /// Messages that were handed out and are not settled.
    pub in_flight: u64,
    /// Of those, how many were handed out more than once.
    pub redelivered: u64,
    /// Requests for messages that wait for some: 0 if nobody reads.
    pub waiting: u64,
}

/// Another clock beside this machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReading {
    /// How far the other clock is ahead of this one; negative if it is behind.
    pub ahead: SignedDuration,
    /// How wrong that can be: half the time that question and answer took, and what the other clock leaves out.
    pub uncertainty: Duration,
}

impl ClockReading {
    /// What the other clock showed at some moment of the `round_trip` that began at `asked`, by this machine's clock.
    /// `grain` is the smallest step of the other clock as it was told: it is taken to have been in the middle of it.
    pub fn of(asked: Timestamp, round_trip: Duration, shown: Timestamp, grain: Duration) -> Self {
        let half = round_trip / 2;
        let signed = |time: Duration| SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
        let told_of = shown.duration_since(asked);
        let ahead = told_of.saturating_add(signed(grain / 2)).saturating_sub(signed(half));
        Self { ahead, uncertainty: half + grain / 2 }
    }

    /// The least that the clocks can differ by, whatever the network did.
    pub fn at_least(&self) -> Duration {
        self.ahead.unsigned_abs().saturating_sub(self.uncertainty)
    }
}

/// Something about a stream that is not as this version makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// One of [`STREAMS`].
    pub stream: &'static str,
    /// The setting, as the server's own tools call it.
    pub setting: &'static str,
    /// What it should be.
    pub wanted: String,
    /// What it is.
    pub found: String,
}

/// What the server answers about a stream.
#[derive(Deserialize)]
struct StreamAnswer {
    config: stream::Config,
    state: stream::State,
    cluster: Option<stream::ClusterInfo>,
    ts: Option<String>,
}

/// An answer, and when it was asked for.
struct Told<T> {
    answer: T,
    asked: Timestamp,
    round_trip: Duration,
}

impl Bus {
    /// The streams and buckets in the order of [`STREAMS`], each with its own answer: one that has no leader does not
    /// hide the others. `None` for one that is not there.
    pub async fn stream_states(&self) -> Vec<(&'static str, Result<Option<StreamState>, StreamError>)> {
        join_all(STREAMS.map(async |name| (name, self.stream_state(name).await))).await
    }

    pub(crate) async fn stream_state(&self, name: &'static str) -> Result<Option<StreamState>, StreamError> {
        Ok(self.ask_for_stream(name).await?.map(|told| told.state(name)))
    }

    /// What about the streams is not as [`migrate_streams`](Self::migrate_streams) would make it. Says nothing of those
    /// that are not there, and of those that a newer version made.
    ///
    /// # Errors
    /// If one of them gives no answer in time.
    pub async fn stream_mismatches(&self, retention: &Retention) -> Result<Vec<Mismatch>, StreamError> {
        let wanted = streams::stream_configs(retention);
        let asked = wanted.iter().map(|(name, _)| self.ask_for_stream(name));
        let mut mismatches = Vec::new();
        for ((name, wanted), told) in wanted.iter().zip(try_join_all(asked).await?) {
            let found = told.map(|told| told.answer.config).filter(|found| !streams::is_newer(found));
            mismatches.extend(found.iter().flat_map(|found| {
                let migrated = streams::migrated(found, wanted);
                compare(name, &migrated, found)
            }));
        }
        Ok(mismatches)
    }

    /// The recorder's consumer of WEBHOOKS; `None` if there is none.
    ///
    /// # Errors
    /// If there is no answer in time.
    pub async fn recorder_consumer(&self) -> Result<Option<ConsumerState>, StreamError> {
        let subject = format!("CONSUMER.INFO.{}.{}", streams::WEBHOOKS, streams::RECORDER);
        let told = self.ask::<consumer::Info>(streams::WEBHOOKS, subject).await?;
        Ok(told.map(|Told { answer: info, .. }| ConsumerState {
            stream: streams::WEBHOOKS,
            name: streams::RECORDER,
            pending: info.num_pending,
            in_flight: count(info.num_ack_pending),
            redelivered: count(info.num_redelivered),
            waiting: count(info.num_waiting),
        }))
    }

    /// How many times a connection to a server was made: one more than the times that it was lost and found again.
    pub fn connects(&self) -> u64 {
        self.client().statistics().connects.load(std::sync::atomic::Ordering::Relaxed)
    }

    async fn ask_for_stream(&self, name: &'static str) -> Result<Option<Told<StreamAnswer>>, StreamError> {
        self.ask(name, format!("STREAM.INFO.{}", bucket_stream(name))).await
    }

    /// `None` if what is asked for is not there.
    async fn ask<T: DeserializeOwned>(
        &self,
        name: &'static str,
        subject: String,
    ) -> Result<Option<Told<T>>, StreamError> {
        let (asked, started) = (Timestamp::now(), Instant::now());
        let everything = serde_json::json!({});
        let answer = self.jetstream().request::<_, _, Response<T>>(subject, &everything);
        match timeout(ANSWER, answer).await {
            Ok(Ok(Response::Ok(answer))) => Ok(Some(Told { answer, asked, round_trip: started.elapsed() })),
            Ok(Ok(Response::Err { error }))
                if matches!(
                    error.error_code(),
                    ErrorCode::STREAM_NOT_FOUND | ErrorCode::CONSUMER_NOT_FOUND
                ) =>
            {
                Ok(None)
            }
            Ok(Ok(Response::Err { error })) => Err(StreamError::unread(name, error)),
            Ok(Err(error)) => Err(StreamError::unread(name, error)),
            Err(_) => Err(StreamError::unread(name, "no answer in time")),
        }
    }
}

impl Told<StreamAnswer> {
    fn state(self, name: &'static str) -> StreamState {
        let StreamAnswer { config, state, cluster, ts } = self.answer;
        let shown: Option<Timestamp> = ts.and_then(|shown| shown.parse().ok());
        let clock = shown.map(|shown| ClockReading::of(self.asked, self.round_trip, shown, Duration::ZERO));
        let first = Timestamp::from_nanosecond(state.first_timestamp.unix_timestamp_nanos()).ok();
        let age = |first| shown.unwrap_or_else(Timestamp::now).duration_since(first);
        // Less than nothing is nothing.
        let oldest = first.map(|first| Duration::try_from(age(first)).unwrap_or_default());
        StreamState {
            name,
            messages: state.messages,
            bytes: state.bytes,
            max_bytes: u64::try_from(config.max_bytes).ok().filter(|limit| *limit > 0),
            oldest: oldest.filter(|_| state.messages > 0),
            replicas: config.num_replicas,
            current: cluster.as_ref().map_or(1, current),
            leader: cluster.and_then(|cluster| cluster.leader).filter(|leader| !leader.is_empty()),
            consumers: state.consumer_count,
            clock,
        }
    }
}

/// How many copies are there and up to date. A stream without peers has its leader's alone.
fn current(cluster: &stream::ClusterInfo) -> usize {
    let leads = cluster.leader.as_ref().is_some_and(|leader| !leader.is_empty());
    usize::from(leads) + cluster.replicas.iter().filter(|peer| peer.current && !peer.offline).count()
}

fn count(of: usize) -> u64 {
    u64::try_from(of).unwrap_or(u64::MAX)
}

fn compare(stream: &'static str, wanted: &stream::Config, found: &stream::Config) -> Vec<Mismatch> {
    let (wanted, found) = (settings(wanted), settings(found));
    let pairs = wanted.into_iter().zip(found);
    let differing = pairs.filter(|((_, wanted), (_, found))| wanted != found);
    differing.map(|((setting, wanted), (_, found))| Mismatch { stream, setting, wanted, found }).collect()
}

/// What a stream's configuration says of what Staffetta asks for; where it says nothing, what the server makes of that.
fn settings(config: &stream::Config) -> [(&'static str, String); 15] {
    let limit = |limit: i64| if limit <= 0 { "none".to_owned() } else { limit.to_string() };
    let seconds = |time: Duration| format!("{} s", time.as_secs_f64());
    let republish = config.republish.as_ref().map_or_else(
        || "none".to_owned(),
        |to| {
            let what = if to.headers_only { "headers" } else { "everything" };
            format!("{what} of {} to {}", to.source, to.destination)
        },
    );
    [
        ("subjects", config.subjects.join(", ")),
        ("retention", format!("{:?}", config.retention).to_lowercase()),
        ("storage", format!("{:?}", config.storage).to_lowercase()),
        ("discard", format!("{:?}", config.discard).to_lowercase()),
        ("discard_new_per_subject", config.discard_new_per_subject.to_string()),
        ("num_replicas", config.num_replicas.max(1).to_string()),
        ("max_bytes", limit(config.max_bytes)),
        ("max_msgs_per_subject", limit(config.max_messages_per_subject)),
        ("max_age", seconds(config.max_age)),
        ("duplicate_window", seconds(config.duplicate_window)),
        ("allow_direct", config.allow_direct.to_string()),
        ("allow_atomic", config.allow_atomic_publish.to_string()),
        ("allow_rollup_hdrs", config.allow_rollup.to_string()),
        ("deny_delete", config.deny_delete.to_string()),
        ("republish", republish),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: i64) -> Timestamp {
        Timestamp::from_millisecond(1_700_000_000_000 + milliseconds).unwrap()
    }

    #[test]
    fn a_clock_is_compared_with_the_middle_of_the_round_trip() {
        let reading = ClockReading::of(at(0), Duration::from_millis(40), at(1_020), Duration::ZERO);
        assert_eq!(reading.ahead, SignedDuration::from_millis(1_000));
        assert_eq!(reading.uncertainty, Duration::from_millis(20));
        assert_eq!(reading.at_least(), Duration::from_millis(980));
    }

    #[test]
    fn a_clock_that_tells_whole_seconds_is_less_certain() {
        // 12:00:00.900 here, and 12:00:00 in a `Date` header: nothing is wrong.
        let reading = ClockReading::of(at(900), Duration::from_millis(20), at(0), Duration::from_secs(1));
        assert_eq!(reading.at_least(), Duration::ZERO);
    }
}
