//! Where a request stands in a trace: W3C's `traceparent`, version 00 (<https://www.w3.org/TR/trace-context/>).

use std::fmt;

use rand::random;

/// A span of somebody's trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    trace: u128,
    span: u64,
    flags: u8,
}

/// The flag of a trace that is recorded.
const SAMPLED: u8 = 1;

impl TraceParent {
    /// What a header says; `None` where it is none. A later version may have more fields, which are not read.
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields = text.trim().split('-');
        let version = hex(fields.next()?, 2)?;
        let (trace, span) = (hex(fields.next()?, 32)?, hex(fields.next()?, 16)?);
        let flags = hex(fields.next()?, 2)?;
        let has_more = fields.next().is_some();
        let is_valid = version != 0xff && (version != 0 || !has_more) && trace != 0 && span != 0;
        is_valid.then_some(Self {
            trace,
            span: u64::try_from(span).ok()?,
            flags: u8::try_from(flags).ok()?,
        })
    }

    /// A new span below this one.
    pub fn child(self) -> Self {
        let span = random::<u64>().max(1);
        Self { span, ..self }
    }

    /// The id of the trace.
    pub fn trace_id(self) -> u128 {
        self.trace
    }

    /// The id of the span.
    pub fn span_id(self) -> u64 {
        self.span
    }

    /// Whether whoever began the trace records it.
    pub fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }
}

/// As a header has it.
impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace, span, flags } = self;
        write!(f, "00-{trace:032x}-{span:016x}-{:02x}", flags & SAMPLED)
    }
}

/// So many lower-case hexadecimal digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let is_whole = text.len() == digits && text.bytes().all(is_hex);
    is_whole.then(|| u128::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_header_is_read_and_written_and_a_child_is_of_its_trace() {
        let parent = TraceParent::parse(HEADER).unwrap();
        assert_eq!(parent.to_string(), HEADER);
        assert!(parent.is_sampled());
        let child = parent.child();
        assert_eq!(child.trace_id(), parent.trace_id());
        assert_ne!(child.span_id(), parent.span_id());
        let later = TraceParent::parse(&format!("cc{}-more", &HEADER[2..]));
        assert_eq!(later.unwrap().to_string(), HEADER);
    }

    #[test]
    fn what_is_no_header_is_none() {
        for text in [
            "",
            "00",
            &HEADER[..54],
            &HEADER.to_uppercase(),
            &format!("{HEADER}-more"),
            &format!("ff{}", &HEADER[2..]),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(TraceParent::parse(text), None, "{text}");
        }
    }
}
