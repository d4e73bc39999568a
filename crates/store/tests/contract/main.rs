//! What every database must do: each test runs on SQLite and on a real PostgreSQL.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod batch;
mod claim;
mod connect;
mod faults;
mod race;
mod reading;
mod record;
mod retention;
mod round_trip;
mod settle;
mod support;
mod turns;
mod wire;
