//! Frames waiting to be written, and what each is about.

use super::pack::Packer;
use super::signature::BlockSum;
use super::wire::{self, Frame};
use crate::model::Phase;
use std::collections::VecDeque;

/// Phase, file and block.
pub(super) type About = (Phase, Option<u32>, Option<u32>);

/// No more work is begun that fills the queue beyond this, bytes.
pub(super) const HIGH: usize = 1 << 20;

/// Less than this is not compressed, bytes.
const WORTH_PACKING: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Output {
    buf: Vec<u8>,
    /// Consumed bytes at the front of `buf`.
    head: usize,
    /// Stream offset of `buf[head]`.
    offset: u64,
    /// Stream offset behind each stretch of one topic.
    marks: VecDeque<(u64, About)>,
    /// A frame begins here, or, once they are looked for, at the first begin behind `head`.
    edge: usize,
    /// Up to here in `buf` it goes alone: it is compressed, or the rest of a frame.
    packed: usize,
    packer: Packer,
}

impl Output {
    /// Bytes that are no frame, before all frames.
    pub(super) fn raw(&mut self, bytes: &[u8], about: About) {
        self.buf.extend_from_slice(bytes);
        self.edge = self.buf.len();
        self.mark(about);
    }

    pub(super) fn frame(&mut self, frame: &Frame<'_>, about: About) {
        frame.encode(&mut self.buf);
        self.mark(about);
    }

    pub(super) fn sums(&mut self, sums: &[BlockSum], strong_len: u8, about: About) {
        wire::encode_sums(sums, strong_len, &mut self.buf);
        self.mark(about);
    }

    fn mark(&mut self, about: About) {
        let end = self.offset + self.pending() as u64;
        match self.marks.back_mut() {
            Some(last) if last.1 == about => last.0 = end,
            _ => self.marks.push_back((end, about)),
        }
    }

    pub(super) fn pending(&self) -> usize {
        self.buf.len() - self.head
    }

    pub(super) fn has_room(&self) -> bool {
        self.pending() < HIGH
    }

    pub(super) fn peek(&self, max: usize) -> &[u8] {
        // What was compressed goes alone: what follows it may be compressed next.
        let end = if self.head < self.packed { self.packed } else { self.buf.len() };
        let rest = self.buf.get(self.head..end).unwrap_or_default();
        &rest[..rest.len().min(max)]
    }

    /// What the next byte is about.
    pub(super) fn about(&self) -> Option<About> {
        self.marks.front().map(|m| m.1)
    }

    /// Drops at most `n` bytes; how many.
    pub(super) fn consume(&mut self, n: usize) -> usize {
        let n = n.min(self.pending());
        self.head += n;
        self.offset += n as u64;
        while self.marks.front().is_some_and(|m| m.0 <= self.offset) {
            self.marks.pop_front();
        }
        if self.head == self.buf.len() {
            self.buf.clear();
            (self.head, self.edge, self.packed) = (0, 0, 0);
        } else if self.head >= HIGH / 2 && self.head >= self.pending() {
            // No byte is moved up for another one than it makes room for.
            self.find_edge();
            self.buf.drain(..self.head);
            self.edge -= self.head;
            self.packed = self.packed.saturating_sub(self.head);
            self.head = 0;
        }
        n
    }

    /// Finds the first begin of a frame that is not written yet.
    fn find_edge(&mut self) {
        while self.edge < self.head {
            let header = self.buf.get(self.edge + 1..).and_then(|rest| rest.first_chunk::<4>());
            let len = header.map_or(0, |len| u32::from_le_bytes(*len) as usize);
            self.edge += wire::HEADER + len;
        }
    }

    /// Compresses the next whole frames, where they are worth it and nothing of them is written. From how many
    /// bytes to how many.
    pub(super) fn pack(&mut self) -> Option<(usize, usize)> {
        self.find_edge();
        if self.edge > self.head {
            // The frame that has begun goes to its end, so that the next ones can be compressed.
            self.packed = self.packed.max(self.edge);
            return None;
        }
        let rest = self.buf.get(self.edge..)?;
        let len = wire::whole(rest, wire::MAX_PACKED);
        if self.head < self.packed || len < WORTH_PACKING {
            return None;
        }
        let frames = rest.get(..len)?;
        let Some(packed) = self.packer.pack(frames) else { return Some((len, len)) };
        let mut frame = Vec::with_capacity(packed.len() + wire::HEADER);
        Frame::Packed(&packed).encode(&mut frame);
        let saved = len.checked_sub(frame.len()).filter(|s| *s > 0)?;
        let size = frame.len();
        // The new frame ends where the old ones did; what lies before `head` is not looked at any more.
        self.buf.get_mut(self.edge + saved..self.edge + len)?.copy_from_slice(&frame);
        self.head += saved;
        self.edge = self.head;
        self.packed = self.head + size;
        self.offset += saved as u64;
        while self.marks.front().is_some_and(|m| m.0 <= self.offset) {
            self.marks.pop_front();
        }
        Some((len, size))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn whole_frames_are_packed_and_nothing_of_one_that_has_begun() {
        let mut o = Output::default();
        let about = (Phase::Data, Some(1), None);
        o.raw(b"preamble", about);
        for i in 0..200u8 {
            o.frame(&Frame::Literal(&[i; 1000]), about);
        }
        let plain = o.peek(usize::MAX).to_vec();
        assert_eq!(o.pack(), None, "the preamble is no frame");
        o.consume(8 + 3);
        assert_eq!(o.pack(), None, "in the middle of one");
        o.consume(1002);
        let (mut got, mut packed) = (Vec::new(), 0);
        while o.pending() > 0 {
            if let Some((from, to)) = o.pack() {
                assert!(to < from / 10 && from <= wire::MAX_PACKED);
                packed += 1;
            }
            let bytes = o.peek(10_000).to_vec();
            match wire::decode(&bytes).unwrap() {
                Some((Frame::Packed(p), n)) => {
                    got.extend(Packer::default().unpack(p).unwrap());
                    o.consume(n);
                }
                _ => {
                    got.extend(&bytes);
                    o.consume(bytes.len());
                }
            }
        }
        assert_eq!((packed, &got[..]), (2, &plain[8 + 1005..]));
    }

    #[test]
    fn bytes_keep_their_topic_until_they_are_written() {
        let mut o = Output::default();
        o.raw(b"abc", (Phase::List, None, None));
        o.raw(b"def", (Phase::Data, Some(1), Some(0)));
        o.raw(b"g", (Phase::Data, Some(1), Some(0)));
        assert_eq!(o.peek(2), b"ab");
        assert_eq!(o.consume(2), 2);
        assert_eq!(o.about(), Some((Phase::List, None, None)));
        assert_eq!(o.consume(1), 1);
        assert_eq!(o.about(), Some((Phase::Data, Some(1), Some(0))));
        assert_eq!(o.peek(100), b"defg");
        assert_eq!(o.consume(100), 4);
        assert_eq!((o.about(), o.pending()), (None, 0));
    }
}
