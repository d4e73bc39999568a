//! The dispatcher between a real NATS, a real database and the simulator.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod doubt;
mod harness;
mod intake;
mod ownership;
mod pace;
mod rate;
mod refusals;
mod schedule;
mod sending;
mod telemetry;
