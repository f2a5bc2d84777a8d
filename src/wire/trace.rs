//! The trace that a request belongs to: W3C Trace Context, the header `traceparent`.
//!
//! A trace is a client's request with all the work that roles do for it; a span is one role's share
//! of it. Each role draws a span of its own, and names it in the calls that it makes:
//!
//! ```text
//! client ─ 00-4bf9…-00f0…-01 ─► front-end ─ 00-4bf9…-a1b2…-01 ─► leader ─ 00-4bf9…-c3d4…-01 ─► …
//!             trace  parent                 same   its own span           same
//! ```
//!
//! A batch carries purchases of many traces, so that each purchase has its own with it.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::bounds;

/// A trace's id: 128 bits, of which at least one is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId(u128);

/// A span's id: 64 bits, of which at least one is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId(u64);

/// Where a request is in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceContext {
    /// The trace.
    pub trace: TraceId,
    /// The span of the role that sends the request.
    pub span: SpanId,
    /// Whether the spans of this trace are wanted.
    pub sampling: Sampling,
}

/// Whether the spans of a trace are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sampling {
    /// They may be.
    Sampled,
    /// The client does not want them.
    NotSampled,
}

/// The client's request that a role works for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RequestOrigin {
    /// Its `X-Request-Id`, by which it can be found in each role's log.
    #[serde(
        default,
        deserialize_with = "bounds::request_id",
        skip_serializing_if = "Option::is_none"
    )]
    pub request_id: Option<String>,
    /// Whether the client sent that id, so that it will look for it in the logs; else a front-end
    /// has drawn it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_named_by_client: bool,
    /// Where it is in its trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
}

/// A text that is no `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoTraceContext;

/// The bit of the flags that says that a trace is sampled; the others are reserved.
const SAMPLED: u8 = 1;
/// What a byte is in [`DIGITS`] that is no digit.
const NO_DIGIT: u8 = 0x80;
/// The hexadecimal digits, by byte.
const DIGITS: [u8; 256] = table_of_digits();
/// The length of a `traceparent` of version 00. Later versions may append to it, behind a hyphen.
const LENGTH: usize = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".len();

impl TraceId {
    /// Creates the id with these bits; of none that is set, the lowest one.
    #[must_use]
    pub fn from_random(bits: u128) -> Self {
        Self(bits.max(1))
    }

    /// Reads an id of 32 lower-case hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        trace_digits(text.as_bytes().try_into().ok()?).map(Self)
    }
}

impl SpanId {
    /// Creates the id with these bits; of none that is set, the lowest one.
    #[must_use]
    pub fn from_random(bits: u64) -> Self {
        Self(bits.max(1))
    }

    /// Reads an id of 16 lower-case hexadecimal digits.
    fn parse(text: &str) -> Option<Self> {
        let digits = digits(text.as_bytes().first_chunk::<16>().filter(|_| text.len() == 16)?);
        digits.filter(|bits| *bits != 0).map(Self)
    }
}

impl RequestOrigin {
    /// Whether a client's `X-Request-Id` is usable: roles pass on what is, and only that.
    #[must_use]
    pub fn takes(request_id: &str) -> bool {
        bounds::is_request_id(request_id)
    }

    /// Whether nothing is known of a client's request, as for what a role does on its own time.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        *self == Self::default()
    }
}

impl TraceContext {
    /// Creates the first span of a new trace.
    #[must_use]
    pub fn from_random(trace: u128, span: u64) -> Self {
        Self {
            trace: TraceId::from_random(trace),
            span: SpanId::from_random(span),
            sampling: Sampling::Sampled,
        }
    }

    /// Creates a span of the same trace, below this one.
    #[must_use]
    pub fn child(self, span: u64) -> Self {
        Self { span: SpanId::from_random(span), ..self }
    }

    /// Lends the context as a `traceparent`.
    fn with_text<T>(self, read: impl FnOnce(&str) -> T) -> T {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_digits(&mut text[3..35], self.trace.0);
        write_digits(&mut text[36..52], self.span.0.into());
        let flags = match self.sampling {
            Sampling::Sampled => SAMPLED,
            Sampling::NotSampled => 0,
        };
        write_digits(&mut text[53..], flags.into());
        read(std::str::from_utf8(&text).expect("digits and hyphens are text"))
    }

