//! All integration tests in one binary, so that the library is linked once.

mod llm_calls_vectors;
mod model_router;
mod model_router_vectors;
mod support;
