//! Where something stands in a trace: W3C Trace Context's `traceparent`.

use std::fmt;
use std::str::FromStr;

/// The trace that something belongs to, and the span there that it comes from.
///
/// It is passed on as it came; whether anything is recorded is the business of whoever makes spans.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace: [u8; 16],
    span: [u8; 8],
    flags: u8,
}

/// A text that is no `traceparent`. What came without a valid one is treated as if it had come without any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a traceparent")]
pub struct InvalidTraceParent;

const SAMPLED: u8 = 1;
/// `00-<32 digits>-<16 digits>-<2 digits>`
const LENGTH: usize = 55;

impl TraceParent {
    /// The place of this span in this trace; `None` if one of the two is all zeros, which names nothing.
    pub fn new(trace: [u8; 16], span: [u8; 8], flags: u8) -> Option<Self> {
        (trace != [0; 16] && span != [0; 8]).then_some(Self { trace, span, flags })
    }

    /// The trace's id.
    pub fn trace_id(&self) -> [u8; 16] {
        self.trace
    }

    /// The span's id.
    pub fn span_id(&self) -> [u8; 8] {
        self.span
    }

    /// The flags: bit 0 says that the trace is recorded.
    pub fn flags(&self) -> u8 {
        self.flags
    }

    /// Whether the caller has recorded its part.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }
}

impl FromStr for TraceParent {
    type Err = InvalidTraceParent;

    /// Reads version 00 to the letter, and of later versions the part that they share with it.
    fn from_str(text: &str) -> Result<Self, InvalidTraceParent> {
        let bytes = text.trim().as_bytes();
        let (head, rest) = bytes.split_at_checked(LENGTH).ok_or(InvalidTraceParent)?;
        let version = digits::<1>(&head[..2]).ok_or(InvalidTraceParent)?[0];
        let whole = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest[0] == b'-',
        };
        if !whole || [2, 35, 52].into_iter().any(|dash| head[dash] != b'-') {
            return Err(InvalidTraceParent);
        }
        let read = || Self::new(digits(&head[3..35])?, digits(&head[36..52])?, digits::<1>(&head[53..])?[0]);
        read().ok_or(InvalidTraceParent)
    }
}

/// Lower-case hexadecimal digits: others are not valid in a `traceparent`.
fn digits<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, span) = (u128::from_be_bytes(self.trace), u64::from_be_bytes(self.span));
        write!(f, "00-{trace:032x}-{span:016x}-{:02x}", self.flags)
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn it_is_written_as_it_was_read() {
        let parent: TraceParent = ONE.parse().unwrap();
        assert!(parent.is_sampled());
        assert_eq!(parent.to_string(), ONE);
        assert_eq!(TraceParent::new(parent.trace_id(), parent.span_id(), parent.flags()), Some(parent));
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = ONE.replacen("00", "01", 1);
        assert_eq!(later.parse::<TraceParent>().unwrap().to_string(), ONE);
        assert!(format!("{later}-more").parse::<TraceParent>().is_ok());
        assert!(format!("{later}more").parse::<TraceParent>().is_err());
    }

    #[test]
    fn what_is_none_is_refused() {
        for wrong in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319cxb7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0g",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333é-01",
        ] {
            assert_eq!(wrong.parse::<TraceParent>(), Err(InvalidTraceParent), "{wrong}");
        }
    }
}