    /// Reads a `traceparent`. A later version than 00 is read as far as 00 goes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (known, rest) = text.as_bytes().split_first_chunk::<LENGTH>()?;
        let version = digits(&known[..2]).filter(|version| *version != 0xff)?;
        let trace = trace_digits(known[3..35].try_into().ok()?).map(TraceId)?;
        let span = digits(&known[36..52]).filter(|bits| *bits != 0)?;
        let flags = digits(&known[53..])?;
        let may_go_on = version > 0 && rest.starts_with(b"-");
        if [known[2], known[35], known[52]] != *b"---" || !(rest.is_empty() || may_go_on) {
            return None;
        }
        let is_sampled = flags & u64::from(SAMPLED) != 0;
        let sampling = if is_sampled { Sampling::Sampled } else { Sampling::NotSampled };
        Some(Self { trace, span: SpanId(span), sampling })
    }
}

/// The number that 32 digits say, if it is not 0.
fn trace_digits(text: &[u8; 32]) -> Option<u128> {
    let (high, low) = text.split_at(16);
    let number = u128::from(digits(high)?) << 64 | u128::from(digits(low)?);
    Some(number).filter(|number| *number != 0)
}

/// The number that at most 16 lower-case hexadecimal digits say. An order's context is read by all
/// roles, and to branch at each of its digits, which are random, took longer than all else.
fn digits(text: &[u8]) -> Option<u64> {
    let (number, all) = text.iter().fold((0, 0), |(number, all), byte| {
        let digit = DIGITS[usize::from(*byte)];
        (number << 4 | u64::from(digit & 0xf), all | digit)
    });
    (all & NO_DIGIT == 0).then_some(number)
}

/// Returns what each byte is as a digit.
const fn table_of_digits() -> [u8; 256] {
    let mut table = [NO_DIGIT; 256];
    let mut digit = 0;
    while digit < 16 {
        table[b"0123456789abcdef"[digit as usize] as usize] = digit;
        digit += 1;
    }
    table
}

/// Writes a number as lower-case hexadecimal digits, as many as fit. Each reply has an id, so that
/// this does not go through `fmt`.
pub fn write_digits(text: &mut [u8], number: u128) {
    for (place, byte) in text.iter_mut().rev().enumerate() {
        *byte = b"0123456789abcdef"[(number >> (4 * place) & 0xf) as usize];
    }
}

/// In text formats, 32 hexadecimal digits; else 16 bytes, which a reader lends.
impl Serialize for TraceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.collect_str(self);
        }
        serializer.serialize_bytes(&self.0.to_be_bytes())
    }
}

impl<'de> Deserialize<'de> for TraceId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return bounds::text(deserializer, |text| Self::parse(text).ok_or(NoTraceContext));
        }
        let bytes = <&[u8]>::deserialize(deserializer)?;
        let bits = bytes.try_into().map(u128::from_be_bytes).ok().filter(|bits| *bits != 0);
        bits.map(Self).ok_or_else(|| de::Error::custom(NoTraceContext))
    }
}

/// In text formats, 16 hexadecimal digits; else a number.
impl Serialize for SpanId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.collect_str(self);
        }
        serializer.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for SpanId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return bounds::text(deserializer, |text| Self::parse(text).ok_or(NoTraceContext));
        }
        let bits = Some(u64::deserialize(deserializer)?).filter(|bits| *bits != 0);
        bits.map(Self).ok_or_else(|| de::Error::custom(NoTraceContext))
    }
}

/// An order carries its context to all roles, as JSON each time, so that this goes neither through
/// `fmt` nor through a string of its own.
impl Serialize for TraceContext {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.with_text(|text| serializer.serialize_str(text))
    }
}

impl<'de> Deserialize<'de> for TraceContext {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        bounds::text(deserializer, |text| Self::parse(text).ok_or(NoTraceContext))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_text(|text| f.write_str(text))
    }
}

/// Names the request in a log line.
impl fmt::Display for RequestOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.request_id, self.trace) {
            // What a client sent may look like the rest of a line.
            (Some(id), _) if id.contains([' ', '"', '\\']) => write!(f, "request {id:?}"),
            (Some(id), _) => write!(f, "request {id}"),
            (None, Some(TraceContext { trace, .. })) => write!(f, "a request of trace {trace}"),
            (None, None) => f.write_str("a request"),
        }
    }
}

