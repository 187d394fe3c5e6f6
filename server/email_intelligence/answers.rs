//! What a model is to answer, and what callers get of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::asking::CheckedAnswer;

/// What a mail is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Category {
    /// The user's work.
    Work,
    /// People the user knows.
    Personal,
    /// Bills, banks, taxes.
    Finance,
    /// Advertising and newsletters.
    Marketing,
    /// What must not be missed, and is none of the others.
    Important,
    /// None of these.
    Other,
}

impl Category {
    /// As it is sent.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Work => "work",
            Self::Personal => "personal",
            Self::Finance => "finance",
            Self::Marketing => "marketing",
            Self::Important => "important",
            Self::Other => "other",
        }
    }
}

/// The category of a mail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Categorized {
    /// Which.
    pub category: Category,
    /// How sure the model is, 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub confidence: f64,
    /// Finer than the category, in a word or two.
    #[schemars(length(max = 100))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subcategory: Option<String>,
    /// Why, in a sentence.
    #[schemars(length(max = 1000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
}

/// What speaks for the urgency of a mail.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PriorityFactors {
    /// How much the sender matters, 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub sender_importance: f64,
    /// How urgent the text is, 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub content_urgency: f64,
    /// Whether it names a time by which something has to be done.
    pub deadline_mentioned: bool,
    /// Whether the user has to do something.
    pub requires_action: bool,
    /// Whether it matters less later.
    pub time_sensitive: bool,
}

/// What a model says of the urgency of a mail.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(super) struct PriorityAnswer {
    /// From 0, can be left alone, to 100, now.
    #[schemars(range(min = 0.0, max = 100.0))]
    score: f64,
    /// What speaks for it.
    factors: PriorityFactors,
    /// Why, in a sentence.
    #[schemars(length(max = 1000))]
    #[serde(default)]
    reasoning: Option<String>,
}

/// How soon a mail is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PriorityLevel {
    /// A score of 80 or more.
    Urgent,
    /// Of 65 or more.
    High,
    /// Of 35 or more.
    Normal,
    /// Below.
    Low,
}

/// How urgent a mail is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Prioritized {
    /// 0 to 100.
    pub score: f64,
    /// The score in a word.
    pub level: PriorityLevel,
    /// What speaks for it.
    pub factors: PriorityFactors,
    /// Why, in a sentence.
    #[schemars(length(max = 1000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
}

impl From<PriorityAnswer> for Prioritized {
    fn from(answer: PriorityAnswer) -> Self {
        Self {
            level: match answer.score {
                80.0.. => PriorityLevel::Urgent,
                65.0.. => PriorityLevel::High,
                35.0.. => PriorityLevel::Normal,
                _ => PriorityLevel::Low,
            },
            score: answer.score,
            factors: answer.factors,
            reasoning: answer.reasoning,
        }
    }
}

/// What a reply does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SuggestionKind {
    /// A line or two.
    QuickReply,
    /// A whole answer.
    Detailed,
    /// A word to somebody else, to whom the mail goes on.
    Forward,
    /// A proposal of a time.
    Schedule,
}

/// How a reply sounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Tone {
    /// As one writes at work.
    Professional,
    /// As one writes to people one knows.
    Friendly,
    /// As one writes to authorities.
    Formal,
}

/// A reply to choose from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Suggestion {
    /// What it does.
    #[serde(rename = "type")]
    pub kind: SuggestionKind,
    /// What is to be sent, in the language of the mail.
    #[schemars(length(min = 1, max = 4000))]
    pub text: String,
    /// How it sounds.
    pub tone: Tone,
    /// How well it fits, 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub confidence: f64,
    /// Why, in a sentence.
    #[schemars(length(max = 1000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
}

/// Replies to choose from.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(super) struct SuggestionsAnswer {
    /// One to four, of different kinds.
    #[schemars(length(min = 1, max = 4))]
    pub(super) suggestions: Vec<Suggestion>,
}

impl CheckedAnswer for Categorized {
    const NAME: &'static str = "email_category";
    fn fault(&self) -> Option<&'static str> {
        if is_outside(self.confidence, 1.0) {
            Some("`confidence` is not between 0 and 1")
        } else if is_longer(self.subcategory.as_ref(), 100) {
            Some("`subcategory` has more than 100 characters")
        } else if is_longer(self.reasoning.as_ref(), REASONING) {
            Some(LONG_REASONING)
        } else {
            None
        }
    }
}

impl CheckedAnswer for PriorityAnswer {
    const NAME: &'static str = "email_priority";
    fn fault(&self) -> Option<&'static str> {
        let PriorityFactors {
            sender_importance,
            content_urgency,
            ..
        } = self.factors;
        if is_outside(self.score, 100.0) {
            Some("`score` is not between 0 and 100")
        } else if is_outside(sender_importance, 1.0) || is_outside(content_urgency, 1.0) {
            Some("a number in `factors` is not between 0 and 1")
        } else if is_longer(self.reasoning.as_ref(), REASONING) {
            Some(LONG_REASONING)
        } else {
            None
        }
    }
}

impl CheckedAnswer for SuggestionsAnswer {
    const NAME: &'static str = "email_replies";
    fn fault(&self) -> Option<&'static str> {
        let mut all = self.suggestions.iter();
        if !(1..=4).contains(&self.suggestions.len()) {
            Some("`suggestions` has not one to four replies")
        } else if all.any(|it| it.text.trim().is_empty() || it.text.chars().count() > 4000) {
            Some("the `text` of a reply has not 1 to 4000 characters")
        } else if self
            .suggestions
            .iter()
            .any(|it| is_outside(it.confidence, 1.0))
        {
            Some("a `confidence` is not between 0 and 1")
        } else if (self.suggestions.iter()).any(|it| is_longer(it.reasoning.as_ref(), REASONING)) {
            Some(LONG_REASONING)
        } else {
            None
        }
    }
}

/// Characters of a reason.
const REASONING: usize = 1_000;
const LONG_REASONING: &str = "`reasoning` has more than 1,000 characters";

fn is_longer(text: Option<&String>, most: usize) -> bool {
    text.is_some_and(|text| text.chars().count() > most)
}

fn is_outside(number: f64, most: f64) -> bool {
    !(0.0..=most).contains(&number)
}
