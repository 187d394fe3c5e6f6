//! Answers as jsonrpsee takes them: how large one may be, and those that nobody gets.

use jsonrpsee::MethodResponse;

/// Bytes of one answer, single or batch; more is an error of jsonrpsee's (−32008, −32011).
pub(super) const MAX_ANSWER_BYTES: u32 = 10 * 1024 * 1024;

/// Marks a call whose answer nobody gets, and the answer to notifications alone: over HTTP it has no
/// body.
#[derive(Clone, Copy)]
pub(super) struct Silent;

/// The answer where there is nothing to say.
pub(super) fn silent() -> MethodResponse {
    let mut answer = MethodResponse::notification();
    answer.extensions_mut().insert(Silent);
    answer
}
