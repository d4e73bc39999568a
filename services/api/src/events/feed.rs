//! One stream: reads from its own place, and waits for more.
//!
//! Nothing is kept for a client but its place, and the one batch that it is being sent: how slowly it reads concerns
//! nobody else.

use std::convert::Infallible;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use bytes::Bytes;
use futures_util::{Stream, stream};
use staffetta_bus::{Encoding, EventBatch, LoggedEvent, Scope, event_message};
use tokio::time::{Instant, sleep, sleep_until};
use tracing::debug;

use super::filter::Filter;
use super::live::Seat;
use super::place::Place;
use crate::App;
use crate::caller::key_of;

/// Most events that are read at a time.
const BATCH: usize = 64;
/// How often a silent stream shows that it lives.
const BEAT: Duration = Duration::from_secs(15);
/// How often EVENTS is looked at without being told: a wake-up may be missed. The key is looked at as often.
const LOOK: Duration = Duration::from_secs(5);
/// Pause before EVENTS is read again where it could not be, or where a replica does not have yet what was told; twice as
/// long each time.
const AGAIN: Duration = Duration::from_millis(100);
/// How long a client is to wait before it connects again.
const RECONNECT: Duration = Duration::from_secs(2);

/// What comes before the next look at EVENTS.
#[derive(Clone, Copy, Debug)]
enum Then {
    /// Nothing: there is more.
    Read,
    /// News, or some time.
    Wait,
    /// A pause: EVENTS could not be read, or does not show yet what was told.
    Pause(Duration),
}

/// One client's stream.
#[derive(Debug)]
pub(super) struct Feed {
    app: App,
    seat: Seat,
    /// What the client showed. It must be good for as long as the stream lasts.
    credentials: HeaderMap,
    filter: Filter,
    /// The number of the first event that was not read yet.
    next: u64,
    /// The EVENTS in which it counts: when it was made.
    log: i64,
    /// The place that the client knows of.
    known: Option<u64>,
    then: Then,
    /// When the client must hear something.
    beat: Instant,
}

impl Feed {
    /// A stream from this place on, for whoever sent `headers`.
    pub(super) fn new(app: App, seat: Seat, headers: &HeaderMap, filter: Filter, place: Place) -> Self {
        let credentials = headers.get(AUTHORIZATION).map(|value| {
            let mut value = value.clone();
            value.set_sensitive(true);
            (AUTHORIZATION, value)
        });
        let credentials = HeaderMap::from_iter(credentials);
        let beat = Instant::now() + BEAT;
        let Place { next, log } = place;
        Self { app, seat, credentials, filter, next, log, known: None, then: Then::Read, beat }
    }

    /// What the client is sent. Ends when the key is good no more, when EVENTS is another one, and when the service stops.
    pub(super) fn stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        stream::unfold(self, async |mut feed| {
            let closing = feed.seat.closing();
            let chunk = tokio::select! {
                biased;
                () = closing.cancelled() => None,
                chunk = feed.chunk() => chunk,
            };
            Some((Ok(chunk?), feed))
        })
    }

    async fn chunk(&mut self) -> Option<Bytes> {
        if self.known.is_none() {
            // Who is cut off before the first event must know where to go on, too.
            let retry = format!("retry: {}\n", RECONNECT.as_millis());
            return Some((retry + &self.place()).into());
        }
        loop {
            if !self.is_allowed() {
                return None;
            }
            tokio::select! {
                biased;
                () = wait(self.then, &mut self.seat, self.next) => {}
                () = sleep_until(self.beat) => {
                    if self.is_of_another_log().await {
                        return None;
                    }
                    return Some(self.sign_of_life());
                }
            }
            match self.app.events.read(self.seat.tenant(), self.next, BATCH, self.seat.told()).await {
                Ok(batch) => {
                    if let Some(chunk) = self.take(batch) {
                        return Some(chunk);
                    }
                }
                Err(error) => {
                    debug!(error = &error as &dyn std::error::Error, "a stream waits for its events");
                    self.then = self.then.later();
                }
            }
            // Much may be read of which nothing is wanted.
            if Instant::now() >= self.beat {
                return Some(self.sign_of_life());
            }
        }
    }

    /// Moves past a batch, and writes what is wanted of it.
    fn take(&mut self, batch: EventBatch) -> Option<Bytes> {
        self.next = batch.next;
        self.then = match batch.more {
            true => Then::Read,
            false if self.seat.told() >= self.next => self.then.later(),
            false => Then::Wait,
        };
        let mut text = Vec::new();
        for logged in batch.events.iter().filter(|logged| self.filter.takes(&logged.event)) {
            write(&mut text, logged);
            self.known = Some(logged.sequence);
        }
        if text.is_empty() {
            return None;
        }
        self.beat = Instant::now() + BEAT;
        Some(text.into())
    }

    /// Whether the key is still one that may read this tenant's events.
    fn is_allowed(&self) -> bool {
        key_of(&self.app, &self.credentials)
            .is_ok_and(|key| key.may(Scope::Read) && key.tenant.id == *self.seat.tenant())
    }

    /// Whether EVENTS was made anew since: then the client's place says nothing about it, and it must learn so.
    async fn is_of_another_log(&self) -> bool {
        self.app.events.ends().await.is_ok_and(|ends| ends.made_at != self.log)
    }

    /// A comment; and the place, where it has moved past events that are not wanted.
    fn sign_of_life(&mut self) -> Bytes {
        self.beat = Instant::now() + BEAT;
        let place = if self.known == Some(self.next - 1) { String::new() } else { self.place() };
        format!(":\n{place}").into()
    }

    /// Says where the stream is, without an event.
    fn place(&mut self) -> String {
        let place = self.next - 1;
        self.known = Some(place);
        format!("id: {place}\n\n")
    }
}

impl Then {
    fn later(self) -> Self {
        match self {
            Self::Read | Self::Wait => Self::Pause(AGAIN),
            Self::Pause(pause) => Self::Pause(LOOK.min(pause * 2)),
        }
    }
}

/// Waits until it is time to read from `next` on.
async fn wait(then: Then, seat: &mut Seat, next: u64) {
    match then {
        Then::Read => {}
        Then::Pause(pause) => sleep(pause).await,
        Then::Wait => tokio::select! {
            () = sleep(LOOK) => {}
            () = seat.told_of(next) => {}
        },
    }
}

fn write(text: &mut Vec<u8>, logged: &LoggedEvent) {
    let (_, json) = event_message(&logged.event, Encoding::Json);
    text.extend_from_slice(
        format!("id: {}\nevent: {}\ndata: ", logged.sequence, logged.event.kind.as_str()).as_bytes(),
    );
    text.extend_from_slice(&json);
    text.extend_from_slice(b"\n\n");
}
