//! Moves of procedures from the old server, and what was seen of them.

use std::collections::BTreeMap;

use anyhow::Context as _;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{
    Storage,
    changes::{self, ChangeLine},
    db::Write,
    outbox, storable, time,
};
use crate::{
    _core::{actor::Actor, units::Percent},
    alerting::Alert,
    dashboard::audit::AuditSubject,
    migration::{
        Mode,
        mode::Move,
        report::{CallCounts, Example, MoveTally},
        store::{BetsHeld, MoveStore},
    },
};

#[derive(sqlx::FromRow)]
struct Row {
    name: String,
    id: String,
    mode: String,
    share: String,
    at_ms: i64,
    actor: String,
    reason: String,
}

impl TryFrom<Row> for Move {
    type Error = anyhow::Error;

    fn try_from(row: Row) -> anyhow::Result<Self> {
        let damaged = || format!("the stored move `{}` is damaged", row.name);
        Ok(Self {
            mode: Mode::named(&row.mode).with_context(damaged)?,
            share: Percent::parse(&row.share).with_context(damaged)?,
            at: time(row.at_ms),
            actor: Actor::parse(&row.actor),
            id: row.id,
            name: row.name,
            reason: row.reason,
        })
    }
}

#[derive(sqlx::FromRow)]
struct ReportRow {
    procedure: String,
    compared: i64,
    differed: i64,
    incomparable: i64,
    dropped: i64,
    ours: i64,
    ours_failed: i64,
    ours_refused: i64,
    ours_us: i64,
    theirs: i64,
    theirs_failed: i64,
    theirs_refused: i64,
    theirs_us: i64,
    examples: String,
}

impl ReportRow {
    fn tally(&self) -> MoveTally {
        let calls = |count, failed, refused, micros| CallCounts {
            count,
            failed,
            refused,
            micros,
        };
        MoveTally {
            compared: self.compared,
            differed: self.differed,
            incomparable: self.incomparable,
            dropped: self.dropped,
            ours: calls(self.ours, self.ours_failed, self.ours_refused, self.ours_us),
            theirs: calls(
                self.theirs,
                self.theirs_failed,
                self.theirs_refused,
                self.theirs_us,
            ),
            examples: examples(&self.examples),
        }
    }
}

/// Examples that cannot be read are not shown; the next ones are.
fn examples(text: &str) -> Vec<Example> {
    serde_json::from_str(text).unwrap_or_default()
}

#[async_trait]
impl MoveStore for Storage {
    async fn moves(&self) -> anyhow::Result<Vec<Move>> {
        let rows: Vec<Row> = on!(self.db.read(), pool => sqlx::query_as(
                "SELECT name, id, mode, share, at_ms, actor, reason FROM moves ORDER BY name",
            )
            .fetch_all(pool)
            .await)
        .context("cannot read the moves of procedures")?;
        rows.into_iter().map(TryInto::try_into).collect()
    }

    async fn set_move(&self, change: &Move) -> anyhow::Result<()> {
        let set = async {
            let mut transaction = self.db.begin().await?;
            let before = move_of(&mut transaction, &change.name).await?;
            if before.as_ref().is_some_and(|it| it.id == change.id) {
                // It is stored, and only the answer was lost.
                return anyhow::Ok(());
            }
            // Of a name, all that begins with it is too much; of a namespace, exactly what is meant.
            let space = change.name.strip_suffix('*').unwrap_or("\n");
            for statement in [
                "DELETE FROM moves WHERE name = $1 OR substr(name, 1, length($2)) = $2",
                "DELETE FROM move_reports WHERE procedure = $1 OR substr(procedure, 1, length($2)) = $2",
            ] {
                changed!(&mut transaction, transaction => sqlx::query(statement)
                    .bind(&change.name)
                    .bind(space)
                    .execute(&mut **transaction))?;
            }
            write(&mut transaction, change).await?;
            note(&mut transaction, "set", before, change).await?;
            transaction.commit().await?;
            Ok(())
        };
        set.await
            .with_context(|| format!("cannot store the move of `{}`", change.name))
    }

    async fn take_back(
        &self,
        change: &Move,
        replaced: &str,
        alert: &Alert,
    ) -> anyhow::Result<bool> {
        let taken = async {
            let mut transaction = self.db.begin().await?;
            let before = move_of(&mut transaction, &change.name).await?;
            let Some(before) = before.filter(|it| it.id == replaced) else {
                return anyhow::Ok(false);
            };
            write(&mut transaction, change).await?;
            note(&mut transaction, "taken-back", Some(before), change).await?;
            outbox::insert(&mut transaction, alert).await?;
            transaction.commit().await?;
            Ok(true)
        };
        taken
            .await
            .with_context(|| format!("cannot store that `{}` was taken back", change.name))
    }

