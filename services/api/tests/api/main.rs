//! The API as a tenant's program meets it: over HTTP, with a real nats-server and a real database behind it.
#![expect(clippy::unwrap_used, reason = "whatever a test can't have makes it fail")]

mod about;
mod admin;
mod callers;
mod cancelling;
mod channels;
mod contacts;
mod conversations;
mod dead_letters;
mod edge;
mod endpoints;
mod graph;
mod harness;
mod later;
mod life;
mod limits;
mod outages;
mod reading;
mod repeating;
mod searching;
mod sending;
mod sse;
mod walls;
