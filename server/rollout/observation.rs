//! From recorded events to evidence.
