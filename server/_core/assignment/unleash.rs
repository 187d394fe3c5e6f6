//! Unleash's `flexibleRollout`: whole percents of users by `groupId:userId`.

use super::murmur3_32;

/// Unleash numbers users `n` from 1 to 100 and lets in `n ≤ percentage`. The last thousandth of
/// percent `n` is the bucket for that: it is below a share exactly if `n` is not above it, so that
/// 12.9 % lets in the users of 12 %, as there.
pub(super) fn bucket(group: &str, id: &str) -> u32 {
    let number = murmur3_32(group, ":", id) % 100 + 1;
    number * super::PER_PERCENT - 1
}

#[cfg(test)]
mod tests {
    use super::super::tests::takes_exactly;
    use super::*;

    /// From `unleash-node-sdk/src/test/strategy/util.test.ts`.
    #[test]
    fn numbers_are_those_that_unleash_published() {
        for (group, id, number) in [("gr1", "123", 73), ("groupX", "999", 25)] {
            assert_eq!(bucket(group, id), number * 1000 - 1, "{group}:{id}");
        }
    }

    /// From `client-specification`, case 10: two of them lie on the limit.
    #[test]
    fn users_of_unleash_s_specification_are_in_and_out_as_there() {
        for (group, id, number) in [
            ("Feature.flexibleRollout.10", "174", 10),
            ("Feature.flexibleRollout.10", "499", 32),
            ("Feature.flexibleRollout.userId.55", "25", 55),
            ("Feature.flexibleRollout.sessionId.42", "147", 42),
        ] {
            takes_exactly(
                bucket(group, id),
                f64::from(number),
                f64::from(number) - 0.001,
            );
        }
    }

    #[test]
    fn a_share_between_two_percents_takes_the_users_of_the_lower_one() {
        let bucket = bucket("Feature.flexibleRollout.10", "174");
        takes_exactly(bucket, 10.0, 9.999);
        takes_exactly(bucket, 10.9, 9.5);
    }
}
