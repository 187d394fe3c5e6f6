//! A PostgreSQL of the tests' own: made in a temporary folder when the first test asks, reachable by
//! a socket in that folder only, gone with the test process however that ends.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use uuid::Uuid;

/// Where it is set to 1, a missing PostgreSQL fails the tests instead of skipping them.
const REQUIRED: &str = "MODELRAMP_TEST_REQUIRE_POSTGRES";

/// The server stops when its standard input closes, which the end of this process does.
const SCRIPT: &str = r#"
set -eu
folder=$(mktemp -d /tmp/modelramp-test-postgres.XXXXXX)
# Ctrl-c reaches this script too; its end is that of its input.
trap '' INT HUP TERM
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"$0/initdb" --no-sync --auth=trust --username=modelramp --encoding=UTF8 --locale=C --pgdata=data >log 2>&1 ||
  { cat log >&2; exit 1; }
"$0/pg_ctl" start --wait --pgdata=data --log=log \
  --options="-k $folder -c listen_addresses= -c fsync=off -c max_connections=200" >/dev/null ||
  { cat log >&2; exit 1; }
echo "$folder"
cat >/dev/null || true
"$0/pg_ctl" stop --mode=immediate --pgdata=data >/dev/null 2>&1 || true
"#;

struct Server {
    folder: String,
    /// Whose standard input is open as long as this process lives.
    _script: Child,
}

static SERVER: OnceLock<Option<Server>> = OnceLock::new();

/// The URL of a new, empty database, or `None` where PostgreSQL is not installed, which is said.
pub(crate) async fn database() -> Option<String> {
    let server = SERVER.get_or_init(start).as_ref()?;
    let url = |name: &str| {
        format!(
            "postgres://modelramp@localhost/{name}?host={}",
            server.folder
        )
    };
    let mut connection = PgConnection::connect(&url("postgres")).await.unwrap();
    let name = format!("test_{}", Uuid::now_v7().simple());
    sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
    Some(url(&name))
}

fn start() -> Option<Server> {
    let mut command = script()?;
    let programs = programs()?;
    let mut script = command
        .args(["-c", SCRIPT])
        .arg(programs)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut folder = String::new();
    BufReader::new(script.stdout.take().unwrap())
        .read_line(&mut folder)
        .unwrap();
    let folder = folder.trim().to_owned();
    assert!(!folder.is_empty(), "PostgreSQL did not start");
    Some(Server {
        folder,
        _script: script,
    })
}

/// A shell as somebody whom PostgreSQL runs for; `None` where it is not installed, which is said.
pub(crate) fn script() -> Option<Command> {
    if programs().is_none() {
        #[expect(clippy::disallowed_methods, reason = "a setting of the tests")]
        let is_required = std::env::var(REQUIRED).is_ok_and(|value| value == "1");
        assert!(!is_required, "PostgreSQL is not installed");
        #[expect(clippy::print_stderr, reason = "who runs the tests has to know")]
        {
            eprintln!("PostgreSQL is not installed: tests over it are skipped");
        }
        return None;
    }
    Some(match unprivileged_user() {
        // PostgreSQL refuses to run as root.
        Some(user) => {
            let mut command = Command::new("runuser");
            command.args(["-u", user, "--", "sh"]);
            command
        }
        None => Command::new("sh"),
    })
}

/// The folder of the newest PostgreSQL, where Debian and others put it.
pub(crate) fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    versions
        .filter_map(|version| Some(version.ok()?.path().join("bin")))
        .filter(|folder| folder.join("initdb").exists())
        .max()
}

/// Whom to be instead of root.
fn unprivileged_user() -> Option<&'static str> {
    let id = |arguments: &[&str]| Command::new("id").args(arguments).output().unwrap();
    if id(&["-u"]).stdout != b"0\n" {
        return None;
    }
    let has_postgres = id(&["-u", "postgres"]).status.success();
    Some(if has_postgres { "postgres" } else { "nobody" })
}
