//! A catalog and what serves it. Another catalog replaces it as a whole, so that a call has one of both
//! from its beginning to its end.

use std::{fmt, sync::Arc};

use super::{
    Clients, breaker::Rules, breakers::Breakers, catalog::Catalog, quota::Quotas, repeats::Repeats,
};

/// A catalog, with what is known of its models and of our accounts at its providers.
#[derive(Clone)]
pub(super) struct CatalogInUse {
    /// Counts the catalogs that took the place of another.
    pub(super) generation: u64,
    pub(super) catalog: Arc<Catalog>,
    pub(super) clients: Clients,
    pub(super) breakers: Arc<Breakers>,
    pub(super) repeats: Arc<Repeats>,
    pub(super) quotas: Arc<Quotas>,
}

impl fmt::Debug for CatalogInUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CatalogInUse").finish_non_exhaustive()
    }
}

impl CatalogInUse {
    /// One of which nothing is known yet. `clients` are those of the catalog's providers.
    pub(super) fn new(catalog: Catalog, clients: Clients) -> Self {
        Self {
            generation: 0,
            repeats: Arc::new(Repeats::new(&catalog)),
            quotas: Arc::new(Quotas::new(&catalog)),
            breakers: Arc::default(),
            clients,
            catalog: Arc::new(catalog),
        }
    }

    /// The same with breakers by these rules.
    pub(super) fn with_breakers(mut self, rules: Option<Rules>) -> Self {
        self.breakers = Arc::new(Breakers::new(&self.catalog, rules));
        self
    }

    /// Whether a model is the same one here and in the one before: by the same name at the same place.
    pub(super) fn has_as(&self, before: &Self, model: &str) -> bool {
        let place = |in_use: &Self| {
            let model = in_use.catalog.model(model)?;
            let provider = in_use.catalog.provider(&model.provider)?;
            Some((model.id.clone(), provider.base_url.clone()))
        };
        place(self).is_some_and(|here| Some(here) == place(before))
    }

    /// One of another catalog. What is known goes on: of models that are the same ones at the same place,
    /// and of accounts at providers of the same name.
    pub(super) fn renewed(&self, catalog: Catalog, clients: Clients, rules: Option<Rules>) -> Self {
        let is_same_place = |provider: &str| {
            let url = |catalog: &Catalog| catalog.provider(provider).map(|it| it.base_url.clone());
            url(&self.catalog) == url(&catalog)
        };
        Self {
            generation: self.generation + 1,
            breakers: Arc::new(self.breakers.renewed(&catalog, rules, is_same_place)),
            repeats: Arc::new(Repeats::new(&catalog)),
            quotas: Arc::new(self.quotas.renewed(&catalog)),
            clients,
            catalog: Arc::new(catalog),
        }
    }
}
