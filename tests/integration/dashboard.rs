//! The server's half of the dashboard: who may see what, and what the procedures behind its pages say.

mod audit;
mod lists;
mod pages;
mod pulse;
mod roles;
mod rollouts;
mod series;
