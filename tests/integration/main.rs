//! All integration tests in one binary, so that the library is linked once.

mod feature_flags;
mod feature_flags_vectors;
mod support;
