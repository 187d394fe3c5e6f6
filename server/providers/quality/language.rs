//! In which language an answer is, where it is long enough to say; and in which it should be, where that is
//! plain.
//!
//! What is not sure is not judged: a model must not be blamed for an answer that is as it was asked for.

use std::sync::LazyLock;

use serde_json::Value;
use whatlang::{Detector, Lang};

/// Letters that a text needs before its language is looked at.
const LEAST_LETTERS: usize = 60;
/// Words that a text within JSON needs to be one: others are names and codes.
const LEAST_WORDS: usize = 3;

/// Written, Danish and Norwegian (Bokmål) are too much alike to be told apart in a few lines: with both, no
/// Danish text is surely Danish. So one stands for both.
static DETECTOR: LazyLock<Detector> = LazyLock::new(|| Detector::with_denylist(vec![Lang::Nob]));

/// How words begin with which people ask for a language: its names, in English, Danish, German, Swedish and
/// itself, and what is said of translations. Whoever uses one may want an answer in any language.
const LANGUAGE_WORDS: [&str; 82] = [
    "arab",
    "bulgar",
    "chinese",
    "chinesisch",
    "croat",
    "czech",
    "dansk",
    "danish",
    "dänisch",
    "deutsch",
    "dutch",
    "engelsk",
    "englisch",
    "english",
    "español",
    "estisk",
    "estonian",
    "finnisch",
    "finnish",
    "finsk",
    "français",
    "fransk",
    "französisch",
    "french",
    "german",
    "greek",
    "griechisch",
    "græsk",
    "hebrew",
    "hindi",
    "hollandsk",
    "hungarian",
    "iceland",
    "islandsk",
    "isländ",
    "italian",
    "italien",
    "japan",
    "kinesisk",
    "korean",
    "kroat",
    "language",
    "latvian",
    "lettisk",
    "lithuan",
    "litau",
    "nederland",
    "niederländisch",
    "norsk",
    "norwegi",
    "oversat",
    "oversæt",
    "polish",
    "polnisch",
    "polsk",
    "portug",
    "romanian",
    "rumän",
    "rumæn",
    "russ",
    "rysk",
    "schwedisch",
    "spanisch",
    "spanish",
    "spansk",
    "sprache",
    "sprog",
    "språk",
    "suomeksi",
    "svensk",
    "swedish",
    "traduc",
    "translat",
    "turkish",
    "tyrkisk",
    "tysk",
    "türkisch",
    "ukrain",
    "ungarsk",
    "vertaal",
    "översätt",
    "übersetz",
];
/// In which language a task's answers have to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// Nobody asks.
    #[default]
    Any,
    /// In that of the question, where that is plain.
    Question,
    /// In this one, unless the question asks for another.
    Named(Lang),
}

impl Language {
    /// As [`Self::parse`] reads it.
    pub fn name(self) -> String {
        match self {
            Self::Any => "any".to_owned(),
            Self::Question => "question".to_owned(),
            Self::Named(language) => language.eng_name().to_lowercase(),
        }
    }

    /// `any`, `question`, or a language by its English name in small letters.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "any" => Some(Self::Any),
            "question" => Some(Self::Question),
            // See the detector.
            "norwegian" => Some(Self::Named(Lang::Dan)),
            name => {
                let mut known = Lang::all().iter().filter(|lang| **lang != Lang::Nob);
                let found = known.find(|lang| lang.eng_name().to_lowercase() == name)?;
                Some(Self::Named(*found))
            }
        }
    }

    /// Whether an answer is surely in another language than it should be, by the question and by the
    /// instructions that came before it.
    pub(super) fn is_missed(self, question: &str, instructions: &str, answer: &str) -> bool {
        let wanted = match self {
            Self::Any => return false,
            _ if speaks_of_languages(question) => return false,
            Self::Named(lang) => Some(lang),
            Self::Question if speaks_of_languages(instructions) => return false,
            Self::Question => of_question(question),
        };
        let is = of(&words(answer));
        matches!((wanted, is), (Some(wanted), Some(is)) if wanted != is)
    }
}

/// The English name of the language that a text is surely in, in small letters; none where it is too short to
/// say. Danish stands for Norwegian as well.
pub fn language_of(text: &str) -> Option<String> {
    of(text).map(|lang| lang.eng_name().to_lowercase())
}

fn speaks_of_languages(text: &str) -> bool {
    let text = text.to_lowercase();
    let mut words = text.split(|it: char| !it.is_alphabetic());
    words.any(|word| {
        let mut known = LANGUAGE_WORDS.iter();
        known.any(|beginning| word.starts_with(beginning))
    })
}

/// Of a question that is in one language throughout. What comes after a colon, or is quoted, may be what the
/// question is about, and the words before it too short to tell.
fn of_question(question: &str) -> Option<Lang> {
    let prose = prose(question);
    let mut parts = prose
        .lines()
        .map(str::trim)
        .filter(|it| !it.is_empty())
        .peekable();
    let mut languages = Vec::new();
    while let Some(part) = parts.next() {
        let hands_on = part.ends_with(':') && parts.peek().is_some();
        if hands_on || part.starts_with('>') {
            return None;
        }
        languages.extend(of(part));
    }
    let whole = of(&prose)?;
    languages.iter().all(|it| *it == whole).then_some(whole)
}

fn of(text: &str) -> Option<Lang> {
    let letters = text.chars().filter(|it| it.is_alphabetic()).count();
    if letters < LEAST_LETTERS {
        return None;
    }
    let found = DETECTOR.detect(text)?;
    found.is_reliable().then(|| found.lang())
}

/// Whether an answer looks like JSON, whose keys are in the language of who wrote the schema.
pub(super) fn is_like_json(answer: &str) -> bool {
    answer.trim_start().starts_with(['{', '['])
}

/// What an answer says: of JSON the texts in it, and nothing of what is no whole JSON.
fn words(answer: &str) -> String {
    if !is_like_json(answer) {
        return prose(answer);
    }
    let mut found = String::new();
    if let Ok(json) = serde_json::from_str(answer) {
        texts(&json, &mut found);
    }
    found
}

fn texts(json: &Value, found: &mut String) {
    match json {
        Value::String(text) if text.split_whitespace().count() >= LEAST_WORDS => {
            *found += text;
            *found += "\n";
        }
        Value::Array(items) => items.iter().for_each(|it| texts(it, found)),
        Value::Object(fields) => fields.values().for_each(|it| texts(it, found)),
        _ => {}
    }
}

/// The text without its fenced blocks, which are code in most cases.
fn prose(text: &str) -> String {
    text.split("```").step_by(2).collect::<Vec<_>>().join(" ")
}