    async fn add_reports(&self, reports: &BTreeMap<String, MoveTally>) -> anyhow::Result<()> {
        let added = async {
            let mut transaction = self.db.begin().await?;
            for (procedure, tally) in reports {
                add(&mut transaction, procedure, tally).await?;
            }
            transaction.commit().await?;
            anyhow::Ok(())
        };
        added.await.context("cannot store what was seen of moves")
    }

    async fn hold_bets(
        &self,
        move_id: &str,
        holder: &str,
        held: Option<(i64, &str)>,
        now: DateTime<Utc>,
        until: DateTime<Utc>,
    ) -> anyhow::Result<BetsHeld> {
        let kept = async {
            let mut transaction = self.db.begin().await?;
            let mut place = None;
            if let Some((at, bets)) = held {
                let done = changed!(&mut transaction, transaction => sqlx::query(
                        "UPDATE move_bets SET bets = $4, until_ms = $5 \
                         WHERE move_id = $1 AND place = $2 AND holder = $3",
                    )
                    .bind(move_id)
                    .bind(at)
                    .bind(holder)
                    .bind(bets)
                    .bind(until.timestamp_millis())
                    .execute(&mut **transaction))?;
                place = (done > 0).then_some(at);
            }
            let left = left_behind(&mut transaction, move_id, holder, now).await?;
            if place.is_none() {
                place = take_place(&mut transaction, move_id, holder, until).await?;
            }
            transaction.commit().await?;
            sqlx::Result::Ok(BetsHeld { place, left })
        };
        let kept: sqlx::Result<_> = kept.await;
        kept.with_context(|| format!("cannot keep the bets about move `{move_id}`"))
    }

    async fn reports(&self) -> anyhow::Result<BTreeMap<String, MoveTally>> {
        let rows: Vec<ReportRow> = on!(self.db.read(), pool => sqlx::query_as(
                "SELECT r.procedure, r.compared, r.differed, r.incomparable, r.dropped, r.ours, r.ours_failed, r.ours_us, \
                 r.theirs, r.theirs_failed, r.theirs_us, r.examples, COALESCE(f.ours, 0) AS ours_refused, COALESCE(f.theirs, 0) AS theirs_refused \
                 FROM move_reports r LEFT JOIN move_refusals f ON f.procedure = r.procedure",
            )
            .fetch_all(pool)
            .await)
        .context("cannot read what was seen of moves")?;
        let tally = |row: ReportRow| (row.procedure.clone(), row.tally());
        Ok(rows.into_iter().map(tally).collect())
    }
}

/// Takes what processes that are gone had bet with.
async fn left_behind(
    transaction: &mut Write,
    move_id: &str,
    by: &str,
    now: DateTime<Utc>,
) -> sqlx::Result<Vec<String>> {
    let mut left = Vec::new();
    loop {
        // One after another, each named by what it is taken from: of two who look at once, one gets it.
        let next: Option<(i64, String, String)> = on!(&mut *transaction, transaction => sqlx::query_as(
                "SELECT place, holder, bets FROM move_bets \
                 WHERE move_id = $1 AND until_ms < $2 AND bets <> '' AND holder <> $3 \
                 ORDER BY place LIMIT 1",
            )
            .bind(move_id)
            .bind(now.timestamp_millis())
            .bind(by)
            .fetch_optional(&mut **transaction)
            .await)?;
        let Some((place, holder, bets)) = next else {
            return Ok(left);
        };
        let done = changed!(&mut *transaction, transaction => sqlx::query(
                "UPDATE move_bets SET bets = '', holder = '' \
                 WHERE move_id = $1 AND place = $2 AND holder = $3 AND bets <> '' AND until_ms < $4",
            )
            .bind(move_id)
            .bind(place)
            .bind(holder)
            .bind(now.timestamp_millis())
            .execute(&mut **transaction))?;
        if done > 0 {
            left.push(bets);
        }
    }
}

/// A place that nobody had; none where another process took it just now.
async fn take_place(
    transaction: &mut Write,
    move_id: &str,
    holder: &str,
    until: DateTime<Utc>,
) -> sqlx::Result<Option<i64>> {
    let place: i64 = on!(&mut *transaction, transaction => sqlx::query_scalar(
            "SELECT COALESCE(MAX(place) + 1, 0) FROM move_bets WHERE move_id = $1",
        )
        .bind(move_id)
        .fetch_one(&mut **transaction)
        .await)?;
    let done = changed!(transaction, transaction => sqlx::query(
            "INSERT INTO move_bets (move_id, place, holder, until_ms, bets) VALUES ($1, $2, $3, $4, '') \
             ON CONFLICT (move_id, place) DO NOTHING",
        )
        .bind(move_id)
        .bind(place)
        .bind(holder)
        .bind(until.timestamp_millis())
        .execute(&mut **transaction))?;
    Ok((done > 0).then_some(place))
}

