//! The recorder between a real NATS and a real database.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod conversations;
mod dead;
mod faults;
mod harness;
mod numbers;
mod once;
mod prune;
mod random;
mod receipts;
mod replays;
mod traces;

/// Makes a test for each database.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test] async fn $name() { super::$name(crate::harness::Kind::Sqlite).await; })*
        }
        mod postgres {
            $(#[tokio::test] async fn $name() { super::$name(crate::harness::Kind::Postgres).await; })*
        }
    };
}

use on_both;
