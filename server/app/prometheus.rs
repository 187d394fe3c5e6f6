//! What Prometheus reads at `/metrics`: what the parts of the server count by the `metrics` facade, and
//! what is looked up when it asks.

mod recorder;

use std::sync::{Arc, LazyLock};

use self::recorder::Exposition;
use crate::{
    _core::{call_series, feature_flags::FeatureFlags, site::ProxyHeader},
    ai_metrics,
    config::Config,
    fleet, gateway, keys, legacy, migration,
    model_router::{
        self, ModelRouter, breaker::BreakerState, catalog::Provider, watch::ModelFinding,
    },
    providers::masking,
    recording::{self, Log},
    rollout::controller::{Controller, WhoLeads},
    telemetry,
    transport::{bounds::Bounds, metrics::Readers},
};

const PERCENT: f64 = 100.0;

/// The recorder of this process: the facade has one for all servers of a process.
static RECORDER: LazyLock<Exposition> = LazyLock::new(Exposition::new);

/// Installs the recorder. What is counted before is lost.
pub(super) fn install() {
    // The second server of a process finds it installed.
    if metrics::set_global_recorder(&*RECORDER).is_ok() {
        describe_all();
    }
}

/// Describes every metric of the server to the recorder.
fn describe_all() {
    ai_metrics::exposition::describe();
    call_series::describe();
    fleet::replicas::describe();
    gateway::describe();
    keys::describe();
    legacy::describe();
    migration::moves::describe();
    model_router::describe();
    recording::describe();
    telemetry::describe();
    masking::describe();
    describe();
}

/// Who may read the metrics by these settings.
pub(super) fn readers(config: &Config) -> Readers {
    let site = &config.auth.site;
    // `X-Forwarded-Proto` is believed by default, so that says nothing of a proxy.
    let mut trusted = site.trusted_headers.iter();
    let names_a_proxy = trusted.any(|header| *header != ProxyHeader::Proto);
    match &config.server.metrics_token {
        Some(token) => Readers::Token(token.clone()),
        None if site.public_url.is_none() && !names_a_proxy => Readers::ThisMachine,
        None => Readers::Nobody,
    }
}

/// Describes what is looked up here, and what this room counts.
fn describe() {
    metrics::describe_gauge!(
        "modelramp_build_info",
        "Always 1; the label names the release"
    );
    metrics::describe_gauge!(
        "candidate_share_ratio",
        "The share of users that get the candidate, in force now, by task"
    );
    metrics::describe_gauge!(
        "kill_switch",
        "1 while the kill switch sends everybody to control"
    );
    metrics::describe_gauge!("ai_events_waiting", "Events that are not stored yet");
    metrics::describe_gauge!(
        "rollouts_leader",
        "1 while this process moves the rollouts, 0 while another does or none"
    );
    metrics::describe_gauge!("connections_open", "Connections that are open");
    metrics::describe_gauge!(
        "ai_breaker_state",
        "1 for the state in which the breaker of a model is, 0 for the others"
    );
    metrics::describe_gauge!(
        "catalog_watch",
        "1 for what a provider's list of models says against the catalog, 0 for what it does not"
    );
    metrics::describe_counter!(
        "catalog_reloads_total",
        "Times that the catalog was read again, and whether it was taken"
    );
    metrics::describe_gauge!(
        "ai_key_usable",
        "1 while a key of ours at a provider is used, 0 while it is left alone"
    );
    metrics::describe_gauge!(
        "ai_quota_free",
        "Requests that our account at a provider may still make, in this minute and on this day"
    );
    metrics::describe_gauge!(
        "ai_quota_free_tokens",
        "Tokens that our account at a provider may still use in this minute"
    );
    metrics::describe_gauge!(
        "ai_quota_waiting",
        "Calls that wait for a request of a quota"
    );
}

/// What is looked up when Prometheus asks.
pub(super) struct Gauges {
    pub(super) flags: Arc<FeatureFlags>,
    pub(super) log: Arc<Log>,
    pub(super) controller: Arc<Controller>,
    pub(super) bounds: Bounds,
    pub(super) models: Arc<ModelRouter>,
}

