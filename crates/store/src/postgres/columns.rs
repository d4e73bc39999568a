//! Rows as columns: a batch travels as one array for each column, and `unnest` makes rows of them again.

use sqlx::postgres::{PgArguments, Postgres};
use sqlx::query::QueryAs;
use staffetta_domain::CommandId;

use crate::moment::Moment;
use crate::rows::{EventRow, MessageRow};

/// A statement that is being bound.
pub(super) type Statement<'q, T> = QueryAs<'q, Postgres, T, PgArguments>;

/// One array of the rows' values.
pub(super) fn column<'a, R, T>(rows: &'a [R], value: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}

/// Binds `id, tenant, channel, type, subject, time, data, command_id`, in the order in which the events are told.
pub(super) fn bind_events<'q, T>(statement: Statement<'q, T>, rows: &'q [EventRow<'q>]) -> Statement<'q, T> {
    statement
        .bind(column(rows, |row| row.event.id.as_str()))
        .bind(column(rows, |row| row.event.tenant.as_str()))
        .bind(column(rows, |row| row.event.channel.as_str()))
        .bind(column(rows, |row| row.event.kind.as_str()))
        .bind(column(rows, |row| row.subject.as_ref()))
        .bind(column(rows, |row| Moment::from(row.event.time)))
        .bind(column(rows, |row| row.data.as_str()))
        .bind(column(rows, |row| row.command.map(CommandId::as_str)))
}

/// Binds `channel, wamid, tenant, direction, user_key, kind, content, state, command_id, provider_time`, sorted by key.
pub(super) fn bind_messages<'q, T>(
    statement: Statement<'q, T>,
    rows: &'q [MessageRow<'q>],
) -> Statement<'q, T> {
    statement
        .bind(column(rows, |row| row.channel))
        .bind(column(rows, |row| row.wamid.as_ref()))
        .bind(column(rows, |row| row.tenant))
        .bind(column(rows, |row| row.direction()))
        .bind(column(rows, |row| row.user.as_deref()))
        .bind(column(rows, |row| row.kind.as_deref()))
        .bind(column(rows, |row| row.content.as_deref()))
        .bind(column(rows, |row| row.state.rank()))
        .bind(column(rows, |row| row.command.map(CommandId::as_str)))
        .bind(column(rows, |row| row.at))
}
