//! The models' side: a real small model as a process, and what is on its port once that is dead.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};

/// A model that answers; ends with the test, whatever happens.
pub(super) struct Model {
    child: Child,
    /// `http://127.0.0.1:PORT`.
    pub(super) url: String,
}

impl Drop for Model {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Model {
    /// Starts it and waits until it answers.
    pub(super) fn start(python: &str, name: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real_model/server.py");
        let mut child = Command::new(python)
            .arg(script)
            .arg(free_port().to_string())
            .arg(name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = lines
            .by_ref()
            .map_while(Result::ok)
            .find(|line| line.starts_with("http://"));
        // Go on reading, or the process would block on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let url = url.expect("the model ended before it was ready");
        Self { child, url }
    }

    /// Tokens that it says it has written.
    pub(super) async fn tokens_written(&self) -> f64 {
        let metrics = crate::support::http_client()
            .get(format!("{}/metrics", self.url))
            .send()
            .await;
        let text = metrics.unwrap().text().await.unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with("llamacpp:tokens_predicted_total"));
        line.and_then(|line| line.rsplit(' ').next())
            .and_then(|number| number.parse().ok())
            .unwrap()
    }

    /// SIGKILL, and what is on its port from then on.
    pub(super) async fn die(self) -> Ruin {
        let address = self.url.trim_start_matches("http://").to_owned();
        drop(self);
        Ruin::at(&address).await
    }
}

pub(super) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// What is on the port of a model that died: it closes each connection at once, or lets it wait, and
/// counts them all.
pub(super) struct Ruin(Arc<Mutex<Callers>>);

#[derive(Default)]
struct Callers {
    seen: usize,
    hanging: Option<Vec<TcpStream>>,
}

impl Ruin {
    async fn at(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let callers = Arc::<Mutex<Callers>>::default();
        let of_task = callers.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut callers = of_task.lock();
                callers.seen += 1;
                if let Some(hanging) = &mut callers.hanging {
                    hanging.push(stream);
                }
            }
        });
        Self(callers)
    }

    /// How many requests came.
    pub(super) fn requests(&self) -> usize {
        self.0.lock().seen
    }

    /// Lets requests wait from now on.
    pub(super) fn hang(&self) {
        self.0.lock().hanging = Some(Vec::new());
    }

    /// Lets one of those that wait go.
    pub(super) fn let_one_go(&self) {
        self.0.lock().hanging.as_mut().and_then(Vec::pop);
    }

    /// Lets none wait any longer.
    pub(super) fn collapse(&self) {
        self.0.lock().hanging = None;
    }

    /// How many requests wait.
    pub(super) fn waiting(&self) -> usize {
        self.0.lock().hanging.as_ref().map_or(0, Vec::len)
    }
}
