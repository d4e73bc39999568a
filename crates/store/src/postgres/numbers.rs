//! Whose each phone number is.

use sqlx::postgres::PgConnection;

use super::columns::column;
use super::tell::Abort;
use super::{MOST_RACES, Postgres, end};
use crate::numbers::{Claims, HolderRow, MOST_MOVES, MoveRow, NumberClaim, NumberMoved, numbers_of};
use crate::types::StoreError;

impl Postgres {
    pub(crate) async fn claim_numbers(&self, claims: &[NumberClaim]) -> Result<Vec<NumberMoved>, StoreError> {
        for _ in 0..MOST_RACES {
            let mut lease = self.lease().await?;
            let mut transaction = lease.begin().await?;
            let steps = claim(&mut transaction, claims).await;
            if let Some(moves) = end(transaction, steps).await? {
                return moves.into_iter().map(TryInto::try_into).collect();
            }
        }
        Err(StoreError::too_slow())
    }

    pub(crate) async fn numbers_told(&self, moves: &[(String, u64)]) -> Result<(), StoreError> {
        sqlx::query(
            "DELETE FROM number_moves m
             USING unnest($1::text[], $2::bigint[]) AS k (number, revision)
             WHERE m.number = k.number AND m.revision = k.revision",
        )
        .bind(column(moves, |(number, _)| number.as_str()))
        .bind(column(moves, |(_, revision)| revision.cast_signed()))
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

async fn claim(connection: &mut PgConnection, claims: &[NumberClaim]) -> Result<Vec<MoveRow>, Abort> {
    // Whoever claims the same numbers at the same time waits for these locks, in the order of the numbers.
    let held: Vec<HolderRow> = sqlx::query_as(
        "SELECT number, tenant, channel, revision
         FROM numbers
         WHERE number = ANY ($1)
         ORDER BY number
         FOR UPDATE",
    )
    .bind(numbers_of(claims))
    .fetch_all(&mut *connection)
    .await?;
    let plan = Claims::of(claims, held);
    if !plan.is_empty() {
        write(connection, &plan).await?;
    }
    let moves = sqlx::query_as(
        "SELECT number, revision, from_tenant, from_channel, to_tenant, to_channel
         FROM number_moves
         ORDER BY number, revision
         LIMIT $1",
    )
    .bind(MOST_MOVES)
    .fetch_all(connection)
    .await?;
    Ok(moves)
}

async fn write(connection: &mut PgConnection, plan: &Claims) -> Result<(), Abort> {
    let done = sqlx::query(
        "INSERT INTO numbers (number, tenant, channel, revision)
         SELECT number, tenant, channel, revision
         FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) WITH ORDINALITY
             AS k (number, tenant, channel, revision, n)
         ORDER BY n
         ON CONFLICT (number) DO NOTHING",
    )
    .bind(column(&plan.new, |row| row.number.as_str()))
    .bind(column(&plan.new, |row| row.tenant.as_str()))
    .bind(column(&plan.new, |row| row.channel.as_str()))
    .bind(column(&plan.new, |row| row.revision))
    .execute(&mut *connection)
    .await?;
    if done.rows_affected() != plan.new.len() as u64 {
        return Err(Abort::Raced);
    }
    sqlx::query(
        "UPDATE numbers h
         SET tenant = k.tenant, channel = k.channel, revision = k.revision
         FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) AS k (number, tenant, channel, revision)
         WHERE h.number = k.number",
    )
    .bind(column(&plan.changed, |row| row.number.as_str()))
    .bind(column(&plan.changed, |row| row.tenant.as_str()))
    .bind(column(&plan.changed, |row| row.channel.as_str()))
    .bind(column(&plan.changed, |row| row.revision))
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "INSERT INTO number_moves (number, revision, from_tenant, from_channel, to_tenant, to_channel)
         SELECT number, revision, from_tenant, from_channel, to_tenant, to_channel
         FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[])
             AS k (number, revision, from_tenant, from_channel, to_tenant, to_channel)",
    )
    .bind(column(&plan.moves, |(to, _)| to.number.as_str()))
    .bind(column(&plan.moves, |(to, _)| to.revision))
    .bind(column(&plan.moves, |(_, from)| from.tenant.as_str()))
    .bind(column(&plan.moves, |(_, from)| from.channel.as_str()))
    .bind(column(&plan.moves, |(to, _)| to.tenant.as_str()))
    .bind(column(&plan.moves, |(to, _)| to.channel.as_str()))
    .execute(connection)
    .await?;
    Ok(())
}
