//! A network between a process and PostgreSQL that can fail: a TCP proxy. (Namespaces of the kernel would need
//! rights that a test seldom has.)

use std::{future::Future, path::PathBuf, pin::pin, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
    task::JoinHandle,
};

/// How the network is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Network {
    Whole,
    /// Connections break, and none comes about.
    Cut,
    /// Whatever is sent takes so much longer.
    Slow(Duration),
    /// Nothing breaks, and nothing arrives.
    HalfOpen,
}

/// One end's way to PostgreSQL.
pub(super) struct Link {
    port: u16,
    network: watch::Sender<Network>,
    /// Counts how often what was connected was forgotten.
    forgotten: watch::Sender<u32>,
    socket: Arc<Mutex<PathBuf>>,
    accepting: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Link {
    /// To the server that listens at this socket.
    pub(super) async fn to(socket: PathBuf) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (network, state) = watch::channel(Network::Whole);
        let socket = Arc::new(Mutex::new(socket));
        let (forgotten, forgets) = watch::channel(0);
        let to = socket.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                let passing = pass(from, to.clone(), state.clone());
                tokio::spawn(until_forgotten(passing, forgets.clone()));
            }
        });
        Self {
            port,
            network,
            forgotten,
            socket,
            accepting,
        }
    }

    /// The same database as at this URL, by way of this link.
    pub(super) fn url(&self, database: &str) -> String {
        let address = database.split('?').next().unwrap();
        let name = address.rsplit('/').next().unwrap();
        format!("postgres://modelramp@127.0.0.1:{}/{name}", self.port)
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn set(&self, network: Network) {
        self.network.send_replace(network);
    }

    /// Connections that there are get no answer any more and do not break; new ones are good.
    pub(super) fn forget(&self) {
        self.forgotten.send_modify(|it| *it += 1);
    }

    /// Another server answers from now on; connections to the one of before break.
    pub(super) fn lead_to(&self, socket: PathBuf) {
        *self.socket.lock() = socket;
        self.set(Network::Cut);
        self.set(Network::Whole);
    }
}

async fn until_forgotten(passing: impl Future<Output = ()>, mut forgets: watch::Receiver<u32>) {
    let mut passing = pin!(passing);
    forgets.mark_unchanged();
    tokio::select! {
        () = &mut passing => {}
        Ok(()) = forgets.changed() => std::future::pending().await,
    }
}

/// One connection.
async fn pass(
    mut from: TcpStream,
    socket: Arc<Mutex<PathBuf>>,
    mut state: watch::Receiver<Network>,
) {
    if state.wait_for(|it| *it != Network::HalfOpen).await.is_err()
        || *state.borrow() == Network::Cut
    {
        return;
    }
    let path = socket.lock().clone();
    let Ok(mut to) = UnixStream::connect(path).await else {
        return;
    };
    let (mut from_read, mut from_write) = from.split();
    let (mut to_read, mut to_write) = to.split();
    let mut cut = state.clone();
    tokio::select! {
        () = copy(&mut from_read, &mut to_write, state.clone()) => {}
        () = copy(&mut to_read, &mut from_write, state) => {}
        _ = cut.wait_for(|it| *it == Network::Cut) => {}
    }
}

async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    mut state: watch::Receiver<Network>,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        let Ok(network) = state
            .wait_for(|it| *it != Network::HalfOpen)
            .await
            .map(|it| *it)
        else {
            return;
        };
        if let Network::Slow(by) = network {
            tokio::time::sleep(by).await;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
