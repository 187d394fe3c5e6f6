//! The same error on this wire: JSON-RPC's own numbers where it has them, else tRPC's.
//!
//! `data` is what tRPC sends too (`code`, `httpStatus`, `path`, `requestId`, `retryAfter`); programs
//! compare `data.code`, since five codes share −32603.

use jsonrpsee::types::{ErrorObjectOwned, error::METHOD_NOT_FOUND_CODE};

use crate::_core::errors::RpcError;

/// What a procedure, or the access check before it, answered.
pub(super) fn of_call(error: &RpcError, path: &str, request_id: &str) -> ErrorObjectOwned {
    object(error.code.json_rpc_number(), error, Some(path), request_id)
}

/// There is no such method.
pub(super) fn unknown_method(error: &RpcError, path: &str, request_id: &str) -> ErrorObjectOwned {
    object(METHOD_NOT_FOUND_CODE, error, Some(path), request_id)
}

/// A request that is wrong before it names a method.
pub(super) fn of_envelope(error: &RpcError, request_id: &str) -> ErrorObjectOwned {
    object(error.code.number(), error, None, request_id)
}

fn object(number: i32, error: &RpcError, path: Option<&str>, request_id: &str) -> ErrorObjectOwned {
    let data = error.data(path, request_id);
    ErrorObjectOwned::owned(number, error.message.clone(), Some(data))
}
