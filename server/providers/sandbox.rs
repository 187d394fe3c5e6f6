//! A simulated provider for development and tests, called over real HTTP like any other.
//!
//! It does not pretend to think: every answer says that it comes from the sandbox and repeats what
//! was asked, and the model is named `sandbox/…`, so that nobody takes it for the real thing.
//!
//! Streams are server-sent events, paced word by word, with the usage where it is asked for. Where a tool
//! must be called (`tool_choice`), it is called with the question as its argument.
//!
//! How fast and how faulty each model is stands in a file ([`SandboxPlan`]) and can be changed over
//! HTTP while it runs ([`control`]). Chance comes from a seed, a stream of draws for each model, so
//! the n-th request to a model meets the same fate in every run.

mod answer;
pub mod behaviour;
mod completion;
mod control;
pub mod fault_mode;
mod plan;
mod refusal;
mod script;
mod serve;
mod wanted;

use std::{io, net::Ipv4Addr, sync::Arc};

use axum::Router;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

pub use self::{
    behaviour::{Fate, ModelCounts, SandboxModels},
    fault_mode::FaultMode,
    plan::SandboxPlan,
    wanted::{Behaviour, Wanted},
};

/// The running sandbox; it ends when this is dropped.
///
/// It is not one of the tasks that a shutdown waits for: calls that run to their end while the
/// server stops still need it, so it must go last.
#[derive(Debug)]
pub struct Sandbox {
    origin: String,
    base_url: String,
    models: Arc<SandboxModels>,
    /// Lets requests go that would hang.
    stop: CancellationToken,
    server: JoinHandle<()>,
}

impl Sandbox {
    /// Starts it on a free loopback port; every model answers at once and without faults.
    pub async fn start() -> io::Result<Self> {
        Self::start_with(&SandboxPlan::default()).await
    }

    /// Starts it on a free loopback port, with models that behave as the plan says.
    pub async fn start_with(plan: &SandboxPlan) -> io::Result<Self> {
        Self::listen(0, plan).await
    }

    /// Starts it on this loopback port; 0 takes a free one.
    #[expect(
        clippy::disallowed_methods,
        reason = "it outlives the tasks that call it, and nothing is lost when it is cut off"
    )]
    pub async fn listen(port: u16, plan: &SandboxPlan) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let origin = format!("http://{}", listener.local_addr()?);
        let models = Arc::new(SandboxModels::new(plan));
        let stop = CancellationToken::new();
        let app = Router::new()
            .merge(completion::routes(models.clone(), stop.clone()))
            .merge(control::routes(models.clone()));
        let server = tokio::spawn(serve::serve(listener, app));
        Ok(Self {
            base_url: format!("{origin}/v1"),
            origin,
            models,
            stop,
            server,
        })
    }

    /// What to use as a provider's base URL.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Where `/control/…` is.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Its models, for those who are in the same process.
    pub fn models(&self) -> &Arc<SandboxModels> {
        &self.models
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop.cancel();
        self.server.abort();
    }
}
