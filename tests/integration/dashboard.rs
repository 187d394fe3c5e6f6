//! The server's half of the dashboard: who may see what, and what the procedures behind its pages say.

mod lists;
mod pages;
mod roles;
mod rollouts;
