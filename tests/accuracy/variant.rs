//! Worse captures of the same run: what a tap records is changed, the truth stays, and the scoring knows what
//! such a capture cannot have.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use syncscope::capture::file;
use syncscope::capture::writer::PcapngWriter;
use syncscope::capture::{CaptureError, FrameSource, SourceNotes};
use syncscope::decode::checksum;
use syncscope::lab::fate::Fate;
use syncscope::lab::packet::{Header, ip_offset};
use syncscope::lab::score::wire::Missed;
use syncscope::model::{Dir, Frame, FrameNo, LinkType, Side, Ts};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How a capture differs from the one that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variant {
    /// It began when the connection was already running.
    MidStream,
    /// It lost frames, single ones and some in a row.
    Gaps,
    /// It has every frame twice.
    Twice,
    /// No IP ID and no time stamp: nothing tells the order of sending.
    Bare,
    /// Other initial sequence numbers, which wrap soon.
    OtherIsn,
}

impl Variant {
    pub const ALL: [Variant; 5] =
        [Variant::MidStream, Variant::Gaps, Variant::Twice, Variant::Bare, Variant::OtherIsn];

    pub fn name(self) -> &'static str {
        match self {
            Variant::MidStream => "mid-stream",
            Variant::Gaps => "gaps",
            Variant::Twice => "twice",
            Variant::Bare => "bare",
            Variant::OtherIsn => "other-isn",
        }
    }

    /// The capture that would have been made of the same run.
    pub fn of(self, tape: &Tape, seed: u64) -> Tape {
        let n = tape.frames.len();
        let mut frames = match self {
            Variant::MidStream => {
                let from = (n / SKIPPED[(seed as usize) % SKIPPED.len()]).max(4).min(n);
                tape.frames[from..].to_vec()
            }
            Variant::Gaps => {
                let mut left = 0;
                let kept = |(i, frame): &(usize, &Kept)| {
                    if left == 0 {
                        left = gap(seed, *i);
                    }
                    let gone = left > 0;
                    left = left.saturating_sub(1);
                    // Without a handshake it would be a capture that began late; one of two copies that the
                    // network made is no loss.
                    let start = i.saturating_sub(1);
                    let doubled = tape.frames[start..n.min(i + 2)].iter().filter(|f| f.data == frame.data);
                    !gone || doubled.count() > 1 || frame.has(SYN | RST)
                };
                tape.frames.iter().enumerate().filter(kept).map(|(_, f)| f.clone()).collect()
            }
            Variant::Twice => tape.frames.iter().flat_map(|f| [f.clone(), f.clone()]).collect(),
            Variant::Bare | Variant::OtherIsn => tape.frames.clone(),
        };
        match self {
            Variant::Bare => frames.iter_mut().for_each(Kept::strip),
            Variant::OtherIsn => renumber(&mut frames),
            _ => {}
        }
        Tape { name: tape.name.clone(), frames, next: 0 }
    }

    /// It shows no less, so that every answer must be the same.
    pub fn says_the_same(self) -> bool {
        matches!(self, Variant::Twice | Variant::OtherIsn)
    }

    /// It lacks frames.
    pub fn loses(self) -> bool {
        matches!(self, Variant::MidStream | Variant::Gaps)
    }

    /// It can be scored only where each frame is one packet of the link.
    pub fn needs_packets(self) -> bool {
        self.loses() || self == Variant::Twice
    }
}

/// A seed's share of the frames that come before the capture begins: one of so many.
const SKIPPED: [usize; 5] = [2, 10, 3, 50, 5];
/// Frames of a hundred at which a gap begins.
const GAPS: u64 = 1;
/// Frames in a gap, at most.
const LONGEST: u64 = 4;
const SYN: u16 = 2;
const RST: u16 = 4;
/// How far before the wrap a renumbered stream begins.
const BEFORE_WRAP: u32 = 50_000;

fn gap(seed: u64, frame: usize) -> u64 {
    let dice = xxh3_64_with_seed(&frame.to_le_bytes(), seed);
    if dice % 100 < GAPS { 1 + (dice >> 32) % LONGEST } else { 0 }
}

/// One frame.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Which frame of the original capture.
    origin: usize,
    ts: Ts,
    link: LinkType,
    orig_len: u32,
    data: Vec<u8>,
}

