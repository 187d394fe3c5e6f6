//! The process under attack, and what the system says about it.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use modelramp::_core::caller::Role;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{MAX_MEMORY, noise};
use crate::support::{
    app::{TestApp, TestAppBuilder},
    process::TestProcess,
};

/// Health checks, of which one may take longer than [`HEALTHY`].
const LOOKS: usize = 50;
/// Within this all but one in a hundred health checks are answered, during a flood and 1 s after it.
pub(super) const HEALTHY: Duration = Duration::from_millis(100);
/// A state that is not reached by then is not reached.
const PATIENCE: Duration = Duration::from_secs(30);
/// `USER_HZ` of Linux.
pub(super) const TICK: Duration = Duration::from_millis(10);

pub(super) struct Server {
    process: TestProcess,
    pub(super) http: reqwest::Client,
    pub(super) admin: String,
    pub(super) user: String,
    pub(super) address: String,
    setup: TestAppBuilder,
}

/// Names the release build that scripts/test made.
const RELEASE: &str = "MODELRAMP_TEST_RELEASE";

/// That release build, else the build under test.
fn program() -> PathBuf {
    let release = std::env::var_os(RELEASE);
    release.map_or_else(|| env!("CARGO_BIN_EXE_modelramp").into(), PathBuf::from)
}

impl Server {
    /// With room for a hundred connections, and the other limits as they are.
    pub(super) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same, with these settings.
    pub(super) async fn start_with(settings: &[(&str, &str)]) -> Self {
        let setup = TestApp::builder()
            .with_settings([("MAX_CONNECTIONS", "100"), ("LOG_LEVEL", "info")])
            .with_settings(settings.iter().copied());
        let serve = setup.command_of(program(), &["serve"]);
        let process = setup.spawn_by(serve).await;
        Self {
            http: process.http.clone(),
            admin: process.admin.clone(),
            user: setup.token(2, Role::User).await,
            address: process.url.trim_start_matches("http://").to_owned(),
            process,
            setup,
        }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Processor time so far.
    pub(super) fn cpu(&self) -> Duration {
        Self::cpu_of(&self.process.id().to_string())
    }

    /// Of a process.
    pub(super) fn cpu_of(process: &str) -> Duration {
        let path = format!("/proc/{process}/stat");
        let stat = std::fs::read_to_string(path).unwrap();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        let ticks: u32 = [11, 12]
            .map(|n| fields[n].parse::<u32>().unwrap())
            .iter()
            .sum();
        TICK * ticks
    }

    /// What it has written to its log.
    pub(super) fn log_bytes(&self) -> u64 {
        let log = self.setup.folder().join("server.log");
        std::fs::metadata(log).unwrap().len()
    }

    /// The most that was resident at once, in bytes.
    pub(super) fn peak_memory(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// What the system says of its memory, in bytes.
    pub(super) fn memory(&self, field: &str) -> u64 {
        let path = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find(|line| line.starts_with(field));
        let kib: u64 = line
            .unwrap()
            .split_whitespace()
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        kib * 1024
    }

    /// Whether it is a release build.
    pub(super) fn is_release() -> bool {
        std::env::var_os(RELEASE).is_some()
    }

    /// The status of a fresh connection's request; 0 where there is no answer.
    pub(super) async fn get(&self, path: &str, token: Option<&str>) -> u16 {
        let session = token.map(|token| format!("authorization: Bearer {token}\r\n"));
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{}\r\n",
            session.unwrap_or_default()
        );
        let mut answer = [0; 12];
        let exchange = async {
            let mut stream = TcpStream::connect(&self.address).await?;
            stream.write_all(head.as_bytes()).await?;
            stream.read_exact(&mut answer).await
        };
        if tokio::time::timeout(PATIENCE, exchange).await.is_err() {
            return 0;
        }
        let status = String::from_utf8_lossy(&answer[9..]).parse();
        status.unwrap_or(0)
    }

    /// Its memory is small, and it answers health checks at once.
    pub(super) async fn is_well(&self, after: &str) {
        let memory = self.peak_memory();
        assert!(memory <= MAX_MEMORY, "{after}: {} MB", memory >> 20);
        let looks = async || {
            let mut times = Vec::new();
            for _ in 0..LOOKS {
                let began = Instant::now();
                assert_eq!(self.get("/healthz", None).await, 200, "{after}");
                times.push(began.elapsed());
            }
            [times]
        };
        noise::all_are_within([HEALTHY], after, self, looks).await;
    }

    /// Waits until this is answered again.
    pub(super) async fn until_served(&self, path: &str) {
        let served = async { while self.get(path, None).await != 200 {} };
        tokio::time::timeout(PATIENCE, served).await.unwrap();
    }
}
