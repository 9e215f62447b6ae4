//! What is fuzzed: one function a target. Bytes in; a panic says what is wrong. The ordinary tests (`tests/fuzz.rs`)
//! replay the corpus through the same functions.

#[path = "peer.rs"]
pub mod peer;
#[path = "../../hostile/run.rs"]
pub mod run;

pub use peer::{control, seal};

use std::io::Cursor;
use std::net::SocketAddr;
use syncscope::applog::{self, Candidate, Pattern, Recognised, Wanted};
use syncscope::capture::file::{self, Hints};
use syncscope::capture::writer::PcapngWriter;
use syncscope::decode::redact::{Mask, redact};
use syncscope::decode::{Decoded, SackBlocks, Segment, TcpFlags, TcpOptions, decode};
use syncscope::flow::Table;
use syncscope::model::{Frame, FrameNo, LinkType, PerDir, Seq, Span, Ts};
use syncscope::sync::signature::sums;
use syncscope::sync::{
    Config, Entry, FsOp, FsReply, FsRequest, Gone, Kind, Meta, Mode, Mtime, Session, SyncError, wire,
};
use syncscope::tcp::{Keep, Trackers};
use syncscope::{cli, view};

/// A target and its name, which is that of its corpus, too.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const ALL: [Target; 13] = [
    ("capture", capture),
    ("frame", frame),
    ("tcp", tcp),
    ("compare", compare),
    ("listing", listing),
    ("strace", strace),
    ("pattern", pattern),
    ("settings", settings),
    ("report", report),
    ("wire", wire),
    ("session", session),
    ("seal", seal),
    ("control", control),
];

/// Frames looked at of one file.
const FRAMES: usize = 2000;
/// Packets of one made connection.
const PACKETS: usize = 400;

/// A file of any kind: its frames, decoded, redacted and written again.
pub fn capture(data: &[u8]) {
    let Ok(mut source) = file::open_reader("fuzz", Cursor::new(data.to_vec())) else { return };
    let mut mask = Mask::new(b"k");
    let (mut seen, mut kept) = (Vec::new(), Vec::new());
    let mut out = PcapngWriter::new(Vec::new(), "").unwrap();
    while let Ok(Some(f)) = source.next_frame() {
        decoded_alike(&f, &mut mask, &mut kept);
        if out.write(&f).is_ok() {
            seen.push((f.ts, f.link, f.data.to_vec()));
        }
        if seen.len() >= FRAMES {
            break;
        }
    }
    assert!(!source.notes().name.is_empty());
    let again = out.into_inner().unwrap();
    let mut source = file::open_reader("again", Cursor::new(again)).unwrap();
    for (ts, link, bytes) in &seen {
        let f = source.next_frame().unwrap().unwrap();
        assert_eq!((f.ts, f.link, f.data), (*ts, *link, &bytes[..]));
    }
    assert!(source.next_frame().unwrap().is_none());
}

/// One frame: its link type, how much longer it was than captured, its bytes.
pub fn frame(data: &[u8]) {
    let [link, more, bytes @ ..] = data else { return };
    let links = [1, 0, 12, 101, 108, 113, 276, 9, 10, 51, 228, 229];
    let link = LinkType(links[usize::from(*link) % links.len()]);
    let orig_len = bytes.len() as u32 + u32::from(*more) * 8;
    let f = Frame { no: FrameNo(1), ts: Ts(0), link, interface: 0, orig_len, data: bytes };
    decoded_alike(&f, &mut Mask::new(b"k"), &mut Vec::new());
}

/// A redacted frame is no longer than before, and tells the same story.
fn decoded_alike(f: &Frame<'_>, mask: &mut Mask, kept: &mut Vec<u8>) {
    let was = decode(f);
    redact(f, mask, kept);
    assert!(kept.len() <= f.data.len());
    let orig_len = f.orig_len.max(f.data.len() as u32);
    let is = decode(&Frame { data: kept, orig_len, ..*f });
    if let (Decoded::Tcp(a), Decoded::Tcp(b)) = (&was, &is) {
        assert_eq!((a.seq, a.ack, a.flags, a.len, a.window), (b.seq, b.ack, b.flags, b.len, b.window));
        assert_eq!((a.options, a.src.port(), a.dst.port()), (b.options, b.src.port(), b.dst.port()));
    } else {
        assert_eq!(std::mem::discriminant(&was), std::mem::discriminant(&is), "{was:?} became {is:?}");
    }
}

/// A number that is mostly small, and sometimes at an edge.
fn number(b: u8) -> u32 {
    match b {
        0..=0xdf => u32::from(b) * 365,
        0xe0..=0xef => 1 << (u32::from(b & 15) * 2),
        _ => u32::MAX - u32::from(b & 15) * 1460,
    }
}

