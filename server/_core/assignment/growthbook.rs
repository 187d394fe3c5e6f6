//! GrowthBook's hash, version 2: hundredths of a percent by seed and attribute.

/// GrowthBook numbers users from 0 to 9,999 and lets in a range `[0, share)`, as experiments and
/// safe rollouts use it. A rule with a bare `coverage` compares with `≤` instead: a share of 0.01 %
/// more mirrors that.
pub(super) fn bucket(seed: &str, value: &str) -> u32 {
    number(seed, value) * (super::BUCKETS / NUMBERS)
}

const NUMBERS: u32 = 10_000;

fn number(seed: &str, value: &str) -> u32 {
    let first = fnv1a_32(seed.encode_utf16().chain(value.encode_utf16()));
    fnv1a_32(first.to_string().encode_utf16()) % NUMBERS
}

/// FNV-1a over UTF-16 units, as GrowthBook's own JavaScript has it; over ASCII these are bytes.
fn fnv1a_32(units: impl Iterator<Item = u16>) -> u32 {
    units.fold(0x811c_9dc5, |hash, unit| {
        (hash ^ u32::from(unit)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::takes_exactly;
    use super::*;

    /// From GrowthBook's `cases.json`, specification 0.8.0.
    #[test]
    fn numbers_are_those_that_growthbook_published() {
        for (seed, value, expected) in [
            ("seed", "a", 505),
            ("seed", "b", 2696),
            ("foo", "ab", 2575),
            ("foo", "def", 2019),
            ("89123klj", "8952klfjas09ujkasdf", 1240),
            ("90850943850283058242805", "123", 7516),
            ("()**(%$##$%#$#", "___)((*\":&", 128),
        ] {
            assert_eq!(number(seed, value), expected, "{seed} {value}");
        }
    }

    #[test]
    fn a_range_takes_its_lower_end_and_not_its_upper_one() {
        takes_exactly(bucket("seed", "a"), 5.06, 5.05);
        takes_exactly(bucket("()**(%$##$%#$#", "___)((*\":&"), 1.281, 1.28);
    }
}
