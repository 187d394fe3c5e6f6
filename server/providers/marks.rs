//! Marks of chat templates. A server whose template does not fit its model lets them through, and they are
//! all that some answers hold.

use crate::_core::blank::is_blank;

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

/// Whether a user sees nothing in a model's text, or only marks that are none of its words.
pub(super) fn shows_nothing(text: &str) -> bool {
    if text.len() > LONGEST {
        return is_blank(text);
    }
    let mut rest = text.replace(REPLACEMENT, "");
    for mark in MARKS {
        rest = rest.replace(mark, "");
    }
    // DeepSeek writes its bars full-width.
    for (open, close) in [("<|", "|>"), ("<｜", "｜>")] {
        while let Some((before, after)) = rest.split_once(open)
            && let Some((_, after)) = after.split_once(close)
        {
            rest = before.to_owned() + after;
        }
    }
    is_blank(&rest)
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
