use serde_json::json;

use super::{
    super::{ChatMessage, RawObject},
    *,
};

const DANISH: &str = "Kan du forklare mig, hvordan jeg bedst planlægger en cykeltur rundt på Fyn? Jeg vil \
    gerne se både kysten og de små landsbyer, og jeg har kun tre dage til det hele.";
const ENGLISH: &str = "You could begin in the harbour, follow the coast to the south, and stay the first night \
    in one of the small towns there. On the second day the road goes through woods and past old farms.";
const GERMAN: &str = "Am besten beginnen Sie im Hafen und folgen der Küste nach Süden. Die erste Nacht können \
    Sie in einem der kleinen Orte verbringen, und am zweiten Tag führt der Weg durch den Wald.";
const SWEDISH: &str = "Börja gärna i hamnen och följ kusten söderut. Den första natten kan du stanna i någon av \
    de små städerna, och nästa dag går vägen genom skogen och förbi gamla gårdar som är öppna för besök.";
const DANISH_ANSWER: &str = "Begynd gerne ved havnen og følg kysten mod syd. Den første nat kan du blive i en af de \
    små byer, og næste dag går vejen gennem skoven og forbi gamle gårde, som man må besøge.";

fn checks(schema: Option<&str>, language: Language) -> Arc<Checks> {
    let schema = schema.map(|text| Schema::parse(text).unwrap());
    Arc::new(Checks { schema, language })
}

fn asked(question: &str) -> ChatRequest {
    ChatRequest::new(vec![
        ChatMessage::text("system", "You help."),
        ChatMessage::text("user", question),
    ])
}

fn of(checks: &Arc<Checks>, question: &str, answer: &Completion) -> Quality {
    of_request(checks, &asked(question), answer)
}

fn of_request(checks: &Arc<Checks>, request: &ChatRequest, answer: &Completion) -> Quality {
    let mut inspection = Inspection::new(checks, request, None);
    inspection.read(answer);
    inspection.quality(None).expect("nothing was limited")
}

fn said(content: &str, finish_reason: &str) -> Completion {
    Completion {
        content: content.into(),
        finish_reason: Some(finish_reason.into()),
        ..Completion::default()
    }
}

#[test]
fn an_answer_that_was_cut_off_or_says_no_is_seen_without_any_check() {
    let none = checks(None, Language::Any);
    for (reason, expected) in [
        ("stop", Quality::Good),
        ("length", Quality::Truncated),
        ("max_tokens", Quality::Truncated),
        ("content_filter", Quality::Refused),
        ("tool_calls", Quality::Good),
    ] {
        assert_eq!(of(&none, "Hej", &said("Ja", reason)), expected, "{reason}");
    }
    let refusal = Completion {
        is_refusal: true,
        ..said("I will not", "length")
    };
    assert_eq!(of(&none, "Hej", &refusal), Quality::Refused);
}

