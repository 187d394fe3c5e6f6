//! Requests as the dashboard looks for them.

use anyhow::Context as _;
use async_trait::async_trait;
use sqlx::QueryBuilder;

use super::{Storage, db::Either, events, storable};
use crate::{
    dashboard::requests::{
        FoundRequests, MatchingRequests, RequestFilter, RequestPlace, RequestStore,
    },
    recording::Event,
};

/// Attempts that are over: what [`crate::recording::Outcome::is_end`] says.
pub(super) const ENDS: &str = "outcome NOT IN ('open', 'rated-good', 'rated-bad', 'judged-better', 'judged-worse', \
     'judged-even', 'judged-inconsistent', 'judged-failed')";

#[derive(sqlx::FromRow)]
struct PlaceRow {
    at_ms: i64,
    request_id: String,
}

/// Adds what a filter wants of models, task and variant, which an hour of attempts has as well as one.
macro_rules! push_names {
    ($query:ident, $filter:expr) => {
        let filter: &$crate::dashboard::requests::RequestFilter = $filter;
        if let Some(models) = &filter.models {
            $query.push(" AND model IN (");
            let mut list = $query.separated(", ");
            for model in models {
                list.push_bind($crate::storage::storable(model).into_owned());
            }
            // A list of nothing is no SQL, and nothing is in it.
            if models.is_empty() {
                list.push("NULL");
            }
            $query.push(")");
        }
        if let Some(variant) = filter.variant {
            $query.push(" AND variant = ").push_bind(variant.name());
        }
        if let Some(task) = &filter.task {
            let task = $crate::storage::storable(task).into_owned();
            $query.push(" AND task = ").push_bind(task);
        }
    };
}

/// Adds what a filter wants of an attempt; the same rules as [`RequestFilter::fits`].
macro_rules! push_filter {
    ($query:ident, $filter:expr) => {
        let filter: &$crate::dashboard::requests::RequestFilter = $filter;
        $query.push($crate::storage::requests::ENDS);
        if let Some(ms) = filter.from_ms {
            $query.push(" AND at_ms >= ").push_bind(ms);
        }
        if let Some(ms) = filter.to_ms {
            $query.push(" AND at_ms < ").push_bind(ms);
        }
        $crate::storage::requests::push_names!($query, filter);
        if let Some(outcomes) = &filter.outcomes {
            if !outcomes.contains(&"success") {
                // By which the index of faults may be read.
                $query.push(" AND outcome <> 'success'");
            }
            $query.push(" AND outcome IN (");
            let mut list = $query.separated(", ");
            for outcome in outcomes {
                list.push_bind(*outcome);
            }
            if outcomes.is_empty() {
                list.push("NULL");
            }
            $query.push(")");
        }
        if let Some(user) = filter.user_id {
            $query.push(" AND user_id = ").push_bind(user);
        }
        if let Some(rollout) = &filter.rollout {
            let rollout = $crate::storage::storable(rollout).into_owned();
            $query.push(" AND rollout = ").push_bind(rollout);
        }
        if let Some(ms) = filter.slower_ms {
            $query.push(" AND latency_ms > ").push_bind(ms);
        }
        if let Some(counted) = filter.counted {
            $query.push(" AND counted = ").push_bind(counted);
        }
    };
}

pub(super) use {push_filter, push_names};

/// Adds that an attempt lies before a place.
macro_rules! push_before {
    ($query:ident, $place:expr) => {
        if let Some(RequestPlace { at_ms, request_id }) = $place {
            // The first part is what an index is read by.
            $query.push(" AND at_ms <= ").push_bind(*at_ms);
            $query.push(" AND (at_ms < ").push_bind(*at_ms);
            $query
                .push(" OR request_id < ")
                .push_bind(storable(request_id).into_owned())
                .push(")");
        }
    };
}

