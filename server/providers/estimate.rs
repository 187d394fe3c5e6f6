//! About how many tokens a text is, where nobody says.

use memchr::memmem;
use serde_json::value::RawValue;

use super::{Media, RawObject};

/// Bytes of ASCII that make ten tokens: few tokenizers need more for a text of a European language.
const ASCII_PER_TEN: usize = 36;
/// The same of other bytes: a letter has two or more of them.
const OTHER_PER_TEN: usize = 20;
/// Images and files come as base64, and few models take more for one.
const FILE: usize = 1_600;
const FILE_MARK: &str = ";base64,";
/// Sound comes as base64 alone, in a field of this name.
const DATA_MARK: &str = "\"data\":";
/// Letters of base64 that make one token of the sound that a model makes: 50 ms of 16 bits at 24 kHz, as OpenAI streams
/// and counts it.
const SOUND: usize = 3_200;
/// Shorter, it is a word.
const SHORTEST_FILE: usize = 64;

/// A text that may come in pieces; those of a stream are so short that rounding each up would count
/// them nearly twice.
#[derive(Clone, Copy, Debug, Default)]
pub struct Text {
    ascii: usize,
    other: usize,
    files: usize,
    sound: usize,
}

impl Text {
    /// The next piece: text, or JSON as if it were one. Files in it count as one each.
    pub fn add(&mut self, piece: &str) {
        let mut rest = piece;
        while let Some((before, file)) = split(rest, FILE_MARK) {
            rest = file.trim_start_matches(is_base64);
            self.add_fields(before);
            self.files += 1;
        }
        self.add_fields(rest);
    }

    /// Sound and pictures of the next piece.
    pub fn add_media(&mut self, media: Media) {
        self.files += media.pictures;
        self.sound += media.sound;
    }

    /// Text without what marks itself as base64.
    fn add_fields(&mut self, text: &str) {
        let mut rest = text;
        while let Some((before, value)) = split(rest, DATA_MARK) {
            self.add_plain(before);
            self.add_plain(DATA_MARK);
            let value = value.trim_start_matches(' ');
            let file = value.strip_prefix('"').unwrap_or(value);
            let behind = file.trim_start_matches(is_base64);
            let is_file = file.len() - behind.len() >= SHORTEST_FILE;
            self.files += usize::from(is_file);
            rest = if is_file { behind } else { value };
        }
        self.add_plain(rest);
    }

    fn add_plain(&mut self, text: &str) {
        let ascii = text.bytes().filter(u8::is_ascii).count();
        self.ascii += ascii;
        self.other += text.len() - ascii;
    }

    /// Tokens of all pieces so far.
    pub fn tokens(&self) -> u64 {
        let plain =
            (self.ascii * 10).div_ceil(ASCII_PER_TEN) + (self.other * 10).div_ceil(OTHER_PER_TEN);
        (plain + self.files * FILE + self.sound.div_ceil(SOUND)) as u64
    }
}

/// What stands before the first of these marks, and behind it. Prompts are long: this finds it several times as fast as
/// [`str::split_once`].
fn split<'a>(text: &'a str, mark: &str) -> Option<(&'a str, &'a str)> {
    let at = memmem::find(text.as_bytes(), mark.as_bytes())?;
    Some((text.get(..at)?, text.get(at + mark.len()..)?))
}

fn is_base64(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '+' | '/' | '=' | '\\')
}

/// Tokens of a whole text, as [`Text`] counts them.
pub fn tokens_of(text: &str) -> u64 {
    let mut whole = Text::default();
    whole.add(text);
    whole.tokens()
}

/// Tokens that a model reads of a chat completion's body, or of one for embeddings.
pub fn prompt_tokens(body: &RawObject) -> u64 {
    let read = ["messages", "tools", "functions", "response_format", "input"];
    let texts = read.iter().filter_map(|name| body.get(name));
    texts.map(RawValue::get).map(tokens_of).sum()
}

/// How many tokens a chat completion's body lets each answer have. A server may know only one of the two fields.
pub fn asked_length(body: &RawObject) -> Option<u64> {
    let both = ["max_completion_tokens", "max_tokens"];
    both.into_iter().filter_map(|name| number(body, name)).max()
}

/// A number of a body that is not negative, also one that is written with a point, or as a text: some servers
/// take that for the number.
pub fn number(body: &RawObject, name: &str) -> Option<u64> {
    let json = body.get(name)?.get();
    let text: Option<String> = serde_json::from_str(json).ok();
    let number: f64 = text.as_deref().unwrap_or(json).trim().parse().ok()?;
    (number.is_finite() && number >= 0.0).then_some(number.ceil() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_counts_as_one_and_letters_by_their_bytes() {
        assert_eq!(tokens_of(""), 0);
        assert_eq!(tokens_of(&"word ".repeat(72)), 100);
        assert_eq!(tokens_of("æøå"), 3);
        let mut pieces = Text::default();
        (0..72).for_each(|_| pieces.add("word "));
        assert_eq!(pieces.tokens(), 100);
        let image = format!("data:image/png;base64,{}", "iVBOR/+0".repeat(100_000));
        assert_eq!(tokens_of(&format!("{image}\" {image}\"")), 1_600 * 2 + 9);
        let sound = "UklGR".repeat(100_000);
        let sound = format!(r#"[{{"input_audio":{{"data": "{sound}","format":"wav"}}}}]"#);
        assert!(tokens_of(&sound) < 1_700);
        assert_eq!(tokens_of(r#""data":"word ""#), 4, "it is a word");
        let body = RawObject::parse(br#"{"messages":"hej hej!","user":"nobody counts this"}"#);
        assert_eq!(prompt_tokens(&body.unwrap()), 3);
    }

    #[test]
    fn what_is_heard_counts_by_its_length_however_it_is_cut() {
        let mut heard = Text::default();
        for _ in 0..100 {
            heard.add_media(Media {
                pictures: 0,
                sound: 640,
            });
        }
        assert_eq!(heard.tokens(), 20);
        heard.add_media(Media {
            pictures: 2,
            sound: 0,
        });
        assert_eq!(heard.tokens(), 20 + 3_200);
    }

    #[test]
    fn a_limit_is_read_as_servers_read_it() {
        let asked = |body: &str| asked_length(&RawObject::parse(body.as_bytes()).unwrap());
        for (body, length) in [
            (r#"{"max_tokens":5}"#, Some(5)),
            (r#"{"max_tokens":4.5}"#, Some(5)),
            (r#"{"max_tokens":"5000000"}"#, Some(5_000_000)),
            (r#"{"max_tokens":"\u0035000000"}"#, Some(5_000_000)),
            (r#"{"max_tokens":5,"max_completion_tokens":7}"#, Some(7)),
            (r#"{"max_tokens":"inf"}"#, None),
            (r#"{"max_tokens":"many"}"#, None),
            (r#"{"max_tokens":-1}"#, None),
            (r#"{"max_tokens":null}"#, None),
        ] {
            assert_eq!(asked(body), length, "{body}");
        }
    }
}
