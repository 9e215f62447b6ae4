//! Frames waiting to be written, and what each is about.

use super::signature::BlockSum;
use super::wire::{self, Frame};
use crate::model::Phase;
use std::collections::VecDeque;

/// Phase, file and block.
pub(super) type About = (Phase, Option<u32>, Option<u32>);

/// No more work is begun that fills the queue beyond this, bytes.
pub(super) const HIGH: usize = 1 << 20;

#[derive(Debug, Default)]
pub(super) struct Output {
    buf: Vec<u8>,
    /// Consumed bytes at the front of `buf`.
    head: usize,
    /// Stream offset of `buf[head]`.
    offset: u64,
    /// Stream offset behind each stretch of one topic.
    marks: VecDeque<(u64, About)>,
}

impl Output {
    pub(super) fn raw(&mut self, bytes: &[u8], about: About) {
        self.buf.extend_from_slice(bytes);
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
        let rest = self.buf.get(self.head..).unwrap_or_default();
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
            self.head = 0;
        } else if self.head >= HIGH / 2 {
            self.buf.drain(..self.head);
            self.head = 0;
        }
        n
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
