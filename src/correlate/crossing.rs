//! One direction between two taps, copy by copy: which bytes of which copy came through.
//!
//! ```text
//!  near the sender   [0──────────────4344)  [4344──5792)          [4344──5792)
//!                      │     │      │            ╳                     │
//!  the other tap     [0──1448)[──2896)[──4344)                    [4344──5792)
//! ```
//!
//! Packets are the wrong unit: offload makes one large segment of many or cuts it, and a copy sent again may be cut
//! at other places. So bytes are matched, and a packet of equal content is only the best reason to match them.

use crate::model::tcp::SpuriousProof::{AlreadyAcked, Dsack};
use crate::model::tcp::{SegmentClass, SegmentRecord};
use crate::model::{ByByte, Dir, FrameNo, Ns, RelSeq, StreamRange, Ts};
use crate::tcp::ranges::RangeSet;
use crate::tcp::{Connection, PacketMark};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// A way that differs from the usual by less is nothing special.
pub(super) fn odd(usual: Ns) -> Ns {
    usual.scaled(1, 4).max(Ns::from_millis(5))
}

/// Time stamps of one moment may contradict each other by this much.
const STAMPS: Ns = Ns::from_millis(1);

/// A copy of some bytes at the tap nearer the sender.
#[derive(Clone, Debug)]
pub(super) struct Copy {
    /// The segment.
    pub ts: Ts,
    /// In which frame.
    pub frame: FrameNo,
    /// Which sequence numbers.
    pub range: StreamRange,
    /// Payload bytes.
    pub len: u32,
    /// The receiver said that it had got these bytes before.
    pub twice: bool,
    /// What of it came by at the other tap, and when; in order of arrival.
    pub arrived: Vec<(StreamRange, Ts)>,
    tsval: Option<u32>,
    ip_id: Option<u16>,
    key: Option<u64>,
}

impl Copy {
    fn has(&self, x: RelSeq) -> bool {
        self.arrived.iter().any(|(r, _)| r.start <= x && x < r.end)
    }

    /// What did not come by.
    pub fn lost(&self) -> Vec<StreamRange> {
        let mut got = RangeSet::default();
        for (r, _) in &self.arrived {
            got.insert(*r);
        }
        got.gaps(self.range)
    }
}

/// A segment that came out at the far tap and never went in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stranger {
    /// When.
    pub ts: Ts,
    /// In which frame.
    pub frame: FrameNo,
    /// Which sequence numbers.
    pub range: StreamRange,
    /// Payload bytes.
    pub len: u32,
}

/// What crossed.
#[derive(Clone, Debug, Default)]
pub(super) struct Crossing {
    /// Copies at the near tap, in order of sending.
    pub copies: Vec<Copy>,
    /// At the far tap only.
    pub strangers: Vec<Stranger>,
    /// Times from tap to tap, of packets that can be told apart.
    pub delays: Vec<Ns>,
    /// Pure ACKs at the near tap: when, and whether the far tap has them, too.
    pub acks: Vec<(Ts, bool)>,
    by_byte: ByByte,
    /// IP IDs come through as they went in: two packets with different ones are not the same.
    ids: bool,
}

fn carries(s: &SegmentRecord, dir: Dir) -> bool {
    s.dir == dir && !s.range().is_empty() && s.class != SegmentClass::CaptureDuplicate
}

fn mark(c: &Connection, dir: Dir, frame: FrameNo) -> Option<&PacketMark> {
    let all = &c.packets[dir];
    all.binary_search_by_key(&frame, |m| m.frame).ok().and_then(|i| all.get(i))
}

/// Packets of equal content and equal, non-zero IP ID show that no router writes IDs of its own; one that does
/// leaves hardly any.
fn ids_hold(near: &Connection, far: &Connection, dir: Dir) -> bool {
    let went: HashMap<u64, Option<u16>> = near.packets[dir].iter().map(|m| (m.key, m.ip_id)).collect();
    let (mut both, mut equal) = (0usize, 0usize);
    for m in &far.packets[dir] {
        if let (Some(Some(a)), Some(b)) = (went.get(&m.key), m.ip_id) {
            both += usize::from(*a != 0 && b != 0);
            equal += usize::from(*a != 0 && *a == b);
        }
    }
    equal >= 3 && equal * 2 > both
}

