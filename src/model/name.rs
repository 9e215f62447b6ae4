//! Names of files as text. A name is any bytes; most are UTF-8. A byte that is not becomes a character of its
//! own, from the end of the last private plane (U+10FF80 to U+10FFFF), and back: no name is lost on the way,
//! and none collides with another. Such a byte is never `/`, `.` or NUL, so that a check of the text is one of the bytes.

use std::borrow::Cow;

/// Where the byte 0 would be; only bytes from 0x80 on are written this way.
const BASE: u32 = 0x10_ff00;

/// The byte that this character stands for.
pub fn byte_of(c: char) -> Option<u8> {
    u8::try_from(u32::from(c).checked_sub(BASE)?).ok().filter(|b| *b >= 0x80)
}

fn push_byte(text: &mut String, byte: u8) {
    text.extend(char::from_u32(BASE + u32::from(byte)));
}

/// A name as text.
pub fn from_bytes(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match byte_of(c) {
                Some(_) => c.encode_utf8(&mut [0; 4]).bytes().for_each(|b| push_byte(&mut text, b)),
                None => text.push(c),
            }
        }
        chunk.invalid().iter().for_each(|b| push_byte(&mut text, *b));
    }
    text
}

/// And back.
pub fn to_bytes(text: &str) -> Cow<'_, [u8]> {
    // All of these characters begin with this byte, and few others do.
    if !text.as_bytes().contains(&0xf4) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match byte_of(c) {
            Some(b) => bytes.push(b),
            None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Cow::Owned(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_are_no_utf8_survive_as_text() {
        for name in
            [&b"plain"[..], b"gr\xfc\xdfe", "grüße".as_bytes(), b"\xff\xfe", "\u{10ff80}".as_bytes(), b""]
        {
            let text = from_bytes(name);
            assert_eq!(&*to_bytes(&text), name, "{text:?}");
        }
        assert_eq!(from_bytes("ü 東京".as_bytes()), "ü 東京");
        assert_ne!(from_bytes("\u{10ff80}".as_bytes()), from_bytes(b"\x80"));
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let text = from_bytes(&bytes);
            prop_assert_eq!(&*to_bytes(&text), &bytes[..]);
        }

        #[test]
        fn text_never_turns_into_a_way_out(text in "\\PC{0,20}") {
            let (bytes, slashes) = (to_bytes(&text), text.matches('/').count());
            prop_assert_eq!(bytes.iter().filter(|b| **b == b'/').count(), slashes);
            prop_assert_eq!(bytes.contains(&0), text.contains('\0'));
        }
    }
}
