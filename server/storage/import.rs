//! Takes over users and conversations of the TypeScript server.
//!
//! What was taken over is noted by its number there (`imported`), in the transaction that writes it: so what is there twice is
//! taken once, an import that was broken off goes on, and a later one brings what is new. Users and conversations keep their
//! numbers where these are free; messages get new ones in their order. What changed there since it was taken over is brought up
//! to date, as long as nobody changed it here: a hash of what was taken tells. Nothing else that is here is changed.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use sqlx::QueryBuilder;

use super::{
    Storage,
    db::Write,
    original::{Original, Table, TheirConversation, TheirMessage, TheirUser},
    storable,
    users::{folded, note_role},
};
use crate::_core::{actor::Actor, auth::LOCAL_PREFIX, caller::Role};

/// Numbers of refused rows that are told for each reason.
const EXAMPLES: usize = 5;

/// What is to be taken over, and how.
#[derive(Clone, Debug)]
pub struct ImportPlan {
    /// The database of the TypeScript server: `postgres://user@host/database`.
    pub from: String,
    /// The schema of its tables.
    pub schema: String,
    /// Whether admins there are admins here; otherwise they are users.
    pub keeps_roles: bool,
    /// Whether nothing is written.
    pub is_dry: bool,
}

/// What became of the rows of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Taken over now.
    pub new: u64,
    /// Users who were here already, by their open id.
    pub joined: u64,
    /// Taken over before, and the same there since.
    pub known: u64,
    /// Taken over before, and brought up to date now.
    pub updated: u64,
    /// Changed there since it was taken over, and here as well: left as it is here.
    pub left: u64,
    /// Not taken over, by reason: how many, and the numbers of the first ones.
    pub refused: BTreeMap<&'static str, (u64, Vec<i64>)>,
}

/// What became of everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportReport {
    /// By table, in the order of their import.
    pub tables: Vec<(&'static str, Imported)>,
}

