//! Where a rollout is.
