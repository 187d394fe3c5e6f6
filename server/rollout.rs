//! Moves users to a candidate in stages, and takes them back on evidence.
//!
//! In the order in which they build on each other:
//!
//! - [`plan`] says what is wanted, [`status`] where a rollout is.
//! - [`observation`] is the way from recorded events to [`evidence`], which says what traffic proves;
//!   [`arms`] holds one thing for each arm.
//! - [`finding`] is what the plan's judge finds, [`decision`] what follows from it.
//! - [`rollout`] is all that can happen to a rollout, [`controller`] carries it out, and
//!   [`store`] is where it is kept.
//! - [`record`] is a line of the history, [`audit`] its words, [`replay`] the proof that it is true,
//!   [`course`] is how it went and [`plot`] a picture of that, [`report`] a deployment log. Whoever only reads takes the [`archive`].
//! - [`trials`] is what was found before anybody got the candidate, and what a plan demands of that.

pub mod allowed;
pub mod archive;
pub mod arms;
pub mod audit;
pub mod controller;
pub mod course;
pub mod decision;
pub mod errors;
pub mod evidence;
pub mod finding;
pub mod moves;
pub mod next;
mod notices;
pub mod observation;
pub mod placebos;
pub mod plan;
pub mod plot;
pub mod record;
pub mod replay;
pub mod report;
#[expect(
    clippy::module_inception,
    reason = "the outer module is all about rollouts, the inner one is a rollout"
)]
pub mod rollout;
pub mod samples;
pub mod simulate;
pub mod span;
pub mod status;
pub mod store;
pub mod trials;
pub mod view;
mod words;
pub mod world;