#[async_trait]
impl RequestStore for Storage {
    async fn places(
        &self,
        filter: &RequestFilter,
        before: Option<&RequestPlace>,
        limit: u32,
        passing: u32,
    ) -> anyhow::Result<FoundRequests> {
        let floor = self.floor(filter, before, passing);
        let floor_ms = floor.await.context("cannot look for requests")?;
        let rows: Vec<PlaceRow> = on!(self.db.read(), pool => {
            let mut query = QueryBuilder::new("SELECT at_ms, request_id FROM events WHERE ");
            push_filter!(query, filter);
            push_before!(query, before);
            if let Some(ms) = floor_ms {
                query.push(" AND at_ms >= ").push_bind(ms);
            }
            query.push(" ORDER BY at_ms DESC, request_id DESC LIMIT ").push_bind(i64::from(limit));
            query.build_query_as().fetch_all(pool).await
        })
        .context("cannot look for requests")?;
        let place = |PlaceRow { at_ms, request_id }| RequestPlace { at_ms, request_id };
        Ok(FoundRequests {
            found: rows.into_iter().map(place).collect(),
            floor_ms,
        })
    }

    async fn count(
        &self,
        filter: &RequestFilter,
        most: u32,
        passing: u32,
    ) -> anyhow::Result<MatchingRequests> {
        let floor = self.floor(filter, None, passing);
        let floor_ms = floor.await.context("cannot count requests")?;
        let (found, attempts): (i64, i64) = on!(self.db.read(), pool => {
            let mut query = QueryBuilder::new(
                "SELECT COUNT(DISTINCT request_id), COUNT(*) FROM (SELECT request_id FROM events WHERE ",
            );
            push_filter!(query, filter);
            if let Some(ms) = floor_ms {
                query.push(" AND at_ms >= ").push_bind(ms);
            }
            query.push(" LIMIT ").push_bind(i64::from(most)).push(") AS looked_at");
            query.build_query_as().fetch_one(pool).await
        })
        .context("cannot count requests")?;
        Ok(MatchingRequests {
            found: u64::try_from(found).unwrap_or_default(),
            is_exact: attempts < i64::from(most) && floor_ms.is_none(),
        })
    }

    async fn attempts(&self, request_ids: &[String]) -> anyhow::Result<Vec<Event>> {
        if request_ids.is_empty() {
            return Ok(Vec::new());
        }
        self.events_of_requests(request_ids)
            .await
            .context("cannot read the attempts of requests")
    }
}

impl Storage {
    /// The time of the attempt that lies so many attempts before a place, of those that an index knows the
    /// filter by; `None` where there are not so many. So looking for what is not there ends.
    async fn floor(
        &self,
        filter: &RequestFilter,
        before: Option<&RequestPlace>,
        attempts: u32,
    ) -> sqlx::Result<Option<i64>> {
        // PostgreSQL has no index of users: docs/performance.md says what each costs.
        let user_id = filter
            .user_id
            .filter(|_| matches!(self.db, Either::Sqlite(_)));
        let outcome = match filter.outcomes.as_deref() {
            Some([only]) if *only != "success" && user_id.is_none() => Some(*only),
            _ => None,
        };
        let to_ms = filter.to_ms.unwrap_or(i64::MAX);
        // After a place without a request, all of its moment was looked at.
        let to_ms = before.map_or(to_ms, |place| {
            let is_whole = place.request_id.is_empty();
            to_ms.min(place.at_ms.saturating_add(i64::from(!is_whole)))
        });
        on!(self.db.read(), pool => {
            let mut query = QueryBuilder::new("SELECT at_ms FROM events WHERE at_ms < ");
            query.push_bind(to_ms);
            if let Some(ms) = filter.from_ms {
                query.push(" AND at_ms >= ").push_bind(ms);
            }
            if let Some(user) = user_id {
                query.push(" AND user_id = ").push_bind(user);
            }
            if let Some(outcome) = outcome {
                query.push(" AND outcome <> 'success' AND outcome = ").push_bind(outcome);
            }
            query.push(" ORDER BY at_ms DESC LIMIT 1 OFFSET ").push_bind(i64::from(attempts));
            query.build_query_scalar().fetch_optional(pool).await
        })
    }

    async fn events_of_requests(&self, request_ids: &[String]) -> anyhow::Result<Vec<Event>> {
        let rows: Vec<events::StoredEventRow> = on!(self.db.read(), pool => {
            let mut query = QueryBuilder::new(events::OF_REQUESTS);
            let mut list = query.separated(", ");
            for id in request_ids {
                list.push_bind(storable(id).into_owned());
            }
            query.push(") ORDER BY e.at_ms, seq");
            query.build_query_as().fetch_all(pool).await?
        });
        events::StoredEventRow::events(rows)
    }
}
