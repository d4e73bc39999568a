//! The API as a tenant's program meets it: over HTTP, with a real nats-server and a real database behind it.
#![expect(clippy::unwrap_used, reason = "whatever a test can't have makes it fail")]

mod callers;
mod cancelling;
mod channels;
mod conversations;
mod dead_letters;
mod edge;
mod harness;
mod later;
mod life;
mod outages;
mod reading;
mod repeating;
mod sending;
