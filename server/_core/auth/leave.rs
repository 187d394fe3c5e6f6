//! Leave to do one thing until a time, for clients that can send no headers and only know an address.
//!
//! It is a code over the thing and the time that takes `JWT_SECRET` to make, so nothing is stored. It names nobody, and opens
//! nothing but that thing.

use chrono::{DateTime, Utc};

use super::SessionKey;

/// The code of leave to do this, until then in seconds since 1970; letters that an address can hold.
pub fn code(key: &SessionKey, what: &str, until: i64) -> anyhow::Result<String> {
    key.code_of(&named(what, until))
}

/// Whether this is that code, and its time is not over; compared in constant time.
pub fn holds(key: &SessionKey, what: &str, until: i64, code: &str, now: DateTime<Utc>) -> bool {
    now.timestamp() < until && key.vouches_for(&named(what, until), code)
}

/// What the code is made of: no part of another token can read so.
fn named(what: &str, until: i64) -> String {
    format!("leave to {what} until {until}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leave_is_for_one_thing_until_a_time_by_one_secret() {
        let key = |secret: &str| SessionKey::new(&secret.into());
        let own = key("0123456789abcdef0123456789abcdef");
        let code = code(&own, "hear", 100).unwrap();
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        assert!(holds(&own, "hear", 100, &code, at(99)));
        assert!(!holds(&own, "hear", 100, &code, at(100)));
        assert!(!holds(&own, "hear", 101, &code, at(99)));
        assert!(!holds(&own, "speak", 100, &code, at(99)));
        let other = key("another secret of thirty-two bytes");
        assert!(!holds(&other, "hear", 100, &code, at(99)));
        let safe = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        assert!(code.chars().all(safe), "{code}");
    }
}
