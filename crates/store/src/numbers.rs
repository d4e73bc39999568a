//! Whose each phone number is: it belongs to one channel, and the last claim wins.
//!
//! The registry alone can't say who had a number before, and both sides of a move are to be told. So each move is kept
//! until somebody notes that it was told.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use sqlx::FromRow;
use staffetta_domain::{ChannelId, TenantId};

use crate::types::StoreError;
use crate::{Backend, Store, ask, within};

/// Most moves that are given back at a time.
pub(crate) const MOST_MOVES: i64 = 1_000;

/// That a channel says a number is its own.
#[derive(Clone, PartialEq, Eq)]
pub struct NumberClaim {
    /// The number, as the provider knows it.
    pub number: String,
    /// Whose channel it is.
    pub tenant: TenantId,
    /// The channel.
    pub channel: ChannelId,
    /// The revision of the channel's entry in the registry.
    pub revision: u64,
}

/// That a number went from one channel to another.
#[derive(Clone, PartialEq, Eq)]
pub struct NumberMoved {
    /// The number.
    pub number: String,
    /// The revision of the claim that won.
    pub revision: u64,
    /// Where it was. A number that nobody had does not move, so this is always there.
    pub from: Option<(TenantId, ChannelId)>,
    /// Where it is.
    pub to: (TenantId, ChannelId),
}

impl Store {
    /// Gives each number to the claim with the highest revision, that of its holder included, and gives back every move
    /// that is not noted as told yet, those of earlier calls and of other numbers included: at most 1,000, by number,
    /// and those of one number in the order in which they happened. That a number gets its first channel is no move.
    /// Several processes may claim at once.
    ///
    /// # Errors
    /// As every method's, and [`StoreError::Corrupt`].
    pub async fn claim_numbers(&self, claims: &[NumberClaim]) -> Result<Vec<NumberMoved>, StoreError> {
        ask!(self, claim_numbers(claims))
    }

    /// Notes that both sides of these moves, each by its number and revision, were told.
    ///
    /// # Errors
    /// As every method's.
    pub async fn numbers_told(&self, moves: &[(String, u64)]) -> Result<(), StoreError> {
        if moves.is_empty() {
            return Ok(());
        }
        ask!(self, numbers_told(moves))
    }
}

/// Who has a number.
#[derive(Clone, FromRow)]
pub(crate) struct HolderRow {
    pub(crate) number: String,
    pub(crate) tenant: String,
    pub(crate) channel: String,
    pub(crate) revision: i64,
}

impl HolderRow {
    fn of(claim: &NumberClaim) -> Self {
        Self {
            number: claim.number.clone(),
            tenant: claim.tenant.to_string(),
            channel: claim.channel.to_string(),
            revision: claim.revision.cast_signed(),
        }
    }

    fn home(&self) -> (&str, &str) {
        (&self.tenant, &self.channel)
    }
}

/// What claims change, given who has the numbers: sorted by number.
#[derive(Default)]
pub(crate) struct Claims {
    /// Numbers that nobody had.
    pub(crate) new: Vec<HolderRow>,
    /// Numbers whose holder, or its revision, is another one.
    pub(crate) changed: Vec<HolderRow>,
    /// Where numbers went, in turn: who has them now, and who had them.
    pub(crate) moves: Vec<(HolderRow, HolderRow)>,
}

impl Claims {
    pub(crate) fn of(claims: &[NumberClaim], held: Vec<HolderRow>) -> Self {
        let mut held: HashMap<String, HolderRow> =
            held.into_iter().map(|row| (row.number.clone(), row)).collect();
        let mut numbers: BTreeMap<&str, Vec<&NumberClaim>> = BTreeMap::new();
        for claim in claims {
            numbers.entry(&claim.number).or_default().push(claim);
        }
        let mut plan = Self::default();
        for (number, mut claims) in numbers {
            claims.sort_by_key(|claim| claim.revision);
            let before = held.remove(number);
            let mut holder = before.clone();
            for claim in claims.into_iter().map(HolderRow::of) {
                match &holder {
                    Some(holder) if holder.revision >= claim.revision => continue,
                    Some(holder) if holder.home() != claim.home() => {
                        plan.moves.push((claim.clone(), holder.clone()));
                    }
                    _ => {}
                }
                holder = Some(claim);
            }
            match (before, holder) {
                (None, Some(holder)) => plan.new.push(holder),
                (Some(before), Some(holder)) if before.revision != holder.revision => {
                    plan.changed.push(holder);
                }
                _ => {}
            }
        }
        plan
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.new.is_empty() && self.changed.is_empty()
    }
}

/// The numbers that are claimed, each once, sorted.
pub(crate) fn numbers_of(claims: &[NumberClaim]) -> Vec<&str> {
    let mut numbers: Vec<_> = claims.iter().map(|claim| claim.number.as_str()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// A move that nobody has noted as told.
#[derive(FromRow)]
pub(crate) struct MoveRow {
    number: String,
    revision: i64,
    from_tenant: String,
    from_channel: String,
    to_tenant: String,
    to_channel: String,
}

impl TryFrom<MoveRow> for NumberMoved {
    type Error = StoreError;

    fn try_from(row: MoveRow) -> Result<Self, StoreError> {
        let home = |tenant: String, channel: String| {
            let corrupt = |_| StoreError::Corrupt("a number's move");
            Ok::<_, StoreError>((tenant.parse().map_err(corrupt)?, channel.parse().map_err(corrupt)?))
        };
        Ok(Self {
            number: row.number,
            revision: row.revision.cast_unsigned(),
            from: Some(home(row.from_tenant, row.from_channel)?),
            to: home(row.to_tenant, row.to_channel)?,
        })
    }
}

impl fmt::Debug for NumberClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NumberClaim")
            .field("tenant", &self.tenant)
            .field("channel", &self.channel)
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for NumberMoved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NumberMoved")
            .field("revision", &self.revision)
            .field("from", &self.from)
            .field("to", &self.to)
            .finish_non_exhaustive()
    }
}
