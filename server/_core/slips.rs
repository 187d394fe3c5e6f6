//! Slips that people make when they paste an address, a key or a path into a setting or a catalog.
//!
//! Each of them would be sent as it stands and fail much later, at a stranger's server, with a text
//! that does not say why. A reason completes “`NAME` is `…` and …” and never repeats the value.

/// Marks that stand around a value where a file keeps them, as Docker's `--env-file` does.
const QUOTES: [char; 10] = ['"', '\'', '`', '“', '”', '‘', '’', '„', '«', '»'];

/// What comes after a base URL when somebody pasted the address of one call.
const CALLS: [&str; 6] = [
    "/chat/completions",
    "/completions",
    "/responses",
    "/embeddings",
    "/models",
    "/v2/enqueue",
];

const QUOTED: &str = "stands in quotation marks, which would be part of the value";

/// For any value.
pub fn in_value(text: &str) -> Option<&'static str> {
    let (first, last) = (text.chars().next()?, text.chars().next_back()?);
    let is_quoted =
        text.chars().nth(1).is_some() && QUOTES.contains(&first) && QUOTES.contains(&last);
    is_quoted.then_some(QUOTED)
}

/// For what is sent as a bearer token.
pub fn in_key(text: &str) -> Option<&'static str> {
    let starts_with = |word: &str| {
        let start = text.get(..word.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(word))
    };
    let names_itself = text.split_once('=').is_some_and(|(name, rest)| {
        let is_name = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        !rest.trim_matches('=').is_empty() && name.contains('_') && name.bytes().all(is_name)
    });
    if text.starts_with(QUOTES) || text.ends_with(QUOTES) {
        Some("begins or ends with a quotation mark, which would be sent along")
    } else if starts_with("bearer ") || starts_with("bearer:") || starts_with("authorization:") {
        Some(
            "begins with a word of the HTTP header, such as `Bearer`, which the server adds itself",
        )
    } else if names_itself {
        Some("begins with the name of a variable and `=`")
    } else if text.starts_with('<') && text.ends_with('>') {
        Some("stands in angle brackets, as in an example")
    } else if text.contains(char::is_whitespace) {
        Some("holds a blank or a line break")
    } else {
        None
    }
}

/// For an address.
pub fn in_url(text: &str) -> Option<&'static str> {
    if text.starts_with(QUOTES) || text.ends_with(QUOTES) {
        Some("begins or ends with a quotation mark")
    } else if text.starts_with('<') && text.ends_with('>') {
        Some("stands in angle brackets, as in an example")
    } else if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        Some("holds a blank or a line break")
    } else {
        None
    }
}

/// For an address that a path is appended to.
pub fn in_base_url(text: &str) -> Option<String> {
    if let Some(reason) = in_url(text) {
        return Some(reason.to_owned());
    }
    let path = text.trim_end_matches('/').to_ascii_lowercase();
    let call = CALLS.iter().find(|call| path.ends_with(**call))?;
    Some(format!(
        "ends in `{call}`, the address of one call; the server appends the path of a call itself"
    ))
}

/// For the path of a file or folder.
pub fn in_path(text: &str) -> Option<&'static str> {
    if text.starts_with('~') {
        Some("begins with `~`, which only a shell replaces by your home folder")
    } else if text.contains(char::is_control) {
        Some("holds a control character, such as a line break")
    } else {
        in_value(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pasted_key_is_told_from_a_key() {
        for slip in [
            "\"sk-1\"",
            "'sk-1'",
            "sk-1\"",
            "“sk-1”",
            "Bearer sk-1",
            "bearer sk-1",
            "Authorization: Bearer sk-1",
            "OPENROUTER_API_KEY=sk-1",
            "<your key>",
            "sk-1\nsk-2",
            "sk 1",
            "sk\t1",
        ] {
            assert!(in_key(slip).is_some(), "{slip}");
        }
        for key in [
            "sk-or-v1-0a",
            "bearer",
            "AAAA_BBBB==",
            "eyJh.eyJi.c_-",
            "a=b",
        ] {
            assert_eq!(in_key(key), None, "{key}");
        }
    }

    #[test]
    fn the_address_of_a_call_is_no_base_url() {
        for slip in [
            "https://a.example/v1/chat/completions",
            "https://a.example/v1/chat/completions/",
            "https://a.example/v1/Chat/Completions//",
            "https://a.example/v1/models",
            "https://a.example/v1\n",
            "https://a.example /v1",
            "'https://a.example/v1'",
            "<https://a.example/v1>",
        ] {
            assert!(in_base_url(slip).is_some(), "{slip}");
        }
        for url in [
            "https://a.example/api/v1",
            "https://a.example/v1/",
            "http://[::1]:8080",
        ] {
            assert_eq!(in_base_url(url), None, "{url}");
        }
    }

    #[test]
    fn paths_are_taken_as_they_are_but_for_home_and_control_characters() {
        for slip in [
            "~/models.toml",
            "~",
            "~me/models.toml",
            "a\nb",
            "\"models.toml\"",
        ] {
            assert!(in_path(slip).is_some(), "{slip}");
        }
        for path in ["models.toml", "a b/ü%20#?.toml", "dir/~x", "it's"] {
            assert_eq!(in_path(path), None, "{path}");
        }
    }
}