/// A capture in memory.
#[derive(Clone, Debug)]
pub struct Tape {
    name: String,
    frames: Vec<Kept>,
    next: usize,
}

impl Tape {
    pub fn read(path: &Path) -> Tape {
        let mut source = file::open(path).unwrap();
        let mut frames = Vec::new();
        while let Some(f) = source.next_frame().unwrap() {
            let (origin, data) = (frames.len(), f.data.to_vec());
            frames.push(Kept { origin, ts: f.ts, link: f.link, orig_len: f.orig_len, data });
        }
        Tape { name: source.notes().name, frames, next: 0 }
    }

    pub fn write(&self, path: &Path) {
        let file = std::fs::File::create(path).unwrap();
        let mut out = PcapngWriter::new(std::io::BufWriter::new(file), "").unwrap();
        for i in 0..self.frames.len() {
            out.write(&self.frame(i)).unwrap();
        }
        out.flush().unwrap();
    }

    /// When its last frame came by.
    pub fn end(&self) -> Option<Ts> {
        self.frames.iter().map(|f| f.ts).max()
    }

    fn frame(&self, i: usize) -> Frame<'_> {
        let f = &self.frames[i];
        Frame {
            no: FrameNo(i as u64 + 1),
            ts: f.ts,
            link: f.link,
            interface: 0,
            orig_len: f.orig_len,
            data: &f.data,
        }
    }

    /// The packets of the link that passed the tap of `side` and are not in here, although `whole` has them;
    /// and those that it would have missed had they not been lost. None where the frames are not the link's
    /// packets one by one.
    pub fn lacks(&self, whole: &Tape, side: Side, fates: &[Fate]) -> Option<Vec<Missed>> {
        let key = |dir, id, seq: u32, ack: Option<u32>, len: u32, flags: u16| (dir, id, seq, ack, len, flags);
        let mut passed: Vec<(Ts, Dir, &Fate)> = Vec::new();
        for f in fates.iter().filter(|f| f.seq.is_some()) {
            let at_sender = syncscope::correlate::sender(f.dir) == side;
            let forged = f.fate == syncscope::lab::fate::What::Forged;
            let at = if at_sender { Some(f.t).filter(|_| !forged) } else { f.arrived() };
            let times = if at_sender { 1 } else { f.arrivals };
            passed.extend(at.into_iter().flat_map(|at| (0..times).map(move |_| (at, f.dir, f))));
        }
        passed.sort_by_key(|p| p.0);
        let mut waiting = BTreeMap::<_, VecDeque<(u64, bool)>>::new();
        for (_, dir, f) in &passed {
            let forged = f.fate == syncscope::lab::fate::What::Forged;
            let of = key(*dir, f.id, f.seq?, f.ack, f.len, f.flags?);
            waiting.entry(of).or_default().push_back((f.index, forged));
        }
        let client = passed.first().map(|(_, dir, f)| if *dir == Dir::C2s { f.sport } else { f.dport })?;
        let mut missed = Vec::new();
        let mut here = self.frames.iter().map(|f| f.origin).peekable();
        for f in &whole.frames {
            let kept = here.next_if_eq(&f.origin).is_some();
            let Some(h) = f.header() else { continue };
            let Some(t) = h.tcp else { continue };
            let dir = if h.ports.map(|p| p.0) == client { Dir::C2s } else { Dir::S2c };
            let ack = t.flags.ack().then_some(t.ack.0);
            let of = key(dir, h.id, t.seq.0, ack, h.payload, t.flags.0);
            let (index, forged) = waiting.get_mut(&of)?.pop_front()?;
            if !kept && !forged {
                missed.push(Missed { side, dir, index });
            }
        }
        let begin = self.frames.first()?.ts;
        let before = fates.iter().filter(|f| f.arrived().is_none() && f.t < begin);
        missed.extend(before.map(|f| Missed { side, dir: f.dir, index: f.index }));
        Some(missed)
    }
}

impl FrameSource for Tape {
    fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        let i = self.next;
        self.next += 1;
        Ok((i < self.frames.len()).then(|| self.frame(i)))
    }

    fn notes(&self) -> SourceNotes {
        SourceNotes { name: self.name.clone(), format: "pcapng".to_owned(), ..SourceNotes::default() }
    }
}

