//! flagd's `fractional`, second version: flag key and targeting key without anything between them.

use super::{murmur3_32, scaled};

/// flagd scales the hash to the sum of the weights and lets in what is below the first weight. As
/// `⌊h·t / 2³²⌋ < w` says the same as `h / 2³² < w/t`, the scale of 100,000 gives the same users for
/// every pair of weights whose share is a whole number of thousandths of a percent.
pub(super) fn bucket(flag: &str, key: &str) -> u32 {
    scaled(murmur3_32(flag, "", key))
}

#[cfg(test)]
mod tests {
    use super::super::tests::takes_exactly;
    use super::*;

    /// From flagd-testbed: four variants of a quarter each, by flag key and user name.
    #[test]
    fn quarters_are_those_of_the_testbed() {
        const SUITS: [&str; 4] = ["clubs", "diamonds", "hearts", "spades"];
        for (name, suit) in [
            ("jack", "hearts"),
            ("queen", "spades"),
            ("ten", "clubs"),
            ("nine", "diamonds"),
            ("3", "clubs"),
        ] {
            let quarter = bucket("fractional-flag", name) / 25_000;
            assert_eq!(SUITS[quarter as usize], suit, "{name}");
        }
    }

    /// From flagd-testbed: halves by targeting key alone, with hashes next to the limits.
    #[test]
    fn hashes_at_the_limits_fall_where_the_testbed_has_them() {
        for lower in ["ejOoVL", "bY9fO-", "SI7p-"] {
            assert!(bucket("", lower) < 50_000, "{lower}");
        }
        for upper in ["6LvT0", "ceQdGm"] {
            assert!(bucket("", upper) >= 50_000, "{upper}");
        }
    }

    #[test]
    fn any_weights_of_the_same_share_take_the_same_users() {
        for id in 0..20_000 {
            let id = format!("user-{id}");
            let hash = u64::from(murmur3_32("flag", "", &id));
            for (weight, total) in [(1, 10), (10, 100), (25, 200), (1, 1000), (33_333, 100_000)] {
                let is_in_flagd = ((hash * total) >> 32) < weight;
                let share = weight * 100_000 / total;
                assert_eq!(u64::from(bucket("flag", &id)) < share, is_in_flagd, "{id}");
            }
        }
    }

    #[test]
    fn a_share_takes_whoever_is_below_it() {
        let bucket = bucket("fractional-flag", "nine");
        let percent = f64::from(bucket) / 1000.0;
        takes_exactly(bucket, percent + 0.001, percent);
    }
}