/// Twelve bytes a packet; each but the last one for a field.
fn packets(data: &[u8]) -> Vec<(Segment, u8)> {
    let mut now = 1_700_000_000_000_000_000i64;
    let one = |(n, p): (usize, &[u8])| {
        let [what, time, seq, ack, len, window, sack, stamp, id, flags, port, seen] = p else { return None };
        let step = i64::from(*time).pow(3) * 1000;
        now = if what & 0x80 == 0 { now.saturating_add(step) } else { now.saturating_sub(step) };
        let ends = |a: u8, p: u16| SocketAddr::from(([10, 0, 0, a], p));
        let (client, server) = (ends(1, 1000 + u16::from(port & 3)), ends(2, 873));
        let to_server = what & 1 == 0;
        let flags = match flags {
            0..=0xbf => 16,
            0xc0..=0xcf => 2,
            0xd0..=0xdf => 18,
            0xe0..=0xe7 => 17,
            0xe8..=0xef => 20,
            f => u16::from(*f),
        };
        let syn = flags & 2 != 0;
        let mut blocks = SackBlocks::default();
        for k in 0..(what >> 1 & 3) {
            let left = number(*ack).wrapping_add(number(sack.wrapping_add(k * 8)));
            blocks.push(Seq(left), Seq(left.wrapping_add(number(sack.wrapping_mul(7)))));
        }
        let s = Segment {
            frame: FrameNo(n as u64 + 1),
            ts: Ts(now),
            interface: 0,
            src: if to_server { client } else { server },
            dst: if to_server { server } else { client },
            link_key: 0,
            ttl: 60 + (what >> 5 & 1),
            ip_id: (what & 0x40 != 0).then_some(u16::from(*id)),
            dont_fragment: true,
            ecn: 0,
            seq: Seq(number(*seq)),
            ack: Seq(number(*ack)),
            flags: TcpFlags(flags),
            window: if *window < 8 { 0 } else { u16::from(*window) << 8 },
            len: if syn { 0 } else { number(*len) & 0xffff },
            options: TcpOptions {
                mss: syn.then_some(1460),
                wscale: syn.then_some(window & 15),
                sack_permitted: syn,
                sack: blocks,
                timestamps: (*stamp > 0).then(|| (u32::from(*stamp), u32::from(id.wrapping_mul(3)))),
            },
            checksum: u16::from(*id) << 8 | u16::from(*seq),
            checksum_ok: Some(true),
            cut: false,
            head: None,
        };
        Some((s, *seen))
    };
    data.chunks_exact(12).take(PACKETS).enumerate().filter_map(one).collect()
}

/// Packets of a few connections: whole, in stretches, and their report in every format.
pub fn tcp(data: &[u8]) {
    let all: Vec<Segment> = packets(data).into_iter().map(|p| p.0).collect();
    let mut table = Table::bounded(48);
    let mut trackers = Trackers::new(Keep::Evidence);
    let end = all.iter().map(|s| s.ts).max().unwrap_or(Ts(0));
    for s in &all {
        table.push(Decoded::Tcp(*s));
        while let Some(batch) = table.batch() {
            trackers.take(batch);
        }
    }
    table.finish().into_iter().for_each(|rest| trackers.finish(rest, Some(end)));
    let whole = run::capture(all);
    for c in trackers.into_connections().iter().chain(&whole.connections) {
        for s in &c.stalls {
            assert!(s.end.is_none_or(|e| e >= s.start), "{s:?}");
        }
        assert!(c.losses.iter().all(|l| l.range.end > l.range.start), "{:?}", c.losses);
    }
    run::shown(&run::report(vec![whole], Vec::new())).unwrap();
}

/// The same packets at two places: what each of them saw, and when.
pub fn compare(data: &[u8]) {
    let all = packets(data);
    let tap = |seen_here: u8, later: i64| {
        let here = all.iter().filter(|p| p.1 & seen_here == 0);
        let delayed =
            here.map(|(s, seen)| Segment { ts: s.ts + syncscope::model::Ns(later * i64::from(*seen)), ..*s });
        let mut all: Vec<Segment> = delayed.collect();
        all.sort_by_key(|s| s.ts);
        all.iter_mut().enumerate().for_each(|(n, s)| s.frame = FrameNo(n as u64 + 1));
        run::capture(all)
    };
    run::shown(&run::report(vec![tap(0x80, 0), tap(0x40, 1_000_000)], Vec::new())).unwrap();
}

/// What tcpdump printed, as a capture.
pub fn listing(data: &[u8]) {
    let dated = Hints { day: Some(18_000), ..Hints::default() };
    for hints in [Hints::default(), dated] {
        let Ok(mut source) = file::open_reader_with("fuzz", Cursor::new(data.to_vec()), &hints) else {
            return;
        };
        let mut left = FRAMES;
        while let (Ok(Some(f)), 1..) = (source.next_frame(), left) {
            decode(&f);
            left -= 1;
        }
    }
}

