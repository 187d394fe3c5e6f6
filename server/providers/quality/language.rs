//! In which language a text is, where it is long enough to say.

use std::sync::LazyLock;

use whatlang::{Detector, Lang};

/// Letters that a text needs before its language is looked at.
const LEAST_LETTERS: usize = 60;

/// Written, Danish and Norwegian (Bokmål) are too much alike to be told apart in a few lines: with both, no
/// Danish text is surely Danish. So one stands for both.
static DETECTOR: LazyLock<Detector> = LazyLock::new(|| Detector::with_denylist(vec![Lang::Nob]));

/// Whether two texts are in different languages, as far as can be said for sure.
pub(super) fn differ(one: &str, other: &str) -> bool {
    match (of(one), of(other)) {
        (Some(one), Some(other)) => one != other,
        _ => false,
    }
}

fn of(text: &str) -> Option<Lang> {
    let prose = prose(text);
    let letters = prose.chars().filter(|it| it.is_alphabetic()).count();
    if letters < LEAST_LETTERS {
        return None;
    }
    let found = DETECTOR.detect(&prose)?;
    found.is_reliable().then(|| found.lang())
}

/// The text without its fenced blocks, which are code in most cases.
fn prose(text: &str) -> String {
    text.split("```").step_by(2).collect::<Vec<_>>().join(" ")
}
