//! About how many tokens a text is, where nobody says.

use serde_json::value::RawValue;

use super::RawObject;

/// Bytes of ASCII that make ten tokens: few tokenizers need more for a text of a European language.
const ASCII_PER_TEN: usize = 36;
/// The same of other bytes: a letter has two or more of them.
const OTHER_PER_TEN: usize = 20;
/// Images and files come as base64, and few models take more for one.
const FILE: usize = 1_600;
const FILE_MARK: &str = ";base64,";

/// Tokens of a text, or of JSON as if it were one; files in it count as one each.
pub fn tokens_of(text: &str) -> u64 {
    let (mut rest, mut tokens) = (text, 0);
    while let Some((before, file)) = rest.split_once(FILE_MARK) {
        let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '\\');
        rest = file.trim_start_matches(is_base64);
        tokens += of_plain(before) + FILE;
    }
    (tokens + of_plain(rest)) as u64
}

fn of_plain(text: &str) -> usize {
    let ascii = text.bytes().filter(u8::is_ascii).count();
    let other = text.len() - ascii;
    (ascii * 10).div_ceil(ASCII_PER_TEN) + (other * 10).div_ceil(OTHER_PER_TEN)
}

/// Tokens that a model reads of a chat completion's body, or of one for embeddings.
pub fn prompt_tokens(body: &RawObject) -> u64 {
    let read = ["messages", "tools", "functions", "response_format", "input"];
    let texts = read.iter().filter_map(|name| body.get(name));
    texts.map(RawValue::get).map(tokens_of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_counts_as_one_and_letters_by_their_bytes() {
        assert_eq!(tokens_of(""), 0);
        assert_eq!(tokens_of(&"word ".repeat(72)), 100);
        assert_eq!(tokens_of("æøå"), 3);
        let image = format!("data:image/png;base64,{}", "iVBOR/+0".repeat(100_000));
        assert_eq!(
            tokens_of(&format!("{image}\" {image}\"")),
            1_600 * 2 + 4 + 5 + 1
        );
        let body = RawObject::parse(br#"{"messages":"hej hej!","user":"nobody counts this"}"#);
        assert_eq!(prompt_tokens(&body.unwrap()), 3);
    }
}