impl Crossing {
    /// Matches one direction; both views are on one clock and one numbering.
    pub fn new(near: &Connection, far: &Connection, dir: Dir) -> Crossing {
        let sent = near.segments.iter().filter(|s| carries(s, dir) && s.class != SegmentClass::KeepAlive);
        let copies: Vec<Copy> = sent
            .map(|s| {
                let m = mark(near, dir, s.frame);
                Copy {
                    ts: s.ts,
                    frame: s.frame,
                    range: s.range(),
                    len: s.len,
                    twice: s.spurious.is_some_and(|p| matches!(p.proof, Dsack | AlreadyAcked)),
                    arrived: Vec::new(),
                    tsval: m.and_then(|m| m.tsval),
                    ip_id: m.and_then(|m| m.ip_id).filter(|id| *id != 0),
                    key: m.map(|m| m.key),
                }
            })
            .collect();
        let mut c = Crossing { copies, ids: ids_hold(near, far, dir), ..Crossing::default() };
        c.copies.sort_by_key(|c| (c.ts, c.frame));
        c.by_byte = ByByte::new(c.copies.iter().map(|c| c.range));
        let mut came: Vec<&SegmentRecord> = far.segments.iter().filter(|s| carries(s, dir)).collect();
        came.sort_by_key(|s| (s.ts, s.frame));
        let left = c.whole_packets(far, dir, came);
        c.pieces(far, dir, left);
        c.pure_acks(near, far, dir);
        c
    }

