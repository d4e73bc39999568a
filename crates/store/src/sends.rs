//! What left lately, and for whom.

use jiff::{SignedDuration, Timestamp};
use sqlx::FromRow;
use staffetta_domain::{ChannelId, TenantId};

use crate::moment::Moment;
use crate::types::{RecentSend, StoreError};
use crate::{Backend, Store, ask, within};

/// Most sends that are given back.
pub(crate) const MOST_SENDS: i64 = 100_000;
/// Most conversations that are looked at: what a channel that sends 250 a second begins in nine minutes is half of it.
/// It bounds the time that the look takes.
pub(crate) const MOST_LOOKS: i64 = 270_000;

/// By how much a message's time may lie after the time at which its conversation is listed: the provider's clock may be
/// ahead of ours.
const SKEW: SignedDuration = SignedDuration::from_mins(1);

impl Store {
    /// The messages that the channel sent since then, by whatever way but from the phone's own app, to each user who
    /// was sent more than one: the newest 100,000, the newest first, of the 270,000 conversations in which something
    /// was said last. A time in whole seconds is the beginning of its second.
    ///
    /// # Errors
    /// As every method's.
    pub async fn recent_sends(
        &self,
        tenant: &TenantId,
        channel: &ChannelId,
        since: Timestamp,
    ) -> Result<Vec<RecentSend>, StoreError> {
        let listed = since.checked_sub(SKEW).unwrap_or(since);
        ask!(self, recent_sends(tenant, channel, since.into(), listed.into()))
    }
}

/// A message that left.
#[derive(FromRow)]
pub(crate) struct SendRow {
    phone: Option<String>,
    user_id: Option<String>,
    at: Moment,
}

impl From<SendRow> for RecentSend {
    fn from(row: SendRow) -> Self {
        Self { phone: row.phone, user: row.user_id, at: row.at.into() }
    }
}
