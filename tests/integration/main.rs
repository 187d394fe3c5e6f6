//! Tests of the running server, over real connections; one binary, one module per area.

mod jsonrpc;
