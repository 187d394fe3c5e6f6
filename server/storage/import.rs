//! Takes over users and conversations of the TypeScript server.
//!
//! What was taken over is noted by its number there (`imported`), in the transaction that writes it: so what is there twice is
//! taken once, an import that was broken off goes on, and a later one brings what is new. Users and conversations keep their
//! numbers where these are free; messages get new ones in their order. What changed there since it was taken over is brought up
//! to date, as long as nobody changed it here, which a hash of what was taken shows. Nothing else that is here is changed.

mod rows;

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use sqlx::QueryBuilder;

use self::rows::{ImportRow, go_on_above, lock};
use super::{
    Storage,
    db::Write,
    original::{Original, OriginalTable, TheirConversation, TheirMessage, TheirUser},
};

/// Numbers of refused rows that are listed for each reason.
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
enum RowFate {
    New,
    Joined,
    Refused(&'static str),
}

const NO_USER: &str = "its user is not here";
const NO_CONVERSATION: &str = "its conversation is not here";

impl Imported {
    fn count(&mut self, id: i64, fate: &RowFate) {
        match fate {
            RowFate::New => self.new += 1,
            RowFate::Joined => self.joined += 1,
            RowFate::Refused(reason) => {
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
    /// Takes over what the TypeScript server has. `tell` is called for each page: the table, and how far it is.
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

impl Import<'_> {
    async fn table<T: ImportRow>(
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

    async fn page<T: ImportRow>(
        &mut self,
        page: &[T],
        greatest: i64,
        imported: &mut Imported,
    ) -> anyhow::Result<()> {
        let ids: Vec<i64> = page.iter().map(OriginalTable::id).collect();
        let known = self.known(T::NAME, &ids).await?;
        let parents: Vec<i64> = page
            .iter()
            .filter_map(|it| it.parent().map(|it| it.1))
            .collect();
        let parent_table = page.first().and_then(ImportRow::parent).map(|it| it.0);
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
                counted.count(row.id(), &RowFate::Refused(reason));
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
                            counted.count(row.id(), &RowFate::New);
                            pretended.push(row.id());
                            continue;
                        }
                        None => {
                            let reason = match table {
                                TheirUser::NAME => NO_USER,
                                _ => NO_CONVERSATION,
                            };
                            counted.count(row.id(), &RowFate::Refused(reason));
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
                        RowFate::Joined => String::new(),
                        _ => hash(&row.changing()),
                    };
                    note(&mut transaction, T::NAME, (row.id(), ours), &taken).await?;
                    counted.count(row.id(), &fate);
                    pretended.push(row.id());
                }
                Err(reason) => counted.count(row.id(), &RowFate::Refused(reason)),
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

/// Brings a row up to date that was taken over before, where it changed there and not here.
async fn again<T: ImportRow>(
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
