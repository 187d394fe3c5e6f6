//! How each provider of a catalog is spoken to.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use super::{
    catalog::{self, Catalog, ProviderAccess},
    concurrency_limit::ConcurrencyLimit,
    keys::{Keyring, ProviderKey},
};
use crate::providers::{
    connection::Http,
    openai_compatible::{ClientError, OpenAiCompatible, http_client},
};

/// One client for each provider of a catalog.
#[derive(Clone, Debug)]
pub struct Clients {
    http: Http,
    pub(super) of: Arc<HashMap<String, ProviderClient>>,
}

/// How one provider is spoken to.
#[derive(Clone, Debug)]
pub(super) struct ProviderClient {
    pub(super) keys: Keyring,
    pub(super) limit: ConcurrencyLimit,
    max_in_flight: usize,
}

impl ProviderClient {
    /// Attempts that are under way.
    pub(super) fn in_flight(&self) -> usize {
        self.limit.in_flight(self.max_in_flight)
    }
}

impl Clients {
    /// Clients for all providers; those without their key call `sandbox` (a base URL) instead.
    pub fn connect(catalog: &Catalog, sandbox: Option<&str>) -> Result<Self, ClientError> {
        Self::over(http_client()?, catalog, sandbox)
    }

    /// The same over other connections, such as through a proxy.
    pub fn over(http: Http, catalog: &Catalog, sandbox: Option<&str>) -> Result<Self, ClientError> {
        let of = Arc::default();
        Self { http, of }.renewed(catalog, sandbox)
    }

    /// Clients for the providers of another catalog, over the same connections.
    pub(super) fn renewed(
        &self,
        catalog: &Catalog,
        sandbox: Option<&str>,
    ) -> Result<Self, ClientError> {
        let client = |provider: &catalog::Provider| {
            let (base_url, secret) = match &provider.access {
                ProviderAccess::Open => (provider.base_url.as_str(), None),
                ProviderAccess::Key(key) => (provider.base_url.as_str(), Some(key.clone())),
                ProviderAccess::Sandbox => (sandbox.unwrap_or(&provider.base_url), None),
            };
            let key = |secret, account, weight, variable: Option<&String>| {
                let headers = provider.headers.iter();
                let headers = headers.map(|(name, value)| (name.as_str(), value.as_str()));
                let api = OpenAiCompatible::new(self.http.clone(), base_url, secret, headers)?;
                Ok::<_, ClientError>(Arc::new(ProviderKey {
                    api: Arc::new(api),
                    account,
                    weight,
                    variable: variable.cloned(),
                    rest: Mutex::default(),
                }))
            };
            let variable = provider.api_key_env.as_ref();
            let mut keys = vec![key(
                secret,
                provider.name.clone(),
                provider.weight,
                variable,
            )?];
            for further in &provider.keys {
                if let (Some(secret), ProviderAccess::Key(_)) = (&further.key, &provider.access) {
                    let (account, variable) = (provider.label_of(further), &further.api_key_env);
                    let secret = Some(secret.clone());
                    keys.push(key(secret, account, further.weight, Some(variable))?);
                }
            }
            let max_in_flight = provider.max_in_flight;
            let before = self.of.get(&provider.name);
            let before = before.filter(|it| it.max_in_flight == max_in_flight);
            let client = ProviderClient {
                keys: Keyring(keys.into()),
                limit: before.map_or_else(
                    || ConcurrencyLimit::new(max_in_flight),
                    |it| it.limit.clone(),
                ),
                max_in_flight,
            };
            Ok((provider.name.clone(), client))
        };
        let clients = catalog.providers.iter().map(client);
        Ok(Self {
            http: self.http.clone(),
            of: Arc::new(clients.collect::<Result<_, ClientError>>()?),
        })
    }

    pub(super) fn get(&self, provider: &str) -> Option<&ProviderClient> {
        self.of.get(provider)
    }
}
