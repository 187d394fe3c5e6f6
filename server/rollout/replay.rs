//! Refolds the log of a rollout and compares, bit for bit.
