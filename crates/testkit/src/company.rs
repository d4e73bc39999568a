//! Tests that share a program, and one that wants it for itself.

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

static TESTS: RwLock<()> = RwLock::const_new(());

/// Who else may run in this test program, as long as this is held. All tests of a program share one `/metrics`: whoever
/// looks there for what nobody else may change wants to be alone.
#[derive(Debug)]
pub struct Company(#[expect(dead_code, reason = "held, not read")] Held);

#[derive(Debug)]
#[expect(dead_code, reason = "held, not read")]
enum Held {
    Among(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

impl Company {
    /// All others, but for one that wants to be alone.
    pub async fn others() -> Self {
        Self(Held::Among(TESTS.read().await))
    }

    /// Nobody, of those who hold a company too.
    pub async fn nobody() -> Self {
        Self(Held::Alone(TESTS.write().await))
    }
}
