//! Whether the recorder can do its work.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the recorder needs to be able to do.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ability {
    /// Take envelopes from WEBHOOKS.
    Take,
    /// Write leaves into the database.
    Record,
    /// Tell events, mark them, write letters.
    Tell,
}

/// Whether the last thing that each stage tried has worked. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Fitness(Arc<[AtomicBool; 3]>);

impl Fitness {
    pub(crate) fn new() -> Self {
        Self(Arc::new(std::array::from_fn(|_| AtomicBool::new(true))))
    }

    pub(crate) fn note(&self, ability: Ability, works: bool) {
        self.0[ability as usize].store(works, Ordering::Relaxed);
    }

    pub(crate) fn is_fit(&self) -> bool {
        self.0.iter().all(|works| works.load(Ordering::Relaxed))
    }
}
