//! What kind of fault words tell, by a table.
//!
//! Servers have no common word for "too long" or "no credit left", and each release of one has new
//! sentences. A rule therefore names what such a sentence must speak of (a thing, a measure, an excess),
//! not the sentence. What is read is lower case without quotes, with spaces for `_` and `-`.

use super::{
    FaultKind,
    said::{Said, Word},
};

/// A sentence of this kind holds one of each list of `has`, and none of `lacks`.
struct Rule {
    kind: FaultKind,
    has: &'static [&'static [&'static str]],
    lacks: &'static [&'static str],
}

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
const EXCESS: &[&str] = &[
    "too long",
    "too large",
    "too many",
    "too big",
    "exceed",
    "longer than",
    "larger than",
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
        has: &[
            &[
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
            ],
            &["too long", "too large", "too big", "oversized"],
        ],
        lacks: OTHER_THINGS,
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

const BUSY: Rule = Rule {
    kind: FaultKind::ProviderRateLimited,
    has: &[&[
        "rate limit",
        "too many requests",
        "tokens per min",
        "requests per min",
    ]],
    lacks: &[],
};

const MISSING: &[Rule] = &[
    Rule {
        kind: FaultKind::NotFound,
        has: &[&[
            "not a valid model",
            "no such model",
            "unknown model",
            "invalid model id",
            "invalid model name",
        ]],
        lacks: &[],
    },
    Rule {
        kind: FaultKind::NotFound,
        has: &[
            &["model"],
            &[
                "not found",
                "does not exist",
                "doesnt exist",
                "decommissioned",
            ],
        ],
        lacks: &[
            "tool",
            "image",
            "file",
            "field",
            "parameter",
            "function",
            "message",
        ],
    },
];

/// What our account with the provider lacks. A limit of a rate is none of these.
const ACCOUNT: &[Rule] = &[
    Rule {
        kind: FaultKind::Authentication,
        has: &[
            &["api key", "apikey", "access token", "credentials"],
            &[
                "invalid",
                "incorrect",
                "not valid",
                "missing",
                "not provided",
                "revoked",
                "expired",
                "no api key",
            ],
        ],
        lacks: &[],
    },
    Rule {
        kind: FaultKind::AccountLimit,
        has: &[&[
            "key limit",
            "limit for this key",
            "limit of this key",
            "good standing",
        ]],
        lacks: &[],
    },
    Rule {
        kind: FaultKind::Payment,
        has: &[&[
            "unpaid",
            "past due",
            "overdue",
            "arrear",
            "payment",
            "billing",
            "spending limit",
            "spend limit",
            "spending cap",
            "usage limit",
            "current quota",
            "insufficient quota",
            "credit limit",
            "budget exceeded",
            "exceeded budget",
            "budget has been exceeded",
            "over budget",
            "included credits",
        ]],
        lacks: &[],
    },
    Rule {
        kind: FaultKind::Payment,
        has: &[
            &["credit", "balance", "funds"],
            &[
                "insufficient",
                "not enough",
                "out of",
                "no remaining",
                "no more",
                "ran out",
                "run out",
                "exhausted",
                "too low",
                "requires more",
                "need more",
                "add more",
                "negative",
                "depleted",
                "used up",
            ],
        ],
        lacks: &[],
    },
    Rule {
        kind: FaultKind::AccountLimit,
        has: &[
            &[
                "account",
                "organization",
                "organisation",
                "api key",
                "this key",
                "your key",
                "the key",
                "project",
                "workspace",
                "subscription",
                "team",
                "tenant",
            ],
            &[
                "disabled",
                "suspended",
                "deactivated",
                "terminated",
                "blocked",
                "banned",
                "restricted",
                "inactive",
                "not active",
                "on hold",
                "frozen",
                "limit exceeded",
                "limit reached",
                "limit has been",
                "exceeded",
                "reached its limit",
                "reached the limit",
                "expired",
                "closed",
                "locked",
            ],
        ],
        lacks: &[
            "model",
            "region",
            "country",
            "territory",
            "content",
            "moderation",
            "flagged",
            "verified",
            "prompt",
            "safety",
            "token",
        ],
    },
    Rule {
        kind: FaultKind::AccountLimit,
        has: &[
            &["quota"],
            &["exceed", "exhausted", "reached", "used up", "no "],
        ],
        lacks: &["per min", "per sec"],
    },
];

/// What the words add to a kind that the status or a name told; `None` where that is nothing.
pub(super) fn refine(kind: FaultKind, status: Option<u16>, said: &Said) -> Option<FaultKind> {
    let is_client = matches!(kind, FaultKind::BadRequest | FaultKind::Refused);
    let own = || said.texts.iter().filter(|word| !word.is_relayed);
    let account = || own().find_map(|word| first(ACCOUNT, word));
    match kind {
        FaultKind::ProviderRateLimited => {
            // What is refused for a while only is a rate, also where it is called a quota.
            let limit = own().find_map(|word| first(ACCOUNT, word));
            return limit.filter(|kind| match kind {
                FaultKind::Payment => true,
                FaultKind::AccountLimit => own().any(|word| word.text.contains("key limit")),
                _ => false,
            });
        }
        FaultKind::BadRequest
        | FaultKind::Refused
        | FaultKind::ContextLength
        | FaultKind::Upstream => {}
        _ => return None,
    }
    if is_client || status.is_none() {
        match account() {
            // A 403 is the account's own kind, whatever it lacks.
            Some(FaultKind::Payment) if kind == FaultKind::Refused => {
                return Some(FaultKind::AccountLimit);
            }
            Some(kind) => return Some(kind),
            None => {}
        }
    }
    if said.texts.iter().any(|word| BUSY.fits(word)) {
        return Some(FaultKind::ProviderRateLimited);
    }
    if said.texts.iter().any(is_too_long) {
        return Some(FaultKind::ContextLength);
    }
    let is_bad = kind == FaultKind::BadRequest;
    said.texts
        .iter()
        .filter(|_| is_bad)
        .find_map(|word| first(MISSING, word))
}

/// Whether a text says that the prompt does not fit, and not that too long an answer was asked for, nor
/// too much in a time.
fn is_too_long(word: &Word) -> bool {
    let says = |list: &[&str]| list.iter().any(|part| word.text.contains(part));
    let of_answer = says(&[
        "max tokens",
        "max completion tokens",
        "max output tokens",
        "max new tokens",
        "completion tokens",
        "output tokens",
        "maximum tokens you requested",
    ]);
    // The context as a bound of the answer's length says nothing about the prompt: Groq.
    let of_prompt = PROMPT
        .iter()
        .any(|part| *part != "context" && word.text.contains(part));
    let is_answers = of_answer && !of_prompt;
    !is_answers && !says(RATES) && first(TOO_LONG, word).is_some()
}

fn first(rules: &[Rule], word: &Word) -> Option<FaultKind> {
    let rule = rules.iter().find(|rule| rule.fits(word))?;
    Some(rule.kind)
}

impl Rule {
    fn fits(&self, word: &Word) -> bool {
        let says = |list: &[&str]| list.iter().any(|part| word.text.contains(part));
        self.has.iter().all(|list| says(list)) && !says(self.lacks)
    }
}
