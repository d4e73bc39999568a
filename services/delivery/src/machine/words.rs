//! What the machine is told, and what it says.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use staffetta_store::{Parked, ReplayJob};

/// The moment, and what it allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// By the boot-time clock.
    pub(crate) boot: Duration,
    /// By the wall clock.
    pub(crate) wall: Timestamp,
    /// Whether this process still owns the endpoint.
    pub(crate) may_begin: bool,
    /// How many requests there may be at a time.
    pub(crate) room: usize,
}

/// For which of its purposes an event is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// For the first time, as far as is known.
    Live,
    /// Once more, because somebody asked for it.
    Replay,
}

/// An event that was read.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) sequence: u64,
    pub(crate) stored: Timestamp,
    pub(crate) bytes: usize,
    /// What it must keep its order with.
    pub(crate) conversation: Arc<str>,
}

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The endpoint's as a whole.
    Endpoint,
    /// This one event's.
    Event,
    /// The endpoint says that it is gone for good.
    Gone,
}

/// Why a try failed.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) fault: Fault,
    /// The pause that the endpoint asked for.
    pub(crate) wait: Option<Duration>,
    /// Without personal data.
    pub(crate) error: String,
}

/// What came of a try.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Delivered,
    /// The format has no way to say the event: nothing is to be delivered.
    Unsaid,
    Failed(Failure),
    /// EVENTS does not hold the event any more.
    Missing,
    /// What is needed for the try can't be had just now. It was none.
    NotNow(String),
}

/// What the actor tells.
#[derive(Debug)]
pub(crate) enum Input {
    /// There may be something to read.
    Look,
    /// Something of this number was stored.
    Woken(u64),
    /// A read has ended.
    Read {
        source: Source,
        items: Vec<Item>,
        next: u64,
        more: bool,
    },
    /// A read has failed.
    NotRead(Source),
    /// A try has ended.
    Tried {
        source: Source,
        sequence: u64,
        stored: Option<Timestamp>,
        outcome: Outcome,
    },
    /// What was to be parked is, together with the place.
    Parked,
    /// Nobody knows whether it is.
    NotParked,
    Unparked,
    NotUnparked,
    /// The dead letter of an event is written.
    GivenUp(Source, u64),
    /// It could not be.
    NotGivenUp(Source, u64),
    /// Nothing is to be delivered until further notice.
    Rest,
    /// Deliver (again).
    Deliver,
    /// Somebody wants events once more.
    Replay(ReplayJob),
    /// That job was moved, or ended.
    ReplayNoted,
    ReplayNotNoted,
    /// Begin nothing any more.
    Stop,
}

/// What the actor is to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    Read {
        source: Source,
        from: u64,
        most: usize,
    },
    Try {
        source: Source,
        sequence: u64,
        attempt: u32,
    },
    /// Write these rows, and the place `cursor`.
    Park {
        cursor: u64,
        rows: Vec<Parked>,
    },
    Unpark(Vec<u64>),
    /// Write a dead letter: it is `Missing`, or could not be delivered.
    GiveUp {
        source: Source,
        sequence: u64,
        lost: Lost,
        error: String,
    },
    /// Disable the endpoint.
    Disable(String),
    MoveReplay {
        id: i64,
        next: u64,
    },
    EndReplay {
        id: i64,
    },
    /// The event is not needed any more.
    Forget(Source, u64),
}

/// What is lost with an event that is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// It was tried for as long as it is kept.
    Undelivered,
    /// EVENTS dropped it before it could be delivered.
    Dropped,
}

/// How an endpoint is treated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Requests at a time.
    pub(crate) concurrency: usize,
    /// How long it may fail without a break before it is disabled.
    pub(crate) disable_after: Duration,
}
