//! Why an envelope cannot be undone.

/// Characters of a path or a type that an error repeats.
const MAX_SHOWN: usize = 200;

/// Why an envelope cannot be undone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DecodeError {
    /// `null` where the envelope belongs.
    #[error("the input is `null`, not `{{\"json\": …}}`")]
    Null,
    /// A node of `meta.values` that is neither a note nor an object of them.
    #[error("`meta.values` holds `{found}` at `{path}`, where a list or an object belongs")]
    BadNote {
        /// The place, in superjson's form.
        path: String,
        /// What is there.
        found: String,
    },
    /// A `\` that escapes nothing.
    #[error(
        "the path `{path}` of `meta.values` has a `\\` that is followed by neither `\\` nor `.`"
    )]
    BadEscape {
        /// As it came.
        path: String,
    },
    /// A key that would lead out of the value in JavaScript.
    #[error("`{key}` is not allowed in the path `{path}` of `meta.values`")]
    ForbiddenKey {
        /// As it came.
        path: String,
        /// The one that is refused.
        key: String,
    },
    /// A type that superjson does not have, or that means nothing here.
    #[error("`{kind}` at `{path}` is not a type that the server reads")]
    UnknownType {
        /// The place.
        path: String,
        /// As it came.
        kind: String,
    },
    /// A value that cannot be of the type it is noted as.
    #[error("the value at `{path}` is not a `{kind}`: {expected} was expected")]
    BadValue {
        /// The place.
        path: String,
        /// As noted.
        kind: &'static str,
        /// What such a value looks like.
        expected: &'static str,
    },
}

/// As much of a text of the client's as an error repeats.
pub(super) fn short(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(MAX_SHOWN) {
        text.truncate(end);
        text.push('…');
    }
    text
}
