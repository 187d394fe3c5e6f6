//! “Did you mean …?”: the known word that somebody probably wanted to write.
//!
//! One rule for settings, keys of files, tasks, models, plans and procedures. Case and separators do
//! not count (`maxErrorRate` is `max_error_rate`), swapped neighbours are one edit, and a word may
//! have one edit for every three letters, at most four.

use strsim::osa_distance;

/// The most edits between a word and what it may have meant.
const MOST_EDITS: usize = 4;

/// A known word that is like another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Near<'k> {
    /// The known word.
    pub word: &'k str,
    /// Letters to insert, delete, change or swap with their neighbour.
    pub edits: usize,
    /// Letters of the longer of the two words.
    letters: usize,
}

impl Near<'_> {
    /// Whether chance is unlikely. For places that hold words of other programs too, such as the
    /// environment, where `PGHOST` and `VITE_APP_URL` are no slips.
    pub fn is_close(&self) -> bool {
        self.edits <= (self.letters / 6).max(1)
    }
}

/// The known word with the fewest edits; `None` where none is near.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<Near<'k>> {
    let letters = letters(word);
    known
        .into_iter()
        .filter_map(|known| near(&letters, known))
        .min_by_key(|near| near.edits)
}

/// `; did you mean …?` for the end of a message, or nothing. What follows it would follow a question mark.
pub fn hint<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    nearest(word, known).map_or_else(String::new, |near| {
        format!("; did you mean `{}`?", near.word)
    })
}

fn near<'k>(word: &str, known: &'k str) -> Option<Near<'k>> {
    let letters_of_known = letters(known);
    let longer = word.len().max(letters_of_known.len());
    let most = (longer.saturating_sub(1) / 3).min(MOST_EDITS);
    // A word of another length is no candidate, however long the caller made it.
    if word.len().abs_diff(letters_of_known.len()) > most {
        return None;
    }
    let edits = osa_distance(word, &letters_of_known);
    (edits <= most).then_some(Near {
        word: known,
        edits,
        letters: longer,
    })
}

fn letters(word: &str) -> String {
    let separators = ['_', '-', '.', ' '];
    word.chars()
        .filter(|letter| !separators.contains(letter))
        .flat_map(char::to_lowercase)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_the_word_that_was_meant() {
        let known = [
            "chat",
            "max_error_rate",
            "max_average",
            "soak",
            "chat.sendMessage",
            "OPENROUTER_ROLLOUT_PERCENTAGE",
        ];
        for (slip, meant) in [
            ("chta", "chat"),
            ("Chat", "chat"),
            ("maxErrorRate", "max_error_rate"),
            ("average", "max_average"),
            ("saok", "soak"),
            ("chat.sendMesage", "chat.sendMessage"),
            ("chat.send_message", "chat.sendMessage"),
            (
                "OPENROUTER_ROLOUT_PERCENTAGE",
                "OPENROUTER_ROLLOUT_PERCENTAGE",
            ),
        ] {
            let near = nearest(slip, known).map(|near| near.word);
            assert_eq!(near, Some(meant), "{slip}");
        }
        for other in ["", "c", "frobnicate", "email", &"chat".repeat(20_000)] {
            assert_eq!(nearest(other, known), None, "{other:.20}");
        }
    }

    #[test]
    fn only_what_is_close_is_a_slip_among_words_of_others() {
        let known = [
            "HOST",
            "PORT",
            "VITE_APP_ID",
            "SMTP_URL",
            "NODE_ENV",
            "APP_ENV",
            "LOG_LEVEL",
        ];
        let close = |word| {
            nearest(word, known)
                .filter(Near::is_close)
                .map(|near| near.word)
        };
        for other in [
            "PGHOST",
            "PGPORT",
            "PATH",
            "VITE_APP_URL",
            "VITE_APP_KEY",
            "SMTP_USER",
            "NODE_PATH",
            "APP_KEY",
            "LOGNAME",
            "HOSTNAME",
            "TERM",
        ] {
            assert_eq!(close(other), None, "{other}");
        }
        assert_eq!(close("PROT"), Some("PORT"));
        assert_eq!(close("LOGLEVEL"), Some("LOG_LEVEL"));
    }

    #[test]
    fn a_hint_completes_a_sentence_or_is_empty() {
        assert_eq!(hint("chta", ["chat"]), "; did you mean `chat`?");
        assert_eq!(hint("x", ["chat"]), "");
    }
}
