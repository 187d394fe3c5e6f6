//! What handlers know of how a request came: one extension of it, as each costs an allocation.

use std::sync::Arc;

use super::{connections::RequestUnderWay, stream::Inflow};

/// A request that is under way, and what comes in on its connection.
#[derive(Clone)]
pub struct Arrived {
    /// The request, until its answer is sent.
    pub under_way: Arc<RequestUnderWay>,
    /// What comes in.
    pub inflow: Arc<Inflow>,
}
