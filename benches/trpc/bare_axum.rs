//! The floor: a bare axum handler that answers the bytes it was started with.
//!
//! Usage: `bare_axum PORT BODY_FILE`.

use axum::{Router, http::header, routing::get};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(port), Some(file)) = (arguments.next(), arguments.next()) else {
        anyhow::bail!("usage: bare_axum PORT BODY_FILE");
    };
    let body: &'static [u8] = std::fs::read(file)?.leak();
    let handler = move || async move { ([(header::CONTENT_TYPE, "application/json")], body) };
    let app = Router::new().route("/api/trpc/{*path}", get(handler));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port.parse()?)).await?;
    axum::serve(listener, app).await?;
    Ok(())
}