#[test]
fn an_answer_that_is_not_of_the_schema_is_found() {
    let schema = r#"{"type": "object", "required": ["age"],
        "properties": {"age": {"type": "integer", "minimum": 0}, "name": {"pattern": "^[A-Z]"}}}"#;
    let checks = checks(Some(schema), Language::Any);
    for (answer, is_valid) in [
        (r#" {"age": 7, "name": "Ada"} "#, true),
        (r#"{"age": 7.5}"#, false),
        (r#"{"age": 7, "name": "ada"}"#, false),
        (r#"{"name": "Ada"}"#, false),
        ("```json\n{\"age\": 7}\n```", false),
        (r#"{"age": 7"#, false),
        ("Ada is seven.", false),
    ] {
        let quality = of(&checks, "How old is Ada?", &said(answer, "stop"));
        assert_eq!(quality == Quality::Good, is_valid, "{answer}");
        assert!(is_valid || quality == Quality::SchemaInvalid);
    }
    let cut = of(&checks, "?", &said(r#"{"age": "#, "length"));
    assert_eq!(cut, Quality::Truncated, "one cause is counted once");
    let call = Completion {
        tool_calls: Some(json!([{}])),
        ..said("", "tool_calls")
    };
    assert_eq!(of(&checks, "?", &call), Quality::Good);
    let long = format!("\"{}", "x".repeat(MAX_JSON_BYTES));
    assert_eq!(of(&checks, "?", &said(&long, "stop")), Quality::Good);
}

#[test]
fn what_is_no_schema_is_said() {
    for (text, expected) in [
        ("{", "is not JSON"),
        (r#"{"type": "thing"}"#, "is no JSON schema"),
        (r#"{"pattern": "(?<=a)b"}"#, "is no JSON schema"),
        (
            r#"{"$ref": "https://example.com/x.json"}"#,
            "is no JSON schema",
        ),
        (&"x".repeat(70_000), "70000 bytes long"),
    ] {
        let error = Schema::parse(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn danish_english_german_and_swedish_are_told_apart() {
    let checks = checks(None, Language::Question);
    let texts = [DANISH_ANSWER, ENGLISH, GERMAN, SWEDISH];
    for (q, question) in [DANISH, ENGLISH, GERMAN, SWEDISH].into_iter().enumerate() {
        for (a, answer) in texts.into_iter().enumerate() {
            let quality = of(&checks, question, &said(answer, "stop"));
            let is_same = quality == Quality::Good;
            assert_eq!(is_same, q == a, "asked {question} answered {answer}");
        }
    }
}

#[test]
fn short_texts_and_code_say_nothing_of_a_language() {
    let checks = checks(None, Language::Question);
    let code = format!("```rust\n{ENGLISH}\n```");
    for (question, answer) in [
        ("Hvad?", ENGLISH),
        (DANISH, "Yes, of course."),
        (DANISH, &code),
    ] {
        assert_eq!(of(&checks, question, &said(answer, "stop")), Quality::Good);
    }
}

#[test]
fn of_json_the_texts_are_judged_and_not_the_keys() {
    let checks = checks(None, Language::Question);
    let json = |text: &str| {
        let value = json!({
            "summaryOfTheCustomersRequest": text,
            "estimatedProbabilityOfPurchase": 0.7,
            "recommendedNextActions": ["call-back-tomorrow-morning", "send-the-standard-offer"],
        });
        value.to_string()
    };
    for (answer, expected) in [
        (json(DANISH_ANSWER), Quality::Good),
        (json(ENGLISH), Quality::WrongLanguage),
        (json("Ja"), Quality::Good),
        // Cut, or with something after it, it is no JSON whose texts could be found.
        (json(ENGLISH)[..150].to_owned(), Quality::Good),
        (format!("[{ENGLISH}"), Quality::Good),
    ] {
        assert_eq!(
            of(&checks, DANISH, &said(&answer, "stop")),
            expected,
            "{answer}"
        );
    }
    let filler = json!({"ids": vec!["x"; 2_000], "text": ENGLISH}).to_string();
    assert!(filler.len() > LANGUAGE_BYTES);
    let quality = of(&checks, DANISH, &said(&filler, "stop"));
    assert_eq!(quality, Quality::WrongLanguage, "all of it is read");
}

#[test]
fn an_answer_in_the_language_that_was_asked_for_is_no_wrong_one() {
    let checks = checks(None, Language::Question);
    for question in [
        format!("{DANISH} Svar på engelsk."),
        format!("Please translate this into the language of our customers. {ENGLISH}"),
        format!("Svar kort på denne mail:\n\n{GERMAN}"),
        format!("Hvad mener han?\n> {GERMAN}"),
        // Two languages, each in its own lines.
        format!("{DANISH}\n\n{GERMAN}"),
    ] {
        let quality = of(&checks, &question, &said(SWEDISH, "stop"));
        assert_eq!(quality, Quality::Good, "{question}");
    }
    let told = |role: &str, content: Value| {
        ChatRequest::passing_on({
            let body = json!({"messages": [{"role": role, "content": content}, {"role": "user", "content": DANISH}]});
            RawObject::parse(body.to_string().as_bytes()).unwrap()
        })
    };
    let english = said(ENGLISH, "stop");
    for content in [
        json!("Answer in English."),
        json!([{"type": "text", "text": "Always in English!"}]),
    ] {
        for role in ["system", "developer"] {
            let request = told(role, content.clone());
            assert_eq!(of_request(&checks, &request, &english), Quality::Good);
        }
        let request = told("assistant", content);
        assert_eq!(
            of_request(&checks, &request, &english),
            Quality::WrongLanguage
        );
    }
    let request = ChatRequest::new(vec![
        ChatMessage::text("system", "Du svarer altid på engelsk."),
        ChatMessage::text("user", DANISH),
    ]);
    assert_eq!(of_request(&checks, &request, &english), Quality::Good);
}

#[test]
fn a_task_may_name_its_language() {
    let danish = Language::parse("danish").unwrap();
    let named = checks(None, danish);
    let short = "Og bagefter?";
    for (question, answer, expected) in [
        (short, DANISH_ANSWER, Quality::Good),
        (short, ENGLISH, Quality::WrongLanguage),
        (ENGLISH, DANISH_ANSWER, Quality::Good),
        ("Svar på tysk, tak.", GERMAN, Quality::Good),
    ] {
        assert_eq!(
            of(&named, question, &said(answer, "stop")),
            expected,
            "{question}"
        );
    }
    assert_eq!(
        Language::parse("norwegian"),
        Some(danish),
        "they are not told apart"
    );
    assert_eq!(Language::parse("any"), Some(Language::Any));
    for word in ["Danish", "klingon", "", "da"] {
        assert_eq!(Language::parse(word), None, "{word}");
    }
}

#[test]
fn what_the_callers_own_limit_cut_off_says_nothing() {
    let none = checks(None, Language::Any);
    let cut = said("Ja, og", "length");
    let quality = |limit: Option<u32>, took: Option<u32>| {
        let mut inspection = Inspection::new(&none, &asked("Hej"), limit);
        inspection.read(&cut);
        inspection.quality(took)
    };
    assert_eq!(quality(None, Some(5)), Some(Quality::Truncated));
    assert_eq!(quality(Some(5), Some(5)), None);
    assert_eq!(quality(Some(5), None), None, "nobody knows");
    assert_eq!(
        quality(Some(500), Some(5)),
        Some(Quality::Truncated),
        "another limit did it"
    );
    let mut whole = Inspection::new(&none, &asked("Hej"), Some(5));
    whole.read(&said("Ja", "stop"));
    assert_eq!(whole.quality(Some(1)), Some(Quality::Good));
}

#[test]
fn a_stream_is_judged_as_the_whole_answer_is_and_its_characters_are_counted() {
    let body = json!({"messages": [
        {"role": "user", "content": ENGLISH},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": [{"type": "text", "text": DANISH}]},
    ]});
    let given = RawObject::parse(body.to_string().as_bytes()).unwrap();
    let request = ChatRequest::passing_on(given);
    let mut inspection = Inspection::new(&checks(None, Language::Question), &request, None);
    for piece in GERMAN.split_inclusive(' ') {
        inspection.read_step(&Delta {
            content: piece.into(),
            ..Delta::default()
        });
    }
    assert_eq!(inspection.quality(None), Some(Quality::WrongLanguage));
    assert_eq!(inspection.chars() as usize, GERMAN.chars().count());
    inspection.read_step(&Delta {
        finish_reason: Some("length".into()),
        ..Delta::default()
    });
    assert_eq!(inspection.quality(None), Some(Quality::Truncated));
}

#[test]
fn names_are_those_of_the_json() {
    for quality in Quality::FLAWS.into_iter().chain([Quality::Good]) {
        assert_eq!(serde_json::to_value(quality).unwrap(), quality.name());
    }
}
