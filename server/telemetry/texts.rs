//! What was said in an attempt, as its provider got and gave it: with placeholders where something is masked.

use std::sync::Arc;

use parking_lot::Mutex;

/// Of each side, this is kept; a span is no archive. In bytes.
const MOST: usize = 32 * 1024;
/// What stands for what was left out.
const MORE: &str = "…";

/// What was said in an attempt; clones share what came.
#[derive(Clone, Debug, Default)]
pub struct AttemptTexts {
    /// What was sent: the messages, or the texts of which vectors are wanted, as JSON.
    pub(super) input: String,
    output: Arc<Mutex<String>>,
}

impl AttemptTexts {
    /// Of a request that says this.
    pub fn new(input: String) -> Self {
        Self {
            input: cut(input),
            output: Arc::default(),
        }
    }

    /// This came.
    pub fn add(&self, text: &str) {
        let mut output = self.output.lock();
        if output.len() <= MOST {
            output.push_str(text);
            *output = cut(std::mem::take(&mut output));
        }
    }

    pub(super) fn output(&self) -> String {
        self.output.lock().clone()
    }
}

/// The beginning of a text that is too long, with a mark.
fn cut(mut text: String) -> String {
    if text.len() > MOST {
        text.truncate(text.floor_char_boundary(MOST));
        text.push_str(MORE);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded() {
        let texts = AttemptTexts::default();
        (0..MOST).for_each(|_| texts.add("ø"));
        let output = texts.output();
        assert!(output.ends_with("ø…") && output.len() <= MOST + MORE.len());
    }
}
