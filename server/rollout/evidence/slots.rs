//! Tables with a slot for each user, and what every slot can hold.

/// What earlier releases stored may be larger than this one makes it.
pub(super) const MOST_SLOTS: usize = 1 << 16;
/// Counted errors are kept in two bits.
pub(super) const MOST_COUNTED: u32 = 3;
/// Looks at a user are numbered from 1; this one was the last. A slot has four bits for it.
pub(super) const LAST_LOOK: usize = 0b1111;

/// In which of so many slots a subject is.
pub(super) fn place(subject: u64, slots: usize) -> usize {
    // The multiplication spreads ids that are not hashed.
    let mixed = subject.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    if slots.is_power_of_two() {
        // As tables of earlier releases are, which have to be found again.
        mixed as usize & (slots - 1)
    } else {
        ((mixed * slots as u64) >> 32) as usize
    }
}

/// Slots as they are stored: as many as a table may have.
pub(super) fn checked<T>(slots: Vec<T>) -> Result<Vec<T>, String> {
    match slots.len() {
        count if count <= MOST_SLOTS => Ok(slots),
        count => Err(format!("{count} slots; expected at most {MOST_SLOTS}")),
    }
}
