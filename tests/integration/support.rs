//! What several integration tests share.

pub(crate) mod scripted_upstream;
pub(crate) mod vectors;
