//! What is done to one process: to its way to the store, and to its clock.

use rand::Rng as _;

use super::Fleet;

impl Fleet {
    /// Does some of it.
    pub(super) fn harm(&mut self, place: usize) -> String {
        let rig = &self.rigs[place];
        let link = &rig.store.1;
        match self.draws.random_range(0..100) {
            0..15 => {
                link.cut();
                "its way to the store is cut".into()
            }
            15..30 => {
                let writes = self.draws.random_range(0..3);
                link.cut_after(writes);
                format!("its way to the store is cut after {writes} writes")
            }
            30..50 => {
                link.mend();
                "its way to the store is whole".into()
            }
            50..65 => {
                let writes = self.draws.random_range(1..3);
                link.slow(writes);
                format!("its next {writes} writes are late")
            }
            65..80 => {
                let is_doubled = self.draws.random_bool(0.3);
                let has_come = rig.store.arrive(is_doubled);
                format!("a late write arrives: {has_come}, and will again: {is_doubled}")
            }
            80..95 => {
                let ahead_ms = self.draws.random_range(-500..=500);
                rig.clock.step(ahead_ms);
                format!("its clock is {ahead_ms} ms ahead")
            }
            _ => {
                let ahead_ms = 3_600_000 * self.draws.random_range(-1..=1);
                rig.clock.step(ahead_ms);
                format!("its clock is {ahead_ms} ms ahead")
            }
        }
    }
}
