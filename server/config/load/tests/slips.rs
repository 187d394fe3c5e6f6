//! Slips of whoever writes settings, and what is said of them.

use super::*;

#[test]
fn a_slip_in_an_env_file_is_noted() {
    let folder = Folder::new(&[(".env", "OPENROUTER_ROLLOUT_PERCENT=5\nVITE_OTHER=1")]);
    let config = folder.load(&[]).expect("good settings");
    assert!(matches!(config.warnings.as_slice(),
        [note] if note.contains("did you mean `OPENROUTER_ROLLOUT_PERCENTAGE`?")));
}

#[test]
fn a_slip_in_the_environment_is_noted_and_explains_a_fault() {
    for (variable, meant) in [
        (
            "OPENROUTER_ROLOUT_PERCENTAGE",
            "OPENROUTER_ROLLOUT_PERCENTAGE",
        ),
        (
            "OPENROUTER_ROLLOUT_PERCENTGE",
            "OPENROUTER_ROLLOUT_PERCENTAGE",
        ),
        (
            "openrouter_rollout_percentage",
            "OPENROUTER_ROLLOUT_PERCENTAGE",
        ),
        ("MODELRAMP_DATABASE_URL", "DATABASE_URL"),
        ("DATABSE_URL", "DATABASE_URL"),
        ("OPENROUTR_API_KEY", "OPENROUTER_API_KEY"),
        ("MODELRAMP_TOKN", "MODELRAMP_TOKEN"),
    ] {
        let config = Folder::new(&[])
            .load(&[(variable, "5")])
            .expect("good settings");
        let note =
            format!("`{variable}` in the environment is not a setting; did you mean `{meant}`?");
        assert_eq!(config.warnings, [note]);
    }
    let others = [
        ("PATH", "/bin"),
        ("PGHOST", "x"),
        ("OLLAMA_MODELS", "/m"),
        ("VITE_APP_URL", "x"),
        ("SMTP_USER", "x"),
        ("HOSTNAME", "x"),
        ("MODELRAMP_TOKEN", "x"),
        ("OPENAI_API_KEY", "x"),
        ("MODELRAMP_TEST_PYTHON", "x"),
        ("DATABSE_URL", " "),
    ];
    let config = Folder::new(&[]).load(&others).expect("good settings");
    assert_eq!(config.warnings, Vec::<String>::new());
    // A catalog may name any key.
    let catalog = [("MODEL_CATALOGUE", "c.toml"), ("OPENROUTER2_API_KEY", "x")];
    let config = Folder::new(&[]).load(&catalog).expect("good settings");
    assert_eq!(config.warnings, Vec::<String>::new());

    let production = [
        ("APP_ENV", "production"),
        ("JWT_SECRET", SECRET),
        ("OPENROUTER_API_KYE", "x"),
    ];
    let refused = Folder::new(&[])
        .load(&production)
        .expect_err("no key")
        .to_string();
    assert!(
        refused.contains("`OPENROUTER_API_KEY` is not set"),
        "{refused}"
    );
    assert!(
        refused.contains("did you mean `OPENROUTER_API_KEY`?"),
        "{refused}"
    );
}

#[test]
fn pasted_addresses_and_keys_are_refused_with_the_reason_and_without_the_secret() {
    for (name, value, reason) in [
        (
            "OPENROUTER_BASE_URL",
            "https://a.example/v1/chat/completions",
            "`/chat/completions`",
        ),
        (
            "OPENROUTER_BASE_URL",
            "https://a.example/v1/chat/completions/",
            "`/chat/completions`",
        ),
        (
            "OPENROUTER_BASE_URL",
            "\"https://a.example/v1\"",
            "quotation mark",
        ),
        (
            "OPENROUTER_BASE_URL",
            "https://a.example\n/v1",
            "line break",
        ),
        (
            "PAGERDUTY_URL",
            "https://events.pagerduty.com/v2/enqueue",
            "`/v2/enqueue`",
        ),
        (
            "OLLAMA_BASE_URL",
            "'http://127.0.0.1:11434'",
            "quotation mark",
        ),
        (
            "SLACK_WEBHOOK_URL",
            "\"https://hooks.example/hush\"",
            "quotation mark",
        ),
        ("SMTP_URL", "smtp://mail.example.com/hush :25", "blank"),
        (
            "DATABASE_URL",
            "\"postgres://me:hush@host/db\"",
            "quotation mark",
        ),
        ("DATABASE_URL", "sqlite://~/x.db", "`~`"),
        ("DATABASE_URL", "sqlite://a?b.db", "`?`"),
        ("MODEL_CATALOGUE", "~/models.toml", "`~`"),
        ("OPENROUTER_API_KEY", "\"sk-hush\"", "quotation mark"),
        ("OPENROUTER_API_KEY", "Bearer sk-hush", "`Bearer`"),
        ("OPENROUTER_API_KEY", "sk-hush\nsk-hush", "line break"),
        (
            "OPENROUTER_API_KEY",
            "OPENROUTER_API_KEY=sk-hush",
            "name of a variable",
        ),
        ("GEMINI_API_KEY", "<hush>", "angle brackets"),
        ("PAGERDUTY_ROUTING_KEY", "'hush'", "quotation mark"),
        (
            "JWT_SECRET",
            "\"hush-hush-hush-hush-hush-hush-hush\"",
            "quotation marks",
        ),
        ("LOG_LEVEL", "\"info\"", "quotation marks"),
    ] {
        let fault = fault(&[(name, value)]);
        assert!(fault.contains(reason), "{name}: {fault}");
        assert!(fault.starts_with(&format!("`{name}` ")), "{fault}");
        assert!(!fault.contains("hush"), "{fault}");
    }
    let folder = Folder::new(&[]);
    let config = folder.load(&[
        ("OPENROUTER_BASE_URL", " https://a.example/v1/ "),
        ("OPENROUTER_API_KEY", "sk-1\n"),
    ]);
    let providers = config
        .expect("only blanks and slashes at the end")
        .providers;
    assert_eq!(providers.openrouter_base_url, "https://a.example/v1");
    let key = providers.openrouter_api_key.expect("a key");
    assert_eq!(key.expose_secret(), "sk-1");
}