impl Kept {
    fn header(&self) -> Option<Header> {
        Header::read(self.data.get(ip_offset(self.link, &self.data)?..)?)
    }

    /// It carries one of these flags.
    fn has(&self, flags: u16) -> bool {
        self.header().and_then(|h| h.tcp).is_some_and(|t| t.flags.0 & flags != 0)
    }

    /// Changes the TCP header; its checksum stays as right or as wrong as it is.
    fn change(&mut self, how: impl FnOnce(&mut [u8])) {
        let Some(h) = self.header().filter(|h| h.tcp.is_some()) else { return };
        let at = ip_offset(self.link, &self.data).unwrap() + h.ip_len;
        let whole = self.data.len() == self.orig_len as usize;
        let right = checksum::transport_ok(h.src, h.dst, h.proto, &self.data[at..]);
        let end = (at + usize::from(self.data[at + 12] >> 4) * 4).min(self.data.len());
        how(&mut self.data[at..end]);
        if whole && right {
            self.data[at + 16..at + 18].fill(0);
            let sum = checksum::transport(h.src, h.dst, h.proto, &self.data[at..]);
            self.data[at + 16..at + 18].copy_from_slice(&sum.to_be_bytes());
        }
    }

    /// Takes away what tells the order of sending.
    fn strip(&mut self) {
        self.change(|tcp| {
            let kinds = options(tcp);
            for (at, _) in kinds.into_iter().filter(|o| o.1 == TIME_STAMPS) {
                tcp[at..at + 10].fill(NO_OPERATION);
            }
        });
        let Some(h) = self.header().filter(|h| h.id.is_some()) else { return };
        let at = ip_offset(self.link, &self.data).unwrap();
        self.data[at + 4..at + 6].fill(0);
        self.data[at + 10..at + 12].fill(0);
        let sum = checksum::internet(&self.data[at..at + h.ip_len]);
        self.data[at + 10..at + 12].copy_from_slice(&sum.to_be_bytes());
    }
}

const NO_OPERATION: u8 = 1;
const SACK: u8 = 5;
const TIME_STAMPS: u8 = 8;

/// Where each option of a TCP header begins, and its kind.
fn options(tcp: &[u8]) -> Vec<(usize, u8)> {
    let mut out = Vec::new();
    let mut at = 20;
    while let Some(&kind) = tcp.get(at) {
        match (kind, tcp.get(at + 1)) {
            (0, _) => break,
            (NO_OPERATION, _) => at += 1,
            (_, Some(&len)) if len >= 2 && at + usize::from(len) <= tcp.len() => {
                out.push((at, kind));
                at += usize::from(len);
            }
            _ => break,
        }
    }
    out
}

/// Moves both ways' sequence numbers, each by its own distance.
fn renumber(frames: &mut [Kept]) {
    let Some(first) = frames.iter().find_map(Kept::header) else { return };
    let from_client = |h: &Header| (h.src, h.ports) == (first.src, first.ports);
    let isn = |client: bool| {
        let mut syns = frames.iter().filter_map(Kept::header).filter(|h| from_client(h) == client);
        syns.find_map(|h| h.tcp.filter(|t| t.flags.syn()).map(|t| t.seq.0))
    };
    let shift = |client: bool, to: u32| isn(client).map_or(0, |isn| to.wrapping_sub(isn));
    let (c2s, s2c) = (shift(true, 0u32.wrapping_sub(BEFORE_WRAP)), shift(false, u32::MAX));
    for f in frames {
        let Some(h) = f.header() else { continue };
        let (own, other) = if from_client(&h) { (c2s, s2c) } else { (s2c, c2s) };
        f.change(|tcp| {
            let add = |tcp: &mut [u8], at: usize, n: u32| {
                if let Some(place) = tcp.get_mut(at..at + 4) {
                    let old = u32::from_be_bytes([place[0], place[1], place[2], place[3]]);
                    place.copy_from_slice(&old.wrapping_add(n).to_be_bytes());
                }
            };
            add(tcp, 4, own);
            if tcp[13] & 0x10 != 0 {
                add(tcp, 8, other);
            }
            for (at, _) in options(tcp).into_iter().filter(|o| o.1 == SACK) {
                let edges = usize::from(tcp[at + 1] - 2) / 4;
                (0..edges).for_each(|i| add(tcp, at + 2 + 4 * i, other));
            }
        });
    }
}
