//! Who may get the texts of a task, under which terms, and what is masked in them.
//!
//! A provider gives what the catalog says of it, by contract; OpenRouter is told with each request what its
//! hosts must give. What a task demands and a provider of its route does not give is a fault of the catalog.

use schemars::JsonSchema;
use serde::Serialize;

use super::catalog::Provider;
use crate::providers::{ChatRequest, masking::MaskedKind, openrouter::policy::Policy};

/// What is demanded of whoever gets a text. The default demands nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Privacy {
    /// Providers that neither store texts for their own ends nor train on them.
    pub denies_collection: bool,
    /// Providers that retain nothing.
    pub zdr: bool,
    /// These providers of the catalog alone.
    pub providers: Option<Vec<String>>,
    /// Providers in these regions alone.
    pub regions: Option<Vec<String>>,
    /// Behind OpenRouter, these hosts alone.
    pub hosts: Option<Vec<String>>,
    /// What is masked before a text leaves.
    pub mask: Vec<MaskedKind>,
}

impl Privacy {
    /// What demands both.
    pub(super) fn and(&self, other: &Self) -> Self {
        let mut mask = self.mask.clone();
        mask.extend(other.mask.iter().filter(|kind| !self.mask.contains(kind)));
        Self {
            denies_collection: self.denies_collection || other.denies_collection,
            zdr: self.zdr || other.zdr,
            providers: both(self.providers.as_ref(), other.providers.as_ref()),
            regions: both(self.regions.as_ref(), other.regions.as_ref()),
            hosts: both(self.hosts.as_ref(), other.hosts.as_ref()),
            mask,
        }
    }

    /// Why this provider may not get the texts; `None` where it may.
    pub(super) fn refusal(&self, provider: &Provider) -> Option<String> {
        let Provider {
            name,
            region,
            policy,
            ..
        } = provider;
        let can_be_told = provider.takes_policy();
        let lacks = |what: &str| Some(format!("provider `{name}` does not give `{what}`"));
        if self.zdr && !policy.zdr && !can_be_told {
            return lacks("zdr = true");
        }
        if self.denies_collection && !policy.zdr && !policy.denies_collection && !can_be_told {
            return lacks("data_collection = \"deny\"");
        }
        if self
            .providers
            .as_ref()
            .is_some_and(|allowed| !allowed.contains(name))
        {
            return Some(format!("provider `{name}` is none of `providers`"));
        }
        let hosts = both(self.hosts.as_ref(), policy.hosts.as_ref());
        if can_be_told && hosts.is_some_and(|hosts| hosts.is_empty()) {
            // An empty list would allow all.
            return Some(format!(
                "no host is in all lists of `hosts` (provider `{name}`)"
            ));
        }
        let allowed = self.regions.as_ref()?;
        match region {
            Some(region) if allowed.contains(region) => None,
            Some(region) => {
                let allowed = allowed.join(", ");
                Some(format!(
                    "provider `{name}` is in region `{region}`, none of {allowed}"
                ))
            }
            None => Some(format!("provider `{name}` has no `region`")),
        }
    }

    /// Makes a request to this provider keep to it. Its texts were masked before.
    pub(super) fn apply(&self, provider: &Provider, request: &mut ChatRequest) {
        let own = &provider.policy;
        let policy = Policy {
            denies_collection: self.denies_collection || own.denies_collection,
            zdr: self.zdr || own.zdr,
            hosts: both(self.hosts.as_ref(), own.hosts.as_ref()),
        };
        if provider.takes_policy() {
            policy.apply(request);
        }
        if policy.zdr || policy.denies_collection {
            forbid_storing(request);
        }
    }
}

/// OpenAI keeps what it is asked to.
fn forbid_storing(request: &mut ChatRequest) {
    match &mut request.given {
        Some(given) if given.names().any(|name| name == "store") => _ = given.set("store", &false),
        Some(_) => {}
        None => {
            if let Some(store) = request.rest.get_mut("store") {
                *store = false.into();
            }
        }
    }
}

/// What two lists allow, of which one that is not there allows everything.
fn both(first: Option<&Vec<String>>, second: Option<&Vec<String>>) -> Option<Vec<String>> {
    let (Some(first), Some(second)) = (first, second) else {
        return first.or(second).cloned();
    };
    let common = first.iter().filter(|it| second.contains(it));
    Some(common.cloned().collect())
}
