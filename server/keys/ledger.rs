//! What one key may spend on one day, as far as this process knows: what the database has granted it,
//! what its calls have used, and what calls under way have reserved.
//!
//! The database counts as spent what it grants. So however many servers there are, all together spend no
//! more than the budget, and what a killed process had left counts as spent.

use std::time::Instant;

use super::KeyLimits;
use crate::_core::amount::Amount;

/// Grants are asked for with one of so many parts of the day's budget to spare, so that few calls wait for the
/// database. About that is also what a process that is killed loses.
const PART: i64 = 100;

/// The account of a key and a day.
#[derive(Debug)]
pub(super) struct KeyLedger {
    granted: Amount,
    used: Amount,
    reserved: Amount,
    /// What was free all the while since it was last written to the database.
    spare: Amount,
    /// What may be free, so that few calls wait.
    part: Amount,
    /// What the call needed that came last, and so the next one will.
    usual: Amount,
    /// Calls that have reserved something.
    open: u32,
    last_used: Instant,
}

impl KeyLedger {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            granted: Amount::default(),
            used: Amount::default(),
            reserved: Amount::default(),
            spare: Amount::default(),
            part: Amount::default(),
            usual: Amount::default(),
            open: 0,
            last_used: now,
        }
    }

    /// Reserves an amount for a call, or says what has to be granted first.
    pub(super) fn reserve(
        &mut self,
        need: Amount,
        limits: &KeyLimits,
        now: Instant,
    ) -> Result<(), Amount> {
        self.last_used = now;
        self.part = part(limits);
        let lacks = limits.limited(need - self.free()).at_least_zero();
        if lacks != Amount::default() {
            return Err(lacks);
        }
        self.usual = need;
        self.reserved += need;
        self.open += 1;
        self.note_free();
        Ok(())
    }

    /// Reserves more for a call that has reserved something already.
    pub(super) fn extend(
        &mut self,
        more: Amount,
        limits: &KeyLimits,
        now: Instant,
    ) -> Result<(), Amount> {
        let usual = self.usual;
        self.reserve(more, limits, now)?;
        self.usual = usual;
        self.open -= 1;
        Ok(())
    }

    /// The database has granted this.
    pub(super) fn grant(&mut self, amount: Amount) {
        self.granted += amount;
    }

    /// A call is over: what it had reserved, and what it used.
    pub(super) fn settle(&mut self, reserved: Amount, used: Amount, now: Instant) {
        self.last_used = now;
        self.reserved -= reserved;
        self.used += used;
        self.open = self.open.saturating_sub(1);
        self.note_free();
    }

    /// What the database does not know yet: what was used beyond what it granted, and, less than nothing, what
    /// other servers may have. That is what no call has needed since the last time, but for what is to spare; of a
    /// key that nobody uses now, it is all that is left. From here on it counts as written.
    pub(super) fn take_untold(&mut self, is_idle: bool) -> Amount {
        let untold = self.used - self.granted;
        let untold = match is_idle && self.open == 0 {
            true => untold,
            // Two parts at least, so that what was asked for to spare is not given back at once.
            false => {
                let next = self.part + (self.usual - self.part).at_least_zero();
                untold.at_least_zero() - (self.spare - self.part - next).at_least_zero()
            }
        };
        self.granted += untold;
        self.spare = self.free();
        untold
    }

    /// What was granted and is neither used nor reserved; less than nothing where more was used.
    pub(super) fn free(&self) -> Amount {
        self.granted - self.used - self.reserved
    }

    fn note_free(&mut self) {
        let free = self.free();
        let least = |free: i64| move |spare: i64| spare.min(free);
        self.spare = self.spare.map(least(free.tokens), least(free.cost.0));
    }

    /// Whether nothing has happened since then, and nothing is under way.
    pub(super) fn is_quiet_since(&self, then: Instant) -> bool {
        self.open == 0 && self.last_used <= then
    }

    /// Whether the database knows all.
    pub(super) fn is_told(&self) -> bool {
        self.open == 0 && self.used == self.granted
    }
}

/// What to ask the database for: what is lacking with something to spare, and, where that is too much,
/// what is lacking.
pub(super) fn wanted(lacks: Amount, limits: &KeyLimits) -> [Amount; 2] {
    [lacks + part(limits), lacks]
}

