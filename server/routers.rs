//! The procedures, one file per namespace, named as the TypeScript files were.

pub mod ai_metrics_router;
pub mod auth_router;
pub mod chat_router;
pub mod feature_flags_router;
pub mod models_router;
pub mod system_router;
