//! The recorder's statements.

use std::collections::HashSet;

use sqlx::sqlite::SqliteConnection;
use staffetta_domain::{CommandId, Leaf};

use super::{Sqlite, keep_message};
use crate::moment::Moment;
use crate::records::{Told, announcements};
use crate::rows::{EventRow, Proof, Recording};
use crate::types::{Announcement, StoreError};

impl Sqlite {
    pub(crate) async fn record(&self, leaves: &[Leaf]) -> Result<Vec<Announcement>, StoreError> {
        let now = Moment::now();
        let batch = Recording::of(leaves);
        let mut transaction = self.begin().await?;
        let mut accepted = HashSet::new();
        for proof in &batch.proofs {
            if accept(&mut transaction, proof, now).await? {
                accepted.insert((proof.tenant.as_str(), proof.command.as_str()));
            }
        }
        let mut told = Vec::new();
        for row in &batch.events {
            if !row.conditional || accepted.contains(&row.key()) {
                told.extend(tell(&mut transaction, row, now).await?);
            }
        }
        for row in &batch.messages {
            keep_message(&mut transaction, row, now).await?;
        }
        transaction.commit().await?;
        Ok(announcements(&batch.events, told))
    }
}

/// Whether the command was still open: it is accepted now.
async fn accept(
    connection: &mut SqliteConnection,
    proof: &Proof<'_>,
    now: Moment,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "UPDATE commands SET state = 'accepted', wamid = ?1, reason = NULL, updated_at = ?2
         WHERE tenant = ?3 AND id = ?4 AND state IN ('queued', 'sending', 'in_doubt')",
    )
    .bind(proof.wamid.as_deref())
    .bind(now)
    .bind(proof.tenant.as_str())
    .bind(proof.command.as_str())
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Inserts an event that is new and puts it in the outbox; `None` for one that was told before.
pub(super) async fn tell(
    connection: &mut SqliteConnection,
    row: &EventRow<'_>,
    now: Moment,
) -> Result<Option<Told>, StoreError> {
    let told: Option<Told> = sqlx::query_as(
        "INSERT INTO events (id, tenant, channel, type, subject, time, data, command_id, callback_data, recorded_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8,
                 (SELECT callback_data FROM commands WHERE tenant = ?2 AND id = ?8), ?9)
         ON CONFLICT (id) DO NOTHING
         RETURNING id, seq, callback_data",
    )
    .bind(row.event.id.as_str())
    .bind(row.event.tenant.as_str())
    .bind(row.event.channel.as_str())
    .bind(row.event.kind.as_str())
    .bind(row.subject.as_ref())
    .bind(Moment::from(row.event.time))
    .bind(row.data.as_str())
    .bind(row.command.map(CommandId::as_str))
    .bind(now)
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(told) = &told {
        sqlx::query("INSERT INTO outbox (seq) VALUES (?)").bind(told.seq).execute(connection).await?;
    }
    Ok(told)
}
