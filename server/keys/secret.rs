//! The secret of a key.
//!
//! A key is `mr_`, eight characters that find it, `_`, and 43 characters that nobody can guess (256 bits),
//! with four more that are computed from the rest, so that a slip is recognised without a look-up. It
//! is shown once. The database keeps a hash of the whole, so nobody calls with what a copy of it holds; 256
//! random bits need no slow one.

use rand::{Rng, distr::Alphanumeric};
use secrecy::SecretString;
use sha2::{Digest, Sha256};

const PREFIX: &str = "mr_";
const ID: usize = 8;
const SECRET: usize = 43;
const CHECK: usize = 4;

/// A secret, in the forms that are kept and shown.
pub struct Secret {
    /// What finds it.
    pub id: String,
    /// What the database keeps.
    pub hash: String,
    /// The whole, to be shown once.
    pub whole: SecretString,
}

impl Secret {
    /// A new one.
    pub fn new() -> Self {
        let letters = |count| -> String {
            let random = rand::rng().sample_iter(Alphanumeric);
            random.take(count).map(char::from).collect()
        };
        let id = letters(ID);
        let start = format!("{PREFIX}{id}_{}", letters(SECRET));
        let whole = format!("{start}{}", check(&start));
        Self {
            id,
            hash: hash(&whole),
            whole: whole.into(),
        }
    }
}

impl Default for Secret {
    fn default() -> Self {
        Self::new()
    }
}

pub(super) fn hash(whole: &str) -> String {
    format!("{:x}", Sha256::digest(whole))
}

fn check(start: &str) -> String {
    let hash = hash(start);
    hash.get(..CHECK).unwrap_or_default().to_owned()
}

/// The part of a key that finds it; `None` for what nobody made.
pub(super) fn id_of(key: &str) -> Option<&str> {
    let id = key.strip_prefix(PREFIX)?.get(..ID)?;
    let (start, told) = key.split_at_checked(PREFIX.len() + ID + 1 + SECRET)?;
    (told == check(start)).then_some(id)
}

/// Whether a text has the form of a key.
pub(super) fn is_key(text: &str) -> bool {
    text.starts_with(PREFIX)
}

/// Whether two hashes are one, in a time that does not tell where they differ.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    let differences = one
        .bytes()
        .zip(other.bytes())
        .fold(0, |all, (a, b)| all | (a ^ b));
    one.len() == other.len() && differences == 0
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_slip_in_a_key_is_seen_without_a_look_up() {
        let secret = Secret::new();
        let whole = secret.whole.expose_secret();
        assert_eq!(whole.len(), 59);
        assert_eq!(id_of(whole), Some(secret.id.as_str()));
        assert_eq!(secret.hash, hash(whole));
        assert!(is_key(whole) && !is_key("eyJ0"));
        let slip = format!("{}{}", &whole[..30], whole[30..].to_ascii_lowercase());
        for wrong in [
            slip.as_str(),
            &whole[..58],
            &format!("{whole}x"),
            "mr_",
            "mr_æøåæøåæø",
            "",
        ] {
            assert!(wrong == whole || id_of(wrong).is_none(), "{wrong}");
        }
        assert!(is_same("ab", "ab") && !is_same("ab", "ac") && !is_same("ab", "abc"));
    }
}
