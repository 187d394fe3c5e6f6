//! A trial: two models answer the same prompts before any user gets the new one.
//!
//! Nothing here asks a network or a clock.
//!
//! - [`prompts`] is what is asked, [`answer`] what came of it, [`results`] the file that keeps that.
//! - [`pace`] says when the next request may go.
//! - [`verdict`] is what the answers prove, by bets on the differences within pairs.
//! - [`report`] writes it as Markdown, [`picture`] draws it.

pub mod answer;
pub(crate) mod betting;
pub mod pace;
pub mod picture;
pub mod prompts;
pub mod report;
pub mod results;
pub mod verdict;
