//! Which kind of fault words mean, by a table.
//!
//! Servers have no common word for "too long" or "no credit left", and each release of one has new
//! sentences. A rule therefore names what such a sentence must speak of (a thing, a measure, an excess),
//! not the sentence. What is read is lower case without quotes, with spaces for `_` and `-`.

mod account;
mod languages;
mod too_long;

pub(super) use self::too_long::sizes;
use self::{
    account::{ACCOUNT, BUSY, MISSING},
    too_long::is_too_long,
};
use super::{
    FaultKind, numbers,
    said::{ErrorContents, ErrorText},
};

/// A sentence of this kind holds one of each list of `has`, and none of `lacks`.
struct Rule {
    kind: FaultKind,
    has: &'static [&'static [&'static str]],
    lacks: &'static [&'static str],
}

/// What the words add to a kind that the status or a name gave; `None` where that is nothing.
pub(super) fn refine(
    kind: FaultKind,
    status: Option<u16>,
    said: &ErrorContents,
) -> Option<FaultKind> {
    let is_client = matches!(kind, FaultKind::BadRequest | FaultKind::Refused);
    let own = || said.texts.iter().filter(|word| !word.is_relayed);
    let account = || own().find_map(|word| first(ACCOUNT, word));
    match kind {
        FaultKind::ProviderRateLimited => {
            // What is refused for a while only is a rate, also where it is called a quota.
            let limit = own().find_map(|word| first(ACCOUNT, word));
            return limit.filter(|kind| match kind {
                FaultKind::Payment => true,
                FaultKind::AccountLimit => own().any(|word| word.text.contains("key limit")),
                _ => false,
            });
        }
        FaultKind::BadRequest
        | FaultKind::Refused
        | FaultKind::ContextLength
        | FaultKind::Upstream => {}
        _ => return None,
    }
    if is_client || status.is_none() {
        match account() {
            // A 403 is the account's own kind, whatever it lacks.
            Some(FaultKind::Payment) if kind == FaultKind::Refused => {
                return Some(FaultKind::AccountLimit);
            }
            Some(kind) => return Some(kind),
            None => {}
        }
    }
    if said.texts.iter().any(|word| BUSY.fits(word)) {
        return Some(FaultKind::ProviderRateLimited);
    }
    if said.texts.iter().any(|word| is_too_long(word, is_client)) {
        return Some(FaultKind::ContextLength);
    }
    let is_bad = kind == FaultKind::BadRequest;
    said.texts
        .iter()
        .filter(|_| is_bad)
        .find_map(|word| first(MISSING, word))
}

fn first(rules: &[Rule], word: &ErrorText) -> Option<FaultKind> {
    let rule = rules.iter().find(|rule| rule.fits(word))?;
    Some(rule.kind)
}

impl Rule {
    fn fits(&self, word: &ErrorText) -> bool {
        let says = |list: &[&str]| list.iter().any(|part| word.text.contains(part));
        self.has.iter().all(|list| says(list)) && !says(self.lacks)
    }
}
