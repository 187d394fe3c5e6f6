//! One process with a way of its own to PostgreSQL, which is missing at its start, long, cut, and silent at its stop.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::time::sleep;

use super::{
    Fleet,
    link::{Link, Network},
};
use crate::support::postgres;

/// Less than a start waits for its database.
const MISSING: Duration = Duration::from_secs(1);
/// Each way.
const FAR: Duration = Duration::from_millis(20);
/// Longer than an answer of `/readyz` holds.
const ANOTHER_LOOK: Duration = Duration::from_millis(3_500);
/// What is recorded has 12 s, the connections one, and calls end at once here; what stops services kills them after 60 s.
const STOP: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_process_waits_for_its_database_bears_a_far_one_says_that_it_is_away_and_stops_without_it()
 {
    let Some(url) = postgres::database().await else {
        return;
    };
    let folder = url.split_once("?host=").unwrap().1;
    let link = Link::to(PathBuf::from(folder).join(".s.PGSQL.5432")).await;
    let setup = Fleet::setup(&url).with_setting("DATABASE_URL", link.url(&url));
    setup.admin().await;

    // Whatever is before the database takes connections, and has nobody to give them to.
    link.set(Network::Cut);
    let comes = async {
        sleep(MISSING).await;
        link.set(Network::Whole);
    };
    let (mut server, ()) = tokio::join!(setup.spawn(), comes);
    let get = async |path: &str, key: &str| {
        let asked = server.http.get(format!("{}{path}", server.url));
        let answer = asked.bearer_auth(key).send().await.unwrap();
        (
            answer.status().as_u16(),
            answer.headers().get("retry-after").cloned(),
            answer.text().await.unwrap(),
        )
    };

    link.set(Network::Slow(FAR));
    sleep(ANOTHER_LOOK).await;
    let (status, _, said) = get("/readyz", "").await;
    assert_eq!(status, 200, "{said}");
    link.set(Network::Whole);

    let made = server.call("keys.create", json!({"name": "new"})).await;
    let key = made.unwrap().unwrap()["key"].as_str().unwrap().to_owned();
    link.set(Network::Cut);
    let (status, retry_after, said) = get("/v1/models", &key).await;
    assert_eq!(status, 503, "{said}");
    assert!(retry_after.is_some());
    assert!(said.contains("The database cannot be used"), "{said}");
    link.set(Network::Whole);
    sleep(ANOTHER_LOOK).await;

    link.set(Network::HalfOpen);
    let begun = Instant::now();
    server.terminate().await;
    assert!(begun.elapsed() < STOP, "{:?}", begun.elapsed());
}
