//! The first words of an answer, by which a stream is as slow as its reader finds it.

/// Characters of an answer that are its first words: a line, some fifteen words.
pub(super) const FIRST_WORDS: u32 = 100;

/// Milliseconds until the first words of an answer were there: its first 100 characters, or all of a shorter one. None of
/// an answer that was not streamed.
///
/// Of answers of before `words_ms` was kept, what came after the first token is taken to have come evenly. Pace is
/// that of characters, as those are read, and models cut them into tokens differently. Without `chars` nothing is
/// known of the pace, and the first token stands for the words.
pub fn first_words_ms(
    latency_ms: f64,
    first_token_ms: Option<f64>,
    words_ms: Option<u32>,
    chars: Option<u32>,
) -> Option<f64> {
    let first_ms = first_token_ms?;
    if let Some(words_ms) = words_ms {
        return Some(words_ms.into());
    }
    let part = match chars {
        None => 0.0,
        Some(chars) => f64::from(FIRST_WORDS) / f64::from(chars.max(FIRST_WORDS)),
    };
    Some(first_ms + (latency_ms - first_ms).max(0.0) * part)
}
