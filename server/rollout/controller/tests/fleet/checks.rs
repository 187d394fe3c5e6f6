//! What must hold, whatever happens.

use super::*;

impl Fleet {
    /// What must hold after every step.
    pub(super) fn check(&mut self) {
        let store = self.rigs[0].store.clone();
        let db = store.0.lock();
        for (place, event) in db.events.iter().enumerate() {
            assert_eq!(
                event.seq,
                place as i64 + 1,
                "the log has no gap and no overlap"
            );
        }
        let ids: HashSet<_> = db.events.iter().map(|it| &it.request_id).collect();
        assert_eq!(ids.len(), db.events.len(), "nothing is in the log twice");
        for (place, row) in db.audit.iter().enumerate() {
            assert_eq!(row.version, place as i64 + 1, "versions have no gap");
            self.granted = self.granted.max(row.after.share.get());
        }
        let back = db
            .audit
            .iter()
            .position(|it| it.action == Action::RolledBack);
        assert!(
            back.is_none_or(|place| place + 1 == db.audit.len()),
            "nothing follows a rollback"
        );
        drop(db);
        for (place, rig) in self.rigs.iter().enumerate() {
            let serves = rig.serves();
            assert!(serves <= self.granted, "{serves} % of {} %", self.granted);
            let inner = rig.controller.inner.lock();
            let held = inner
                .rollouts
                .iter()
                .find(|it| it.status.state == RunState::RolledBack);
            self.knows_back[place] |= held.is_some();
            let held = inner.rollouts.iter().map(|it| {
                let status = &it.status;
                (
                    status.version,
                    status.state,
                    status.share,
                    it.caps.clone(),
                    it.owed.len(),
                    it.is_open,
                )
            });
            let least = self.asked.least_owed(place).unwrap_or(100.0);
            assert!(
                serves <= least,
                "{place} serves {serves} % and owes {least} %"
            );
            assert!(
                !self.knows_back[place] || serves == 0.0,
                "{place} knows of the rollback and serves {serves} %: {} {:?} {:?}",
                inner.is_numbering,
                held.collect::<Vec<_>>(),
                inner.lost
            );
            let believed = inner.last_stored;
            let is = store.0.lock().last_batch_of(rig.controller.holder());
            self.is_behind[place] &= believed > is;
            assert!(
                believed <= is || self.is_behind[place],
                "{place} takes batch {believed} for stored, of {is}"
            );
        }
    }

    /// Who leads and has written all knows what is stored: also what a write did whose answer was lost.
    pub(super) fn check_knowledge(&mut self, place: usize) {
        let controller = &self.rigs[place].controller;
        let inner = controller.inner.lock();
        let db = self.rigs[place].store.0.lock();
        if !inner.is_numbering || !db.is_led_by(controller.holder()) {
            return;
        }
        let (known, stored) = (inner.rollouts[0].base_version(), db.rollouts[0].version);
        self.has_come &= known < stored;
        assert!(
            known >= stored || self.has_come,
            "{place} leads by version {known} of {stored}"
        );
    }

    /// What must hold once faults have ended and all have had their turns.
    pub(super) async fn check_rest(&self) {
        let stored = stored(&self.rigs[0]);
        let count = self.rigs[0].store.0.lock().events.len();
        let known = stored.len();
        assert_eq!(known, count, "each event is in the log once");
        for request in 1..=self.requests {
            let request = request.to_string();
            let is_there = stored.contains(&request) || self.lost.contains(&request);
            let waits = self.rigs.iter().map(|rig| {
                let inner = rig.controller.inner.lock();
                let (pending, unsent) = (inner.pending.len(), inner.unsent.len());
                (
                    inner.is_numbering,
                    pending,
                    unsent,
                    inner.last_stored,
                    rig.log.waiting(),
                )
            });
            let waits: Vec<_> = waits.collect();
            assert!(is_there, "request {request} is not in the log: {waits:?}");
        }
        let leaders = self.rigs.iter().filter(|rig| rig.controller.leads());
        assert_eq!(leaders.count(), 1);
        let (id, share) = {
            let db = self.rigs[0].store.0.lock();
            let share = db.rollouts[0].status["share"].as_f64();
            (db.rollouts[0].id.clone(), share.expect("a share"))
        };
        for rig in &self.rigs {
            assert_eq!(rig.serves(), share, "all serve what is stored");
        }
        let replay = self.rigs[0].replay(&id).await;
        assert!(replay.is_identical, "{replay:?}");
        let now = self.rigs[0].controller.world.now().wall;
        for rig in &self.rigs {
            // A process that began later restores the rest from the database, which is not played here.
            let window = rig
                .metrics
                .window(crate::ai_metrics::window::Minutes::HOUR, now);
            let arms = [Variant::Control, Variant::Candidate];
            let seen: u64 = arms.iter().map(|it| window.totals(*it).requests).sum();
            assert!(
                seen <= self.requests as u64,
                "{seen} of {} requests",
                self.requests
            );
        }
    }
}
