//! Moves users to a candidate in stages, and takes them back on evidence.
//!
//! [`plan`] says what is wanted, [`status`] where a rollout is, [`evidence`] what its traffic proves,
//! [`finding`] what its judge finds, [`decision`] what follows (a pure function), [`rollout`](self::rollout) what can happen
//! to a rollout, and [`controller`] carries it out.
//! [`arms`] holds one thing for each arm, [`observation`] is the way from recorded events to evidence, [`record`] a line of the history,
//! [`audit`] its words, [`replay`] the proof that the history is true, [`report`] a deployment log.

pub mod arms;
pub mod audit;
pub mod controller;
pub mod decision;
pub mod errors;
pub mod evidence;
pub mod finding;
pub mod moves;
mod notices;
pub mod observation;
pub mod plan;
pub mod record;
pub mod replay;
pub mod report;
#[expect(
    clippy::module_inception,
    reason = "the outer module is all about rollouts, the inner one is a rollout"
)]
pub mod rollout;
pub mod simulate;
pub mod status;
pub mod store;
mod world;