impl Gauges {
    /// The metrics as they are now.
    pub(super) fn render(&self) -> String {
        metrics::gauge!("modelramp_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        let catalog = self.models.catalog();
        let tasks = catalog.tasks.iter().map(|task| &*task.name);
        for (task, in_force) in self.flags.in_force_for(tasks) {
            let share = in_force.share.get() / PERCENT;
            metrics::gauge!("candidate_share_ratio", "task" => task.to_owned()).set(share);
        }
        let killed = self.flags.live().steered.killed;
        metrics::gauge!("kill_switch").set(f64::from(u8::from(killed)));
        metrics::gauge!("ai_events_waiting").set(self.log.waiting() as f64);
        let leads = self.controller.leader() == WhoLeads::Here;
        metrics::gauge!("rollouts_leader").set(f64::from(u8::from(leads)));
        metrics::gauge!("connections_open").set(self.bounds.connections.count() as f64);
        self.breakers();
        self.quotas();
        self.watch();
        RECORDER.render()
    }

    fn quotas(&self) {
        for (provider, variable, is_usable) in self.models.keys() {
            let labels = [("provider", provider), ("variable", variable)];
            metrics::gauge!("ai_key_usable", &labels).set(f64::from(u8::from(is_usable)));
        }
        let catalog = self.models.catalog();
        for (account, _) in catalog.providers.iter().flat_map(Provider::accounts) {
            let Some(standing) = self.models.quota(&account) else {
                continue;
            };
            let label = ("provider", account);
            metrics::gauge!("ai_quota_waiting", std::slice::from_ref(&label))
                .set(standing.waiting as f64);
            if let Some(free) = standing.free_tokens {
                metrics::gauge!("ai_quota_free_tokens", std::slice::from_ref(&label)).set(free);
            }
            for (span, free) in [("minute", standing.free_minute), ("day", standing.free_day)] {
                if let Some(free) = free {
                    let labels = [label.clone(), ("span", span.to_owned())];
                    metrics::gauge!("ai_quota_free", &labels).set(free);
                }
            }
        }
    }

    fn watch(&self) {
        for model in &self.models.catalog().models {
            let Some(watched) = self.models.watch().of(&model.name) else {
                continue;
            };
            for finding in ModelFinding::ALL {
                let labels = [
                    ("model", model.name.to_string()),
                    ("provider", model.provider.clone()),
                    ("finding", finding.name().to_owned()),
                ];
                let is_so = f64::from(u8::from(watched.has(finding)));
                metrics::gauge!("catalog_watch", &labels).set(is_so);
            }
        }
    }

    fn breakers(&self) {
        for model in &self.models.catalog().models {
            let Some(now) = self.models.breaker(&model.name) else {
                continue;
            };
            for state in BreakerState::ALL {
                let labels = [
                    ("model", model.name.to_string()),
                    ("provider", model.provider.clone()),
                    ("state", state.name().to_owned()),
                ];
                let is_now = f64::from(u8::from(state == now));
                metrics::gauge!("ai_breaker_state", &labels).set(is_now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    #[test]
    fn every_metric_has_a_row_in_the_documentation() {
        let exposition = Exposition::new();
        metrics::with_local_recorder(&exposition, describe_all);
        let docs = include_str!("../../docs/monitoring.md");
        for (name, kind) in exposition.described() {
            let row = format!("\n| `{name}` | {kind}");
            assert!(docs.contains(&row), "the {kind} `{name}` has no such row");
        }
    }

    #[test]
    fn a_proxy_is_what_settings_name_and_not_what_is_so_by_default() {
        let folder = tempfile::tempdir().expect("a folder");
        let of = |name: &str, value: &str| {
            let sources = Sources {
                environment: [("APP_ENV", "test"), (name, value)]
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .into(),
                working_dir: folder.path().to_owned(),
                config_file: None,
            };
            readers(&Config::load(&sources).expect("good settings"))
        };
        assert!(matches!(of("PORT", "3000"), Readers::ThisMachine));
        for (name, value) in [
            ("PUBLIC_URL", "https://chat.example"),
            ("TRUSTED_PROXY_HEADERS", "forwarded"),
            (
                "TRUSTED_PROXY_HEADERS",
                "x-forwarded-proto,x-forwarded-host",
            ),
        ] {
            assert!(matches!(of(name, value), Readers::Nobody), "{value}");
        }
        let token = of("METRICS_TOKEN", "a-token-that-is-long-enough");
        assert!(matches!(token, Readers::Token(_)));
    }
}
