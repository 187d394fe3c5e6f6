//! Requests as the dashboard looks for them.

use anyhow::Context as _;
use async_trait::async_trait;
use sqlx::QueryBuilder;

use super::{Storage, events};
use crate::{
    dashboard::requests::{Count, RequestFilter, RequestPlace, RequestStore},
    recording::Event,
};

/// Attempts that are over: what [`crate::recording::Outcome::is_end`] says.
pub(super) const ENDS: &str = "outcome NOT IN ('open', 'rated-good', 'rated-bad')";

#[derive(sqlx::FromRow)]
struct PlaceRow {
    at_ms: i64,
    request_id: String,
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
        if let Some(models) = &filter.models {
            $query.push(" AND model IN (");
            let mut list = $query.separated(", ");
            for model in models {
                list.push_bind(model.clone());
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
            $query.push(" AND task = ").push_bind(task.clone());
        }
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
            $query.push(" AND rollout = ").push_bind(rollout.clone());
        }
        if let Some(ms) = filter.slower_ms {
            $query.push(" AND latency_ms > ").push_bind(ms);
        }
        if let Some(counted) = filter.counted {
            $query.push(" AND counted = ").push_bind(counted);
        }
    };
}

pub(super) use push_filter;

#[async_trait]
impl RequestStore for Storage {
    async fn places(
        &self,
        filter: &RequestFilter,
        before: Option<&RequestPlace>,
        limit: u32,
    ) -> anyhow::Result<Vec<RequestPlace>> {
        let rows: Vec<PlaceRow> = on!(self.db.read(), pool => {
            let mut query = QueryBuilder::new("SELECT at_ms, request_id FROM events WHERE ");
            push_filter!(query, filter);
            if let Some(RequestPlace { at_ms, request_id }) = before {
                // The first part is what an index is read by.
                query.push(" AND at_ms <= ").push_bind(*at_ms);
                query.push(" AND (at_ms < ").push_bind(*at_ms);
                query.push(" OR request_id < ").push_bind(request_id.clone()).push(")");
            }
            query.push(" ORDER BY at_ms DESC, request_id DESC LIMIT ").push_bind(i64::from(limit));
            query.build_query_as().fetch_all(pool).await
        })
        .context("cannot look for requests")?;
        let place = |PlaceRow { at_ms, request_id }| RequestPlace { at_ms, request_id };
        Ok(rows.into_iter().map(place).collect())
    }

    async fn count(&self, filter: &RequestFilter, most: u32) -> anyhow::Result<Count> {
        let (found, attempts): (i64, i64) = on!(self.db.read(), pool => {
            let mut query = QueryBuilder::new(
                "SELECT COUNT(DISTINCT request_id), COUNT(*) FROM (SELECT request_id FROM events WHERE ",
            );
            push_filter!(query, filter);
            query.push(" LIMIT ").push_bind(i64::from(most)).push(") AS looked_at");
            query.build_query_as().fetch_one(pool).await
        })
        .context("cannot count requests")?;
        Ok(Count {
            found: u64::try_from(found).unwrap_or_default(),
            is_exact: attempts < i64::from(most),
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
    async fn events_of_requests(&self, request_ids: &[String]) -> anyhow::Result<Vec<Event>> {
        let rows: Vec<events::Row> = on!(self.db.read(), pool => {
            let mut query = QueryBuilder::new(events::OF_REQUESTS);
            let mut list = query.separated(", ");
            for id in request_ids {
                list.push_bind(id.clone());
            }
            query.push(") ORDER BY e.at_ms, seq");
            query.build_query_as().fetch_all(pool).await?
        });
        events::Row::events(rows)
    }
}
