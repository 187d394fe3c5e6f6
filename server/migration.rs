//! Moves procedures from the old server to this one, a few at a time, and takes them back.
//!
//! A [`Move`](mode::Move) says who answers the calls of a procedure, or of a whole namespace: the old server, this one,
//! or this one for a share of users. While the old server answers, what this one would have said can be
//! compared with it, by meaning ([`compare`]). What is seen is kept by procedure ([`report`]), and a
//! [`guard`] bets on whether this server does worse: where it wins, the procedure goes back at once, in
//! memory first, and is then stored ([`Moves`]).
//!
//! Why no rollout does this: a rollout's evidence is about attempts at models, with their strata and
//! classes; here are calls of two servers, of which the old one is known to do. docs/decisions says more.

pub mod compare;
mod evidence;
mod guard;
pub mod meaning;
pub mod mode;
pub mod moves;
mod notices;
pub mod report;
mod shown;
pub mod store;

pub use self::{
    compare::ComparisonRules,
    evidence::{CallWatch, MoveOutcome},
    mode::{Mode, covers},
    moves::{MoveError, MoveWay, Moves, Settings},
};
