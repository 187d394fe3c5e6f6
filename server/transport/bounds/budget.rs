//! The memory that everything in flight takes from, so that all clients together have a limit.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::_core::{
    errors::{ErrorCode, RpcError},
    json_text,
};

/// The budget is kept in parts of this many bytes.
const PART: usize = 1024;
/// What one value of a JSON document takes once it is read, at most: `{}` is two bytes of text.
const VALUE_BYTES: usize = 96;
/// A document has at most one value in so many bytes of the largest body. Real ones have one in ten
/// or more, but are far from the largest.
const BYTES_PER_VALUE: usize = 20;
/// Values that are read however small the largest body is.
const MIN_VALUES: usize = 20_000;

/// Bytes that may be in flight; clones share it.
#[derive(Clone, Debug)]
pub struct Budget {
    parts: Arc<Semaphore>,
}

/// A share of the budget, which goes back when this is dropped.
#[derive(Debug, Default)]
pub struct BudgetShare(Option<OwnedSemaphorePermit>);

impl Budget {
    /// A budget of so many bytes.
    pub fn new(bytes: usize) -> Self {
        let parts = (bytes / PART).min(Semaphore::MAX_PERMITS);
        Self {
            parts: Arc::new(Semaphore::new(parts)),
        }
    }

    /// Takes a share, or says that the server is busy.
    pub fn hold(&self, bytes: usize) -> Result<BudgetShare, RpcError> {
        let mut held = BudgetShare::default();
        self.extend(&mut held, bytes)?;
        Ok(held)
    }

    /// Makes a share as large as `bytes`, if it is smaller.
    pub fn extend(&self, held: &mut BudgetShare, bytes: usize) -> Result<(), RpcError> {
        let has = held.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = bytes.div_ceil(PART).saturating_sub(has);
        if more == 0 {
            return Ok(());
        }
        let more = u32::try_from(more).map_err(|_| RpcError::overloaded())?;
        let permit = self
            .parts
            .clone()
            .try_acquire_many_owned(more)
            .map_err(|_| RpcError::overloaded())?;
        match &mut held.0 {
            Some(held) => held.merge(permit),
            none => *none = Some(permit),
        }
        Ok(())
    }
}

/// What a JSON text takes: as text, once more as the texts in it, and as the values it holds.
///
/// A text with more values than any real one has is refused: read, it would be many times larger.
pub fn weigh(json: &[u8], max_body_bytes: usize) -> Result<usize, RpcError> {
    let values = json_text::values(json);
    let most = (max_body_bytes / BYTES_PER_VALUE).max(MIN_VALUES);
    if values > most {
        return Err(RpcError::new(
            ErrorCode::PayloadTooLarge,
            format!(
                "the request holds {values} JSON values; at most {most} are read (one for {BYTES_PER_VALUE} bytes of MAX_BODY_BYTES)"
            ),
        ));
    }
    Ok(2 * json.len() + values * VALUE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_goes_back_when_it_is_dropped() {
        let budget = Budget::new(10 * PART);
        let first = budget.hold(6 * PART).unwrap();
        assert!(budget.hold(5 * PART).is_err());
        let mut second = budget.hold(1).unwrap();
        assert!(budget.extend(&mut second, 5 * PART).is_err());
        budget.extend(&mut second, 4 * PART).unwrap();
        drop(first);
        budget.extend(&mut second, 10 * PART).unwrap();
        drop(second);
        assert!(budget.hold(10 * PART).is_ok());
        assert!(Budget::new(1 << 20).hold(usize::MAX).is_err());
    }

    #[test]
    fn a_text_of_tiny_values_is_too_large_before_it_is_long() {
        let limit = 1 << 20;
        assert!(weigh(format!("[{}0]", "0,".repeat(50_000)).as_bytes(), limit).is_ok());
        assert!(weigh(format!("[{}0]", "0,".repeat(60_000)).as_bytes(), limit).is_err());
        assert!(weigh(format!("\"{}\"", ",".repeat(600_000)).as_bytes(), limit).is_ok());
    }
}
