//! What lies between the truth and a file: middleboxes, offload, and a report of two such files.

pub use crate::tcp::Seen;
use crate::tcp::seal;
use syncscope::capture::{CaptureError, FrameSource, SourceNotes};
use syncscope::cli::reading::{Reading, read_capture};
use syncscope::correlate::{BuildInputs, CaptureInput};
use syncscope::diagnose::build;
use syncscope::drive::random::Random;
use syncscope::model::{Dir, Frame, FrameNo, LinkType, Ns, Ts};
use syncscope::report::Report;

struct Source<'a> {
    name: &'a str,
    all: &'a [Seen],
    next: usize,
}

impl FrameSource for Source<'_> {
    fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        let Some(s) = self.all.get(self.next) else { return Ok(None) };
        self.next += 1;
        Ok(Some(Frame {
            no: FrameNo(self.next as u64),
            ts: s.ts,
            link: LinkType::RAW,
            interface: 0,
            orig_len: s.data.len() as u32,
            data: &s.data,
        }))
    }
    fn notes(&self) -> SourceNotes {
        SourceNotes { name: self.name.to_owned(), ..SourceNotes::default() }
    }
}

fn capture(name: &str, all: &[Seen]) -> CaptureInput {
    read_capture(&mut Source { name, all, next: 0 }, None, Reading::everything()).unwrap()
}

pub fn compare(a: &[Seen], b: &[Seen]) -> Report {
    build(BuildInputs {
        title: "pair".to_owned(),
        slow_read: Ns::from_millis(100),
        captures: vec![capture("a", a), capture("b", b)],
        ..BuildInputs::default()
    })
}

impl Seen {
    pub fn payload(&self) -> usize {
        self.data.len() - self.header()
    }
    fn header(&self) -> usize {
        20 + usize::from(self.data[32] >> 4) * 4
    }
    pub fn word(&self, i: usize) -> u32 {
        u32::from_be_bytes(self.data[i..i + 4].try_into().unwrap())
    }
}

/// Behind a router that hides the client: other address, other port, one hop less.
pub fn nat(all: &[Seen]) -> Vec<Seen> {
    edit(all, |s| {
        let (ip, port) = if s.dir == Dir::C2s { (12, 20) } else { (16, 22) };
        let was = u16::from_be_bytes([s.data[port], s.data[port + 1]]);
        s.data[ip..ip + 4].copy_from_slice(&[203, 0, 113, 9]);
        s.data[port..port + 2].copy_from_slice(&(was - 7_000).to_be_bytes());
        s.data[8] -= 1;
    })
}

/// Behind a firewall that moves the client's sequence numbers.
pub fn renumber(all: &[Seen], by: u32) -> Vec<Seen> {
    edit(all, |s| {
        let at = if s.dir == Dir::C2s { 24 } else { 28 };
        if s.dir == Dir::C2s || s.data[33] & 0x10 != 0 {
            let moved = s.word(at).wrapping_add(by);
            s.data[at..at + 4].copy_from_slice(&moved.to_be_bytes());
        }
    })
}

pub fn edit(all: &[Seen], f: impl Fn(&mut Seen)) -> Vec<Seen> {
    let one = |s: &Seen| {
        let mut s = s.clone();
        f(&mut s);
        seal(&mut s.data);
        s
    };
    all.iter().map(one).collect()
}

/// By a clock that is ahead, and runs fast by so many parts per million.
pub fn clock(all: &[Seen], ahead: Ns, ppm: f64) -> Vec<Seen> {
    let at = |ts: Ts| ts + ahead + Ns((ts.since(crate::START).0 as f64 * ppm / 1e6).round() as i64);
    all.iter().map(|s| Seen { ts: at(s.ts), ..s.clone() }).collect()
}

/// As a host's own tap with segmentation offload: what it sends at once is one large segment, up to 8 packets.
pub fn gso(all: &[Seen]) -> Vec<Seen> {
    let mut out: Vec<Seen> = Vec::new();
    for s in all {
        let plain = s.data[33] & 3 == 0 && s.payload() > 0 && s.index.is_some();
        if let Some(last) = out.last_mut().filter(|l| plain && l.data[33] & 3 == 0 && l.payload() > 0)
            && last.index.is_some()
            && (last.ts, last.dir, last.word(20), last.word(28)) == (s.ts, s.dir, s.word(20), s.word(28))
            && last.word(24).wrapping_add(last.payload() as u32) == s.word(24)
            && last.payload() < 8_000
        {
            last.data.extend_from_slice(&s.data[s.header()..]);
            let total = last.data.len() as u16;
            last.data[2..4].copy_from_slice(&total.to_be_bytes());
            seal(&mut last.data);
        } else {
            out.push(s.clone());
        }
    }
    out
}

/// A box beside the sender that ends the connection: it acknowledges what it swallowed.
pub fn forged_reset(like: &Seen, at: Ts, ack: u32) -> Seen {
    let mut s = like.clone();
    s.data.truncate(s.header());
    let total = s.data.len() as u16;
    s.data[2..4].copy_from_slice(&total.to_be_bytes());
    s.data[28..32].copy_from_slice(&ack.to_be_bytes());
    s.data[33] = 0x14;
    seal(&mut s.data);
    Seen { ts: at, index: None, ..s }
}

/// Seeded chance.
pub struct Chance(Random);

impl Chance {
    pub fn new(seed: u64) -> Chance {
        Chance(Random::new(seed))
    }
    pub fn next(&mut self) -> u64 {
        self.0.next()
    }
    pub fn one_in(&mut self, n: u64) -> bool {
        self.0.below(n) == 0
    }
    /// Evenly spread.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.0.below((high - low + 1) as u64) as i64
    }
}
