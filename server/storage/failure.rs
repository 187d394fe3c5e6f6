//! What ails a database that fails, and whether that passes by itself.
//!
//! A database that is locked by another process, cannot be reached or has no room is nobody's mistake,
//! and the same may succeed in a moment; the caller gets a 503. A statement that does not fit its
//! tables, or a damaged file, is a fault of the server, whatever is tried (500).

use sqlx::sqlite::SqliteError;

/// What an error of the database says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ailment {
    /// Locked, or all its connections are in use.
    Busy,
    /// It cannot be reached, or its disk fails.
    Away,
    /// No room is left.
    Full,
    /// It may not be written.
    ReadOnly,
    /// What is stored cannot be read.
    Damaged,
    /// Nothing: the statement was at fault.
    Well,
}

impl Ailment {
    pub(super) fn of(error: &sqlx::Error) -> Self {
        let sqlx::Error::Database(database) = error else {
            return match error {
                sqlx::Error::PoolTimedOut => Self::Busy,
                sqlx::Error::Io(_)
                | sqlx::Error::Tls(_)
                // What answers is no PostgreSQL: something before it that has nobody to ask.
                | sqlx::Error::Protocol(_)
                | sqlx::Error::PoolClosed
                | sqlx::Error::BeginFailed
                | sqlx::Error::WorkerCrashed => Self::Away,
                _ => Self::Well,
            };
        };
        let code = database.code().unwrap_or_default();
        if database.try_downcast_ref::<SqliteError>().is_some() {
            Self::of_sqlite(code.parse().unwrap_or_default())
        } else {
            Self::of_postgres(&code)
        }
    }

    /// Whether the same may succeed in a moment.
    pub(super) fn passes(self) -> bool {
        !matches!(self, Self::Well | Self::Damaged)
    }

    fn of_sqlite(code: u32) -> Self {
        // The low byte is that of all codes of a kind.
        match code & 0xff {
            // `SQLITE_BUSY`, `SQLITE_LOCKED`, `SQLITE_PROTOCOL` (a race for the lock)
            5 | 6 | 15 => Self::Busy,
            // `SQLITE_READONLY`
            8 => Self::ReadOnly,
            // `SQLITE_IOERR`, `SQLITE_CANTOPEN`
            10 | 14 => Self::Away,
            // `SQLITE_CORRUPT`, `SQLITE_NOTADB`
            11 | 26 => Self::Damaged,
            // `SQLITE_FULL`
            13 => Self::Full,
            _ => Self::Well,
        }
    }

    fn of_postgres(code: &str) -> Self {
        match code {
            // `disk_full`
            "53100" => Self::Full,
            // `read_only_sql_transaction`
            "25006" => Self::ReadOnly,
            // `serialization_failure`, `deadlock_detected`, `lock_not_available`, `query_canceled`
            "40001" | "40P01" | "55P03" | "57014" => Self::Busy,
            // `data_corrupted`, `index_corrupted`
            "XX001" | "XX002" => Self::Damaged,
            // `idle_in_transaction_session_timeout`
            "25P03" => Self::Away,
            // `invalid_catalog_name`: what answers lacks the database, as one that is being set up.
            "3D000" => Self::Away,
            // Connections, a login that is refused now, resources, an operator's stop, the system below.
            _ if ["08", "28", "53", "57", "58"].contains(&code.get(..2).unwrap_or_default()) => {
                Self::Away
            }
            _ => Self::Well,
        }
    }
}

/// Whether an error is one of a database that may be well again in a moment.
pub fn passes(error: &anyhow::Error) -> bool {
    let mut causes = error.chain();
    let said = causes.find_map(|cause| cause.downcast_ref::<sqlx::Error>());
    said.is_some_and(|error| Ailment::of(error).passes())
}

