//! What a write does to the database in memory, whenever it arrives.

use super::*;

impl Database {
    pub(super) fn commit(&mut self, fence: &Fence, commit: &Commit) -> Result<(), CommitError> {
        let db = self;
        db.commits += 1;
        let failure = db.failures.pop_front().flatten();
        let lost = || CommitError::Store(anyhow::anyhow!("the disk is full"));
        if failure == Some(Failure::Before) || db.is_full {
            return Err(lost());
        }
        let own = commit.batches.iter().filter(|it| it.writer().is_none());
        if own.flat_map(Ordered::events).any(|it| db.refuses(it)) {
            return Err(CommitError::Store(anyhow::anyhow!(REFUSED)));
        }
        if !db.is_held_by(fence) || commit.head != db.head {
            return Err(CommitError::Fenced);
        }
        let lacks = |it: &Ordered| {
            let writer = it.writer().and_then(|id| db.writers.get(id as usize));
            it.writer().is_some() && writer.is_none_or(|(_, last)| *last < it.number())
        };
        if commit.batches.iter().any(lacks) {
            return Err(CommitError::Fenced);
        }
        let mut rollouts = db.rollouts.clone();
        for change in &commit.rollouts {
            let new = &change.rollout;
            let old = rollouts.iter_mut().find(|it| it.id == new.id);
            match (old, change.based_on) {
                (Some(old), Some(based_on)) if old.version == based_on => *old = new.clone(),
                (None, None) => rollouts.push(new.clone()),
                (old, based_on) => {
                    return Err(CommitError::Stale {
                        rollout_id: new.id.clone(),
                        based_on: based_on.unwrap_or(0),
                        current: old.map_or(0, |it| it.version),
                    });
                }
            }
        }
        let own = commit.batches.iter().find(|it| it.writer().is_none());
        if let Some(first) = own {
            let row = db.writers.get(fence.writer as usize);
            if row.is_none_or(|(holder, last)| *holder != *fence.holder || *last >= first.number())
            {
                return Err(CommitError::Fenced);
            }
        }
        db.rollouts = rollouts;
        for batch in &commit.batches {
            if batch.writer().is_none() {
                let (_, last_batch) = &mut db.writers[fence.writer as usize];
                assert!(batch.number() > *last_batch, "of a writer's batches");
                *last_batch = batch.number();
                db.batches.push(Batch {
                    writer: Some(fence.writer),
                    ..batch.clone().into_batch()
                });
            }
            let writer = batch.writer().unwrap_or(fence.writer);
            let before = db.ordered.insert(writer, batch.number());
            assert!(before < Some(batch.number()), "each in its writer's order");
            assert_eq!(batch.first_seq(), db.head + 1, "of the log");
            db.head = batch.last_seq();
            db.events.extend_from_slice(batch.events());
        }
        for change in &commit.rollouts {
            db.audit.extend(change.audit.clone());
            for alert in &change.alerts {
                let is_new = db.alerts.iter().all(|it| it.id != alert.id);
                assert!(is_new, "alert `{}` is stored twice", alert.title);
                db.alerts.push(alert.clone());
            }
        }
        db.note();
        match failure {
            Some(_) => Err(lost()),
            None => Ok(()),
        }
    }

    pub(super) fn append(
        &mut self,
        holder: &str,
        writer: i64,
        after: i64,
        batch: &Batch,
    ) -> anyhow::Result<i64> {
        let db = self;
        anyhow::ensure!(!db.is_full, "the disk is full");
        anyhow::ensure!(!batch.events.iter().any(|it| db.refuses(it)), REFUSED);
        let failure = db.failures.pop_front().flatten();
        anyhow::ensure!(failure != Some(Failure::Before), "the disk is full");
        let row = db.writers.get_mut(writer as usize);
        let Some((_, last_batch)) = row.filter(|(it, _)| it == holder) else {
            anyhow::bail!("the database does not know this process any more");
        };
        if *last_batch != after {
            return Ok(*last_batch);
        }
        *last_batch = batch.number;
        db.batches.push(Batch {
            writer: Some(writer),
            ..batch.clone()
        });
        anyhow::ensure!(failure.is_none(), "the answer is lost");
        db.note();
        Ok(batch.number)
    }
}
