//! modelramp answers AI requests and moves users to new models a few percent at a time.
//!
//! ARCHITECTURE.md says which folder holds what, and who may import whom.

pub mod _core;
pub mod accounts;
pub mod ai_metrics;
pub mod alerting;
pub mod app;
pub mod chat;
pub mod cli;
pub mod config;
pub mod dashboard;
pub mod email_intelligence;
pub mod fleet;
pub mod gateway;
pub mod keys;
pub mod legacy;
pub mod live_flags;
pub mod migration;
pub mod model_router;
pub mod providers;
pub mod recording;
pub mod rollout;
pub mod routers;
pub mod schema;
pub mod storage;
pub mod telemetry;
pub mod transport;
pub mod trial;
