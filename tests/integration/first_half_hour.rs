//! What somebody meets who has just built the program: a start, a token, a slip, an odd folder.

use std::{
    path::Path,
    process::{Output, Stdio},
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

/// The program in this folder, with these variables alone.
fn modelramp(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_modelramp"));
    command
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .current_dir(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// How a command ended.
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

async fn run(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
    let ended = modelramp(folder, arguments, environment).output().await;
    let Output {
        status,
        stdout,
        stderr,
    } = ended.unwrap();
    Ended {
        code: status.code(),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}

/// A server that has said what it is and where; killed with the test.
struct Serving {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// What it printed, up to the line to try.
    banner: String,
    url: String,
}

impl Serving {
    async fn start(folder: &Path, environment: &[(&str, &str)]) -> Self {
        let mut environment = environment.to_vec();
        environment.push(("PORT", "0"));
        let mut command = modelramp(folder, &[], &environment);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut banner = String::new();
        loop {
            let line = lines.next_line().await.unwrap();
            let line = line.expect("the server introduces itself");
            if line == "Try:" {
                break;
            }
            banner.push_str(&line);
            banner.push('\n');
        }
        let url = banner.lines().next().unwrap();
        let url = url.strip_prefix("modelramp serves on ").unwrap();
        let url = url.split(' ').next_back().unwrap().to_owned();
        Self {
            child,
            lines,
            banner,
            url,
        }
    }

    /// The status of a query in somebody's name.
    async fn status(&self, token: &str) -> u16 {
        let url = format!("{}/api/trpc/aiMetrics.getSummary?lastMinutes=60", self.url);
        let http = crate::support::http_client();
        let response = http.get(url).bearer_auth(token).send().await.unwrap();
        response.status().as_u16()
    }

    /// Kills it, and returns its log.
    async fn log(mut self) -> String {
        self.child.kill().await.unwrap();
        drop(self.lines);
        let mut log = String::new();
        let mut pipe = self.child.stderr.take().unwrap();
        tokio::io::AsyncReadExt::read_to_string(&mut pipe, &mut log)
            .await
            .unwrap();
        log
    }
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

#[tokio::test]
async fn a_token_is_made_only_where_a_server_was_started_or_by_wish() {
    let admin = ["token", "--user", "1", "--role", "admin"];
    let folder = TempDir::new().unwrap();
    for command in [&admin[..], &["drive", "--duration", "1s"]] {
        let refused = run(folder.path(), command, &[]).await;
        assert_eq!((refused.code, refused.out.as_str()), (Some(1), ""));
        let database = folder.path().canonicalize().unwrap();
        let database = database.join("data/modelramp.db").display().to_string();
        assert!(refused.err.contains(&database), "{}", refused.err);
        assert!(is_empty(folder.path()), "{command:?} made something");
    }
    let refused = run(folder.path(), &admin, &[]).await;
    assert!(refused.err.contains("`--create`"), "{}", refused.err);

    // Whoever listens on all addresses is told one that a browser can open.
    let open = [("HOST", "0.0.0.0"), ("APP_ENV", "development")];
    let server = Serving::start(folder.path(), &open).await;
    assert!(
        server.url.starts_with("http://127.0.0.1:"),
        "{}",
        server.url
    );
    let link = format!("  sign in     {}/login#t=", server.url);
    assert!(server.banner.contains(&link), "{}", server.banner);
    assert!(!server.banner.contains("0.0.0.0"), "{}", server.banner);
    let made = run(folder.path(), &admin, &[]).await;
    assert_eq!(made.code, Some(0), "{}", made.err);
    // The server made the user for its own link.
    assert!(
        made.err.contains("user 1 is still admin in "),
        "{}",
        made.err
    );
    assert!(made.err.contains("/data/modelramp.db"), "{}", made.err);
    assert_eq!(server.status(made.out.trim()).await, 200);
    for (arguments, role) in [
        (&["token", "--user", "1"][..], "still admin"),
        (&["token", "--user", "2"], "now user"),
        (&["token", "--user", "2", "--role", "admin"], "now admin"),
        (&["token", "--user", "2", "--login-link"], "still admin"),
        (&["token", "--user", "2", "--role", "user"], "now user"),
    ] {
        let address = [("PUBLIC_URL", "http://127.0.0.1:3000")];
        let made = run(folder.path(), arguments, &address).await;
        let said = format!("user {} is {role} in ", arguments[2]);
        assert!(made.err.contains(&said), "{said} {}", made.err);
    }

    // The database alone is not enough: a server that signs with `JWT_SECRET` leaves no secret.
    std::fs::remove_file(folder.path().join("data/modelramp.db.jwt-secret")).unwrap();
    let refused = run(folder.path(), &admin, &[]).await;
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("`JWT_SECRET`"), "{}", refused.err);
    let secret = [("JWT_SECRET", "0123456789abcdef0123456789abcdef")];
    assert_eq!(run(folder.path(), &admin, &secret).await.code, Some(0));

    let elsewhere = TempDir::new().unwrap();
    let made = run(elsewhere.path(), &["token", "--user", "1", "--create"], &[]).await;
    assert_eq!(made.code, Some(0), "{}", made.err);
    assert_eq!(server.status(made.out.trim()).await, 401);
}

const LOCAL: &str = r#"
[providers.here]
base_url = "http://127.0.0.1:9/v1"
[providers.unused]
base_url = "http://127.0.0.1:10/v1"
[models.m]
provider = "here"
id = "m"
context = 1000
[tasks.chat]
candidate = ["m"]
control = ["m"]
"#;

#[tokio::test]
async fn the_banner_says_where_each_provider_in_use_really_goes() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("models.toml"), LOCAL).unwrap();
    let settings = [
        ("MODEL_CATALOGUE", "models.toml"),
        ("OPENROUTER_BASE_URL", "http://127.0.0.1:11/v1"),
        ("OPENROUTER_API_KEY", "sk-1"),
    ];
    let banner = Serving::start(folder.path(), &settings).await.banner;
    assert!(
        banner.contains("models      here at http://127.0.0.1:9/v1, without a key"),
        "{banner}"
    );
    for other in ["openrouter", ":10/", ":11/"] {
        assert!(!banner.contains(other), "{banner}");
    }

    let banner = Serving::start(folder.path(), &settings[1..]).await.banner;
    let redirected = "openrouter at http://127.0.0.1:11/v1, with the key in OPENROUTER_API_KEY";
    assert!(banner.contains(redirected), "{banner}");
    let banner = Serving::start(folder.path(), &[]).await.banner;
    assert!(banner.contains("openrouter is SIMULATED"), "{banner}");
}

#[tokio::test]
async fn a_catalog_without_the_task_of_chat_does_not_start() {
    let folder = TempDir::new().unwrap();
    let other = LOCAL.replace("[tasks.chat]", "[tasks.summary]");
    std::fs::write(folder.path().join("models.toml"), other).unwrap();
    let ended = run(folder.path(), &[], &[("MODEL_CATALOGUE", "models.toml")]).await;
    assert_eq!(ended.code, Some(64), "{}", ended.err);
    assert!(
        ended.err.contains("`tasks.chat` is missing"),
        "{}",
        ended.err
    );
    assert!(ended.err.contains("`chat.sendMessage`"), "{}", ended.err);
}

#[tokio::test]
async fn a_misspelt_variable_is_a_warning_at_start() {
    let folder = TempDir::new().unwrap();
    let server = Serving::start(folder.path(), &[("OPENROUTER_ROLOUT_PERCENTAGE", "50")]);
    let log = server.await.log().await;
    assert!(log.contains("WARN"), "{log}");
    assert!(
        log.contains("did you mean `OPENROUTER_ROLLOUT_PERCENTAGE`?"),
        "{log}"
    );
}

#[tokio::test]
async fn a_database_lies_under_the_name_that_was_written() {
    for name in ["a%2Fb.db", "a%20b.db", "a b#c.db", "für José.db"] {
        let folder = TempDir::new().unwrap();
        let url = format!("sqlite://{}/{name}", folder.path().display());
        let token = ["token", "--user", "1", "--create"];
        let made = run(folder.path(), &token, &[("DATABASE_URL", &url)]).await;
        assert_eq!(made.code, Some(0), "{}", made.err);
        assert!(folder.path().join(name).is_file(), "{name}: {}", made.err);
    }
    for (url, reason) in [
        ("sqlite://a?b.db", "`?`"),
        ("sqlite://~/a.db", "`~`"),
        ("sqlite://:memory:", "in memory"),
    ] {
        let folder = TempDir::new().unwrap();
        let refused = run(folder.path(), &[], &[("DATABASE_URL", url)]).await;
        assert_eq!(refused.code, Some(64), "{}", refused.err);
        assert!(refused.err.contains(reason), "{}", refused.err);
        assert!(is_empty(folder.path()), "{url} made something");
    }
}

#[tokio::test]
async fn a_drive_fails_that_reached_nobody() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("tokens"), "a.b.c\n").unwrap();
    let drive = ["drive", "--tokens", "tokens", "--duration", "1s", "--url"];
    let nobody = [&drive[..], &["http://127.0.0.1:1"]].concat();
    let ended = run(folder.path(), &nobody, &[]).await;
    assert_eq!(ended.code, Some(1), "{}", ended.out);
    assert!(ended.err.contains("5 of 5 requests"), "{}", ended.err);
    assert!(ended.err.contains("`no connection`"), "{}", ended.err);

    let server = Serving::start(folder.path(), &[]).await;
    let stranger = [&drive[..], &[&server.url]].concat();
    let ended = run(folder.path(), &stranger, &[]).await;
    assert_eq!(ended.code, Some(1), "{}", ended.out);
    assert!(ended.err.contains("`UNAUTHORIZED`"), "{}", ended.err);
    let all = [&stranger[..], &["--max-failed", "100"]].concat();
    assert_eq!(run(folder.path(), &all, &[]).await.code, Some(0));
}