/// What becomes of one row.
enum Fate {
    New,
    Joined,
    Refused(&'static str),
}

const NO_USER: &str = "its user is not here";
const NO_CONVERSATION: &str = "its conversation is not here";

impl Imported {
    fn count(&mut self, id: i64, fate: &Fate) {
        match fate {
            Fate::New => self.new += 1,
            Fate::Joined => self.joined += 1,
            Fate::Refused(reason) => {
                let (count, examples) = self.refused.entry(reason).or_default();
                *count += 1;
                if examples.len() < EXAMPLES {
                    examples.push(id);
                }
            }
        }
    }
}

impl Storage {
    /// Takes over what the TypeScript server has. `tell` hears of each page: the table, and how far it is.
    pub async fn import(
        &self,
        plan: &ImportPlan,
        now: DateTime<Utc>,
        mut tell: impl FnMut(&'static str, &Imported),
    ) -> anyhow::Result<ImportReport> {
        let mut original = Original::open(&plan.from, &plan.schema).await?;
        let mut import = Import {
            storage: self,
            plan,
            now,
            pretended: HashMap::new(),
        };
        let users = import.table::<TheirUser>(&mut original, &mut tell).await?;
        let conversations = import
            .table::<TheirConversation>(&mut original, &mut tell)
            .await?;
        let messages = import
            .table::<TheirMessage>(&mut original, &mut tell)
            .await?;
        Ok(ImportReport {
            tables: vec![
                (TheirUser::NAME, users),
                (TheirConversation::NAME, conversations),
                (TheirMessage::NAME, messages),
            ],
        })
    }
}

struct Import<'a> {
    storage: &'a Storage,
    plan: &'a ImportPlan,
    now: DateTime<Utc>,
    /// What a dry run would have taken over, by table.
    pretended: HashMap<&'static str, HashSet<i64>>,
}

/// A row that can be taken over.
trait Row: Table {
    /// The table and the row that have to be here before.
    fn parent(&self) -> Option<(&'static str, i64)>;
    /// Why it cannot be taken over at all.
    fn refusal(&self) -> Option<&'static str>;
    /// What of it may change, as it would be taken over.
    fn changing(&self) -> Vec<Option<String>>;
    /// The same of the row here; `None` where it is no more.
    async fn here(transaction: &mut Write, ours: i64) -> sqlx::Result<Option<Vec<Option<String>>>>;
    /// Brings the row here up to date.
    async fn update(&self, transaction: &mut Write, ours: i64) -> sqlx::Result<()>;
    /// Writes it, with the number here of what has to be here before. Numbers that are not free are made above `greatest`.
    async fn write(
        &self,
        transaction: &mut Write,
        parent: i64,
        greatest: i64,
        import: &Import<'_>,
    ) -> anyhow::Result<Result<(i64, Fate), &'static str>>;
}

impl Import<'_> {
    async fn table<T: Row>(
        &mut self,
        original: &mut Original,
        tell: &mut impl FnMut(&'static str, &Imported),
    ) -> anyhow::Result<Imported> {
        let statement = original.statement::<T>().await?;
        let greatest = original.greatest::<T>().await?;
        let mut imported = Imported::default();
        let mut after = i64::MIN;
        loop {
            let page: Vec<T> = original.page(&statement, after).await?;
            let Some(last) = page.last() else {
                return Ok(imported);
            };
            after = last.id();
            let taken = self.page(&page, greatest, &mut imported).await;
            taken.with_context(|| {
                format!(
                    "cannot take over `{}` up to row {after}; what was taken over stays, and the next import \
                     goes on there",
                    T::NAME
                )
            })?;
            tell(T::NAME, &imported);
        }
    }

    async fn page<T: Row>(
        &mut self,
        page: &[T],
        greatest: i64,
        imported: &mut Imported,
    ) -> anyhow::Result<()> {
        let ids: Vec<i64> = page.iter().map(Table::id).collect();
        let known = self.known(T::NAME, &ids).await?;
        let parents: Vec<i64> = page
            .iter()
            .filter_map(|it| it.parent().map(|it| it.1))
            .collect();
        let parent_table = page.first().and_then(Row::parent).map(|it| it.0);
        let parents = match parent_table {
            Some(table) => self.known(table, &parents).await?,
            None => HashMap::new(),
        };
        let mut transaction = self.storage.db.begin().await?;
        lock(&mut transaction, T::NAME).await?;
        // Counted once it is written.
        let mut counted = imported.clone();
        let mut pretended = Vec::new();
        for row in page {
            if let Some((ours, taken)) = known.get(&row.id()) {
                again(row, &mut transaction, *ours, taken, &mut counted).await?;
                continue;
            }
            if let Some(reason) = row.refusal() {
                counted.count(row.id(), &Fate::Refused(reason));
                continue;
            }
            let parent = match row.parent() {
                None => 0,
                Some((table, id)) => {
                    let is_pretended =
                        (self.pretended.get(table)).is_some_and(|it| it.contains(&id));
                    match parents.get(&id) {
                        Some((ours, _)) => *ours,
                        // The page is not written.
                        None if is_pretended => {
                            counted.count(row.id(), &Fate::New);
                            pretended.push(row.id());
                            continue;
                        }
                        None => {
                            let reason = match table {
                                TheirUser::NAME => NO_USER,
                                _ => NO_CONVERSATION,
                            };
                            counted.count(row.id(), &Fate::Refused(reason));
                            continue;
                        }
                    }
                }
            };
            let written = row.write(&mut transaction, parent, greatest, self);
            match written.await? {
                Ok((ours, fate)) => {
                    // Whoever was here already is not changed by what is there.
                    let taken = match fate {
                        Fate::Joined => String::new(),
                        _ => hash(&row.changing()),
                    };
                    note(&mut transaction, T::NAME, (row.id(), ours), &taken).await?;
                    counted.count(row.id(), &fate);
                    pretended.push(row.id());
                }
                Err(reason) => counted.count(row.id(), &Fate::Refused(reason)),
            }
        }
        if self.plan.is_dry {
            self.pretended.entry(T::NAME).or_default().extend(pretended);
            drop(transaction);
        } else {
            go_on_above(&mut transaction, T::NAME).await?;
            transaction.commit().await?;
        }
        *imported = counted;
        Ok(())
    }

    /// Rows that were taken over: their numbers here, and the hashes of what was taken.
    async fn known(
        &self,
        table: &str,
        theirs: &[i64],
    ) -> sqlx::Result<HashMap<i64, (i64, String)>> {
        if theirs.is_empty() {
            return Ok(HashMap::new());
        }
        let rows: Vec<(i64, i64, String)> = on!(self.storage.db.read(), pool => {
            let mut query = QueryBuilder::new("SELECT theirs, ours, taken FROM imported WHERE kind = ");
            query.push_bind(table.to_owned()).push(" AND theirs IN (");
            let mut list = query.separated(", ");
            for id in theirs {
                list.push_bind(*id);
            }
            query.push(")");
            query.build_query_as().fetch_all(pool).await?
        });
        let rows = rows.into_iter();
        Ok(rows
            .map(|(theirs, ours, taken)| (theirs, (ours, taken)))
            .collect())
    }
}

/// So that nobody is handed a number while the sequence is moved.
async fn lock(transaction: &mut Write, table: &str) -> sqlx::Result<()> {
    if let Write::Postgres(transaction) = transaction {
        let statement = match table {
            TheirUser::NAME => "LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE",
            TheirConversation::NAME => "LOCK TABLE conversations IN SHARE ROW EXCLUSIVE MODE",
            // Messages get the numbers that come.
            _ => return Ok(()),
        };
        sqlx::query(statement).execute(&mut **transaction).await?;
    }
    Ok(())
}

/// Numbers that are handed out later go on above the greatest one. SQLite does so by itself.
async fn go_on_above(transaction: &mut Write, table: &str) -> sqlx::Result<()> {
    if let Write::Postgres(transaction) = transaction {
        let statement = match table {
            TheirUser::NAME => {
                "SELECT SETVAL('users_id_seq', GREATEST((SELECT MAX(id) FROM users), \
                 (SELECT last_value FROM users_id_seq)))"
            }
            TheirConversation::NAME => {
                "SELECT SETVAL('conversations_id_seq', GREATEST((SELECT MAX(id) FROM conversations), \
                 (SELECT last_value FROM conversations_id_seq)))"
            }
            _ => return Ok(()),
        };
        sqlx::query(statement).execute(&mut **transaction).await?;
    }
    Ok(())
}

/// Brings a row up to date that was taken over before, where it changed there and not here.
async fn again<T: Row>(
    row: &T,
    transaction: &mut Write,
    ours: i64,
    taken: &str,
    counted: &mut Imported,
) -> sqlx::Result<()> {
    let theirs = hash(&row.changing());
    if taken.is_empty() || theirs == taken {
        counted.known += 1;
        return Ok(());
    }
    match T::here(transaction, ours).await? {
        // What was deleted here does not come back.
        None => counted.known += 1,
        Some(here) if hash(&here) == taken => {
            row.update(transaction, ours).await?;
            changed!(transaction, transaction => sqlx::query(
                    "UPDATE imported SET taken = $3 WHERE kind = $1 AND theirs = $2",
                )
                .bind(T::NAME)
                .bind(row.id())
                .bind(theirs)
                .execute(&mut **transaction))?;
            counted.updated += 1;
        }
        Some(_) => counted.left += 1,
    }
    Ok(())
}

fn hash(parts: &[Option<String>]) -> String {
    hex::encode(&Sha256::digest(json!(parts).to_string())[..16])
}

fn stored(text: Option<&str>) -> Option<String> {
    text.map(|text| storable(text).into_owned())
}

async fn note(
    transaction: &mut Write,
    kind: &str,
    (theirs, ours): (i64, i64),
    taken: &str,
) -> sqlx::Result<()> {
    changed!(transaction, transaction => sqlx::query(
            "INSERT INTO imported (kind, theirs, ours, taken) VALUES ($1, $2, $3, $4)",
        )
        .bind(kind)
        .bind(theirs)
        .bind(ours)
        .bind(taken)
        .execute(&mut **transaction))?;
    Ok(())
}

/// The number of a row: its own where that is free, otherwise the next one above all here and there.
async fn number(
    transaction: &mut Write,
    table: &str,
    theirs: i64,
    greatest: i64,
) -> sqlx::Result<i64> {
    let (taken, most) = match table {
        TheirUser::NAME => (
            "SELECT COUNT(*) FROM users WHERE id = $1",
            "SELECT COALESCE(MAX(id), 0) FROM users",
        ),
        _ => (
            "SELECT COUNT(*) FROM conversations WHERE id = $1",
            "SELECT COALESCE(MAX(id), 0) FROM conversations",
        ),
    };
    let taken: i64 = on!(&mut *transaction, transaction => sqlx::query_scalar(taken)
        .bind(theirs)
        .fetch_one(&mut **transaction)
        .await)?;
    if taken == 0 && theirs > 0 {
        return Ok(theirs);
    }
    let most: i64 = on!(&mut *transaction, transaction => sqlx::query_scalar(most)
        .fetch_one(&mut **transaction)
        .await)?;
    Ok(most.max(greatest) + 1)
}

impl Row for TheirUser {
    fn parent(&self) -> Option<(&'static str, i64)> {
        None
    }

