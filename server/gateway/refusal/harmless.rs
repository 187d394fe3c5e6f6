//! What of a provider's words may reach a caller: all but addresses and what looks like a key.

/// How keys of providers begin.
const KEYS: [&str; 14] = [
    "sk-", "sk_", "pk-", "pk_", "gsk_", "AIza", "mr_", "xai-", "hf_", "eyJ", "AKIA", "r8_",
    "nvapi-", "pplx-",
];

/// What a provider said, without addresses and without what looks like a key.
pub(super) fn harmless(text: &str) -> String {
    let mut follows_bearer = false;
    let words = text.split_whitespace().map(|word| {
        let is_bearer = word.trim_end_matches(':').eq_ignore_ascii_case("bearer");
        let is_token = std::mem::replace(&mut follows_bearer, is_bearer) && word.len() >= 8;
        match word {
            word if is_token || is_key(word) => "[key]",
            word if is_address(word) => "[address]",
            word => word,
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Whether a key stands anywhere in a word: behind `api:`, in brackets, in quotation marks.
fn is_key(word: &str) -> bool {
    let mut pieces =
        word.split(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_' | '.'));
    pieces.any(|piece| piece.len() >= 8 && KEYS.iter().any(|start| piece.starts_with(start)))
}

/// Whether a word names a machine or one of its files: an address of the web, of IPv4 or IPv6, a name with
/// a port, or a path of three parts and more.
fn is_address(word: &str) -> bool {
    let word = word
        .trim_matches(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '/' | '[' | ']' | ':'));
    let is_number = |part: &str| part.parse::<u8>().is_ok();
    let is_ipv4 = |part: &str| part.split('.').count() == 4 && part.split('.').all(is_number);
    let mut pieces = word.split(|c: char| !c.is_ascii_digit() && c != '.');
    // `1.2.3.400` is a version, and so is `v1.2.3.4`.
    let has_ipv4 = pieces.any(is_ipv4) && !word.starts_with('v');
    let is_ipv6 = word.matches(':').count() >= 2
        && word.contains("::")
        && word
            .chars()
            .all(|c| c.is_ascii_hexdigit() || matches!(c, ':' | '[' | ']' | '.' | '/'));
    let has_port = |(host, port): (&str, &str)| {
        let port = port.split('/').next().unwrap_or_default();
        host.contains('.')
            && host.chars().any(|c| c.is_ascii_alphabetic())
            && (2..=5).contains(&port.len())
            && port.chars().all(|c| c.is_ascii_digit())
    };
    word.contains("://")
        || word.contains("localhost")
        || has_ipv4
        || is_ipv6
        || word.rsplit_once(':').is_some_and(has_port)
        || (word.starts_with('/') && word.matches('/').count() >= 3 && !word.starts_with("/v1/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_addresses_of_a_provider_are_not_told() {
        for (said, told) in [
            (
                "Incorrect key: sk-secret-key. See https://x/y",
                "Incorrect key: [key] See [address]",
            ),
            ("at 127.0.0.1:9300/v1 now", "at [address] now"),
            ("version 1.2.3.400 is a tool", "version 1.2.3.400 is a tool"),
            (
                "x=sk-OTHERSECRET99999 api:sk-proj-OTHER8 (xai-ABCDEFGH1234) 'hf_abcdefghijkl'",
                "[key] [key] [key] [key]",
            ),
            (
                "Authorization: Bearer abcdefgh123 refused",
                "Authorization: Bearer [key] refused",
            ),
            (
                "host=gpu-7.internal.corp:8000 [fd00::1]:80 (10.0.0.9) redis@10.4.4.4 /srv/models/x.py",
                "[address] [address] [address] [address] [address]",
            ),
            (
                "model meta-llama/llama-3.1:free, ratio 1.5:2, at 12:30, in messages.1.content",
                "model meta-llama/llama-3.1:free, ratio 1.5:2, at 12:30, in messages.1.content",
            ),
        ] {
            assert_eq!(harmless(said), told);
        }
    }
}
