//! A tenant's commands, as they are looked for: newest first, page by page.

use std::fmt;

use jiff::Timestamp;
use sqlx::FromRow;
use staffetta_domain::{ChannelId, CommandId, CommandState, TenantId, Wamid};

use crate::moment::Moment;
use crate::types::{CommandRecord, StoreError};
use crate::{Backend, Store, ask, within};

/// Most commands that are looked at for one page.
pub(crate) const MOST_LOOKS: u32 = 5_000;

/// Which commands are wanted. The default is all of them.
#[derive(Clone, Default)]
pub struct SentFilter {
    /// Those of this channel.
    pub channel: Option<ChannelId>,
    /// Those to a number that begins with these digits.
    pub number: Option<String>,
    /// Those that have come so far.
    pub state: Option<CommandState>,
    /// The one whose message the provider calls so.
    pub wamid: Option<Wamid>,
    /// Those that the store first saw then or later.
    pub since: Option<Timestamp>,
    /// Those that the store first saw before then.
    pub until: Option<Timestamp>,
}

impl SentFilter {
    /// Whether it wants some of the commands of a time and not others: then a page may have to look at many.
    pub(crate) fn is_choosy(&self) -> bool {
        self.channel.is_some() || self.number.is_some() || self.state.is_some()
    }

    /// The oldest moment that is wanted.
    pub(crate) fn from(&self) -> Moment {
        self.since.unwrap_or(Timestamp::MIN).into()
    }

    /// The numbers that are wanted lie from the first text up to the second: a colon comes right after the last digit.
    pub(crate) fn numbers(&self) -> Option<(&str, String)> {
        self.number.as_deref().map(|digits| (digits, format!("{digits}:")))
    }
}

/// A command's place in the list, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentCursor {
    /// When the store first saw it.
    pub created: Timestamp,
    /// Which it is, among those of the same moment.
    pub id: CommandId,
}

/// Some of the commands that are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentPage {
    /// The commands, newest first; there may be none although there are more further down.
    pub records: Vec<CommandRecord>,
    /// What to ask for the commands after these with; `None` if there are no more.
    pub next: Option<SentCursor>,
}

impl Store {
    /// At most `limit` of the tenant's commands, those after `after`, newest first: by when the store first saw them,
    /// and of the same moment by id. At most 5,000 commands are looked at, so that no filter can make one page
    /// expensive: a page may be empty and still have a next one.
    ///
    /// # Errors
    /// As every method's, and [`StoreError::Corrupt`].
    pub async fn sent(
        &self,
        tenant: &TenantId,
        filter: &SentFilter,
        after: Option<SentCursor>,
        limit: u32,
    ) -> Result<SentPage, StoreError> {
        let from = Start::of(filter, after);
        ask!(self, sent(tenant, filter, &from, limit.min(MOST_LOOKS)))
    }
}

/// Where a page begins: right after this moment and id.
pub(crate) struct Start {
    pub(crate) created: Moment,
    pub(crate) id: String,
}

impl Start {
    /// A command's id is never empty: after the empty one, of that moment there is nothing, and all of those before.
    fn of(filter: &SentFilter, after: Option<SentCursor>) -> Self {
        let until = Moment::from(filter.until.unwrap_or(Timestamp::MAX));
        match after {
            Some(after) if Moment::from(after.created) < until => {
                Self { created: after.created.into(), id: after.id.to_string() }
            }
            _ => Self { created: until, id: String::new() },
        }
    }
}

/// A command's place.
#[derive(FromRow)]
pub(crate) struct PlaceRow {
    pub(crate) created_at: Moment,
    pub(crate) id: String,
}

impl TryFrom<PlaceRow> for SentCursor {
    type Error = StoreError;

    fn try_from(row: PlaceRow) -> Result<Self, StoreError> {
        let id = row.id.parse().map_err(|_| StoreError::Corrupt("a command"))?;
        Ok(Self { created: row.created_at.into(), id })
    }
}

impl SentPage {
    /// The page of these records. `edge`: the last command that was looked at, if there may be more after it.
    pub(crate) fn of(records: Vec<CommandRecord>, limit: u32, edge: Option<SentCursor>) -> Self {
        let is_full = records.len() >= limit as usize;
        let last = records.last().filter(|_| is_full);
        let next = last.map(|last| SentCursor { created: last.created, id: last.id.clone() }).or(edge);
        Self { records, next }
    }
}

impl fmt::Debug for SentFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SentFilter")
            .field("channel", &self.channel)
            .field("state", &self.state)
            .field("since", &self.since)
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}
