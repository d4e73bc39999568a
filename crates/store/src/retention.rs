//! Forgetting what is old.

use std::ops::AddAssign;

use jiff::Timestamp;
use staffetta_domain::TenantId;

use crate::attempts::kept_since;
use crate::{Backend, Store, StoreError, ask, within};

/// What one call of [`Store::prune`] deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Events.
    pub events: u64,
    /// Messages.
    pub messages: u64,
    /// Commands that had ended.
    pub commands: u64,
    /// Conversations, with those that had gone into them.
    pub conversations: u64,
    /// Attempts to deliver events.
    pub attempts: u64,
}

impl Pruned {
    /// Whether there was nothing to delete.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl AddAssign for Pruned {
    fn add_assign(&mut self, other: Self) {
        self.events += other.events;
        self.messages += other.messages;
        self.commands += other.commands;
        self.conversations += other.conversations;
        self.attempts += other.attempts;
    }
}

impl Store {
    /// Deletes the tenant's oldest events, at most `limit`, that were recorded before `before`, and with them the
    /// messages that they speak of, if those were first heard of before then too, and the commands that they belong
    /// to, if those had ended by then. A message's content is in its event, so neither outlives the other by more than
    /// a batch. Events that are not announced yet stay. Once no such event is left, deletes conversations, at most
    /// `limit`, in which nothing happened since `before` and that hold no messages any more, with their names.
    ///
    /// Attempts to deliver events are kept for seven days, or only since `before` if that is shorter; of those that are
    /// older each call deletes at most `limit`. Contacts stay until their tenant deletes them.
    ///
    /// Who records meanwhile waits for this transaction at most, and it waits for nobody: what others hold is left to
    /// the next call. So there may be something left when a call deletes nothing.
    ///
    /// # Errors
    /// As every method's.
    pub async fn prune(
        &self,
        tenant: &TenantId,
        before: Timestamp,
        limit: u32,
    ) -> Result<Pruned, StoreError> {
        let tried = kept_since(before, Timestamp::now());
        ask!(self, prune(tenant, before, tried, limit))
    }
}
