//! Tests that share a program, and one that wants it for itself.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

static TESTS: RwLock<()> = RwLock::const_new(());

thread_local! {
    /// What the test of this thread holds.
    static OWN: RefCell<Weak<Held>> = const { RefCell::new(Weak::new()) };
}

/// Who else may run in this test program, as long as this is held. Whoever looks at what others change, such as the
/// program's one `/metrics`, or at moments that a busy machine shifts, wants to be alone.
///
/// A test is a thread, as `#[tokio::test]` makes it: whatever it asks for later, it has what it took first.
#[derive(Debug)]
pub struct Company(#[expect(dead_code, reason = "held, not read")] Arc<Held>);

#[derive(Debug)]
#[expect(dead_code, reason = "held, not read")]
enum Held {
    Among(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

impl Company {
    /// All others, but for one that wants to be alone.
    pub async fn others() -> Self {
        match OWN.with_borrow(Weak::upgrade) {
            Some(held) => Self(held),
            None => Self::holding(Held::Among(TESTS.read().await)),
        }
    }

    /// Nobody, of those who hold a company too. Asked for before anything else.
    pub async fn nobody() -> Self {
        Self::holding(Held::Alone(TESTS.write().await))
    }

    fn holding(held: Held) -> Self {
        let held = Arc::new(held);
        OWN.set(Arc::downgrade(&held));
        Self(held)
    }
}
