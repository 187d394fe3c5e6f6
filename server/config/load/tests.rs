mod channels;
mod slips;

use std::{fs, time::Duration};

use secrecy::ExposeSecret;
use tempfile::TempDir;

use super::{
    super::{ChannelName, Transformer},
    *,
};
use crate::_core::{
    assignment::{Algorithm, Subject},
    units::Percent,
};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const KEY: &str = "sk-or-v1-secret";

/// A working folder of one test.
struct Folder(TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            fs::write(folder.path().join(name), text).expect("a file");
        }
        Self(folder)
    }

    fn load(&self, environment: &[(&str, &str)]) -> Result<Config, ConfigFaults> {
        Config::load(&Sources {
            environment: environment
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            working_dir: self.0.path().to_owned(),
            config_file: None,
        })
    }
}

#[track_caller]
fn load(environment: &[(&str, &str)]) -> Config {
    Folder::new(&[]).load(environment).expect("good settings")
}

#[track_caller]
fn faults_of(folder: &Folder, environment: &[(&str, &str)]) -> Vec<String> {
    let faults = folder.load(environment).expect_err("bad settings");
    faults.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn fault(environment: &[(&str, &str)]) -> String {
    let mut faults = faults_of(&Folder::new(&[]), environment);
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults.remove(0)
}

#[test]
fn nothing_set_is_development_on_loopback() {
    let config = load(&[]);
    assert_eq!(config.environment, Environment::Development);
    assert_eq!(config.server.host.to_string(), "127.0.0.1");
    assert_eq!(config.server.port, 3000);
    assert_eq!(config.database.url, "sqlite://data/modelramp.db");
    assert_eq!(config.trpc.transformer, Transformer::Superjson);
    assert!(config.trpc.method_override);
    assert_eq!(
        (config.trpc.max_batch, config.jsonrpc.max_batch),
        (1000, 100)
    );
    assert_eq!(config.flags.percentage, Percent::ZERO);
    assert!(config.flags.model_routing && !config.flags.force_model_routing);
    assert_eq!(config.flags.algorithm, Algorithm::Murmur3);
    assert_eq!(config.chat.deadline, Duration::from_secs(40));
    assert_eq!(config.metrics.summary_interval, Duration::from_secs(1));
    assert_eq!(
        config.providers.openrouter_base_url,
        "https://openrouter.ai/api/v1"
    );
    assert!(config.auth.jwt_secret.is_none() && config.warnings.is_empty());
}

#[test]
fn all_faults_come_at_once_with_name_value_and_expectation() {
    let faults = faults_of(
        &Folder::new(&[]),
        &[
            ("PORT", "70000"),
            ("CHAT_DEADLINE", "40"),
            ("OPENROUTER_ROLLOUT_PERCENTAGE", "10%"),
            ("FORCE_OPENROUTER", "yes"),
            ("CORS_ALLOWED_ORIGINS", "https://a.example,*"),
        ],
    );
    assert_eq!(
        faults,
        [
            "`PORT` is `70000`, from the environment; expected a whole number, 0 to 65535",
            "`CORS_ALLOWED_ORIGINS` is `https://a.example,*`, from the environment, where `*` does \
             not fit; expected origins `scheme://host` or `scheme://host:port`, separated by \
             commas; no path, no `*`",
            "`OPENROUTER_ROLLOUT_PERCENTAGE` is `10%`, from the environment; expected a number \
             from 0 to 100 such as `10` or `12.5`, without sign, exponent or `%`",
            "`FORCE_OPENROUTER` is `yes`, from the environment; expected `true`, `false`, `1` or `0`",
            "`CHAT_DEADLINE` is `40`, from the environment; expected a duration such as `40s` or \
             `200ms`, 100ms to 1h",
        ]
    );
}

#[test]
fn every_setting_refuses_nonsense_or_takes_any_text() {
    let free = [
        "MODELRAMP_CONFIG",
        "MODEL_CATALOGUE",
        "SANDBOX_CONFIG",
        "ROLLOUT_PLANS",
        "OWNER_OPEN_ID",
        "VITE_APP_ID",
        "JWT_SECRET",
        "JWT_SECRET_PREVIOUS",
        "ALERT_WEBHOOK_SECRET",
        "ASSIGNMENT_SALT",
        "FORCED_ON_USERS",
        "FORCED_OFF_USERS",
        "OPENROUTER_MODEL",
        "OLLAMA_MODEL",
        "OTEL_SERVICE_NAME",
        "NO_PROXY",
        "OIDC_CLIENT_ID",
        "OIDC_CLIENT_SECRET",
        "OIDC_SCOPES",
        "ROLE_CLAIM",
        "ADMIN_ROLES",
        "VIEWER_ROLES",
        // Held against the catalog, which is read later.
        "TEXT_TASKS",
    ];
    for name in settings::all().map(|setting| setting.row().name) {
        if !free.contains(&name) {
            assert!(fault(&[(name, "no\u{7}=sense")]).contains(name));
        }
    }
}

#[test]
fn node_env_counts_where_app_env_is_absent() {
    assert_eq!(load(&[("NODE_ENV", "test")]).environment, Environment::Test);
    let both = load(&[("NODE_ENV", "production"), ("APP_ENV", "development")]);
    assert_eq!(both.environment, Environment::Development);
    assert!(fault(&[("APP_ENV", "prod")]).contains("`staging` or `production`"));
}

#[test]
fn without_app_env_only_loopback_is_listened_on() {
    for host in [
        "127.0.0.1",
        "127.8.8.8",
        "::1",
        "localhost",
        "::ffff:127.0.0.1",
    ] {
        load(&[("HOST", host)]);
    }
    for host in ["0.0.0.0", "::", "192.168.1.7"] {
        assert!(fault(&[("HOST", host)]).contains("although `APP_ENV` is not set"));
        load(&[("HOST", host), ("APP_ENV", "development")]);
    }
}

#[test]
fn production_and_staging_need_a_secret_and_a_key() {
    for environment in ["staging", "production"] {
        let app_env = ("APP_ENV", environment);
        let folder = Folder::new(&[]);
        let faults = faults_of(&folder, &[app_env]);
        assert!(matches!(faults.as_slice(),
            [secret, key] if secret.contains("`JWT_SECRET` is not set")
                && key.contains("`OPENROUTER_API_KEY` is not set")));
        let key = ("OPENROUTER_API_KEY", KEY);
        assert!(fault(&[app_env, key, ("JWT_SECRET", &SECRET[1..])]).contains("has 31 bytes"));
        load(&[app_env, key, ("JWT_SECRET", SECRET)]);
        load(&[
            app_env,
            ("MODEL_CATALOGUE", "models.toml"),
            ("JWT_SECRET", SECRET),
        ]);
    }
    load(&[("JWT_SECRET", "short")]);
}

#[test]
fn blank_is_not_set() {
    let names = settings::all().map(|setting| (setting.row().name, " "));
    let config = load(&names.collect::<Vec<_>>());
    assert_eq!(format!("{config:?}"), format!("{:?}", load(&[])));
}

#[test]
fn later_sources_win() {
    let folder = Folder::new(&[
        (
            "settings.toml",
            "PORT = 1\nmax_body_bytes = 100000\ntrpc_max_batch = 400\nJSONRPC_MAX_BATCH = 7\nchat_rate_limit = 9",
        ),
        (
            ".env",
            "MAX_BODY_BYTES=200000\nTRPC_MAX_BATCH=500\nJSONRPC_MAX_BATCH=8\nMODELRAMP_CONFIG=settings.toml",
        ),
        (".env.dev", "TRPC_MAX_BATCH=600\nJSONRPC_MAX_BATCH=9"),
        (".env.prod", "TRPC_MAX_BATCH=700\nJSONRPC_MAX_BATCH=10"),
    ]);
    let dev = folder
        .load(&[("JSONRPC_MAX_BATCH", "11")])
        .expect("good settings");
    assert_eq!(dev.server.port, 1);
    assert_eq!(dev.server.max_body_bytes, 200_000);
    assert_eq!(dev.trpc.max_batch, 600);
    assert_eq!(dev.jsonrpc.max_batch, 11);
    assert_eq!(dev.chat.rate_limit, 9);

    let secrets = [("JWT_SECRET", SECRET), ("OPENROUTER_API_KEY", KEY)];
    let production = [&secrets[..], &[("APP_ENV", "production")]].concat();
    let prod = folder.load(&production).expect("good settings");
    assert_eq!((prod.trpc.max_batch, prod.jsonrpc.max_batch), (700, 10));
}

#[test]
fn the_command_lines_file_wins_over_the_environments() {
    let folder = Folder::new(&[("a.toml", "port = 1"), ("b.toml", "port = 2")]);
    let sources = Sources {
        environment: [("MODELRAMP_CONFIG".to_owned(), "a.toml".to_owned())].into(),
        working_dir: folder.0.path().to_owned(),
        config_file: Some("b.toml".into()),
    };
    assert_eq!(
        Config::load(&sources).expect("good settings").server.port,
        2
    );
}

#[test]
fn toml_takes_typed_values_and_lists() {
    let folder = Folder::new(&[(
        "s.toml",
        "openrouter_rollout_percentage = 12.5\nforce_openrouter = true\n\
         CORS_ALLOWED_ORIGINS = [\"https://a.example\", \"https://b.example\"]\n\
         forced_on_users = [7, \"team-a\"]\nchat_deadline = \"200ms\"",
    )]);
    let config = folder
        .load(&[("MODELRAMP_CONFIG", "s.toml")])
        .expect("good settings");
    assert_eq!(config.flags.percentage.get(), 12.5);
    assert!(config.flags.force_openrouter);
    assert_eq!(
        config.server.allowed_origins,
        ["https://a.example", "https://b.example"]
    );
    let forced = [Subject::User(7), Subject::Opaque("team-a".into())];
    assert_eq!(config.flags.forced_on, forced);
    assert_eq!(config.chat.deadline, Duration::from_millis(200));
}

#[test]
fn toml_keys_must_be_known_flat_and_there_once() {
    let folder = Folder::new(&[(
        "s.toml",
        "porrt = 1\nPORT = 2\nport = 3\nfrobnicate = 4\nGLM_API_KEY = \"top\"\n\
         modelramp_config = \"x\"\n[host]\nname = 5\n[server]\nport = 6",
    )]);
    let faults = faults_of(&folder, &[("MODELRAMP_CONFIG", "s.toml")]);
    let expected = [
        "`GLM_API_KEY` in `s.toml` is unknown; expected the keys of a catalog's providers",
        "`frobnicate` in `s.toml` is unknown; expected a setting's name",
        "`HOST` is a table in `s.toml`",
        "`modelramp_config` in `s.toml` names a file from within one",
        "`porrt` in `s.toml` is unknown; expected a setting's name; did you mean `PORT`?",
        "`port` in `s.toml` is given twice",
        "`server` in `s.toml` is unknown",
    ];
    let mut sorted = faults.clone();
    sorted.sort();
    let mut wanted = expected.to_vec();
    wanted.sort_unstable();
    assert_eq!(sorted.len(), wanted.len(), "{sorted:#?}");
    for (fault, start) in sorted.iter().zip(wanted) {
        assert!(fault.starts_with(start), "{fault} / {start}");
    }
}

#[test]
fn files_that_cannot_be_read_are_named_and_never_quoted() {
    let folder = Folder::new(&[
        ("bad.toml", "port = 1\nJWT_SECRET = \"hush"),
        (".env", "PORT=1\nJWT_SECRET='hush\n"),
    ]);
    let faults = faults_of(&folder, &[("MODELRAMP_CONFIG", "bad.toml")]);
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(
        faults[0].contains("`.env` cannot be parsed at line 2"),
        "{faults:?}"
    );
    assert!(
        faults[1].contains("`bad.toml` is not TOML at line 2"),
        "{faults:?}"
    );
    assert!(!faults.concat().contains("hush"), "{faults:?}");
    assert!(fault(&[("MODELRAMP_CONFIG", "none.toml")]).contains("`none.toml` cannot be read"));
    let folder = Folder::new(&[]);
    fs::write(folder.0.path().join(".env"), b"PORT=\xff").expect("a file");
    assert!(faults_of(&folder, &[])[0].contains("`.env` cannot be read"));
}

#[test]
fn a_file_for_one_environment_cannot_name_another() {
    let folder = Folder::new(&[(".env.dev", "APP_ENV=production")]);
    let secrets = [("JWT_SECRET", SECRET), ("OPENROUTER_API_KEY", KEY)];
    let faults = faults_of(&folder, &secrets);
    assert!(
        faults[0].contains("for which `.env.prod` is read"),
        "{faults:?}"
    );

    let folder = Folder::new(&[(".env", "APP_ENV=production"), (".env.prod", "PORT=5")]);
    assert_eq!(folder.load(&secrets).expect("good settings").server.port, 5);
}

#[test]
fn catalog_keys_come_from_environment_and_env_files() {
    let folder = Folder::new(&[(".env", "GLM_API_KEY=a\nLOCAL_API_KEY=b\nEMPTY_API_KEY=")]);
    let config = folder.load(&[("GLM_API_KEY", "c")]).expect("good settings");
    let keys = config.providers.api_keys.iter();
    let keys: Vec<_> = keys
        .map(|(name, key)| (name.as_str(), key.expose_secret()))
        .collect();
    assert_eq!(keys, [("GLM_API_KEY", "c"), ("LOCAL_API_KEY", "b")]);
}

#[test]
fn every_algorithm_is_taken_by_its_name() {
    for algorithm in Algorithm::ALL {
        let config = load(&[("ASSIGNMENT_ALGORITHM", algorithm.name())]);
        assert_eq!(config.flags.algorithm, algorithm);
        let written = serde_json::to_value(algorithm).expect("JSON");
        assert_eq!(written, algorithm.name());
    }
}

#[test]
fn files_and_folders_are_found_from_the_working_folder() {
    let folder = Folder::new(&[]);
    let given = [
        ("ROLLOUT_PLANS", "plans"),
        ("SANDBOX_CONFIG", "sandbox.toml"),
    ];
    let config = folder.load(&given).expect("good settings");
    assert_eq!(config.rollout.plans, Some(folder.0.path().join("plans")));
    assert_eq!(
        config.sandbox.file,
        Some(folder.0.path().join("sandbox.toml"))
    );
    assert_eq!(
        config.database.event_retention,
        Duration::from_secs(14 * 86_400)
    );
}

#[test]
fn secrets_are_shown_neither_in_a_config_nor_in_faults() {
    let together = [
        ("ALERT_EMAIL_TO", "me@example.com"),
        ("ALERT_EMAIL_FROM", "me@example.com"),
        ("OIDC_ISSUER", "https://id.example"),
        ("OIDC_CLIENT_ID", "us"),
    ];
    let secret = |name| match name {
        "SMTP_URL" => "smtp://me:hush-hush@mail.example.com",
        "SLACK_WEBHOOK_URL" | "ALERT_WEBHOOK_URL" => "https://example.com/hush-hush",
        "HTTPS_PROXY" => "http://me:hush-hush@proxy.example.com:3128",
        "OTEL_EXPORTER_OTLP_HEADERS" => "authorization=hush-hush",
        _ => "hush-hush",
    };
    let names: Vec<_> = settings::all()
        .filter(|setting| setting.secret())
        .map(|setting| (setting.row().name, secret(setting.row().name)))
        .chain([("GLM_API_KEY", "hush-hush")])
        .chain(together)
        .collect();
    assert!(names.len() >= 11);
    assert!(!format!("{:?}", load(&names)).contains("hush"));
    let database = load(&[("DATABASE_URL", "postgres://me:hush@host/db?password=hush")]);
    assert!(!format!("{database:?}").contains("hush"));
    assert_eq!(database.database.shown_url(), "postgres:…@host/db?…");

    let wrong = |(name, _): &(&'static str, _)| match together.iter().find(|(n, _)| n == name) {
        Some(right) => *right,
        None => (*name, "hush hush"),
    };
    let mut wrong: Vec<_> = names.iter().map(wrong).collect();
    wrong.push(("APP_ENV", "production"));
    wrong.push(("DATABASE_URL", "mysql://me:hush@host/db"));
    wrong.push(("OPENROUTER_BASE_URL", "https://me:hush@host"));
    let folder = Folder::new(&[]);
    let faults = folder.load(&wrong).expect_err("bad settings");
    assert!(faults.iter().count() >= 11, "{faults}");
    assert!(!format!("{faults}{faults:?}").contains("hush"), "{faults}");
}

proptest::proptest! {
    /// Whatever the texts are, there is a configuration or a list of faults.
    #[test]
    fn no_text_makes_the_loader_panic(
        texts in proptest::collection::vec(".{0,30}|[0-9a-z:/@?.,=*-]{0,30}", settings::all().count()),
        toml in ".{0,60}|([a-z_]{1,8} = [0-9a-z\"\\[\\]]{0,8}\n){0,5}",
        env in ".{0,60}|([A-Z_]{1,8}=[0-9a-z\"'$]{0,8}\n){0,5}",
    ) {
        let folder = Folder::new(&[("s.toml", &toml), (".env", &env)]);
        let names = settings::all().map(|setting| setting.row().name);
        let environment: Vec<_> = names.zip(texts.iter().map(String::as_str)).collect();
        let _ = folder.load(&environment).map_err(|faults| faults.to_string());
        let _ = folder.load(&[("MODELRAMP_CONFIG", "s.toml")]).map_err(|faults| faults.to_string());
    }
}
