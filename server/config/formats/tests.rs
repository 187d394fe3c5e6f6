use super::*;

#[track_caller]
fn takes<F: Format<Value: PartialEq + std::fmt::Debug>>(
    format: &F,
    good: &[(&str, F::Value)],
    bad: &[&str],
) {
    for (text, value) in good {
        assert_eq!(format.parse(text).as_ref(), Ok(value), "{text}");
    }
    for text in bad {
        assert!(format.parse(text).is_err(), "{text} was taken");
    }
}

#[test]
fn switch_takes_four_words_in_any_case() {
    let good = [
        ("true", true),
        ("TRUE", true),
        ("1", true),
        ("False", false),
        ("0", false),
    ];
    takes(&SwitchFormat, &good, &["yes", "on", "2", "tru", "wahr"]);
}

#[test]
fn whole_number_keeps_to_its_bounds_and_to_digits() {
    let port = Whole::<u16> {
        unit: "",
        min: 0,
        max: 65_535,
    };
    takes(
        &port,
        &[("0", 0), ("65535", 65_535)],
        &[
            "65536",
            "-1",
            "+1",
            "1.0",
            "1e3",
            "x",
            "99999999999999999999",
        ],
    );
}

#[test]
fn duration_needs_a_unit_and_keeps_to_its_bounds() {
    let span = SpanFormat {
        min: Duration::from_millis(200),
        max: Duration::from_secs(60),
    };
    takes(
        &span,
        &[
            ("200ms", Duration::from_millis(200)),
            ("1m", Duration::from_secs(60)),
            ("1s 500ms", Duration::from_millis(1500)),
        ],
        &["40", "199ms", "61s", "-1s", "1 parsec", "99999999999999y"],
    );
}

#[test]
fn origins_are_exact_and_written_as_a_browser_writes_them() {
    let list = |items: &[&str]| items.iter().map(ToString::to_string).collect::<Vec<_>>();
    takes(
        &Origins,
        &[
            ("https://a.example", list(&["https://a.example"])),
            (
                "https://A.example:443, http://localhost:5173,",
                list(&["https://a.example", "http://localhost:5173"]),
            ),
            ("http://[::1]:5173", list(&["http://[::1]:5173"])),
            ("capacitor://localhost", list(&["capacitor://localhost"])),
        ],
        &[
            "*",
            "https://*.example",
            "https://a.example/",
            "https://a.example/app",
            "https://a.example?x",
            "https://me@a.example",
            "a.example",
            "null",
            "https://",
            "https://a.example:99999",
            "https://a.example, *",
        ],
    );
}

#[test]
fn base_url_is_http_without_extras() {
    takes(
        &BaseUrl,
        &[
            (
                "https://openrouter.ai/api/v1/",
                "https://openrouter.ai/api/v1".into(),
            ),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080".into()),
        ],
        &[
            "openrouter.ai",
            "ftp://x",
            "https://u:p@x",
            "https://x?key=1",
            "https://x#f",
            "http://",
        ],
    );
}

#[test]
fn database_is_a_file_or_a_server() {
    takes(
        &DatabaseUrl,
        &[
            ("sqlite://data/x.db", "sqlite://data/x.db".into()),
            ("postgres://u:p@h/d", "postgres://u:p@h/d".into()),
            ("postgresql://h/d", "postgresql://h/d".into()),
        ],
        &[
            "sqlite://",
            "sqlite::memory:",
            "postgres://",
            "mysql://u:p@h/d",
            "data/x.db",
            "sqlite://?mode=rwc",
        ],
    );
}

#[test]
fn subjects_are_positive_ids_or_opaque() {
    takes(
        &Subjects,
        &[(
            "7, team-a",
            vec![Subject::User(7), Subject::Opaque("team-a".into())],
        )],
        &["0", "-5", "1.5", "7,0"],
    );
}

#[test]
fn log_filter_is_checked() {
    takes(
        &LogFilter,
        &[
            ("info", "info".into()),
            ("info,modelramp=debug", "info,modelramp=debug".into()),
        ],
        &[
            "loud",
            "modelramp",
            "modelramp=loud",
            "info,loud",
            "info,0¡=",
            "info,møde=debug",
        ],
    );
}

#[test]
fn api_key_fits_into_a_header() {
    assert!(ApiKeyFormat.parse("sk-or-v1-abc").is_ok());
    assert!(ApiKeyFormat.parse("sk or").is_err());
    assert!(ApiKeyFormat.parse("nøgle").is_err());
}
