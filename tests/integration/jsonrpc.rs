//! `/rpc` and the port it lives on: every case over a real connection, with stub procedures.
//!
//! What a procedure does is tested elsewhere; here is what the wire makes of it.

mod clients;
mod http;
mod limits;
mod openrpc;
mod origins;
mod shutdown;
mod socket;
mod stubs;
mod support;
