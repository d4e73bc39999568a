//! Which messages of users a number has got: those can be marked as read.

use std::collections::{HashSet, VecDeque};

use crate::report::hash;

/// So many of the latest are known, per number.
const KEPT: usize = 100_000;

/// The latest messages of users, by a stand-in for their ids.
#[derive(Debug, Default)]
pub(crate) struct Received {
    known: HashSet<u64>,
    order: VecDeque<u64>,
}

impl Received {
    pub(crate) fn add(&mut self, id: &str) {
        let id = hash(&id);
        if self.known.insert(id) {
            self.order.push_back(id);
        }
        if self.order.len() > KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    pub(crate) fn has(&self, id: &str) -> bool {
        self.known.contains(&hash(&id))
    }
}
