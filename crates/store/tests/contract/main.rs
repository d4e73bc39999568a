//! What every database must do: each test runs on SQLite and on a real PostgreSQL.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod batch;
mod cancel;
mod claim;
mod connect;
mod faults;
mod holds;
mod race;
mod reading;
mod record;
mod retention;
mod round_trip;
mod schedule;
mod sends;
mod settle;
mod standing;
mod support;
mod turns;
mod unsent;
mod wire;
