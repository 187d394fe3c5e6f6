//! All integration tests in one binary, so that the library is linked once.

mod chat;
mod server_core_vectors;
mod storage;
mod support;