/// Whether an error is one of what was to be stored: a value that the database cannot hold, or that a rule of its tables
/// refuses. It comes again however often it is tried.
pub(super) fn refuses(error: &anyhow::Error) -> bool {
    let mut causes = error.chain();
    match causes.find_map(|cause| cause.downcast_ref::<sqlx::Error>()) {
        Some(sqlx::Error::Database(database)) => {
            let code = database.code().unwrap_or_default();
            if database.try_downcast_ref::<SqliteError>().is_some() {
                // `SQLITE_TOOBIG`, `SQLITE_CONSTRAINT`, `SQLITE_MISMATCH`
                let code: u32 = code.parse().unwrap_or_default();
                [18, 19, 20].contains(&(code & 0xff))
            } else {
                // A value, a rule of a table, a trigger's own word.
                ["22", "23", "P0"].contains(&code.get(..2).unwrap_or_default())
            }
        }
        Some(sqlx::Error::Encode(_)) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use sqlx::{Connection, SqliteConnection};

    use super::*;
    use crate::{
        _core::caller::Role,
        chat::store::ConversationStore,
        storage::{Storage, db::Db},
    };

    /// The world: another process holds the lock of the file, and this one waits no longer.
    #[tokio::test]
    async fn what_is_locked_passes_and_a_missing_table_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.db");
        let storage = Storage::open(&format!("sqlite://{}", file.display()))
            .await
            .unwrap();
        let now = DateTime::UNIX_EPOCH;
        storage.ensure_local_user(1, Role::User, now).await.unwrap();
        let Db::Sqlite(sqlite) = &storage.db else {
            unreachable!("the URL says so")
        };
        sqlx::query("PRAGMA busy_timeout = 0")
            .execute(&sqlite.write)
            .await
            .unwrap();
        let mut other = SqliteConnection::connect(&format!("sqlite://{}", file.display()))
            .await
            .unwrap();
        let lock = other.begin_with("BEGIN IMMEDIATE").await.unwrap();
        let locked = storage.create_conversation(1, None, now).await.unwrap_err();
        assert!(passes(&locked), "{locked:#}");
        drop(lock);
        // Undone as soon as the connection is used again.
        sqlx::query("ALTER TABLE conversations RENAME TO elsewhere")
            .execute(&mut other)
            .await
            .unwrap();
        let missing = storage.create_conversation(1, None, now).await.unwrap_err();
        assert!(!passes(&missing), "{missing:#}");
        // As whoever asks a proxy that takes the connection and has no database behind it.
        let closed = "unexpected response from SSLRequest: 0x00".to_owned();
        assert!(passes(&sqlx::Error::Protocol(closed).into()));
        // As whoever waits too long for the one connection that writes.
        assert!(passes(&sqlx::Error::PoolTimedOut.into()));
    }

    /// The world: the network forgets a connection, and what was asked over it is never answered.
    #[tokio::test(start_paused = true)]
    async fn a_database_that_does_not_answer_in_time_passes() {
        let never = std::future::pending::<anyhow::Result<()>>();
        let silent = crate::storage::postgres::in_time(0, never).await;
        let silent = silent.unwrap_err();
        assert!(passes(&silent.context("cannot prolong the lease")));
    }

    #[test]
    fn codes_are_read_by_the_database_that_gave_them() {
        for (code, ailment) in [
            (5, Ailment::Busy),
            (517, Ailment::Busy),
            (13, Ailment::Full),
            (778, Ailment::Away),
            (1, Ailment::Well),
            (787, Ailment::Well),
        ] {
            assert_eq!(Ailment::of_sqlite(code), ailment, "{code}");
        }
        for (code, ailment) in [
            ("53100", Ailment::Full),
            ("53300", Ailment::Away),
            ("57P01", Ailment::Away),
            ("57P02", Ailment::Away),
            ("57P03", Ailment::Away),
            ("28000", Ailment::Away),
            ("3D000", Ailment::Away),
            ("25006", Ailment::ReadOnly),
            ("08006", Ailment::Away),
            ("55P03", Ailment::Busy),
            ("42P01", Ailment::Well),
            ("23505", Ailment::Well),
        ] {
            assert_eq!(Ailment::of_postgres(code), ailment, "{code}");
        }
    }
}
