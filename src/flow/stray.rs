//! Numbers that belong nowhere: written over by a fuzzer, or by a fault that mended the checksum, too.
//!
//! A receiver drops what is far outside its window, and an ACK of bytes that were never sent (RFC 9293 §3.10.7.4). Where
//! the capture may have lost frames, a far number alone proves nothing. But a stream that has moved on stays there: where
//! the same sender's next number is back in the old place, and none is near this one, this one lies.

use super::trace::View;
use crate::decode::Segment;
use crate::model::{Dir, PerDir, Seq};
use std::cell::OnceCell;
use std::net::SocketAddr;

/// Looks at the numbers of some segments of one connection.
pub(super) struct Strays<'a> {
    segments: View<'a>,
    client: SocketAddr,
    /// All numbers of each stream, of its sender and of those who acknowledge, in order; made when one is doubted.
    all: OnceCell<PerDir<Vec<u32>>>,
}

/// Which number of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Sequence,
    Acknowledgment,
}

impl Field {
    /// The number, where the segment has one that counts here: a SYN begins anew, and a reset may say anything.
    fn of(self, s: &Segment) -> Option<Seq> {
        let ordinary = !s.flags.syn() && !s.flags.rst();
        match self {
            Field::Sequence => ordinary.then_some(s.seq),
            Field::Acknowledgment => (ordinary && s.flags.ack()).then_some(s.ack),
        }
    }
}

impl<'a> Strays<'a> {
    pub fn of(segments: View<'a>, client: SocketAddr) -> Strays<'a> {
        Strays { segments, client, all: OnceCell::new() }
    }

    /// True when the number of segment `i` belongs nowhere. `newest`: the highest number of its stream before it;
    /// `reach`: how far from that one may be.
    pub fn lies(&self, i: usize, field: Field, newest: Seq, reach: u32) -> bool {
        let is_far = |a: Seq, b: Seq| a.diff(b).unsigned_abs() > reach;
        let s = self.segments.at(i);
        let Some(x) = field.of(s).filter(|x| is_far(*x, newest)) else { return false };
        let mut next =
            self.segments.from(i + 1).iter().filter(|n| n.src == s.src).filter_map(|n| field.of(n));
        if next.next().is_none_or(|y| is_far(y, newest) || !is_far(x, y)) {
            return false;
        }
        let sent = if s.src == self.client { Dir::C2s } else { Dir::S2c };
        let stream = if field == Field::Sequence { sent } else { sent.flip() };
        self.is_alone(x, stream, reach)
    }

    /// No other number of the stream is near.
    fn is_alone(&self, x: Seq, stream: Dir, reach: u32) -> bool {
        let all = &self.all.get_or_init(|| self.collect())[stream];
        let after = all.partition_point(|&n| n <= x.0);
        let before = all.partition_point(|&n| n < x.0);
        // The numbers are a circle.
        let above = all.get(after).or(all.first());
        let below = before.checked_sub(1).map_or(all.last(), |b| all.get(b));
        let near = |n: &u32| *n != x.0 && Seq(*n).diff(x).unsigned_abs() <= reach;
        !above.into_iter().chain(below).any(near)
    }

    fn collect(&self) -> PerDir<Vec<u32>> {
        let mut all: PerDir<Vec<u32>> = PerDir::default();
        for s in self.segments.iter() {
            let dir = if s.src == self.client { Dir::C2s } else { Dir::S2c };
            all[dir].extend(Field::Sequence.of(s).map(|n| n.0));
            all[dir.flip()].extend(Field::Acknowledgment.of(s).map(|n| n.0));
        }
        all.c2s.sort_unstable();
        all.s2c.sort_unstable();
        all
    }
}
