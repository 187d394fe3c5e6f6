//! Signals of the operating system: to stop, or to read its catalog again.
//!
//! A signal that nobody listens for ends the process, so each is listened for from before the process says that it serves.

#[cfg(unix)]
use std::io::IsTerminal as _;

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Resolves on SIGTERM, on ctrl-c, and when the terminal is closed in which the process was started.
///
/// # Errors
///
/// Where the system lets nobody listen.
#[cfg(unix)]
pub fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let had_terminal = has_terminal();
    Ok(async move {
        let closed = async {
            // SIGHUP says both that a terminal is gone and that somebody wants the catalog to be read again.
            while hangup.recv().await.is_some() {
                if had_terminal && !has_terminal() {
                    return;
                }
            }
            std::future::pending().await
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = closed => {}
        }
    })
}

/// Whatever of it goes to a file.
#[cfg(unix)]
fn has_terminal() -> bool {
    std::io::stdin().is_terminal()
        || std::io::stdout().is_terminal()
        || std::io::stderr().is_terminal()
}

/// Resolves on ctrl-c.
///
/// # Errors
///
/// None.
#[cfg(not(unix))]
pub fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}

/// SIGHUP, which asks for the catalog to be read again.
pub(super) struct Hangups {
    #[cfg(unix)]
    signals: Option<Signal>,
}

impl Hangups {
    /// From now on they are noticed.
    pub(super) fn new() -> Self {
        Self {
            #[cfg(unix)]
            signals: {
                let refused = |error| tracing::warn!(%error, "SIGHUP cannot be listened for");
                signal(SignalKind::hangup()).map_err(refused).ok()
            },
        }
    }

    /// The next one.
    pub(super) async fn next(&mut self) {
        #[cfg(unix)]
        if let Some(signals) = &mut self.signals
            && signals.recv().await.is_some()
        {
            return;
        }
        std::future::pending().await
    }
}
