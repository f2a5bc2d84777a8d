//! Messages of etcd's, in the encoding of Protocol Buffers: what an order needs of them.
//!
//! A field is a number and a type in one integer, and then its value; nested messages and text come
//! with their length. Integers have 7 bits in each byte, the lowest first.

/// A message that is being written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message(Vec<u8>);

/// A field that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// An integer.
    Integer(u64),
    /// Text, bytes, or a nested message.
    Bytes(&'a [u8]),
}

impl Message {
    /// Adds an integer.
    pub(crate) fn integer(mut self, field: u64, value: u64) -> Self {
        self.variable(field << 3);
        self.variable(value);
        self
    }

    /// Adds text or bytes.
    pub(crate) fn bytes(mut self, field: u64, value: &[u8]) -> Self {
        self.variable(field << 3 | 2);
        self.variable(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// Adds a message.
    pub(crate) fn message(self, field: u64, value: &Self) -> Self {
        self.bytes(field, &value.0)
    }

    /// Returns the message behind its head, as gRPC has it: not compressed, and its length.
    pub(crate) fn framed(&self) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).expect("a message is short");
        [&[0][..], &length.to_be_bytes(), &self.0].concat()
    }

    fn variable(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push(u8::try_from(value & 0x7f).expect("7 bits") | 0x80);
            value >>= 7;
        }
        self.0.push(u8::try_from(value).expect("7 bits"));
    }
}

/// Returns the last field with this number, which is the one that counts. `None` if there is none
/// or the message is damaged.
pub(crate) fn field(message: &[u8], number: u64) -> Option<Value<'_>> {
    let mut rest = message;
    let mut found = None;
    while !rest.is_empty() {
        let tag = read_variable(&mut rest)?;
        let value = match tag & 7 {
            0 => Value::Integer(read_variable(&mut rest)?),
            2 => {
                let length = usize::try_from(read_variable(&mut rest)?).ok()?;
                let (value, behind) = rest.split_at_checked(length)?;
                rest = behind;
                Value::Bytes(value)
            }
            _ => return None,
        };
        if tag >> 3 == number {
            found = Some(value);
        }
    }
    found
}

/// The same for an integer, which is 0 where it is left out.
pub(crate) fn integer(message: &[u8], number: u64) -> u64 {
    match field(message, number) {
        Some(Value::Integer(value)) => value,
        Some(Value::Bytes(_)) | None => 0,
    }
}

/// The same for bytes, which are empty where they are left out.
pub(crate) fn bytes(message: &[u8], number: u64) -> &[u8] {
    match field(message, number) {
        Some(Value::Bytes(value)) => value,
        Some(Value::Integer(_)) | None => &[],
    }
}

fn read_variable(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, behind) = rest.split_first()?;
        *rest = behind;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let inner = Message::default().integer(3, 300);
        let message = Message::default().bytes(1, b"a").message(2, &inner).integer(5, u64::MAX);
        let framed = message.framed();
        assert_eq!(framed[..5], [0, 0, 0, 0, u8::try_from(framed.len() - 5).unwrap()]);
        let message = &framed[5..];
        assert_eq!(bytes(message, 1), b"a");
        assert_eq!(integer(bytes(message, 2), 3), 300);
        assert_eq!((integer(message, 5), integer(message, 4)), (u64::MAX, 0));
        assert_eq!(field(&message[..message.len() - 1], 1), None, "it is damaged");
        // As the documentation of the encoding has it: field 1, 150.
        assert_eq!(Message::default().integer(1, 150).0, [0x08, 0x96, 0x01]);
    }
}
