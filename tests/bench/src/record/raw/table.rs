//! A table of the database, as its catalogue describes it: the schema may change, the measure stays.

use anyhow::ensure;
use sqlx::{AssertSqlSafe, PgConnection, postgres::types::Oid};

use super::{super::cluster::within, cells::Wire};

const TEXT: Wire = Wire { element: Oid(25), array: Oid(1009) };

#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: String,
    /// Its storage parameters: a copy doesn't get them unasked.
    options: Option<String>,
    pub(super) columns: Vec<Column>,
    pub(super) rows: i64,
}

#[derive(Debug)]
pub(super) struct Column {
    name: String,
    kind: String,
    /// Arrays travel as text, since PostgreSQL has no arrays of arrays.
    pub(super) wire: Wire,
}

impl Table {
    /// Every table that holds rows, but for the list of migrations.
    pub(super) async fn all_with_rows(connection: &mut PgConnection) -> anyhow::Result<Vec<Self>> {
        let sql = "SELECT relname::text, array_to_string(reloptions, ', ') FROM pg_class \
                   WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname NOT LIKE '\\_%' \
                   ORDER BY relname";
        let found: Vec<(String, Option<String>)> =
            within(sqlx::query_as(sql).fetch_all(&mut *connection)).await?;
        let mut tables = Vec::new();
        for (name, options) in found {
            let rows = count(connection, &name).await?;
            if rows > 0 {
                let columns = Column::all_of(connection, &name).await?;
                tables.push(Self { name, options, columns, rows });
            }
        }
        ensure!(!tables.is_empty(), "the database holds no rows");
        Ok(tables)
    }

    pub(super) fn copy_name(&self) -> String {
        format!("raw_{}", self.name)
    }

    /// Makes an empty table like it, with the same indexes.
    pub(super) fn copy(&self) -> String {
        let (name, copy) = (&self.name, self.copy_name());
        let options = self.options.as_ref().map(|options| format!(" WITH ({options})")).unwrap_or_default();
        format!("CREATE TABLE {copy} (LIKE {name} INCLUDING ALL){options}")
    }

    /// Opens a cursor over all rows as they lie there, which is about the order in which they came.
    pub(super) fn cursor(&self) -> String {
        let columns: Vec<_> = self.columns.iter().map(Column::read).collect();
        format!("DECLARE read_{0} NO SCROLL CURSOR FOR SELECT {1} FROM {0}", self.name, columns.join(", "))
    }

    /// The cursor's next rows.
    pub(super) fn fetch(&self, rows: i64) -> String {
        format!("FETCH FORWARD {rows} FROM read_{}", self.name)
    }

    /// Inserts one array for each column into the copy.
    pub(super) fn insert(&self, parameter: &mut usize) -> String {
        let copy = self.copy_name();
        let names: Vec<_> = self.columns.iter().map(|column| column.name.as_str()).collect();
        let values: Vec<_> = self.columns.iter().map(Column::write).collect();
        let arrays: Vec<_> = self
            .columns
            .iter()
            .map(|column| {
                *parameter += 1;
                format!("${parameter}::{}[]", column.travels_as())
            })
            .collect();
        let (names, values, arrays) = (names.join(", "), values.join(", "), arrays.join(", "));
        format!("INSERT INTO {copy} ({names}) SELECT {values} FROM unnest({arrays}) AS rows ({names})")
    }
}

impl Column {
    async fn all_of(connection: &mut PgConnection, table: &str) -> anyhow::Result<Vec<Self>> {
        let sql = "SELECT quote_ident(a.attname), format_type(a.atttypid, a.atttypmod), t.oid, t.typarray, \
                   t.typcategory = 'A' FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid \
                   WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped \
                   AND a.attgenerated = '' ORDER BY a.attnum";
        let found: Vec<(String, String, Oid, Oid, bool)> =
            within(sqlx::query_as(sql).bind(table).fetch_all(connection)).await?;
        let columns = found.into_iter().map(|(name, kind, element, array, is_array)| {
            let wire = if is_array { TEXT } else { Wire { element, array } };
            Self { name, kind, wire }
        });
        Ok(columns.collect())
    }

    fn travels_as(&self) -> &str {
        if self.wire == TEXT { "text" } else { &self.kind }
    }

    fn read(&self) -> String {
        if self.wire == TEXT { format!("{}::text", self.name) } else { self.name.clone() }
    }

    fn write(&self) -> String {
        if self.wire == TEXT { format!("{}::{}", self.name, self.kind) } else { self.name.clone() }
    }
}

/// How many rows a table holds.
pub(super) async fn count(connection: &mut PgConnection, table: &str) -> anyhow::Result<i64> {
    let sql = AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
    within(sqlx::query_scalar(sql).persistent(false).fetch_one(connection)).await
}
