//! Rows as columns: a batch travels as one array for each column, and `unnest` makes rows of them again.

use sqlx::postgres::{PgArguments, Postgres};
use sqlx::query::QueryAs;

use crate::rows::MessageRow;

/// A statement that is being bound.
pub(super) type Statement<'q, T> = QueryAs<'q, Postgres, T, PgArguments>;

/// One array of the rows' values.
pub(super) fn column<'a, R, T>(rows: &'a [R], value: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}

/// Binds a message's columns in the table's order, sorted by key. Its steps travel as one text: arrays of arrays must
/// all be of one length.
pub(super) fn bind_messages<'q, T>(
    statement: Statement<'q, T>,
    rows: &'q [&'q MessageRow<'q>],
) -> Statement<'q, T> {
    statement
        .bind(column(rows, |row| row.channel))
        .bind(column(rows, |row| row.wamid.as_ref()))
        .bind(column(rows, |row| row.tenant))
        .bind(column(rows, |row| row.conversation))
        .bind(column(rows, |row| row.direction.as_str()))
        .bind(column(rows, |row| row.kind.as_deref()))
        .bind(column(rows, |row| row.state.rank()))
        .bind(column(rows, |row| row.command))
        .bind(column(rows, |row| row.at))
        .bind(column(rows, |row| row.timed))
        .bind(column(rows, |row| row.place))
        .bind(column(rows, |row| row.content_seq))
        .bind(column(rows, |row| row.edit.map(|(_, seq)| seq)))
        .bind(column(rows, |row| row.edit.map(|(at, _)| at)))
        .bind(column(rows, |row| row.withdrawn_at))
        .bind(column(rows, |row| row.steps.iter().map(i64::to_string).collect::<Vec<_>>().join(",")))
}
