//! The tRPC wire on a free port, with the procedures of `trpc_procedures`.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use http::{HeaderName, HeaderValue, Method, header};
use modelramp::{
    _core::{tasks::Tasks, turns::Turns},
    config::{Transformer, TrpcConfig},
    transport::{
        bounds::{Bounds, Budget, Connections},
        trpc::{self, Trpc},
    },
};
use tower_http::cors::CorsLayer;

use super::{sessions, trpc_procedures};

/// The largest body that the test server takes.
pub(crate) const MAX_BODY_BYTES: usize = 64 * 1024;

/// A running server; it stops when this is dropped.
pub(crate) struct TrpcServer {
    pub(crate) address: SocketAddr,
    pub(crate) tasks: Tasks,
    serving: tokio::task::JoinHandle<()>,
}

/// The settings that the harness's modes run under.
pub(crate) fn config() -> TrpcConfig {
    TrpcConfig {
        transformer: Transformer::Superjson,
        method_override: true,
        max_batch: 300,
        ping_interval: Duration::from_millis(300),
    }
}

impl TrpcServer {
    /// Serves until dropped; `origin` is allowed to bring cookies, and gets CORS headers.
    pub(crate) async fn start(config: TrpcConfig, origin: Option<&str>) -> Self {
        let tasks = Tasks::default();
        let origins: Vec<String> = origin.map(str::to_owned).into_iter().collect();
        let trpc = Trpc {
            registry: Arc::new(trpc_procedures::registry(tasks.clone())),
            gate: Arc::new(sessions::gate(origins)),
            config,
            tasks: tasks.clone(),
            bounds: Bounds {
                budget: Budget::new(1 << 26),
                connections: Connections::new(1000),
                max_body_bytes: MAX_BODY_BYTES,
                turns: Turns::default(),
            },
        };
        let mut router = Router::new().merge(trpc::routes(Arc::new(trpc)));
        if let Some(origin) = origin {
            router = router.layer(cors(HeaderValue::from_str(origin).unwrap()));
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = Tasks::default().spawn(async move {
            axum::serve(listener, router).await.unwrap();
        });
        Self {
            address,
            tasks,
            serving,
        }
    }

    /// The address of the mount point, or of something below it.
    pub(crate) fn url(&self, below: &str) -> String {
        format!("http://{}/api/trpc{below}", self.address)
    }
}

impl Drop for TrpcServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn cors(origin: HeaderValue) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(origin)
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([
            header::CONTENT_TYPE,
            header::AUTHORIZATION,
            HeaderName::from_static("trpc-accept"),
            HeaderName::from_static("last-event-id"),
        ])
}
