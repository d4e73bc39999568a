//! The way from what is committed to those who are told: events to EVENTS, what could not be processed to DEAD.
//!
//! The store commits an event and the note that it is not yet announced in one transaction. [`Announcer`] publishes it
//! under its own id and takes the note away; whatever dies in between leaves the note, and a sweep finds it.

mod announcer;
mod chains;
mod dead;
mod replay;
mod sweep;

pub use announcer::{Announcer, Published};
pub use dead::DeadLetters;
pub use replay::{ReplayError, Replayed, Replays};