async fn move_of(transaction: &mut Write, name: &str) -> anyhow::Result<Option<Move>> {
    let row: Option<Row> = on!(transaction, transaction => sqlx::query_as(
            "SELECT name, id, mode, share, at_ms, actor, reason FROM moves WHERE name = $1",
        )
        .bind(name)
        .fetch_optional(&mut **transaction)
        .await)?;
    row.map(TryInto::try_into).transpose()
}

async fn write(transaction: &mut Write, change: &Move) -> sqlx::Result<()> {
    changed!(transaction, transaction => sqlx::query(
            "INSERT INTO moves (name, id, mode, share, at_ms, actor, reason) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (name) DO UPDATE SET \
             id = excluded.id, mode = excluded.mode, share = excluded.share, \
             at_ms = excluded.at_ms, actor = excluded.actor, reason = excluded.reason",
        )
        .bind(&change.name)
        .bind(&change.id)
        .bind(change.mode.name())
        .bind(change.share.to_string())
        .bind(change.at.timestamp_millis())
        .bind(storable(&change.actor.to_string()))
        .bind(storable(&change.reason))
        .execute(&mut **transaction))?;
    // Of moves that are no more.
    changed!(transaction, transaction => sqlx::query(
            "DELETE FROM move_bets WHERE move_id NOT IN (SELECT id FROM moves)",
        )
        .execute(&mut **transaction))?;
    Ok(())
}

async fn note(
    transaction: &mut Write,
    action: &str,
    before: Option<Move>,
    change: &Move,
) -> sqlx::Result<()> {
    let state = |it: &Move| json!({"mode": it.mode, "share": it.share, "reason": it.reason});
    let line = ChangeLine {
        subject: AuditSubject::Moves,
        subject_id: &change.name,
        actor: &change.actor,
        action,
        before: before.as_ref().map(state),
        after: Some(state(change)),
    };
    changes::note(transaction, line, change.at).await
}

async fn add(transaction: &mut Write, procedure: &str, tally: &MoveTally) -> anyhow::Result<()> {
    let kept: Option<String> = on!(&mut *transaction, transaction => sqlx::query_scalar(
            "SELECT examples FROM move_reports WHERE procedure = $1",
        )
        .bind(procedure)
        .fetch_optional(&mut **transaction)
        .await)?;
    let mut all = MoveTally {
        examples: kept.as_deref().map(examples).unwrap_or_default(),
        ..MoveTally::default()
    };
    all.add(tally);
    let examples: Value = json!(all.examples);
    changed!(&mut *transaction, transaction => sqlx::query(
            "INSERT INTO move_reports (procedure, compared, differed, incomparable, dropped, ours, \
             ours_failed, ours_us, theirs, theirs_failed, theirs_us, examples) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
             ON CONFLICT (procedure) DO UPDATE SET \
             compared = move_reports.compared + excluded.compared, \
             differed = move_reports.differed + excluded.differed, \
             incomparable = move_reports.incomparable + excluded.incomparable, \
             dropped = move_reports.dropped + excluded.dropped, \
             ours = move_reports.ours + excluded.ours, \
             ours_failed = move_reports.ours_failed + excluded.ours_failed, \
             ours_us = move_reports.ours_us + excluded.ours_us, \
             theirs = move_reports.theirs + excluded.theirs, \
             theirs_failed = move_reports.theirs_failed + excluded.theirs_failed, \
             theirs_us = move_reports.theirs_us + excluded.theirs_us, \
             examples = excluded.examples",
        )
        .bind(procedure)
        .bind(tally.compared)
        .bind(tally.differed)
        .bind(tally.incomparable)
        .bind(tally.dropped)
        .bind(tally.ours.count)
        .bind(tally.ours.failed)
        .bind(tally.ours.micros)
        .bind(tally.theirs.count)
        .bind(tally.theirs.failed)
        .bind(tally.theirs.micros)
        .bind(storable(&examples.to_string()))
        .execute(&mut **transaction))?;
    changed!(transaction, transaction => sqlx::query(
            "INSERT INTO move_refusals (procedure, ours, theirs) VALUES ($1, $2, $3) \
             ON CONFLICT (procedure) DO UPDATE SET ours = move_refusals.ours + excluded.ours, \
             theirs = move_refusals.theirs + excluded.theirs",
        )
        .bind(procedure)
        .bind(tally.ours.refused)
        .bind(tally.theirs.refused)
        .execute(&mut **transaction))?;
    Ok(())
}
