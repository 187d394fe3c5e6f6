//! Words that say that a prompt does not fit into a model's context.
//!
//! Three signs, from the surest to the widest: a rule about English (and Chinese) sentences; a thing and an
//! excess in another language, by stems, as words are bent there; and, in any language, a measure (`token`,
//! `トークン`) with two numbers, of which one is more than the other. What speaks of the answer's length, of a
//! rate or of another thing is none of these.

use super::{ErrorText, FaultKind, Rule, first, languages, numbers};

/// What is sent to a model.
const PROMPT: &[&str] = &[
    "prompt",
    "input",
    "message",
    "context",
    "conversation",
    "sequence",
    "chat history",
];
/// The same, also where a sentence calls all that was sent a request.
const SENT: &[&str] = &[
    "prompt",
    "input",
    "message",
    "context",
    "conversation",
    "sequence",
    "chat history",
    "request",
    "payload",
    "your text",
];
const EXCESS: &[&str] = &[
    "too long",
    "too large",
    "too many",
    "too big",
    "exceed",
    "longer than",
    "larger than",
    "not fit",
    "greater than",
    "more than",
    "over the limit",
    "above the limit",
    "overflow",
    "must be <",
    "must be less",
    "must have less",
    "cannot be more",
    "only supports up to",
    "supports at most",
    "maximum",
];
/// What validators say of whatever field, without its length.
const IDIOMS: &[&str] = &[
    "input should",
    "input value",
    "input validation",
    "input is invalid",
    "invalid input",
    "error message",
    "message:",
];
/// Limits of requests in a time.
const RATES: &[&str] = &[
    "per min",
    "per sec",
    "per hour",
    "per day",
    "per month",
    "rate limit",
    "tpm",
    "rpm",
    "requests per",
    "quota",
];
/// Things that can be too long beside the prompt.
const OTHER_THINGS: &[&str] = &[
    "image",
    "file",
    "audio",
    "video",
    "url",
    "tool",
    "function",
    "name",
    "array too long",
    "stop sequence",
    "timed out",
    "deadline",
];

/// What else does not fit, or takes longer than it should: a model in its memory, a request in its time.
const OTHER_EXCESS: &[&str] = &[
    "image",
    "file",
    "audio",
    "video",
    "url",
    "tool",
    "function",
    "name",
    "memory",
    "vram",
    "gpu",
    "disk",
    "second",
    "minute",
    "took",
    "taking",
    "timeout",
    "timed out",
    "deadline",
    " ms",
    "wait",
    "schema",
    "format",
];

const TOO_LONG: &[Rule] = &[
    Rule {
        kind: FaultKind::ContextLength,
        has: &[&[
            "context length",
            "context window",
            "context size",
            "maximum context",
            "max context",
            "context limit",
            "contextwindow",
            "n ctx",
            "max model len",
            "maximum model length",
        ]],
        lacks: &["per min"],
    },
    Rule {
        kind: FaultKind::ContextLength,
        has: &[SENT, &["too long", "too large", "too big", "oversized"]],
        lacks: OTHER_THINGS,
    },
    Rule {
        kind: FaultKind::ContextLength,
        has: &[
            SENT,
            &[
                "longer than",
                "not fit",
                "doesnt fit",
                "wont fit",
                "cannot fit",
            ],
            &["model", "window", "context"],
        ],
        lacks: OTHER_EXCESS,
    },
    // Zhipu, Qwen and others answer in Chinese: "the input, or the context, exceeds, or is too long".
    Rule {
        kind: FaultKind::ContextLength,
        has: &[
            &["上下文", "输入", "提示词", "prompt"],
            &["超过", "超出", "超长", "过长", "太长"],
        ],
        lacks: &["图片", "图像", "文件", "音频", "视频", "频率"],
    },
    Rule {
        kind: FaultKind::ContextLength,
        has: &[&["token"], PROMPT, EXCESS],
        lacks: OTHER_THINGS,
    },
    Rule {
        kind: FaultKind::ContextLength,
        has: &[&[
            "too many tokens",
            "too many input tokens",
            "token limit exceeded",
            "exceeds token limit",
            "exceeded model token limit",
            "exceeds the token limit",
            "token count exceeds",
        ]],
        lacks: &[],
    },
    Rule {
        kind: FaultKind::ContextLength,
        has: &[&[
            "reduce the length",
            "reduce your prompt",
            "reduce the prompt",
            "reduce your input",
            "reduce the input",
            "reduce your message",
            "reduce the message",
            "reduce the number of message",
            "shorten your",
            "shorten the",
        ]],
        lacks: OTHER_THINGS,
    },
    Rule {
        kind: FaultKind::ContextLength,
        has: &[
            &[
                "prompt length",
                "input length",
                "sequence length",
                "length of the prompt",
                "length of the input",
                "length of prompt",
                "length of input",
                "prompt size",
                "input size",
                "input characters",
                "prompt exceeds",
                "input exceeds",
                "messages exceed",
                "conversation exceeds",
            ],
            &[
                "exceed",
                "should be",
                "must be",
                "max",
                "longer",
                "greater",
                "limit",
                "cannot",
            ],
        ],
        lacks: OTHER_THINGS,
    },
];

