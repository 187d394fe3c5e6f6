//! All integration tests in one binary, which links once.

mod architecture;
mod chat;
mod feature_flags;
mod feature_flags_vectors;
mod jsonrpc;
mod server_core_vectors;
mod storage;
mod support;
mod trpc;
