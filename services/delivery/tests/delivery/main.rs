//! Delivery between a real NATS, a real database and endpoints of its own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod changes;
mod failures;
mod fetching;
mod harness;
mod order;
mod ownership;
mod receiver;
mod renewal;
mod replays;
mod telemetry;
