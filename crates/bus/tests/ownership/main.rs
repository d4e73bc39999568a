//! Who owns which part of SEND, on a real NATS: spreading, handing over, failing over, and never two at a time.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod calm;
mod moving;
mod stress;
mod support;
mod trouble;
