//! Whose each phone number is.

use sqlx::sqlite::SqliteConnection;

use super::Sqlite;
use crate::numbers::{Claims, HolderRow, MOST_MOVES, MoveRow, NumberClaim, NumberMoved, numbers_of};
use crate::types::StoreError;

impl Sqlite {
    pub(crate) async fn claim_numbers(&self, claims: &[NumberClaim]) -> Result<Vec<NumberMoved>, StoreError> {
        let mut transaction = self.begin().await?;
        let mut held: Vec<HolderRow> = Vec::new();
        for number in numbers_of(claims) {
            let holder =
                sqlx::query_as("SELECT number, tenant, channel, revision FROM numbers WHERE number = ?1")
                    .bind(number)
                    .fetch_optional(&mut *transaction)
                    .await?;
            held.extend(holder);
        }
        write(&mut transaction, &Claims::of(claims, held)).await?;
        let moves: Vec<MoveRow> = sqlx::query_as(
            "SELECT number, revision, from_tenant, from_channel, to_tenant, to_channel
             FROM number_moves
             ORDER BY number, revision
             LIMIT ?1",
        )
        .bind(MOST_MOVES)
        .fetch_all(&mut *transaction)
        .await?;
        transaction.commit().await?;
        moves.into_iter().map(TryInto::try_into).collect()
    }

    pub(crate) async fn numbers_told(&self, moves: &[(String, u64)]) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        for (number, revision) in moves {
            sqlx::query("DELETE FROM number_moves WHERE number = ?1 AND revision = ?2")
                .bind(number)
                .bind(revision.cast_signed())
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}

async fn write(connection: &mut SqliteConnection, plan: &Claims) -> Result<(), StoreError> {
    for row in plan.new.iter().chain(&plan.changed) {
        sqlx::query(
            "INSERT INTO numbers (number, tenant, channel, revision)
             VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (number) DO UPDATE SET
                 tenant = excluded.tenant, channel = excluded.channel, revision = excluded.revision",
        )
        .bind(&row.number)
        .bind(&row.tenant)
        .bind(&row.channel)
        .bind(row.revision)
        .execute(&mut *connection)
        .await?;
    }
    for (to, from) in &plan.moves {
        sqlx::query(
            "INSERT INTO number_moves (number, revision, from_tenant, from_channel, to_tenant, to_channel)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )
        .bind(&to.number)
        .bind(to.revision)
        .bind(&from.tenant)
        .bind(&from.channel)
        .bind(&to.tenant)
        .bind(&to.channel)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}
