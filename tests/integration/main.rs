//! All integration tests in one binary, which links once.

mod architecture;
mod feature_flags;
mod feature_flags_vectors;
mod support;
