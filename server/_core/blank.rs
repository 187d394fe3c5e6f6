//! What a text that shows nothing is: the same for what users send and for what models answer.

/// Whether nobody can see anything in the text: it is empty, or all of it is white space, controls and
/// characters without width.
pub fn is_blank(text: &str) -> bool {
    text.chars().all(is_invisible)
}

/// Whether a character is white space or a control, or one that Unicode calls default-ignorable or draws
/// as nothing.
pub fn is_invisible(character: char) -> bool {
    character.is_whitespace()
        || character.is_control()
        || matches!(character,
            '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}'
            | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{2800}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}'
            | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}' | '\u{1BCA0}'..='\u{1BCA3}'
            | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shows_nothing_is_blank() {
        for text in [
            "",
            " \n\t",
            "\u{a0}\u{3000}\u{2028}",
            "\u{200b}\u{200d}\u{feff}",
            "\u{2060} \u{ad}\0",
            "\u{3164}",
            "\u{2800}",
        ] {
            assert!(is_blank(text), "{text:?}");
        }
        for text in [".", " a ", "\u{200b}å", "👩‍💻", "\u{fffd}", "0"] {
            assert!(!is_blank(text), "{text:?}");
        }
    }
}
