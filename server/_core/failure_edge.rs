//! Something that is tried again and again while it fails: where that begins and where it ends deserve a
//! line in the server's log, and what lies between does not.

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether something fails at present.
#[derive(Debug, Default)]
pub struct FailureEdge(AtomicBool);

impl FailureEdge {
    /// Notes a failure. Returns whether it is the first since the last success.
    pub fn begins(&self) -> bool {
        !self.0.swap(true, Ordering::Relaxed)
    }

    /// Notes a success. Returns whether it is the first since the last failure.
    pub fn ends(&self) -> bool {
        // Successes are many, and reading is cheaper than writing.
        self.0.load(Ordering::Relaxed) && self.0.swap(false, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_first_failure_and_its_first_success_are_told() {
        let outage = FailureEdge::default();
        assert!(!outage.ends());
        assert_eq!([(); 3].map(|()| outage.begins()), [true, false, false]);
        assert_eq!([(); 2].map(|()| outage.ends()), [true, false]);
        assert!(outage.begins());
    }
}
