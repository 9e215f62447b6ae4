//! Big-endian fields by offset, `None` where the bytes are not there.

pub(super) fn be16(b: &[u8], at: usize) -> Option<u16> {
    b.get(at..at + 2)?.try_into().ok().map(u16::from_be_bytes)
}

pub(super) fn be32(b: &[u8], at: usize) -> Option<u32> {
    b.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

/// A stretch of a packet: the bytes that were captured, and how many there were on the wire.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut<'a> {
    /// What is there.
    pub data: &'a [u8],
    /// What was there on the wire; `>= data.len()`.
    pub wire: usize,
    /// What there can have been, whatever a length field inside says.
    most: usize,
}

impl<'a> Cut<'a> {
    #[inline]
    pub fn new(data: &'a [u8], wire: usize) -> Cut<'a> {
        Cut { data, wire: wire.max(data.len()), most: usize::MAX }
    }

    /// Without its first `n` bytes; none when they were not captured.
    #[inline]
    pub fn skip(self, n: usize) -> Option<Cut<'a>> {
        Some(Cut { data: self.data.get(n..)?, wire: self.wire - n, most: self.most.saturating_sub(n) })
    }

    /// As many bytes as a length field says: without trailing padding, and as long on the wire as
    /// the field says even where the frame was shorter (a tap that slices packets hands on short
    /// frames, but the length field still tells the truth).
    #[inline]
    pub fn resize(self, len: usize) -> Cut<'a> {
        let len = len.min(self.most);
        Cut { data: &self.data[..self.data.len().min(len)], wire: len, ..self }
    }

    /// No more than so many, and no sum over them can be checked: the length inside is not the true one.
    pub fn at_most(self, len: usize) -> Cut<'a> {
        Cut { most: len, ..self }.resize(len)
    }

    /// All bytes of it were captured.
    #[inline]
    pub fn complete(self) -> bool {
        self.data.len() >= self.wire && self.most > self.wire
    }
}
