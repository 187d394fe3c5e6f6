//! LaunchDarkly's percentage rollouts: thousandths of a percent by `flagKey.salt.key`.

use sha1::{Digest as _, Sha1};

use super::BUCKETS;

/// LaunchDarkly makes a number from 0 to 1 of the first 15 hexadecimal digits of a SHA-1 and lets
/// in what is below the weight, in 32-bit floats. So the bucket is the last weight that does not
/// let the user in, found by the same comparison; who is in none, is in the last variation there.
pub(super) fn bucket(salt: &str, key: &str) -> u32 {
    let value = value(salt, key);
    let is_in = |weight: u32| value < weight as f32 / BUCKETS as f32;
    // Off by one at most, which the comparison puts right.
    let near = ((f64::from(value) * f64::from(BUCKETS)) as u32).min(BUCKETS - 1);
    if is_in(near) {
        near.saturating_sub(1)
    } else if near + 1 < BUCKETS && !is_in(near + 1) {
        near + 1
    } else {
        near
    }
}

fn value(salt: &str, key: &str) -> f32 {
    const DIGITS: u64 = 0xFFF_FFFF_FFFF_FFFF;
    let mut hash = Sha1::new();
    for part in [salt, ".", key] {
        hash.update(part);
    }
    let [a, b, c, d, e, f, g, h, ..] = <[u8; 20]>::from(hash.finalize());
    let first = u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 4;
    first as f32 / DIGITS as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the test data of `go-server-sdk-evaluation`: flag `hashKey` with salt `saltyA`, and a
    /// rollout with seed 61.
    #[test]
    fn values_are_those_that_launchdarkly_published() {
        for (salt, key, expected) in [
            ("hashKey.saltyA", "userKeyA", 0.421_575_87_f32),
            ("hashKey.saltyA", "userKeyB", 0.670_848_5),
            ("hashKey.saltyA", "userKeyC", 0.103_431_06),
            ("hashKey.saltyA", "33333", 0.547_714_23),
            ("hashKey.saltyA", "99999", 0.730_965_8),
            ("61", "userKeyA", 0.098_012_07),
            ("61", "userKeyB", 0.144_837_77),
            ("61", "userKeyC", 0.924_264_1),
        ] {
            assert_eq!(value(salt, key), expected, "{salt} {key}");
        }
    }

    #[test]
    fn weights_take_the_same_users_as_in_32_bit_floats() {
        for id in 0..100_000 {
            let key = format!("user-{id}");
            let (value, bucket) = (value("flag.salt", &key), bucket("flag.salt", &key));
            for weight in bucket.saturating_sub(2)..(bucket + 3).min(BUCKETS) {
                let is_in = value < weight as f32 / 100_000.0;
                assert_eq!(bucket < weight, is_in, "{key} at {weight}");
            }
        }
    }
}
