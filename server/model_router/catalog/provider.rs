//! A provider of the catalog: where it is, with which keys of ours, and what it does with texts.

use secrecy::SecretString;

use crate::{
    model_router::quota::schedule::AccountLimits,
    providers::openrouter::{self, policy::Policy},
};

/// A server that speaks OpenAI's `chat/completions`.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Its name in the catalog.
    pub name: String,
    /// Where it is, without `/chat/completions`.
    pub base_url: String,
    /// The environment variable with its key; `None` for servers that need none.
    pub api_key_env: Option<String>,
    /// How often the first key is taken beside the others, at least 1.
    pub weight: u32,
    /// Further keys of ours there.
    pub keys: Vec<FurtherKey>,
    /// Further headers of every request.
    pub headers: Vec<(String, String)>,
    /// Calls that it has in flight at most; at least 1.
    pub max_in_flight: usize,
    /// Whether it takes how long an answer may be as `max_completion_tokens`, and not as `max_tokens`.
    pub limits_by_new_name: bool,
    /// Requests that our account there may make, where the file says.
    pub quota: Option<AccountLimits>,
    /// Where it processes texts, as the file names it.
    pub region: Option<String>,
    /// What it does with texts by contract; at OpenRouter, what it is told that its hosts must do.
    pub policy: Policy,
    /// How it is called in this process.
    pub access: ProviderAccess,
}

/// Another key of ours at a provider.
#[derive(Clone, Debug)]
pub struct FurtherKey {
    /// The environment variable that holds it.
    pub api_key_env: String,
    /// How often it is taken beside the others, at least 1.
    pub weight: u32,
    /// The account that it belongs to, where that is another than the first key's.
    pub account: Option<String>,
    /// Requests that this other account may make, where they are others than the first's.
    pub quota: Option<AccountLimits>,
    /// The key itself; `None` where it is not set, outside production.
    pub key: Option<SecretString>,
}

impl Provider {
    /// Our accounts there, with the requests that each may make: the first under the provider's name.
    pub fn accounts(&self) -> Vec<(String, Option<AccountLimits>)> {
        let mut accounts = vec![(self.name.clone(), self.quota)];
        for key in &self.keys {
            let label = self.label_of(key);
            if accounts.iter().all(|(known, _)| *known != label) {
                accounts.push((label, key.quota.or(self.quota)));
            }
        }
        accounts
    }

    /// The label of the account that a key belongs to.
    pub fn label_of(&self, key: &FurtherKey) -> String {
        match &key.account {
            Some(account) => format!("{}/{account}", self.name),
            None => self.name.clone(),
        }
    }

    /// Whether it chooses hosts by what a request says of them.
    pub fn takes_policy(&self) -> bool {
        self.name == openrouter::NAME
    }
}

/// How a provider is called.
#[derive(Clone, Debug, Default)]
pub enum ProviderAccess {
    /// Without a key.
    #[default]
    Open,
    /// With this key.
    Key(SecretString),
    /// Not at all: its key is missing, so the sandbox answers in its place.
    Sandbox,
}