    fn refusal(&self) -> Option<&'static str> {
        let is_refused = self.open_id.is_empty() || self.open_id.starts_with(LOCAL_PREFIX);
        is_refused.then_some("its open id is empty, or of a local user here")
    }

    fn changing(&self) -> Vec<Option<String>> {
        let parts = [&self.name, &self.email, &self.login_method];
        parts.into_iter().map(|it| stored(it.as_deref())).collect()
    }

    async fn here(transaction: &mut Write, ours: i64) -> sqlx::Result<Option<Vec<Option<String>>>> {
        let row: Option<(Option<String>, Option<String>, Option<String>)> = on!(transaction, transaction => sqlx::query_as(
                "SELECT name, email, login_method FROM users WHERE id = $1 AND deleted_at IS NULL",
            )
            .bind(ours)
            .fetch_optional(&mut **transaction)
            .await)?;
        Ok(row.map(|(name, email, login_method)| vec![name, email, login_method]))
    }

    async fn update(&self, transaction: &mut Write, ours: i64) -> sqlx::Result<()> {
        let name = stored(self.name.as_deref());
        changed!(transaction, transaction => sqlx::query(
                "UPDATE users SET name = $2, folded_name = $3, email = $4, login_method = $5, updated_at = $6 \
                 WHERE id = $1",
            )
            .bind(ours)
            .bind(name.clone())
            .bind(name.as_deref().map(folded))
            .bind(stored(self.email.as_deref()))
            .bind(stored(self.login_method.as_deref()))
            .bind(self.updated_at)
            .execute(&mut **transaction))?;
        Ok(())
    }

