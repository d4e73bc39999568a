//! `staffetta doctor` as an operator meets it: the program itself, on a real NATS, a real PostgreSQL and an emulated
//! provider, well and with one fault at a time.
#![expect(clippy::unwrap_used, reason = "whatever a test can't have makes it fail")]

mod away;
mod provider;
mod registry;
mod storage;
mod streams;
mod well;
mod world;
