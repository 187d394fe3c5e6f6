//! Moves users to a candidate in stages, and takes them back on evidence.
//!
//! [`plan`] says what is wanted, [`status`] where a rollout is, [`evidence`] what its traffic proves,
//! [`decision`] what follows (a pure function), and [`controller`] carries it out.

pub mod controller;
pub mod decision;
pub mod evidence;
pub mod plan;
pub mod simulate;
pub mod status;
pub mod store;
