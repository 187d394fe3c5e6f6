//! What is wanted of a rollout.