/// Numbers that may count a prompt's tokens: no status, and no date in a model's name.
const SIZES: std::ops::Range<u64> = 600..10_000_000;

/// Whether a text says that the prompt does not fit, and not that too long an answer was asked for, nor
/// too much in a time. Numbers alone say so in a refusal only: a server that breaks may name any.
pub(super) fn is_too_long(word: &ErrorText, is_refusal: bool) -> bool {
    if is_of_answer_or_rate(word) {
        return false;
    }
    let is_elsewhere = || {
        (says(word, languages::PROMPT) && says(word, languages::TOO_LONG))
            || (says(word, languages::LIMITED) && says(word, languages::EXCEEDED))
    };
    let is_measured = || {
        let sizes = sizes_in(word);
        is_refusal
            && says(word, languages::MEASURES)
            && !says(word, languages::OTHER_TOKENS)
            && sizes.iter().any(|size| Some(size) != sizes.first())
    };
    first(TOO_LONG, word).is_some() || (!is_of_another(word) && (is_elsewhere() || is_measured()))
}

/// The numbers of these texts that may count a prompt's tokens.
pub(in super::super) fn sizes(words: &[ErrorText]) -> Vec<u64> {
    let words = words.iter();
    let words = words.filter(|word| !is_of_answer_or_rate(word) && !is_of_another(word));
    words.flat_map(sizes_in).collect()
}

fn sizes_in(word: &ErrorText) -> Vec<u64> {
    let numbers = numbers::numbers(&word.text).into_iter();
    numbers.filter(|number| SIZES.contains(number)).collect()
}

fn is_of_answer_or_rate(word: &ErrorText) -> bool {
    let of_answer = says(
        word,
        &[
            "max tokens",
            "max completion tokens",
            "max output tokens",
            "max new tokens",
            "completion tokens",
            "output tokens",
            "maximum tokens you requested",
        ],
    );
    // The context as a bound of the answer's length says nothing about the prompt: Groq.
    let of_prompt = is_of_prompt(&word.text);
    (of_answer && !of_prompt) || says(word, RATES)
}

/// Whether a text speaks of the prompt, and not only of the request as a whole: validators call any field
/// an input, and any complaint a message.
fn is_of_prompt(text: &str) -> bool {
    let mut text = text.to_owned();
    for idiom in IDIOMS {
        text = text.replace(idiom, "");
    }
    PROMPT
        .iter()
        .any(|part| *part != "context" && text.contains(part))
}

/// Whether a text in whatever language speaks of something else than a prompt.
fn is_of_another(word: &ErrorText) -> bool {
    let of_prompt = || says(word, PROMPT) || says(word, languages::OWN_TEXT);
    says(word, OTHER_THINGS)
        || says(word, languages::OTHER_THINGS)
        || (says(word, languages::ANSWER) && !of_prompt())
}

fn says(word: &ErrorText, list: &[&str]) -> bool {
    list.iter().any(|part| word.text.contains(part))
}