fn part(limits: &KeyLimits) -> Amount {
    let budget = limits.limited(limits.budget());
    budget.map(|it| it / PART, |it| it / PART)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::_core::units::Microdollars;

    fn amount(tokens: i64, cost: i64) -> Amount {
        let cost = Microdollars(cost);
        Amount { tokens, cost }
    }

    fn covers(amount: Amount, other: Amount) -> bool {
        amount.tokens >= other.tokens && amount.cost >= other.cost
    }

    #[test]
    fn what_is_not_limited_needs_no_grant_and_is_told_later() {
        let now = Instant::now();
        let limits = KeyLimits {
            tokens_per_day: Some(1_000),
            ..KeyLimits::default()
        };
        let mut ledger = KeyLedger::new(now);
        assert_eq!(
            ledger.reserve(amount(40, 7), &limits, now),
            Err(amount(40, 0))
        );
        assert_eq!(
            wanted(amount(40, 0), &limits),
            [amount(50, 0), amount(40, 0)]
        );
        ledger.grant(amount(50, 0));
        assert_eq!(ledger.reserve(amount(40, 7), &limits, now), Ok(()));
        assert_eq!(
            ledger.reserve(amount(11, 0), &limits, now),
            Err(amount(1, 0))
        );
        assert_eq!(ledger.take_untold(true), Amount::default());
        ledger.settle(amount(40, 7), amount(30, 6), now);
        assert_eq!(ledger.take_untold(false), amount(0, 6));
        assert_eq!(ledger.take_untold(true), amount(-20, 0));
        assert!(ledger.is_told() && ledger.is_quiet_since(now));
    }

    #[test]
    fn what_a_burst_was_granted_and_nobody_needs_after_it_is_given_back_while_the_key_is_in_use() {
        let now = Instant::now();
        let limits = KeyLimits {
            tokens_per_day: Some(100_000),
            ..KeyLimits::default()
        };
        let mut ledger = KeyLedger::new(now);
        ledger.grant(amount(91_000, 0));
        for _ in 0..20 {
            assert_eq!(ledger.reserve(amount(4_500, 0), &limits, now), Ok(()));
        }
        assert_eq!(ledger.take_untold(false), Amount::default());
        for _ in 0..20 {
            ledger.settle(amount(4_500, 0), amount(10, 0), now);
        }
        // Within this time calls had needed it.
        assert_eq!(ledger.take_untold(false).tokens, 0);
        // Within this one nobody needs more than one call.
        assert_eq!(ledger.reserve(amount(4_500, 0), &limits, now), Ok(()));
        ledger.settle(amount(4_500, 0), amount(10, 0), now);
        let spare = 91_000 - 200 - 4_500 - (1_000 + 4_500);
        assert_eq!(ledger.take_untold(false), amount(-spare, 0));
        // Nobody calls for some seconds: what the next one needs stays, and no more is given back.
        assert_eq!(ledger.take_untold(false), amount(-4_490, 0));
        for _ in 0..3 {
            assert_eq!(ledger.take_untold(false), Amount::default());
        }
        assert_eq!(ledger.reserve(amount(4_500, 0), &limits, now), Ok(()));
        assert_eq!(ledger.take_untold(false), Amount::default());
    }

    proptest! {
        /// However calls begin, end and cost, the grants cover what is reserved and, but for what calls
        /// used beyond that, what is used; and in the end the database knows what was used.
        #[test]
        fn grants_cover_what_is_reserved(
            steps in prop::collection::vec((0..3_u8, 0..50_i64, 0..80_i64), 1..200),
        ) {
            let now = Instant::now();
            let limits = KeyLimits { tokens_per_day: Some(1_000), dollars_per_day: Some(0.001), ..KeyLimits::default() };
            let budget = limits.budget();
            let (mut ledger, mut database, mut open) = (KeyLedger::new(now), Amount::default(), Vec::new());
            let (mut used, mut beyond) = (Amount::default(), Amount::default());
            for (step, need, spent) in steps {
                let (need, spent) = (amount(need, need), amount(spent, spent));
                match step {
                    0 => match ledger.reserve(need, &limits, now) {
                        Ok(()) => open.push(need),
                        Err(lacks) => {
                            let fits = |it: &Amount| covers(budget, database + *it);
                            if let Some(granted) = wanted(lacks, &limits).into_iter().find(fits) {
                                database += granted;
                                ledger.grant(granted);
                                prop_assert_eq!(ledger.reserve(need, &limits, now), Ok(()));
                                open.push(need);
                            }
                        }
                    },
                    1 => if let Some(need) = open.pop() {
                        ledger.settle(need, spent, now);
                        used += spent;
                        beyond += (spent - need).at_least_zero();
                    },
                    _ => database += ledger.take_untold(need.tokens % 2 == 0),
                }
                prop_assert!(covers(budget + beyond, used), "{:?} of {:?}", used, budget);
            }
            for need in open {
                ledger.settle(need, Amount::default(), now);
            }
            database += ledger.take_untold(true);
            prop_assert_eq!(database, used);
        }
    }
}
