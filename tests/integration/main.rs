//! All integration tests in one binary, which links once.

mod access;
mod agreement;
mod ai_metrics;
mod ai_metrics_vectors;
mod alerting;
mod architecture;
mod browser;
mod bundles;
mod chat;
mod chat_streaming;
mod circles;
mod contract;
#[expect(clippy::disallowed_methods, reason = "these run in real time")]
mod crash;
mod dashboard;
mod demo;
mod documentation;
mod documents;
mod drive;
mod email_intelligence;
#[expect(clippy::disallowed_methods, reason = "these run in real time")]
mod evasion;
mod feature_flags;
mod feature_flags_vectors;
mod first_half_hour;
#[expect(clippy::disallowed_methods, reason = "these run in real time")]
mod fleet;
mod flood;
mod front_end;
mod fuzzing;
mod gateway;
mod jsonrpc;
mod judging;
#[expect(clippy::disallowed_methods, reason = "these run in real time")]
mod legacy;
mod llm_calls_vectors;
mod mcp;
mod message;
mod metrics;
mod model_router;
mod model_router_vectors;
mod new_procedure;
mod owner;
mod preflight;
#[expect(clippy::disallowed_methods, reason = "these run in real time")]
mod real_models;
mod reload;
#[expect(clippy::disallowed_methods, reason = "these run in real time")]
mod rollback;
mod rollout_cli;
mod rollout_procedures;
mod sandbox;
mod server_core_vectors;
#[expect(clippy::disallowed_methods, reason = "these run in real time")]
mod sign_in;
mod smoke;
mod staging;
mod storage;
mod superjson;
mod support;
mod telemetry;
mod trial;
mod trpc;
mod upstream_sockets;
mod wire_vectors;
