//! Ingress as the provider sees it, against a real nats-server: what it answers, and what is on WEBHOOKS afterwards.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod answers;
mod harness;
mod limits;
mod outages;
mod storing;
mod traces;