impl fmt::Display for NoTraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a traceparent as in W3C Trace Context")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_context_is_read_as_it_is_written() {
        let context = TraceContext::parse(TEXT).unwrap();
        assert_eq!(context.to_string(), TEXT);
        assert_eq!(context.trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.span.to_string(), "00f067aa0ba902b7");
        let json = format!("\"{TEXT}\"");
        assert_eq!(serde_json::to_string(&context).unwrap(), json);
        assert_eq!(serde_json::from_str::<TraceContext>(&json).unwrap(), context);
    }

    #[test]
    fn an_origin_says_that_its_client_named_it_only_if_so_and_is_read_without_it() {
        let drawn = RequestOrigin { request_id: Some("a".into()), ..RequestOrigin::default() };
        let json = r#"{"request_id":"a"}"#;
        assert_eq!(serde_json::to_string(&drawn).unwrap(), json);
        assert_eq!(serde_json::from_str::<RequestOrigin>(json).unwrap(), drawn);
        let named = RequestOrigin { is_named_by_client: true, ..drawn };
        let json = serde_json::to_string(&named).unwrap();
        assert_eq!(serde_json::from_str::<RequestOrigin>(&json).unwrap(), named);
    }

    #[test]
    fn an_id_that_could_be_read_as_the_rest_of_a_line_is_quoted() {
        let line = |id: &str| {
            RequestOrigin { request_id: Some(id.into()), ..RequestOrigin::default() }.to_string()
        };
        assert_eq!(line("abc-1"), "request abc-1");
        assert_eq!(line("a buys 1"), r#"request "a buys 1""#);
        assert_eq!(line(r#"a"b\c"#), r#"request "a\"b\\c""#);
    }

    #[test]
    fn ids_are_digits_in_json_and_short_in_postcard_and_never_nought() {
        fn both<T>(id: T, digits: &str, length: usize)
        where
            T: Serialize + for<'de> Deserialize<'de> + PartialEq + fmt::Debug,
        {
            let json = format!("\"{digits}\"");
            assert_eq!(serde_json::to_string(&id).unwrap(), json);
            assert_eq!(serde_json::from_str::<T>(&json).unwrap(), id);
            for wrong in [digits.replace(|_| true, "0"), digits[1..].into(), digits.to_uppercase()]
            {
                assert!(serde_json::from_str::<T>(&format!("\"{wrong}\"")).is_err(), "{wrong}");
            }
            let mut bytes = postcard::to_allocvec(&id).unwrap();
            assert_eq!((bytes.len(), postcard::from_bytes::<T>(&bytes).unwrap()), (length, id));
            let nought: Vec<u8> =
                if length == 17 { [&[16], &[0; 16][..]].concat() } else { vec![0] };
            assert!(postcard::from_bytes::<T>(&nought).is_err());
            bytes.truncate(length - 1);
            assert!(postcard::from_bytes::<T>(&bytes).is_err());
        }
        let context = TraceContext::parse(TEXT).unwrap();
        both(context.trace, "4bf92f3577b34da6a3ce929d0e0e4736", 17);
        both(context.span, "00f067aa0ba902b7", 8);
    }

    #[test]
    fn a_child_is_of_the_same_trace_and_as_much_wanted() {
        let parent = TraceContext::parse(&TEXT.replace("-01", "-00")).unwrap();
        let child = parent.child(0xab);
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00000000000000ab-00";
        assert_eq!(child.to_string(), text);
        assert_eq!(TraceContext::parse(text), Some(child));
    }

    #[test]
    fn an_id_that_was_drawn_is_never_nought() {
        let drawn = TraceContext::from_random(0, 0);
        assert_eq!(TraceContext::parse(&drawn.to_string()), Some(drawn));
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let known = TraceContext::parse(TEXT);
        assert_eq!(TraceContext::parse(&TEXT.replacen("00", "01", 1)), known);
        assert_eq!(TraceContext::parse(&format!("{}-more", TEXT.replacen("00", "cc", 1))), known);
        let reserved_flags = TEXT.replace("-01", "-ff");
        assert_eq!(TraceContext::parse(&reserved_flags), known);
    }

    #[test]
    fn what_is_no_trace_context_is_refused() {
        let nought = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        for text in [
            "",
            "00",
            nought,
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 ",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01more",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736+00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473ü-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(text), None, "{text}");
        }
    }
}
