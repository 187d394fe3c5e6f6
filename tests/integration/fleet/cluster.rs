//! A PostgreSQL of one test's own, with an asynchronous standby, which is crashed and replaced.

use std::{path::PathBuf, process::Stdio};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use super::link::{Link, Network};
use crate::support::postgres;

/// Reads what to do from its input, a line each, and says when it is done. At the end of its input, which
/// the end of this process is, all is taken away.
const SCRIPT: &str = r#"
set -eu
folder=$(mktemp -d /tmp/modelramp-test-cluster.XXXXXX)
chmod 755 "$folder"
trap '' INT HUP TERM
stop() {
  for data in "$folder"/*/data; do
    "$0/pg_ctl" stop --mode=immediate --pgdata="$data" >/dev/null 2>&1 || true
  done
  rm -rf "$folder"
}
trap stop EXIT
start() {
  "$0/pg_ctl" start --wait --pgdata="$folder/$1/data" --log="$folder/$1/log" \
    --options="-k $folder/$1 -p 5432 -c listen_addresses= -c max_connections=200" >/dev/null
}
mkdir "$folder/1"
"$0/initdb" --no-sync --auth=trust --username=modelramp --encoding=UTF8 --locale=C \
  --pgdata="$folder/1/data" >/dev/null
echo "host replication all 127.0.0.1/32 trust" >>"$folder/1/data/pg_hba.conf"
start 1
echo "$folder"
while read -r what one two port; do
  case $what in
    crash) "$0/pg_ctl" stop --mode=immediate --pgdata="$folder/$one/data" >/dev/null ;;
    start) start "$one" ;;
    follow) mkdir "$folder/$two"
      "$0/pg_basebackup" --no-sync --checkpoint=fast --write-recovery-conf --pgdata="$folder/$two/data" \
        --dbname="host=127.0.0.1 port=$port user=modelramp sslmode=disable" >/dev/null 2>&1
      start "$two" ;;
    promote) "$0/pg_ctl" promote --wait --pgdata="$folder/$one/data" >/dev/null ;;
  esac
  echo done
done
"#;

pub(super) struct Cluster {
    folder: PathBuf,
    /// The one that answers.
    primary: u32,
    /// Its way to the standby, where there is one.
    standby: Option<Link>,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    _script: Child,
}

impl Cluster {
    /// `None` where PostgreSQL is not installed.
    pub(super) async fn start() -> Option<Self> {
        let mut command = postgres::script()?;
        command.args(["-c", SCRIPT]).arg(postgres::programs()?);
        let mut script = Command::from(command)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(script.stdout.take().unwrap()).lines();
        let folder = output
            .next_line()
            .await
            .unwrap()
            .expect("PostgreSQL starts");
        Some(Self {
            folder: folder.into(),
            primary: 1,
            standby: None,
            input: script.stdin.take().unwrap(),
            output,
            _script: script,
        })
    }

    /// The socket of the server that answers.
    pub(super) fn socket(&self) -> PathBuf {
        self.socket_of(self.primary)
    }

    fn socket_of(&self, server: u32) -> PathBuf {
        self.folder.join(format!("{server}/.s.PGSQL.5432"))
    }

    async fn say(&mut self, line: String) {
        self.input
            .write_all(format!("{line}\n").as_bytes())
            .await
            .unwrap();
        let answer = self.output.next_line().await.unwrap();
        assert_eq!(answer.as_deref(), Some("done"), "{line}");
    }

    /// Stops it as a crash does.
    pub(super) async fn crash(&mut self) {
        self.say(format!("crash {}", self.primary)).await;
    }

    /// Starts it again.
    pub(super) async fn recover(&mut self) {
        self.say(format!("start {}", self.primary)).await;
    }

    /// Sets a standby up that has what the primary has, some milliseconds later.
    pub(super) async fn follow(&mut self) {
        let link = Link::to(self.socket()).await;
        let (one, two, port) = (self.primary, self.primary + 1, link.port());
        self.say(format!("follow {one} {two} {port}")).await;
        self.standby = Some(link);
    }

    /// The standby receives nothing any more: what is committed from now on it will lack.
    pub(super) fn fall_behind(&self) {
        self.standby.as_ref().unwrap().set(Network::Cut);
    }

    /// The primary crashes, and the standby takes its place.
    pub(super) async fn fail_over(&mut self) {
        self.crash().await;
        self.primary += 1;
        self.standby = None;
        self.say(format!("promote {}", self.primary)).await;
    }
}
