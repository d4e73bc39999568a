//! What every database must do: each test runs on SQLite and on a real PostgreSQL.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod attempts;
mod batch;
mod cancel;
mod claim;
mod connect;
mod contacts;
mod disabling;
mod endpoints;
mod faults;
mod holds;
mod numbers;
mod race;
mod reading;
mod record;
mod replays;
mod retention;
mod round_trip;
mod schedule;
mod schema;
mod sends;
mod sent;
mod settle;
mod standing;
mod support;
mod traces;
mod turns;
mod unsent;
mod wire;