    async fn write(
        &self,
        transaction: &mut Write,
        _: i64,
        greatest: i64,
        import: &Import<'_>,
    ) -> anyhow::Result<Result<(i64, Fate), &'static str>> {
        let here: Option<(i64, Option<i64>)> = on!(&mut *transaction, transaction => sqlx::query_as(
                "SELECT id, deleted_at FROM users WHERE open_id = $1",
            )
            .bind(storable(&self.open_id))
            .fetch_optional(&mut **transaction)
            .await)?;
        match here {
            Some((_, Some(_))) => return Ok(Err("this user was deleted here")),
            Some((ours, None)) => return Ok(Ok((ours, Fate::Joined))),
            None => {}
        }
        let role = match self.role.as_str() {
            "admin" if import.plan.keeps_roles => Role::Admin,
            _ => Role::User,
        };
        let id = number(transaction, Self::NAME, self.id, greatest).await?;
        let name = self.name.as_deref().map(storable);
        changed!(&mut *transaction, transaction => sqlx::query(
                "INSERT INTO users (id, open_id, name, folded_name, email, login_method, role, created_at, \
                 updated_at, last_signed_in) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            )
            .bind(id)
            .bind(storable(&self.open_id))
            .bind(name.clone())
            .bind(name.as_deref().map(folded))
            .bind(self.email.as_deref().map(storable))
            .bind(self.login_method.as_deref().map(storable))
            .bind(role.name())
            .bind(self.created_at)
            .bind(self.updated_at)
            .bind(self.last_signed_in)
            .execute(&mut **transaction))?;
        note_role(transaction, id, &Actor::CommandLine, None, role, import.now).await?;
        Ok(Ok((id, Fate::New)))
    }
}

impl Row for TheirConversation {
    fn parent(&self) -> Option<(&'static str, i64)> {
        Some((TheirUser::NAME, self.user_id))
    }

