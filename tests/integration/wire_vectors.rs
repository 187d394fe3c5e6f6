//! Whole HTTP exchanges recorded from the original, run against this server over real sockets.
//!
//! How two exchanges are compared, and which fields a rule excuses, is in docs/compatibility.md. What is
//! the old server's to answer is excused by a rule as well, never passed over silently.

mod comparison;
mod exchange;
mod rules;

use std::collections::BTreeMap;

use self::{
    comparison::{Comparison, RowIds},
    exchange::Exchange,
};
use crate::support::{
    recorded_app::RecordedApp,
    vectors::{self, Rules},
};

/// What this server has of what was recorded; other namespaces are the old server's.
const SERVED: &[&str] = &["system", "auth", "aiMetrics", "chat", "chatStreaming"];
/// What is served beside tRPC.
const PATHS: &[&str] = &["/api/auth/login", "/api/auth/refresh", "/api/chat/stream"];

#[tokio::test(flavor = "multi_thread")]
async fn wire_vectors_are_answered_as_recorded() {
    let Some(cases) = vectors::load("wire.json") else {
        return;
    };
    let mut rules = Rules::new("wire.json");
    let mut apps: BTreeMap<String, RecordedApp> = BTreeMap::new();
    let mut ids = RowIds::default();
    let mut last_numbered = None;
    for case in &cases {
        let Some(exchange) = Exchange::of(case) else {
            continue;
        };
        if let Some(rule) = exchange.is_not_ours() {
            rules.excuse(rule, "the whole exchange");
            continue;
        }
        // Such a percentage refuses to start, which the flags' own vectors check.
        if exchange.has_refused_percentage() {
            rules.excuse("C1", "the whole exchange");
            continue;
        }
        let key = format!("{:?} {:?}", exchange.environment, exchange.prior);
        if !apps.contains_key(&key) {
            let app = RecordedApp::start(&exchange.environment).await;
            app.record_prior(exchange.prior.as_deref());
            apps.insert(key.clone(), app);
        }
        let app = &apps[&key];
        // The record leaves out sends between two numbered ones: they are added, so that ids agree.
        if let Some(number) = exchange.numbered_send() {
            for missing in last_numbered.map_or(number, |last: u64| last + 1)..number {
                exchange.with_number(missing).send(app).await;
            }
            last_numbered = Some(number);
        }
        let got = exchange.send(app).await;
        // What the original stored there is missing from the later ones of the conversation.
        if rules::is_blank_send(&exchange) {
            let input = exchange.input();
            let text = input["content"].as_str().unwrap();
            app.store_answered(input["conversationId"].as_i64().unwrap(), text)
                .await;
        }
        Comparison {
            rules: &mut rules,
            ids: &mut ids,
            case,
        }
        .compare(&exchange, &got);
    }
    rules.finish();
}
