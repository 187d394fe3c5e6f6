//! The words of the program: what every other part may use, and which uses none of them.

pub mod actor;
pub mod assignment;
pub mod auth;
pub mod blank;
pub mod call_limits;
pub mod call_log;
pub mod call_series;
pub mod config;
pub mod context;
pub mod database_url;
pub mod declared;
pub mod errors;
pub mod feature_flags;
pub mod iso_text;
pub mod js;
pub mod json_text;
pub mod logging;
pub mod procedure;
pub mod registry;
pub mod shape;
pub mod site;
pub mod slips;
pub mod suggest;
pub mod tasks;
pub mod turns;
pub mod units;
