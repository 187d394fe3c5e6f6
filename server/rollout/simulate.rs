//! What the evidence would do, before anybody's traffic is at stake.
//!
//! [`certify`] runs campaigns of simulated traffic against the real [`evidence`](super::evidence) code
//! and holds its error rates and delays to the goals; [`plot`] draws them, and [`pictures`] what it does when.
//! [`worlds`] runs whole rollouts; [`planner`] says how long each stage needs to see anything; [`placebo`] runs the
//! evidence on one's own traffic. All are pure but for their threads ([`cores`]).

mod campaign;
pub mod certify;
pub mod cores;
mod goals;
mod growthbook;
pub mod pictures;
pub mod placebo;
pub mod planner;
pub mod plot;
mod proportion;
mod random;
mod traffic;
pub mod worlds;
