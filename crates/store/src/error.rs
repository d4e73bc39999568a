//! What a database's error means for the caller.

use std::io;

use sqlx::error::DatabaseError;
use sqlx::postgres::PgDatabaseError;
use sqlx::sqlite::SqliteError;

use crate::StoreError;

/// SQLSTATEs, or how they begin, after which the same statement may succeed: the server is overloaded, starting or
/// stopping, takes no writes, has changed its mind about who may come in, or two statements were in each other's way.
const PASSING: [&str; 10] = ["08", "25006", "25P03", "25P04", "28", "40", "53", "55P03", "57", "58"];

/// SQLite's primary result codes of the same sort: busy, locked, read-only, an I/O error, a full disk, a file that can't
/// be opened.
const PASSING_SQLITE: [i32; 6] = [5, 6, 8, 10, 13, 14];

impl StoreError {
    /// One of few words for it, for metrics and traces.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownDatabase => "unknown_database",
            Self::Unavailable(_) => "unavailable",
            Self::Refused(_) => "refused",
            Self::Migration(_) => "migration",
            Self::Corrupt(_) => "corrupt",
        }
    }

    /// The answer took longer than the caller may wait.
    pub(crate) fn too_slow() -> Self {
        Self::Unavailable(sqlx::Error::Io(io::ErrorKind::TimedOut.into()))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let passes = match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => true,
            sqlx::Error::Database(database) => database_error_passes(database.as_ref()),
            _ => false,
        };
        if passes { Self::Unavailable(error) } else { Self::Refused(error) }
    }
}

fn database_error_passes(error: &dyn DatabaseError) -> bool {
    let Some(code) = error.code() else { return false };
    if error.try_downcast_ref::<PgDatabaseError>().is_some() {
        PASSING.iter().any(|prefix| code.starts_with(prefix))
    } else if error.try_downcast_ref::<SqliteError>().is_some() {
        // The low byte is the primary code, the rest of it says more.
        code.parse::<i32>().is_ok_and(|code| PASSING_SQLITE.contains(&(code & 0xff)))
    } else {
        false
    }
}
