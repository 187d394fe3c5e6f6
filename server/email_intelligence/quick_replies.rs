//! Replies that fit every mail, without a model.

use whatlang::Lang;

use super::Mail;

const DANISH: [&str; 3] = [
    "Tak for din mail. Jeg vender tilbage hurtigst muligt.",
    "Det lyder godt. Det siger vi.",
    "Tak for din henvendelse. Kan du sende lidt flere oplysninger?",
];
const ENGLISH: [&str; 3] = [
    "Thank you for your e-mail. I will get back to you as soon as I can.",
    "That sounds good. Let us do that.",
    "Thank you for writing. Could you send a little more information?",
];
const GERMAN: [&str; 3] = [
    "Vielen Dank für Ihre E-Mail. Ich melde mich so bald wie möglich.",
    "Das klingt gut. So machen wir es.",
    "Vielen Dank für Ihre Nachricht. Können Sie mir noch etwas mehr dazu schreiben?",
];
const SWEDISH: [&str; 3] = [
    "Tack för ditt mejl. Jag återkommer så snart jag kan.",
    "Det låter bra. Då säger vi så.",
    "Tack för att du hör av dig. Kan du skicka lite mer information?",
];

/// Three lines in the language of the mail; in Danish, the original's, where that is not sure.
pub fn quick_replies(mail: &Mail) -> [&'static str; 3] {
    let text = format!("{} {}", mail.subject, mail.body);
    let language = whatlang::detect(&text).filter(whatlang::Info::is_reliable);
    match language.map(|it| it.lang()) {
        Some(Lang::Eng) => ENGLISH,
        Some(Lang::Deu) => GERMAN,
        Some(Lang::Swe) => SWEDISH,
        _ => DANISH,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_in_the_language_of_the_mail() {
        for (body, lines) in [
            (
                "Could you please send us an offer for cleaning our office every second week?",
                ENGLISH,
            ),
            (
                "Könnten Sie uns bitte ein Angebot für die Reinigung unseres Büros schicken?",
                GERMAN,
            ),
            (
                "Kan du sende os et tilbud på rengøring af vores kontor hver anden uge?",
                DANISH,
            ),
            (
                "Skulle ni kunna skicka oss en offert på städning av vårt kontor varannan vecka?",
                SWEDISH,
            ),
            ("ok", DANISH),
        ] {
            let mail = Mail {
                thread_id: "t".into(),
                from: String::new(),
                to: String::new(),
                subject: String::new(),
                body: body.into(),
            };
            assert_eq!(quick_replies(&mail), lines, "{body}");
        }
    }
}