/// A log and the connection that it is bound to.
fn bound(data: &[u8], pattern: Option<&Pattern>) {
    let read = match applog::read(data, pattern) {
        Ok(Recognised::Other(parsed)) => parsed,
        Ok(Recognised::Own(_)) => return,
        Err(e) => return assert!(!e.to_string().is_empty()),
    };
    let ends = ["10.0.0.2:40112", "10.0.0.1:873"].map(|a| a.parse::<SocketAddr>().unwrap());
    let span = Span::new(Ts(1_565_786_297_000_000_000), Ts(1_565_786_299_000_000_000));
    let flow = Candidate { client: ends[0], server: ends[1], span, near: None, moved: PerDir::default() };
    let one = Wanted { flow: Some((ends[0], ends[1])), ..Wanted::default() };
    for wanted in [Wanted::default(), one] {
        if let Ok(b) = applog::bind(read.clone(), &wanted, &[flow]) {
            run::shown(&run::report(Vec::new(), b.logs)).unwrap();
        }
    }
}

/// What strace printed, or our own events.
pub fn strace(data: &[u8]) {
    bound(data, None);
}

/// A pattern, a NUL, and a log that it is for.
pub fn pattern(data: &[u8]) {
    let mut parts = data.splitn(2, |b| *b == 0);
    let (Some(pattern), Some(log)) = (parts.next(), parts.next()) else { return };
    let Ok(text) = std::str::from_utf8(pattern) else { return };
    match Pattern::new(text) {
        Ok(p) => bound(log, Some(&p)),
        Err(e) => assert!(!e.to_string().is_empty()),
    }
}

/// A settings file.
pub fn settings(data: &[u8]) {
    if let (Ok(text), true) = (std::str::from_utf8(data), data.len() < 2000) {
        let _ = cli::config::presets(cli::command(), text);
    }
}

/// A stored report, shown in every format.
pub fn report(data: &[u8]) {
    if let Some(r) = std::str::from_utf8(data).ok().and_then(|text| view::load(text).ok()) {
        run::shown(&r).unwrap();
    }
}

/// Frames of the sync: what is understood is written as it was.
pub fn wire(data: &[u8]) {
    let mut rest = data;
    while let Ok(Some((frame, n))) = wire::decode(rest) {
        let mut again = Vec::new();
        frame.encode(&mut again);
        assert_eq!(again, rest[..n]);
        assert!(!frame.name().is_empty());
        rest = &rest[n..];
    }
}

const FILE: Meta = Meta { kind: Kind::File, size: 5000, mode: 0o644, mtime: Mtime { secs: 1, nanos: 0 } };

/// A disk made of answers: a tree of two files, of which one has a basis.
fn answer(r: &FsRequest) -> FsReply {
    let bytes = |from: u64, len: usize| (from..).take(len).map(|n| (n / 7) as u8).collect::<Vec<u8>>();
    let entry = |path: &str| Entry { path: path.to_owned(), meta: FILE, target: String::new(), inode: None };
    match &r.op {
        FsOp::List => FsReply::Listed { entries: vec![entry("a"), entry("b")], faults: vec![], last: true },
        FsOp::Stat { path } if path == "a" => FsReply::Stat(None),
        FsOp::Stat { .. } => FsReply::Stat(Some(Meta { size: 2000, ..FILE })),
        FsOp::OpenSource { .. } => FsReply::Opened(FILE),
        FsOp::OpenBasis { .. } => FsReply::Opened(Meta { size: 2000, ..FILE }),
        FsOp::ReadSource { offset, len, .. } => FsReply::Data(bytes(*offset, *len as usize)),
        FsOp::Sums { block_size, strong, .. } => FsReply::Sums(sums(&bytes(0, 2000), *block_size, *strong)),
        FsOp::FindPart { path } => FsReply::Part(if path == "b" { 300 } else { 0 }),
        FsOp::Prune { path, .. } => {
            let removed = vec![Gone { path: "c".to_owned(), dir: path.is_empty() }];
            FsReply::Pruned { removed, faults: Vec::new(), more: false }
        }
        FsOp::Hash | FsOp::SumPart { .. } => FsReply::Hash([7; 32]),
        _ => FsReply::Done,
    }
}

/// What a peer says to one end of a sync: who hears it, then bytes after the preamble.
pub fn session(data: &[u8]) {
    let [who, said @ ..] = data else { return };
    let config = Config::new(1);
    let mut s = match who % 4 {
        0 => Session::client(Mode::Pull, "", config),
        1 => Session::client(Mode::Push, "", config),
        _ => Session::server(config),
    };
    let heard = hear(&mut s, said);
    if let Err(e) = heard {
        assert!(!e.to_string().contains("internal error"), "{e}");
    }
}

fn hear(s: &mut Session, said: &[u8]) -> Result<(), SyncError> {
    s.handle_input(&wire::preamble(syncscope::sync::PROTOCOL))?;
    for piece in said.chunks(64) {
        work(s)?;
        s.handle_input(piece)?;
        let n = s.poll_output(usize::MAX).len();
        s.consume_output(n);
    }
    work(s)?;
    s.handle_eof()
}

fn work(s: &mut Session) -> Result<(), SyncError> {
    while let Some(r) = s.poll_request() {
        s.handle_reply(r.id, answer(&r))?;
    }
    while s.poll_event().is_some() {}
    Ok(())
}
