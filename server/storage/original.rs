//! Reads the database of the TypeScript server: users, conversations and messages, page by page.
//!
//! All pages are of one state of it, in a transaction that may only read. Names of columns are found whatever way they are
//! written (`openId`, `open_id`), and times are read whether or not they have a zone.

use anyhow::Context as _;
use sqlx::{AssertSqlSafe, FromRow, PgConnection, postgres::PgRow};

use super::{StorageError, postgres};

/// Rows of a page.
pub(super) const PAGE: i64 = 500;

/// A user there.
#[derive(Clone, Debug, FromRow)]
pub(super) struct TheirUser {
    pub(super) id: i64,
    pub(super) open_id: String,
    pub(super) name: Option<String>,
    pub(super) email: Option<String>,
    pub(super) login_method: Option<String>,
    pub(super) role: String,
    pub(super) created_at: i64,
    pub(super) updated_at: i64,
    pub(super) last_signed_in: i64,
}

/// A conversation there.
#[derive(Clone, Debug, FromRow)]
pub(super) struct TheirConversation {
    pub(super) id: i64,
    pub(super) user_id: i64,
    pub(super) title: Option<String>,
    pub(super) created_at: i64,
    pub(super) updated_at: i64,
}

/// A message there.
#[derive(Clone, Debug, FromRow)]
pub(super) struct TheirMessage {
    pub(super) id: i64,
    pub(super) conversation_id: i64,
    pub(super) role: String,
    pub(super) content: String,
    pub(super) created_at: i64,
}

/// A table, with the way to read each column.
pub(super) trait OriginalTable: for<'r> FromRow<'r, PgRow> + Send + Unpin {
    const NAME: &'static str;
    /// Columns by the names here, and how they are read.
    const COLUMNS: &'static [(&'static str, ColumnReading)];
    /// The number of a row, by which pages go on.
    fn id(&self) -> i64;
}

/// How a column is read.
#[derive(Clone, Copy)]
pub(super) enum ColumnReading {
    Number,
    Text,
    /// A text that has to be there; an empty one where it is not.
    Needed,
    /// Milliseconds since 1970.
    Time,
}

impl OriginalTable for TheirUser {
    const NAME: &'static str = "users";
    const COLUMNS: &'static [(&'static str, ColumnReading)] = &[
        ("id", ColumnReading::Number),
        ("open_id", ColumnReading::Needed),
        ("name", ColumnReading::Text),
        ("email", ColumnReading::Text),
        ("login_method", ColumnReading::Text),
        ("role", ColumnReading::Needed),
        ("created_at", ColumnReading::Time),
        ("updated_at", ColumnReading::Time),
        ("last_signed_in", ColumnReading::Time),
    ];

    fn id(&self) -> i64 {
        self.id
    }
}

impl OriginalTable for TheirConversation {
    const NAME: &'static str = "conversations";
    const COLUMNS: &'static [(&'static str, ColumnReading)] = &[
        ("id", ColumnReading::Number),
        ("user_id", ColumnReading::Number),
        ("title", ColumnReading::Text),
        ("created_at", ColumnReading::Time),
        ("updated_at", ColumnReading::Time),
    ];

    fn id(&self) -> i64 {
        self.id
    }
}

impl OriginalTable for TheirMessage {
    const NAME: &'static str = "messages";
    const COLUMNS: &'static [(&'static str, ColumnReading)] = &[
        ("id", ColumnReading::Number),
        ("conversation_id", ColumnReading::Number),
        ("role", ColumnReading::Needed),
        ("content", ColumnReading::Needed),
        ("created_at", ColumnReading::Time),
    ];

    fn id(&self) -> i64 {
        self.id
    }
}

/// The database of the TypeScript server.
pub(super) struct Original {
    connection: PgConnection,
    schema: String,
}

impl Original {
    /// Opens it for reading one state of it.
    pub(super) async fn open(url: &str, schema: &str) -> Result<Self, StorageError> {
        let mut connection = postgres::connect_to_read(url).await?;
        sqlx::query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .execute(&mut connection)
            .await
            .map_err(StorageError::Ping)?;
        Ok(Self {
            connection,
            schema: schema.to_owned(),
        })
    }

    /// The statement that reads a page of a table; an error names what is missing.
    pub(super) async fn statement<T: OriginalTable>(&mut self) -> anyhow::Result<String> {
        let there: Vec<String> = sqlx::query_scalar(
            "SELECT column_name::text FROM information_schema.columns \
             WHERE table_schema = $1 AND table_name = $2 ORDER BY ordinal_position",
        )
        .bind(&self.schema)
        .bind(T::NAME)
        .fetch_all(&mut self.connection)
        .await
        .context("cannot read which columns there are")?;
        anyhow::ensure!(
            !there.is_empty(),
            "there is no table `{}` in the schema `{}`; `--schema` names another",
            T::NAME,
            self.schema
        );
        let plain = |name: &str| name.replace('_', "").to_lowercase();
        let mut columns = Vec::new();
        for (name, reading) in T::COLUMNS {
            let column = there.iter().find(|it| plain(it) == plain(name));
            let column = column.with_context(|| {
                format!(
                    "the table `{}` has no column like `{name}`; it has {}",
                    T::NAME,
                    there.join(", ")
                )
            })?;
            let column = quoted(column);
            columns.push(match reading {
                ColumnReading::Number => format!("COALESCE({column}, 0)::bigint AS {name}"),
                ColumnReading::Text => format!("{column}::text AS {name}"),
                ColumnReading::Needed => format!("COALESCE({column}::text, '') AS {name}"),
                ColumnReading::Time => format!(
                    "COALESCE(ROUND(EXTRACT(EPOCH FROM {column}) * 1000), 0)::bigint AS {name}"
                ),
            });
        }
        Ok(format!(
            "SELECT {} FROM {}.{} WHERE id > $1 ORDER BY {}.id LIMIT $2",
            columns.join(", "),
            quoted(&self.schema),
            quoted(T::NAME),
            quoted(T::NAME)
        ))
    }

    /// The greatest number of a row; 0 where there is none.
    pub(super) async fn greatest<T: OriginalTable>(&mut self) -> anyhow::Result<i64> {
        let statement = format!(
            "SELECT COALESCE(MAX(id), 0)::bigint FROM {}.{}",
            quoted(&self.schema),
            quoted(T::NAME)
        );
        sqlx::query_scalar(AssertSqlSafe(statement))
            .fetch_one(&mut self.connection)
            .await
            .with_context(|| format!("cannot read the table `{}`", T::NAME))
    }

    /// The rows after the one with this number.
    pub(super) async fn page<T: OriginalTable>(
        &mut self,
        statement: &str,
        after: i64,
    ) -> anyhow::Result<Vec<T>> {
        // Its names are quoted, and come from the database itself.
        sqlx::query_as(AssertSqlSafe(statement.to_owned()))
            .bind(after)
            .bind(PAGE)
            .fetch_all(&mut self.connection)
            .await
            .with_context(|| format!("cannot read the table `{}` after row {after}", T::NAME))
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