    fn refusal(&self) -> Option<&'static str> {
        None
    }

    fn changing(&self) -> Vec<Option<String>> {
        vec![stored(self.title.as_deref())]
    }

    async fn here(transaction: &mut Write, ours: i64) -> sqlx::Result<Option<Vec<Option<String>>>> {
        let title: Option<(Option<String>,)> = on!(transaction, transaction => sqlx::query_as(
                "SELECT title FROM conversations WHERE id = $1",
            )
            .bind(ours)
            .fetch_optional(&mut **transaction)
            .await)?;
        Ok(title.map(|(title,)| vec![title]))
    }

    async fn update(&self, transaction: &mut Write, ours: i64) -> sqlx::Result<()> {
        changed!(transaction, transaction => sqlx::query(
                "UPDATE conversations SET title = $2, updated_at = $3 WHERE id = $1",
            )
            .bind(ours)
            .bind(stored(self.title.as_deref()))
            .bind(self.updated_at)
            .execute(&mut **transaction))?;
        Ok(())
    }

    async fn write(
        &self,
        transaction: &mut Write,
        user: i64,
        greatest: i64,
        _: &Import<'_>,
    ) -> anyhow::Result<Result<(i64, Fate), &'static str>> {
        let live: Option<i64> = on!(&mut *transaction, transaction => sqlx::query_scalar(
                "SELECT id FROM users WHERE id = $1 AND deleted_at IS NULL",
            )
            .bind(user)
            .fetch_optional(&mut **transaction)
            .await)?;
        if live.is_none() {
            return Ok(Err("its user was deleted here"));
        }
        let id = number(transaction, Self::NAME, self.id, greatest).await?;
        changed!(&mut *transaction, transaction => sqlx::query(
                "INSERT INTO conversations (id, user_id, title, created_at, updated_at) \
                 VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(id)
            .bind(user)
            .bind(self.title.as_deref().map(storable))
            .bind(self.created_at)
            .bind(self.updated_at)
            .execute(&mut **transaction))?;
        Ok(Ok((id, Fate::New)))
    }
}

impl Row for TheirMessage {
    fn parent(&self) -> Option<(&'static str, i64)> {
        Some((TheirConversation::NAME, self.conversation_id))
    }

    fn refusal(&self) -> Option<&'static str> {
        let is_known = matches!(self.role.as_str(), "user" | "assistant" | "system");
        (!is_known).then_some("its role is none of `user`, `assistant` and `system`")
    }

    fn changing(&self) -> Vec<Option<String>> {
        vec![stored(Some(&self.content))]
    }

    async fn here(transaction: &mut Write, ours: i64) -> sqlx::Result<Option<Vec<Option<String>>>> {
        let content: Option<String> = on!(transaction, transaction => sqlx::query_scalar(
                "SELECT content FROM messages WHERE id = $1",
            )
            .bind(ours)
            .fetch_optional(&mut **transaction)
            .await)?;
        Ok(content.map(|content| vec![Some(content)]))
    }

    async fn update(&self, transaction: &mut Write, ours: i64) -> sqlx::Result<()> {
        changed!(transaction, transaction => sqlx::query(
                "UPDATE messages SET content = $2 WHERE id = $1",
            )
            .bind(ours)
            .bind(storable(&self.content))
            .execute(&mut **transaction))?;
        Ok(())
    }

    async fn write(
        &self,
        transaction: &mut Write,
        conversation: i64,
        _: i64,
        _: &Import<'_>,
    ) -> anyhow::Result<Result<(i64, Fate), &'static str>> {
        let ours: Option<i64> = returned!(&mut *transaction, transaction => sqlx::query_scalar(
                "INSERT INTO messages (conversation_id, role, content, created_at) \
                 SELECT id, $2, $3, $4 FROM conversations WHERE id = $1 RETURNING id",
            )
            .bind(conversation)
            .bind(&self.role)
            .bind(storable(&self.content))
            .bind(self.created_at)
            .fetch_all(&mut **transaction))?;
        match ours {
            Some(ours) => Ok(Ok((ours, Fate::New))),
            None => Ok(Err("its conversation was deleted here")),
        }
    }
}