    /// Packets of equal content; those that there is one of at each tap come first and tell the usual delay.
    fn whole_packets<'a>(
        &mut self,
        far: &Connection,
        dir: Dir,
        came: Vec<&'a SegmentRecord>,
    ) -> Vec<&'a SegmentRecord> {
        let mut near: HashMap<u64, Vec<usize>> = HashMap::new();
        for (i, c) in self.copies.iter().enumerate() {
            if let Some(k) = c.key {
                near.entry(k).or_default().push(i);
            }
        }
        let mut arrivals: HashMap<u64, usize> = HashMap::new();
        for s in &came {
            if let Some(m) = mark(far, dir, s.frame) {
                *arrivals.entry(m.key).or_default() += 1;
            }
        }
        let mut later = Vec::new();
        let mut left = Vec::new();
        for s in came {
            let Some(m) = mark(far, dir, s.frame) else {
                left.push(s);
                continue;
            };
            match near.get(&m.key).map(Vec::as_slice) {
                Some(&[i])
                    if arrivals.get(&m.key) == Some(&1) && self.causal(i, s.ts) && self.same_id(i, m) =>
                {
                    self.delays.push(s.ts.since(self.copies[i].ts));
                    self.copies[i].arrived.push((s.range(), s.ts));
                }
                Some(ids) => later.push((s, m, ids)),
                None => left.push(s),
            }
        }
        let usual = self.usual();
        let later = self.in_order(later, usual);
        for (s, m, ids) in later {
            let mine = |i: &usize| self.causal(*i, s.ts) && self.same_id(*i, m);
            let free = ids.iter().copied().filter(|i| mine(i) && self.copies[*i].arrived.is_empty());
            let best = free.min_by_key(|&i| self.oddness(&self.copies[i], s.ts, usual));
            if let Some(i) = best {
                self.copies[i].arrived.push((s.range(), s.ts));
            } else if !ids.iter().any(mine) {
                left.push(s);
            }
        }
        left
    }

    /// As many came as went and none took the usual time: something held them all, and they keep their order. Returns
    /// the others.
    fn in_order<'a, 'm>(
        &mut self,
        later: Vec<(&'a SegmentRecord, &'m PacketMark, &'m [usize])>,
        usual: Option<Ns>,
    ) -> Vec<(&'a SegmentRecord, &'m PacketMark, &'m [usize])> {
        let mut by_key: BTreeMap<u64, Vec<_>> = BTreeMap::new();
        for l in later {
            by_key.entry(l.1.key).or_default().push(l);
        }
        let Some(odd) = usual.map(odd) else {
            return by_key.into_values().flatten().collect();
        };
        let mut others = Vec::new();
        for group in by_key.into_values() {
            let ids = group[0].2;
            let fits = |(s, m, _): &(&SegmentRecord, &PacketMark, &[usize]), i: usize| {
                self.causal(i, s.ts) && self.same_id(i, m)
            };
            let ordered = group.len() == ids.len() && group.iter().zip(ids).all(|(g, &i)| fits(g, i));
            let usually =
                |s: &SegmentRecord| ids.iter().any(|&i| self.oddness(&self.copies[i], s.ts, usual) < odd.0);
            if !ordered || group.iter().any(|g| usually(g.0)) {
                others.extend(group);
                continue;
            }
            for ((s, ..), &i) in group.iter().zip(ids) {
                self.copies[i].arrived.push((s.range(), s.ts));
            }
        }
        others.sort_by_key(|(s, ..)| (s.ts, s.frame));
        others
    }

    /// The rest: what offload cut or merged, what a middlebox renumbered.
    fn pieces(&mut self, far: &Connection, dir: Dir, left: Vec<&SegmentRecord>) {
        let mut usual = self.usual();
        for s in left {
            usual = usual.or_else(|| self.usual());
            let m = mark(far, dir, s.frame);
            let tsval = m.and_then(|m| m.tsval);
            let range = s.range();
            let mut ids: Vec<usize> = self
                .overlapping(range)
                .filter(|&i| {
                    let c = &self.copies[i];
                    let whole = c.range == range;
                    let other = whole && m.is_some_and(|m| !self.same_id(i, m));
                    let stamped = c.tsval.is_none() || tsval.is_none() || c.tsval == tsval;
                    self.causal(i, s.ts) && stamped && !other
                })
                .collect();
            ids.sort_by_key(|&i| self.oddness(&self.copies[i], s.ts, usual));
            let mut unknown: Option<StreamRange> = None;
            for piece in self.cut(range, ids.iter().copied()) {
                let from = piece.start;
                let here = |i: &&usize| self.copies[**i].range.covers(piece);
                if let Some(&i) = ids.iter().filter(here).find(|&&i| !self.copies[i].has(from)) {
                    if self.copies[i].range.start == s.seq && from == s.seq {
                        self.delays.push(s.ts.since(self.copies[i].ts));
                    }
                    self.copies[i].arrived.push((piece, s.ts));
                } else if !ids.iter().any(|i| here(&i)) {
                    unknown = Some(unknown.map_or(piece, |u| StreamRange::new(u.start, piece.end)));
                }
            }
            if let Some(range) = unknown {
                let len = s.len.min(u32::try_from(range.len()).unwrap_or(u32::MAX));
                self.strangers.push(Stranger { ts: s.ts, frame: s.frame, range, len });
            }
        }
        self.strangers.sort_by_key(|s| (s.ts, s.frame));
    }

    fn pure_acks(&mut self, near: &Connection, far: &Connection, dir: Dir) {
        let ids = self.ids;
        let key = move |m: &PacketMark| (m.key, m.ip_id.filter(|_| ids));
        let mut came: HashMap<_, VecDeque<Ts>> = HashMap::new();
        for m in far.packets[dir].iter().filter(|m| m.pure_ack) {
            came.entry(key(m)).or_default().push_back(m.ts);
        }
        let mut went: HashMap<_, usize> = HashMap::new();
        for m in near.packets[dir].iter().filter(|m| m.pure_ack) {
            *went.entry(key(m)).or_default() += 1;
        }
        for m in near.packets[dir].iter().filter(|m| m.pure_ack) {
            let arrivals = came.get_mut(&key(m));
            let only = went.get(&key(m)) == Some(&1) && arrivals.as_ref().is_some_and(|a| a.len() == 1);
            let arrived = arrivals.and_then(VecDeque::pop_front);
            self.delays.extend(arrived.filter(|_| only).map(|ts| ts.since(m.ts)));
            self.acks.push((m.ts, arrived.is_some()));
        }
    }

    /// False where IP IDs prove two packets to be different ones.
    fn same_id(&self, i: usize, m: &PacketMark) -> bool {
        let ours = self.copies.get(i).and_then(|c| c.ip_id);
        !self.ids || ours.is_none() || m.ip_id.is_none_or(|id| id == 0) || ours == m.ip_id
    }

    fn causal(&self, i: usize, arrival: Ts) -> bool {
        self.copies.get(i).is_some_and(|c| c.ts <= arrival + STAMPS)
    }

    /// Half of the delays are shorter.
    pub fn usual(&self) -> Option<Ns> {
        // the first thousand will do
        let mut some: Vec<Ns> = self.delays.iter().take(1000).copied().collect();
        let middle = some.len() / 2;
        (!some.is_empty()).then(|| *some.select_nth_unstable(middle).1)
    }

    /// How far a copy's way would be from the usual; without one, the latest copy is the best guess.
    fn oddness(&self, c: &Copy, arrival: Ts, usual: Option<Ns>) -> i64 {
        (arrival.since(c.ts) - usual.unwrap_or_default()).0.saturating_abs()
    }

    /// Cuts a range where these copies, or what arrived of them, begin or end.
    pub fn cut(&self, r: StreamRange, copies: impl Iterator<Item = usize>) -> Vec<StreamRange> {
        let mut cuts = vec![r.start, r.end];
        for i in copies {
            let c = &self.copies[i];
            cuts.extend([c.range.start, c.range.end]);
            cuts.extend(c.arrived.iter().flat_map(|(r, _)| [r.start, r.end]));
        }
        cuts.retain(|x| r.start <= *x && *x <= r.end);
        cuts.sort_unstable();
        cuts.dedup();
        cuts.windows(2).map(|w| StreamRange::new(w[0], w[1])).collect()
    }

    /// Copies that share a byte with `r`.
    pub fn overlapping(&self, r: StreamRange) -> impl Iterator<Item = usize> + '_ {
        self.by_byte.overlapping(r)
    }
}
