//! Splits what a model thought from what it answered, where it writes both into its text.
//!
//! Such a model begins with `<think>…</think>`. Only what stands at the beginning is thought: further on
//! the tag may be part of an answer about tags. In a stream a tag may come in pieces, so what could be
//! the beginning of one is held until it is clear.

use std::borrow::Cow;

use super::marks::shows_nothing;

/// How models are known to open and close a thought in their text.
const KNOWN_TAGS: &[(&str, &str)] = &[
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
];

/// Reads a text, piece by piece.
#[derive(Clone, Debug)]
pub(super) struct Splitter {
    /// How a thought is opened and closed.
    tags: Vec<(Cow<'static, str>, Cow<'static, str>)>,
    held: String,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing of the answer has come; `after` a thought its white space belongs to nobody.
    Before {
        after: bool,
    },
    /// In the tag of this place.
    Thought(usize),
    Answer,
}

/// What a piece brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Split {
    pub(super) reasoning: String,
    pub(super) content: String,
}

impl Splitter {
    /// For a tag such as `think`.
    pub(super) fn new(tag: &str) -> Self {
        Self::of(vec![(
            format!("<{tag}>").into(),
            format!("</{tag}>").into(),
        )])
    }

    /// For the tags that models are known to use, to see whether anything follows.
    pub(super) fn of_known_tags() -> Self {
        let tags = KNOWN_TAGS.iter();
        Self::of(
            tags.map(|(open, close)| ((*open).into(), (*close).into()))
                .collect(),
        )
    }

    fn of(tags: Vec<(Cow<'static, str>, Cow<'static, str>)>) -> Self {
        Self {
            tags,
            held: String::new(),
            state: State::Before { after: false },
        }
    }

    /// Whether the answer has begun, so that whatever comes is part of it as it is.
    pub(super) fn is_past(&self) -> bool {
        self.state == State::Answer
    }

    /// Takes the next piece.
    pub(super) fn push(&mut self, piece: &str) -> Split {
        let mut split = Split::default();
        if self.state == State::Answer {
            piece.clone_into(&mut split.content);
            return split;
        }
        self.held.push_str(piece);
        while self.step(&mut split) {}
        split
    }

    /// The text is over: what was held is what it looks like.
    pub(super) fn finish(&mut self) -> Split {
        let held = std::mem::take(&mut self.held);
        match self.state {
            State::Thought(_) => Split {
                reasoning: held,
                ..Split::default()
            },
            _ => Split {
                content: held,
                ..Split::default()
            },
        }
    }

    /// Decides about what is held; whether there may be more to decide.
    fn step(&mut self, split: &mut Split) -> bool {
        match self.state {
            State::Before { after } => {
                let text = self.held.trim_start();
                let mut opened = self.tags.iter().enumerate();
                let opened =
                    opened.find_map(|(n, (open, _))| Some((n, text.strip_prefix(&**open)?)));
                if let Some((n, rest)) = opened {
                    self.held = rest.to_owned();
                    self.state = State::Thought(n);
                    return true;
                }
                if self.tags.iter().any(|(open, _)| open.starts_with(text)) {
                    return false;
                }
                let text = if after { text } else { &self.held };
                split.content.push_str(text);
                self.held.clear();
                self.state = State::Answer;
                false
            }
            State::Thought(n) => {
                let close = self.tags.get(n).map_or("", |(_, close)| &**close);
                if let Some((thought, rest)) = self.held.split_once(close) {
                    split.reasoning.push_str(thought);
                    self.held = rest.to_owned();
                    self.state = State::Before { after: true };
                    return true;
                }
                let kept = (1..close.len())
                    .rev()
                    .find(|length| {
                        let start = close.get(..*length);
                        start.is_some_and(|start| self.held.ends_with(start))
                    })
                    .unwrap_or(0);
                let clear = self.held.len() - kept;
                split.reasoning.extend(self.held.drain(..clear));
                false
            }
            State::Answer => false,
        }
    }
}

/// Whether a user sees nothing in a text but what the model thought, in any of the known tags.
pub(super) fn is_all_thought(text: &str) -> bool {
    let mut splitter = Splitter::of_known_tags();
    let (start, rest) = (splitter.push(text), splitter.finish());
    shows_nothing(&(start.content + &rest.content))
}

/// Splits a whole text. A template may have opened the thought already, so that only its end is there.
pub(super) fn split(tag: &str, text: &str) -> Split {
    let mut splitter = Splitter::new(tag);
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    if !text.trim_start().starts_with(&open)
        && let Some((thought, answer)) = text.split_once(&close)
    {
        return Split {
            reasoning: thought.to_owned(),
            content: answer.trim_start().to_owned(),
        };
    }
    let mut split = splitter.push(text);
    let rest = splitter.finish();
    split.reasoning += &rest.reasoning;
    split.content += &rest.content;
    split
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn thoughts_stand_at_the_beginning() {
        for (text, reasoning, content) in [
            ("<think>plan</think>visible", "plan", "visible"),
            (
                "\n<think>\nplan\n</think>\n\nvisible",
                "\nplan\n",
                "visible",
            ),
            ("<think>a</think>\n<think>b</think> c", "ab", "c"),
            ("<think></think>x", "", "x"),
            ("<think>never done", "never done", ""),
            ("plan</think>\nvisible", "plan", "visible"),
            ("about <think> tags", "", "about <think> tags"),
            (" plain", "", " plain"),
            ("<thin", "", "<thin"),
            ("<think>a < b </thin", "a < b </thin", ""),
            ("", "", ""),
        ] {
            let split = split("think", text);
            assert_eq!(
                (split.reasoning.as_str(), split.content.as_str()),
                (reasoning, content),
                "{text:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn pieces_change_nothing(text in "(\n| |<think>|</think>|<|/|think>|</|a|å){0,12}", cuts in proptest::collection::vec(0usize..60, 0..8)) {
            let whole = {
                let mut splitter = Splitter::new("think");
                let (mut all, rest) = (splitter.push(&text), splitter.finish());
                all.reasoning += &rest.reasoning;
                all.content += &rest.content;
                all
            };
            let mut splitter = Splitter::new("think");
            let mut cuts: Vec<usize> = cuts.into_iter().map(|at| text.floor_char_boundary(at)).collect();
            cuts.sort_unstable();
            let mut pieces = Split::default();
            let mut take = |split: Split| {
                pieces.reasoning += &split.reasoning;
                pieces.content += &split.content;
            };
            let mut start = 0;
            for cut in cuts {
                take(splitter.push(&text[start..cut]));
                start = cut;
            }
            take(splitter.push(&text[start..]));
            take(splitter.finish());
            prop_assert_eq!(pieces, whole);
        }
    }
}
