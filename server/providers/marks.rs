//! Marks of chat templates. A server whose template does not fit its model lets them through, and they are
//! all that some answers hold.

use crate::_core::blank::is_invisible;

/// Marks without a form of their own; those of the form `<|im_end|>` are known by it.
const MARKS: [&str; 14] = [
    "<s>",
    "</s>",
    "<bos>",
    "<eos>",
    "<eop>",
    "<pad>",
    "<unk>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<end_of_utterance>",
    "<EOT>",
    "[INST]",
    "[/INST]",
    "[EOS]",
];
/// What stands for bytes that are no character.
const REPLACEMENT: char = '\u{fffd}';
/// A longer text is never only marks, in bytes.
const LONGEST: usize = 256;

/// A longer mark is text, in bytes.
const LONGEST_MARK: usize = 40;

/// Whether a user sees nothing in a model's text, or only marks that are none of its words. Stops at the
/// first character that is seen.
pub(super) fn shows_nothing(text: &str) -> bool {
    let may_be_marks = text.len() <= LONGEST;
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|c| is_invisible(c) || (may_be_marks && c == REPLACEMENT));
        if rest.is_empty() || !may_be_marks {
            return rest.is_empty();
        }
        match after_mark(rest) {
            Some(after) => rest = after,
            None => return false,
        }
    }
}

/// What follows the mark with which a text begins.
fn after_mark(text: &str) -> Option<&str> {
    let named = MARKS.iter().find_map(|mark| text.strip_prefix(mark));
    named.or_else(|| {
        // DeepSeek writes its bars full-width.
        let (inner, after) = [("<|", "|>"), ("<｜", "｜>")]
            .into_iter()
            .find_map(|(open, close)| text.strip_prefix(open)?.split_once(close))?;
        (inner.len() <= LONGEST_MARK).then_some(after)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_alone_show_nothing() {
        for text in [
            "",
            " \n",
            "</s>",
            "<|im_end|>",
            "<|im_end|>\n<|im_end|>",
            "<|eot_id|>",
            "<\u{ff5c}end\u{2581}of\u{2581}sentence\u{ff5c}>",
            "<end_of_turn>\n",
            "\u{fffd}",
            "\u{fffd}\u{fffd} </s>",
        ] {
            assert!(shows_nothing(text), "{text:?}");
        }
        let long = "</s>".repeat(100);
        for text in [
            ".",
            "a</s>",
            "<|im_end",
            "<div>",
            "<|a|> b <|c|>",
            "[1]",
            long.as_str(),
        ] {
            assert!(!shows_nothing(text), "{text:?}");
        }
    }
}
