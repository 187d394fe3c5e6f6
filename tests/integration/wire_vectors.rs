//! Whole HTTP exchanges recorded from the original, run against this server over real sockets.
//!
//! How two exchanges are compared, and which fields a rule excuses, is in docs/compatibility.md. A
//! case of a namespace that is not served yet is counted by namespace, never passed over silently.

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

/// What this version serves; cases of other namespaces are listed as not yet.
const SERVED: &[&str] = &["system", "auth", "aiMetrics", "chat", "chatStreaming"];
/// Procedures of served namespaces that belong to later work.
const NOT_YET: &[&str] = &["system.notifyOwner"];
/// What is served beside tRPC.
const PATHS: &[&str] = &["/api/auth/login", "/api/auth/refresh"];

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "a test reports what it compared")]
async fn wire_vectors_are_answered_as_recorded() {
    let Some(cases) = vectors::load("wire.json") else {
        return;
    };
    let mut rules = Rules::new("wire.json");
    let mut apps: BTreeMap<String, RecordedApp> = BTreeMap::new();
    let mut not_yet: BTreeMap<String, usize> = BTreeMap::new();
    let mut ids = RowIds::default();
    let mut last_numbered = None;
    for case in &cases {
        let Some(exchange) = Exchange::of(case) else {
            continue;
        };
        if let Some(namespace) = exchange.not_served() {
            *not_yet.entry(namespace).or_default() += 1;
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
    println!("wire.json: not served yet: {not_yet:?}");
    rules.finish();
}
