//! Asks providers for their lists of models, and alerts people to what differs from the catalog: at start, with
//! each new catalog, and then about once a day. What was reported before a restart is not reported again.

mod provider_alerts;

use std::{
    collections::{HashMap, HashSet},
    future::Future,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use self::provider_alerts::ProviderAlerts;
use super::{catalog, probes};
use crate::{
    _core::clock,
    alerting::{Alert, Outbox, RESOLVES, Severity, sent::AlertLog},
    model_router::{
        ListLook, ModelRouter,
        catalog::{Catalog, ProviderAccess},
        watch::ModelFinding,
    },
    rollout::controller::{Controller, WhoLeads},
};

/// Of the time between two rounds, at random more or less, in percent.
const JITTER: u32 = 10;
/// After a list that could not be read, and while a model is gone.
const SOON: Duration = Duration::from_secs(300);
/// So many lists in a row that cannot be read are an alert.
const FAILURES: u32 = 3;
/// A list that is suddenly shorter than half of what it was, of at least so many, is believed when it has been so
/// twice in a row.
const LONG: usize = 10;
/// An end this near is a warning.
const NEAR: TimeDelta = TimeDelta::days(7);

/// Who asks.
pub(super) struct ModelWatcher {
    pub(super) models: Arc<ModelRouter>,
    pub(super) outbox: Arc<dyn Outbox>,
    /// What was reported before.
    pub(super) alerts: Arc<dyn AlertLog>,
    /// Of several processes the one that leads sends the alerts.
    pub(super) controller: Arc<Controller>,
    /// Between two rounds.
    pub(super) interval: Duration,
}

impl ModelWatcher {
    /// Asks until the server stops.
    pub(super) async fn run(self, stopping: impl Future<Output = ()>) {
        let mut stopping = pin!(stopping);
        let mut told = tokio::select! {
            () = &mut stopping => return,
            told = provider_alerts::before(&*self.alerts) => told,
        };
        loop {
            let round = async {
                let is_settled = self.round(&mut told).await;
                let asked = Instant::now();
                let next = if is_settled {
                    jittered(self.interval)
                } else {
                    SOON.min(self.interval)
                };
                tokio::select! {
                    () = sleep_until(asked + next) => {}
                    () = self.models.watch().hurried() => {
                        // Refusals come by the hundred; another catalog waits for nothing.
                        tokio::select! {
                            () = sleep_until(asked + SOON.min(self.interval)) => {}
                            () = self.models.adopted() => {}
                        }
                    }
                    () = self.models.adopted() => {}
                }
            };
            tokio::select! {
                () = &mut stopping => return,
                () = round => {}
            }
        }
    }

    /// Asks every provider; whether all lists were read, and no model is gone.
    #[expect(
        clippy::disallowed_methods,
        reason = "a provider that tells is an edge"
    )]
    async fn round(&self, told: &mut HashMap<String, ProviderAlerts>) -> bool {
        let catalog = self.models.catalog();
        told.retain(|provider, _| catalog.provider(provider).is_some());
        let mut is_settled = true;
        for provider in &catalog.providers {
            if matches!(provider.access, ProviderAccess::Sandbox) {
                continue;
            }
            let name = &provider.name;
            let told = told.entry(name.clone()).or_default();
            let look = self
                .models
                .look_at(
                    &catalog,
                    name,
                    |listed| told.believes(listed.len()),
                    clock::now,
                )
                .await;
            let now = clock::now();
            match look {
                // Whoever adopted the other one has this looked at again.
                Ok(ListLook::Outdated) => return true,
                Ok(ListLook::Taken) => self.readable(told, name, now).await,
                Ok(ListLook::Doubted) => is_settled = false,
                Err(fault) => {
                    let why = format!("{}: {}", fault.kind.name(), fault.cause.name());
                    self.failed(told, name, &why, now).await;
                    is_settled = false;
                }
            }
            is_settled &= self.alert(told, &catalog, name, now).await;
        }
        for model in self.models.watch().refusing() {
            // One that answers is back.
            probes::ask(&self.models, &model).await;
        }
        is_settled
    }

    /// Announces what is new, and what is over. Returns whether no model is gone.
    async fn alert(
        &self,
        told: &mut ProviderAlerts,
        catalog: &Catalog,
        provider: &str,
        now: DateTime<Utc>,
    ) -> bool {
        let models = catalog.models.iter().filter(|it| it.provider == provider);
        let mut found = HashMap::new();
        for model in models {
            let Some(watched) = self.models.watch().of(&model.name) else {
                continue;
            };
            for finding in ModelFinding::ALL.into_iter().filter(|it| watched.has(*it)) {
                let soon = now.date_naive() + NEAR;
                let severity = match finding {
                    ModelFinding::Gone => Severity::Critical,
                    ModelFinding::Retiring if watched.retires_on.is_some_and(|day| day > soon) => {
                        Severity::Info
                    }
                    _ => Severity::Warning,
                };
                let words = watched.words(finding, model);
                found.insert((model.name.clone(), finding), (severity, words));
            }
        }
        let over: Vec<_> = told
            .findings
            .extract_if(|it, _| !found.contains_key(it))
            .collect();
        let resolves: Vec<_> = {
            let alerts: HashSet<_> = over.into_iter().filter_map(|(_, alert)| alert).collect();
            let still: HashSet<_> = told.findings.values().flatten().collect();
            alerts
                .into_iter()
                .filter(|it| !still.contains(it))
                .collect()
        };
        if !resolves.is_empty() {
            let title = format!("The catalog agrees with {provider}");
            let text =
                "What differed from the provider's list of models does not any more.".to_owned();
            let details = json!({"provider": provider, RESOLVES: resolves});
            self.send(Severity::Info, title, text, details, now).await;
        }
        let is_new = |it: &(&(Arc<str>, ModelFinding), &(Severity, String))| {
            !told.findings.contains_key(it.0)
        };
        let mut new: Vec<_> = found.iter().filter(is_new).collect();
        // By the model's name, the most urgent of it first.
        new.sort_by(|(a, (urgent, _)), (b, (other, _))| a.0.cmp(&b.0).then(other.cmp(urgent)));
        if let Some(severity) = new.iter().map(|(_, (severity, _))| *severity).max() {
            let words: Vec<_> = new.iter().map(|(_, (_, words))| words.as_str()).collect();
            tracing::warn!(
                provider,
                "the catalog differs from the provider's list: {}",
                words.join("; ")
            );
            let title = format!("The catalog differs from {provider}");
            let text = format!("{}. `models.list` has it under `watch`.", words.join("; "));
            let names = new
                .iter()
                .map(|((model, finding), _)| provider_alerts::words(model, *finding));
            let details = json!({
                "provider": provider,
                "models": new.len(),
                provider_alerts::FINDINGS: names.collect::<Vec<_>>(),
            });
            let alert = self.send(severity, title, text, details, now).await;
            let new: Vec<_> = new
                .into_iter()
                .map(|(it, _)| (it.clone(), alert.clone()))
                .collect();
            told.findings.extend(new);
        }
        found
            .keys()
            .all(|(_, finding)| *finding != ModelFinding::Gone)
    }

    async fn failed(
        &self,
        told: &mut ProviderAlerts,
        provider: &str,
        why: &str,
        now: DateTime<Utc>,
    ) {
        told.failures = told.failures.saturating_add(1);
        tracing::info!(provider, why, "a provider's list of models cannot be read");
        if told.failures == FAILURES {
            let title = format!("{provider} does not tell its models");
            let text = format!(
                "Its list of models could not be read {FAILURES} times: {why}. What is known of them stays."
            );
            let details = json!({"provider": provider, provider_alerts::UNREADABLE: true});
            told.failing = self
                .send(Severity::Warning, title, text, details, now)
                .await;
        }
    }

    async fn readable(&self, told: &mut ProviderAlerts, provider: &str, now: DateTime<Utc>) {
        told.failures = 0;
        if let Some(alert) = told.failing.take() {
            let title = format!("{provider} tells its models again");
            let details = json!({"provider": provider, RESOLVES: [alert]});
            self.send(
                Severity::Info,
                title,
                "Its list could be read.".to_owned(),
                details,
                now,
            )
            .await;
        }
    }

    /// Its id, where it could be stored.
    async fn send(
        &self,
        severity: Severity,
        title: String,
        text: String,
        details: serde_json::Value,
        now: DateTime<Utc>,
    ) -> Option<String> {
        // At a start nobody may lead yet, and what a process has found it does not find again.
        if self.controller.leader() == WhoLeads::Elsewhere {
            return None;
        }
        let alert = Alert::of_catalog(severity, title, text, details, now);
        catalog::send(&*self.outbox, &alert)
            .await
            .then_some(alert.id)
    }
}

fn jittered(interval: Duration) -> Duration {
    let percent = rand::random_range(100 - JITTER..=100 + JITTER);
    interval.saturating_mul(percent) / 100
}
