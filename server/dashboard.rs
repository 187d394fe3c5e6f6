//! The dashboard at `/dashboard`: the files of its pages, and what only its pages ask for.
//!
//! The pages are built by `dashboard/`, whose output is checked in and embedded here, so that a server
//! needs nothing beside its program. They are the same for everybody and hold no data; all of that comes
//! from the procedures, which look at who asks. What procedures look up in the database for it stands
//! here as traits: [`requests`], attempts over time in [`series`], sums of them in
//! [`spending`], who changed what in [`audit`], and
//! [`users`].

pub mod audit;
pub mod audited;
mod export;
mod files;
pub mod requests;
pub mod series;
pub mod spending;
pub mod texts;
pub mod users;

use axum::Router;

pub use self::export::Export;

/// `/dashboard` and all below it.
pub fn routes(export: Export) -> Router {
    files::routes().merge(export::routes(export))
}
