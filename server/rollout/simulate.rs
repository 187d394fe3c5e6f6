//! What the evidence would do, before anybody's traffic is at stake.
//!
//! [`certify`] runs campaigns of simulated traffic against the real [`evidence`](super::evidence) code
//! and holds its error rates and delays to the goals, [`plot`] draws them; [`planner`] says how long each stage needs to
//! see anything. Both are pure but for the threads that `certify` uses.

mod campaign;
pub mod certify;
mod goals;
mod growthbook;
pub mod planner;
pub mod plot;
mod proportion;
mod random;
mod traffic;
