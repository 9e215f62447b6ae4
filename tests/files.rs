//! Capture files: every format, every fault, every byte where one can be cut.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use syncscope::capture::live::{Expected, LiveCapture, LiveOptions};
use syncscope::capture::writer::{InterfaceInfo, PcapngWriter, Statistics};
use syncscope::capture::{CaptureError, SourceNotes, file};
use syncscope::decode::{Decoded, decode};
use syncscope::model::{Frame, FrameNo, LinkType, Ts};

/// A frame that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owned {
    no: u64,
    ts: i64,
    link: u16,
    interface: u32,
    orig_len: u32,
    data: Vec<u8>,
}

impl Owned {
    fn frame(&self) -> Frame<'_> {
        Frame {
            no: FrameNo(self.no),
            ts: Ts(self.ts),
            link: LinkType(self.link),
            interface: self.interface,
            orig_len: self.orig_len,
            data: &self.data,
        }
    }
}

/// All frames up to the end or the first fault, the fault, and the notes.
fn drain(reader: impl Read + 'static) -> (Vec<Owned>, Option<CaptureError>, SourceNotes) {
    let mut source = match file::open_reader("test", reader) {
        Ok(s) => s,
        Err(e) => return (Vec::new(), Some(e), SourceNotes::default()),
    };
    let mut frames = Vec::new();
    let fault = loop {
        match source.next_frame() {
            Ok(Some(f)) => frames.push(Owned {
                no: f.no.0,
                ts: f.ts.0,
                link: f.link.0,
                interface: f.interface,
                orig_len: f.orig_len,
                data: f.data.to_vec(),
            }),
            Ok(None) => break None,
            Err(e) => break Some(e),
        }
    };
    assert!(matches!(source.next_frame(), Ok(None)), "nothing comes after the end");
    (frames, fault, source.notes())
}

fn read(bytes: &[u8]) -> (Vec<Owned>, Option<CaptureError>, SourceNotes) {
    drain(Cursor::new(bytes.to_vec()))
}

/// The shared captures, or none (and a word about it).
fn corpus(test: &str) -> Option<PathBuf> {
    let candidates = [
        std::env::var_os("SYNCSCOPE_SHARED").map(PathBuf::from),
        Some(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared")),
        Some(PathBuf::from("/work/shared")),
    ];
    let found =
        candidates.into_iter().flatten().map(|p| p.join("captures")).find(|p| p.join("corpus.tsv").exists());
    if found.is_none() {
        println!("SKIPPED {test}: no shared captures (set SYNCSCOPE_SHARED)");
    }
    found
}

/// Rows of corpus.tsv by column name.
fn rows(dir: &Path) -> Vec<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(dir.join("corpus.tsv")).unwrap();
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap().split('\t').collect();
    lines
        .map(|l| names.iter().map(|n| n.to_string()).zip(l.split('\t').map(str::to_owned)).collect())
        .collect()
}

/// Where corpus.tsv, which a strict dissector counted, is not the truth.
const DIFFERENT: &[(&str, u64, u64, &str)] = &[
    ("bad_ack_code.dmp.gz", 40, 40, "pcap 2.2 has its two lengths the other way round"),
    ("trunc.dmp.gz", 1, 0, "the IP packet ends before the TCP header does"),
    ("tcp-malformed.pcap", 2, 0, "data offset 4"),
];

#[test]
fn every_file_of_the_corpus_gives_the_frames_that_it_holds() {
    let Some(dir) = corpus("every_file_of_the_corpus_gives_the_frames_that_it_holds") else { return };
    let mut wrong = Vec::new();
    let all = rows(&dir);
    for row in &all {
        let path = &row["path"];
        let (frames, fault, notes) = drain(std::fs::File::open(dir.join(path)).unwrap());
        let links: BTreeSet<u16> = frames.iter().map(|f| f.link).collect();
        let expected: BTreeSet<u16> = row["link"]
            .split('+')
            .map(|l| match l {
                "EN10MB" => 1,
                "NULL" => 0,
                "RAW(12)" => 12,
                "SLL" => 113,
                "PPP" => 9,
                "FDDI" => 10,
                "IPV4" => 228,
                other => panic!("link type {other} is new in corpus.tsv"),
            })
            .collect();
        let tcp = frames.iter().filter(|f| matches!(decode(&f.frame()), Decoded::Tcp(_))).count() as u64;
        let different = DIFFERENT.iter().find(|d| path.ends_with(d.0));
        let counts = different
            .map_or_else(|| (row["pkts"].parse().unwrap(), row["tcp"].parse().unwrap()), |d| (d.1, d.2));
        let nanos = frames.iter().any(|f| f.ts % 1000 != 0);
        if (frames.len() as u64, tcp) != counts
            || fault.is_some()
            || notes.format != row["fmt"]
            || !links.is_subset(&expected)
            || (nanos && row["prec"] == "us")
        {
            wrong.push(format!(
                "{path}: {} frames and {tcp} TCP of {counts:?}, links {links:?} of {}, {}, {fault:?}",
                frames.len(),
                row["link"],
                notes.format
            ));
        }
    }
    assert!(all.len() > 60);
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), all.len(), wrong.join("\n"));
}

const LE: bool = false;
const BE: bool = true;

fn w16(out: &mut Vec<u8>, big: bool, v: u16) {
    out.extend(if big { v.to_be_bytes() } else { v.to_le_bytes() });
}

fn w32(out: &mut Vec<u8>, big: bool, v: u32) {
    out.extend(if big { v.to_be_bytes() } else { v.to_le_bytes() });
}

fn w64(out: &mut Vec<u8>, big: bool, v: u64) {
    out.extend(if big { v.to_be_bytes() } else { v.to_le_bytes() });
}

fn pcap_header(big: bool, magic: u32, minor: u16, link: u32) -> Vec<u8> {
    let mut out = Vec::new();
    w32(&mut out, big, magic);
    w16(&mut out, big, 2);
    w16(&mut out, big, minor);
    for v in [0, 0, 65_535, link] {
        w32(&mut out, big, v);
    }
    out
}

fn pcap_record(big: bool, secs: u32, fraction: u32, orig: u32, extra: &[u8], data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for v in [secs, fraction, data.len() as u32, orig] {
        w32(&mut out, big, v);
    }
    out.extend(extra);
    out.extend(data);
    out
}

/// A pcapng block of any kind.
fn block(big: bool, kind: u32, body: &[u8]) -> Vec<u8> {
    let len = 12 + body.len().next_multiple_of(4);
    let mut out = Vec::new();
    w32(&mut out, big, kind);
    w32(&mut out, big, len as u32);
    out.extend(body);
    out.resize(len - 4, 0);
    w32(&mut out, big, len as u32);
    out
}

fn option(big: bool, code: u16, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    w16(&mut out, big, code);
    w16(&mut out, big, value.len() as u16);
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

fn section(big: bool) -> Vec<u8> {
    let mut body = Vec::new();
    w32(&mut body, big, 0x1a2b_3c4d);
    w16(&mut body, big, 1);
    w16(&mut body, big, 0);
    w64(&mut body, big, u64::MAX);
    block(big, 0x0a0d_0d0a, &body)
}

fn interface(big: bool, link: u16, snaplen: u32, options: &[Vec<u8>]) -> Vec<u8> {
    let mut body = Vec::new();
    w16(&mut body, big, link);
    w16(&mut body, big, 0);
    w32(&mut body, big, snaplen);
    body.extend(options.concat());
    block(big, 1, &body)
}

fn packet(big: bool, interface: u32, units: u64, orig: u32, data: &[u8], options: &[Vec<u8>]) -> Vec<u8> {
    let mut body = Vec::new();
    for v in [interface, (units >> 32) as u32, units as u32, data.len() as u32, orig] {
        w32(&mut body, big, v);
    }
    body.extend(data);
    body.resize(body.len().next_multiple_of(4), 0);
    body.extend(options.concat());
    block(big, 6, &body)
}

#[test]
fn classic_pcap_in_every_dress() {
    for big in [LE, BE] {
        for (magic, extra, nanos) in [
            (0xa1b2_c3d4u32, &[][..], 7_000_000_007_000i64),
            (0xa1b2_3c4d, &[][..], 7_000_000_000_007),
            (0xa1b2_cd34, &[0; 8][..], 7_000_000_007_000),
        ] {
            let mut f = pcap_header(big, magic, 4, 0xf400_0001);
            f.extend(pcap_record(big, 7_000, 7, 1500, extra, b"first"));
            f.extend(pcap_record(big, 6_999, 0, 6, extra, b"second"));
            let (frames, fault, notes) = read(&f);
            assert_eq!(fault, None);
            let times: Vec<i64> = frames.iter().map(|f| f.ts).collect();
            assert_eq!(times, [nanos, 6_999_000_000_000], "backwards in time is passed on");
            assert_eq!(notes.other.get("time-backwards"), Some(&1));
            assert_eq!((frames[0].no, frames[0].link, frames[0].orig_len), (1, 1, 1500));
            assert_eq!((frames[1].no, &frames[1].data[..]), (2, &b"second"[..]));
            assert_eq!((&*notes.format, notes.snaplen, notes.cut_at), ("pcap", Some(65_535), None));
            assert_eq!(notes.last_ts, Some(Ts(6_999_000_000_000)));
        }
    }
}

#[test]
fn old_pcap_versions_have_the_lengths_swapped() {
    for minor in [2, 3] {
        let mut f = pcap_header(BE, 0xa1b2_c3d4, minor, 1);
        for v in [1, 0, 1500, 3] {
            w32(&mut f, BE, v);
        }
        f.extend(b"abc");
        let (frames, fault, _) = read(&f);
        assert_eq!((frames.len(), fault), (1, None));
        assert_eq!((frames[0].orig_len, &frames[0].data[..]), (1500, &b"abc"[..]));
    }
}

/// Two sections of different byte order, clocks of five kinds, all packet blocks, and things to step over.
fn rich_pcapng() -> Vec<u8> {
    let tick = |big, n: u8| option(big, 9, &[n]);
    let mut f = section(LE);
    f.extend(interface(LE, 1, 96, &[]));
    f.extend(interface(LE, 101, 200, &[tick(LE, 9), option(LE, 2, b"tun0")]));
    f.extend(interface(LE, 113, 0, &[tick(LE, 0x80 | 20), option(LE, 14, &100i64.to_le_bytes())]));
    f.extend(packet(LE, 0, 5_000_000, 60, b"microseconds", &[]));
    f.extend(packet(
        LE,
        1,
        6_000_000_001,
        70,
        b"nano",
        &[option(LE, 1, b"a comment"), option(LE, 4, &2u64.to_le_bytes())],
    ));
    f.extend(packet(LE, 2, 3 << 19, 80, b"two to the -20", &[]));
    f.extend(block(LE, 4, b"names"));
    f.extend(block(LE, 10, b"secrets"));
    f.extend(block(LE, 0x7777, b"what is this"));
    let mut isb = vec![0; 12];
    isb.extend(option(LE, 5, &3u64.to_le_bytes()));
    isb.extend(option(LE, 7, &4u64.to_le_bytes()));
    f.extend(block(LE, 5, &isb));

    f.extend(section(BE));
    f.extend(interface(BE, 228, 4, &[tick(BE, 12), option(BE, 14, &(-1i64).to_be_bytes())]));
    f.extend(packet(BE, 0, 2_000_000_003_000, 90, b"pico", &[]));
    let mut simple = Vec::new();
    w32(&mut simple, BE, 1000);
    simple.extend(b"simp");
    f.extend(block(BE, 3, &simple));
    let mut old = Vec::new();
    w16(&mut old, BE, 0);
    w16(&mut old, BE, 5);
    for v in [0, 0, 3, 100] {
        w32(&mut old, BE, v);
    }
    old.extend(b"old");
    f.extend(block(BE, 2, &old));
    f
}

#[test]
fn pcapng_sections_interfaces_clocks_and_blocks() {
    let (frames, fault, notes) = read(&rich_pcapng());
    assert_eq!(fault, None);
    let seen: Vec<_> =
        frames.iter().map(|f| (f.no, f.ts, f.link, f.interface, f.orig_len, &f.data[..])).collect();
    assert_eq!(
        seen,
        [
            (1, 5_000_000_000, 1, 0, 60, &b"microseconds"[..]),
            (2, 6_000_000_001, 101, 1, 70, b"nano"),
            (3, 101_500_000_000, 113, 2, 80, b"two to the -20"),
            (4, 1_000_000_003, 228, 3, 90, b"pico"),
            (5, 1_000_000_003, 228, 3, 1000, b"simp"),
            (6, -1_000_000_000, 228, 3, 100, b"old"),
        ]
    );
    // 3 + 4 from statistics, 2 from a packet's option, 5 from an old packet block.
    assert_eq!((notes.dropped, notes.snaplen, notes.cut_at), (Some(14), Some(0), None));
    assert_eq!(notes.other["unknown-block"], 1);
    assert_eq!(notes.other["no-timestamp"], 1);
    assert_eq!(notes.format, "pcapng");
}

#[test]
fn a_clock_that_runs_out_of_range_saturates() {
    for tick in [0u8, 3, 9, 19, 60, 127, 0x80, 0x80 | 63, 0xff] {
        for offset in [i64::MIN, -1, 0, i64::MAX] {
            let mut f = section(LE);
            f.extend(interface(LE, 1, 0, &[option(LE, 9, &[tick]), option(LE, 14, &offset.to_le_bytes())]));
            f.extend(packet(LE, 0, u64::MAX, 1, b"x", &[]));
            let (frames, fault, _) = read(&f);
            assert_eq!((frames.len(), fault), (1, None));
        }
    }
}

fn small_pcap() -> Vec<u8> {
    let mut f = pcap_header(LE, 0xa1b2_c3d4, 4, 1);
    for n in 0..5u32 {
        f.extend(pcap_record(LE, n, n, 60 + n, &[], &vec![n as u8; 10 + n as usize]));
    }
    f
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut e = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    e.write_all(bytes).unwrap();
    e.finish().unwrap()
}

fn zst(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 1).unwrap()
}

#[test]
fn cut_at_every_byte_gives_the_frames_before_the_cut() {
    for (name, bytes) in [("pcap", small_pcap()), ("pcapng", rich_pcapng())] {
        let (whole, _, _) = read(&bytes);
        let mut most = 0;
        for cut in 0..bytes.len() {
            let (frames, fault, notes) = read(&bytes[..cut]);
            assert_eq!(frames, whole[..frames.len()], "{name} cut at {cut}");
            assert!(frames.len() >= most && frames.len() <= most + 1, "{name} cut at {cut} lost a frame");
            most = frames.len();
            match fault {
                // Inside the first header there is nothing to go by yet.
                Some(CaptureError::NotACapture { .. }) => assert!(cut < 12, "{name} cut at {cut}"),
                Some(CaptureError::Broken { .. }) => {
                    assert!(name == "pcap" && cut < 24, "{name} cut at {cut}")
                }
                Some(e) => panic!("{name} cut at {cut}: {e}"),
                None => assert!(notes.cut_at.is_none_or(|at| at == cut as u64), "{name} cut at {cut}"),
            }
        }
        // Frames of 10, 11, … bytes: no cut inside one goes unnoticed.
        let (frames, _, notes) = read(&bytes[..bytes.len() - 1]);
        assert_eq!((frames.len(), notes.cut_at), (whole.len() - 1, Some(bytes.len() as u64 - 1)), "{name}");
    }
}

#[test]
fn compressed_files_are_known_by_their_first_bytes() {
    let plain = small_pcap();
    let (whole, _, _) = read(&plain);
    let two_members = [gz(&plain[..50]), gz(&plain[50..])].concat();
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9][..], &zst(&plain)].concat();
    for (bytes, format) in [
        (gz(&plain), "pcap.gz"),
        (zst(&plain), "pcap.zst"),
        (two_members, "pcap.gz"),
        (skippable, "pcap.zst"),
    ] {
        let (frames, fault, notes) = read(&bytes);
        assert_eq!((&frames, fault, &*notes.format, notes.cut_at), (&whole, None, format, None));
    }
    let (_, _, notes) = read(&zst(&rich_pcapng()));
    assert_eq!(notes.format, "pcapng.zst");
}

#[test]
fn compressed_files_cut_anywhere_give_a_prefix() {
    let plain = small_pcap();
    let (whole, _, _) = read(&plain);
    for packed in [gz(&plain), zst(&plain)] {
        for cut in 0..packed.len() {
            let (frames, fault, notes) = read(&packed[..cut]);
            assert_eq!(frames, whole[..frames.len()]);
            if fault.is_none() {
                assert!(notes.cut_at.is_some(), "cut at {cut} of {} went unnoticed", packed.len());
                assert_eq!(notes.other.get("cut-compressed-data"), Some(&1));
            }
        }
        let mut damaged = packed.clone();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 0xff;
        let (frames, fault, _) = read(&damaged);
        assert!(frames.len() < whole.len() || fault.is_some(), "damage went unnoticed");
    }
}

/// Hands out one byte at a time, as a slow pipe may.
struct Trickle(Cursor<Vec<u8>>);

impl Read for Trickle {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let n = out.len().min(1);
        self.0.read(&mut out[..n])
    }
}

#[test]
fn a_slow_pipe_gives_the_same_frames() {
    for bytes in [small_pcap(), rich_pcapng(), gz(&small_pcap())] {
        assert_eq!(drain(Trickle(Cursor::new(bytes.clone()))).0, read(&bytes).0);
    }
}

#[track_caller]
fn broken_at(bytes: &[u8]) -> (usize, u64, String) {
    match read(bytes) {
        (frames, Some(CaptureError::Broken { offset, message, .. }), _) => (frames.len(), offset, message),
        other => panic!("not broken: {other:?}"),
    }
}

#[test]
fn lengths_that_lie_are_named_with_their_offset() {
    let mut f = small_pcap();
    let end = f.len() as u64;
    f.extend(pcap_record(LE, 9, 9, 60, &[], b"x"));
    f[end as usize + 8..end as usize + 12].copy_from_slice(&0x7fff_ffffu32.to_le_bytes());
    assert_eq!(broken_at(&f), (5, end, "a record says that it holds 2147483647 bytes".to_owned()));

    let head = [section(LE), interface(LE, 1, 0, &[]), packet(LE, 0, 1, 1, b"x", &[])].concat();
    let at = head.len() as u64;
    let with = |block: Vec<u8>| [head.clone(), block].concat();
    let good = packet(LE, 0, 2, 4, b"four", &[]);
    let patched = |at: usize, v: u32| {
        let mut b = good.clone();
        b[at..at + 4].copy_from_slice(&v.to_le_bytes());
        b
    };
    for (lie, offset) in [
        (patched(4, u32::MAX), 4),
        (patched(4, 8), 4),
        (patched(4, 0), 4),
        (patched(4, 33), 4),
        (patched(good.len() - 4, 12), good.len() as u64 - 4),
        (patched(20, u32::MAX), 0),
        (patched(8, 7), 0),
        (block(LE, 6, b"short"), 0),
        (block(LE, 0x0a0d_0d0a, b"no magic here"), 8),
    ] {
        let (frames, found, message) = broken_at(&with(lie));
        assert_eq!((frames, found), (1, at + offset), "{message}");
    }
    // Large, but not impossible: it is taken for a cut, and costs only the memory of what is there.
    let (frames, fault, notes) = read(&with(patched(4, 60 << 20)));
    assert_eq!((frames.len(), fault, notes.cut_at), (1, None, Some(at + good.len() as u64)));
}

#[test]
fn what_is_no_capture_is_called_by_its_name() {
    let erf_record = |secs: u32| {
        let mut r = vec![0, 0, 0, 0];
        r.extend(secs.to_le_bytes());
        r.extend([2, 4, 0, 80, 0, 0, 0, 60]);
        r.resize(80, 0xee);
        r
    };
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![], "the file is empty"),
        (b"\x7fELF\x02\x01\x01".to_vec(), "a program (ELF)"),
        (b"snoop\0\0\0\0\0\0\x02".to_vec(), "snoop"),
        (b"RTSS....".to_vec(), "Network Monitor 1"),
        (b"GMBU....".to_vec(), "Network Monitor 2"),
        ([erf_record(1_700_000_000), erf_record(1_700_000_001)].concat(), "ERF"),
        (b"\xfd7zXZ\0\0".to_vec(), "xz -dc"),
        (b"BZh91AY".to_vec(), "bzip2"),
        (b"12:00:00.1 IP 10.0.0.1.22 > 10.0.0.2.999: Flags [.], ack 1\n".to_vec(), "tcpdump -w"),
        ("# héllo\nworld\n".as_bytes().to_vec(), "text that begins with “# héllo”"),
        (b"{\"type\":\"meta\",\"schema\":\"syncscope.report/1\"}".to_vec(), "syncscope view"),
        (b"<!DOCTYPE html>".to_vec(), "a web page"),
        (vec![0, 1, 2, 3, 4, 5, 6, 7, 8, 9], "00 01 02 03 04 05 06 07"),
        (gz(&gz(&small_pcap())), "gzip data inside compressed data"),
        (gz(b""), "the file is empty"),
    ];
    for (bytes, expected) in cases {
        match read(&bytes) {
            (_, Some(e @ CaptureError::NotACapture { .. }), _) => {
                assert!(e.to_string().contains(expected), "{e} does not say {expected}");
            }
            other => panic!("{expected}: {other:?}"),
        }
    }
    let missing = file::open("/nonexistent/x.pcap").map(|_| ()).unwrap_err();
    assert!(matches!(&missing, CaptureError::Io { name, .. } if name == "/nonexistent/x.pcap"), "{missing}");
    assert!(matches!(file::open("/").map(|_| ()), Err(CaptureError::Io { .. })), "a folder");
}

fn written(f: impl FnOnce(&mut PcapngWriter<Vec<u8>>) -> std::io::Result<()>) -> Vec<u8> {
    let mut w = PcapngWriter::new(Vec::new(), "made by a test").unwrap();
    f(&mut w).unwrap();
    w.into_inner().unwrap()
}

#[test]
fn what_is_written_says_what_was_meant() {
    let data = [7u8; 61];
    let frame = |interface, link, ts| Frame {
        no: FrameNo(1),
        ts: Ts(ts),
        link,
        interface,
        orig_len: 1500,
        data: &data,
    };
    let long = "ü".repeat(40_000);
    let bytes = written(|w| {
        let info = InterfaceInfo { name: "tun0".into(), snaplen: 160, filter: "tcp port 9".into() };
        assert_eq!(w.interface(LinkType::RAW, &info)?, 0);
        w.write(&frame(0, LinkType::RAW, 1_700_000_000_123_456_789))?;
        w.write_with_comments(&frame(5, LinkType::ETHERNET, -5), &["loss-rto: lost here", &long])?;
        w.statistics(0, Ts(1_700_000_001_000_000_000), Statistics { received: 10, dropped: 3, delivered: 7 })
    });
    let (frames, fault, notes) = read(&bytes);
    assert_eq!((fault, notes.dropped, notes.snaplen), (None, Some(3), Some(0)));
    assert_eq!((frames[0].ts, frames[0].link, frames[0].interface), (1_700_000_000_123_456_789, 101, 0));
    assert_eq!((frames[1].ts, frames[1].link, frames[1].interface), (-5, 1, 1));
    assert_eq!((&frames[0].data[..], frames[0].orig_len), (&data[..], 1500));

    // An independent reader sees the same blocks, names and comments.
    use pcap_parser::{Block, OptionCode};
    let mut rest = &bytes[..];
    let mut blocks = Vec::new();
    while !rest.is_empty() {
        let (after, b) = pcap_parser::parse_block_le(rest).unwrap();
        rest = after;
        blocks.push(match b {
            Block::SectionHeader(s) => {
                assert!(s.shb_userappl().unwrap().unwrap().starts_with("syncscope "));
                "section".to_owned()
            }
            Block::InterfaceDescription(i) => {
                assert_eq!(i.if_tsresol, 9);
                format!("interface {:?} {} {}", i.if_name().map(Result::unwrap), i.linktype.0, i.snaplen)
            }
            Block::EnhancedPacket(p) => {
                let comments: Vec<&[u8]> = p
                    .options
                    .iter()
                    .filter(|o| o.code == OptionCode::Comment)
                    .map(|o| o.as_bytes().unwrap())
                    .collect();
                if let [first, second] = comments[..] {
                    assert_eq!(first, b"loss-rto: lost here");
                    assert_eq!(second, "ü".repeat(32_767).as_bytes(), "cut between two characters");
                }
                format!("packet {} {} {}", p.if_id, p.caplen, comments.len())
            }
            Block::InterfaceStatistics(s) => format!("statistics {:?}", s.isb_osdrop().map(Result::unwrap)),
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(
        blocks,
        [
            "section",
            "interface Some(\"tun0\") 101 160",
            "packet 0 61 0",
            "interface None 1 0",
            "packet 1 61 2",
            "statistics Some(3)"
        ]
    );
}

/// Bytes of each direction that a capture file holds, each counted once, by source port.
fn stream_bytes(path: &Path) -> BTreeMap<u16, u64> {
    let (frames, fault, _) = drain(std::fs::File::open(path).unwrap());
    assert_eq!(fault, None);
    let mut seen: BTreeMap<u16, BTreeMap<u32, u32>> = BTreeMap::new();
    let mut isn = BTreeMap::new();
    for f in &frames {
        let Decoded::Tcp(s) = decode(&f.frame()) else {
            panic!("frame {} is not TCP: {:?}", f.no, decode(&f.frame()))
        };
        assert!(!s.cut, "frame {}: headers are cut", f.no);
        if s.flags.syn() {
            isn.insert(s.src.port(), s.seq);
        }
        if s.len > 0 {
            let at = s.seq.diff(isn[&s.src.port()].plus(1)) as u32;
            let end = seen.entry(s.src.port()).or_default().entry(at).or_default();
            *end = (*end).max(at + s.len);
        }
    }
    let count = |ranges: BTreeMap<u32, u32>| {
        let (mut total, mut reached) = (0u64, 0u32);
        for (start, end) in ranges {
            total += u64::from(end.saturating_sub(start.max(reached)));
            reached = reached.max(end);
        }
        total
    };
    seen.into_iter().map(|(port, ranges)| (port, count(ranges))).collect()
}

/// A capture, or none where this machine does not allow it.
fn start(test: &str, options: LiveOptions) -> Option<LiveCapture> {
    match LiveCapture::start(options) {
        Ok(c) => Some(c),
        Err(e @ CaptureError::Permission { .. }) => {
            println!("SKIPPED {test}: {e}");
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{test} must run in CI");
            None
        }
        Err(e) => panic!("{e}"),
    }
}

/// `up` bytes to a server on loopback and `down` bytes back, over one connection that then stays
/// open; the two addresses as the client sees them.
fn transfer(listener: &TcpListener, up: usize, down: usize) -> (TcpStream, TcpStream) {
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    let echo = std::thread::spawn(move || {
        let mut buf = vec![0; up];
        server.read_exact(&mut buf).unwrap();
        server.write_all(&vec![2; down]).unwrap();
        server
    });
    client.write_all(&vec![1; up]).unwrap();
    let mut buf = vec![0; down];
    client.read_exact(&mut buf).unwrap();
    (client, echo.join().unwrap())
}

#[test]
fn a_live_capture_stopped_at_once_still_has_every_byte() {
    const TEST: &str = "a_live_capture_stopped_at_once_still_has_every_byte";
    const UP: usize = 6 << 20;
    const DOWN: usize = 2 << 20;
    let dir = tempfile::tempdir().unwrap();
    for device in [Some("lo".to_owned()), None] {
        for round in 0..5 {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let mut options = LiveOptions::new(dir.path().join("live.pcapng"));
            options.device = device.clone();
            options.filter = format!("tcp port {port}");
            let Some(capture) = start(TEST, options) else { return };
            let (client, _server) = transfer(&listener, UP, DOWN);
            let (a, b) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
            let acked = Expected { acked: UP as u64, ..Expected::bytes(a, b, UP as u64) };
            let summary = capture.stop(&[acked, Expected::bytes(b, a, DOWN as u64)]).unwrap();
            assert_eq!(summary.missing, [], "{device:?} round {round}");
            assert!(summary.complete);
            assert!(summary.dropped == 0 && summary.received >= summary.frames);
            let link = if device.is_some() { LinkType::ETHERNET } else { LinkType::SLL2 };
            assert_eq!(summary.link, link);
            let bytes = stream_bytes(&summary.path);
            assert_eq!((bytes[&a.port()], bytes[&b.port()]), (UP as u64, DOWN as u64));
            let (frames, _, notes) = drain(std::fs::File::open(&summary.path).unwrap());
            assert_eq!((frames.len() as u64, notes.dropped, notes.cut_at), (summary.frames, Some(0), None));
            assert!(frames.iter().any(|f| f.ts % 1000 != 0), "nanoseconds");
            assert!(frames.iter().all(|f| f.data.len() <= 160));
        }
    }
}

#[test]
fn a_live_capture_says_what_is_missing() {
    const TEST: &str = "a_live_capture_says_what_is_missing";
    let dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut options = LiveOptions::new(dir.path().join("live.pcapng"));
    options.device = Some("lo".to_owned());
    options.filter = format!("tcp port {}", listener.local_addr().unwrap().port());
    options.patience = Duration::from_millis(300);
    let Some(capture) = start(TEST, options) else { return };
    let (client, server) = transfer(&listener, 1000, 1000);
    let (a, b) = (client.local_addr().unwrap(), client.peer_addr().unwrap());

    // The file can be read while it grows, at most 200 ms behind.
    let begun = Instant::now();
    while drain(std::fs::File::open(capture.path()).unwrap()).0.len() < 5 {
        assert!(begun.elapsed() < Duration::from_secs(3), "nothing is written");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(capture.running() && capture.counts().frames >= 5);

    drop((client, server));
    let begun = Instant::now();
    let closed = Expected { fin: true, ..Expected::bytes(a, b, 1000) };
    let summary = capture.stop(&[closed, Expected::bytes(b, a, 5000)]).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(300), "it waits for what may still come");
    assert!(!summary.complete);
    let said: Vec<String> = summary.missing.iter().map(ToString::to_string).collect();
    assert_eq!(said, [format!("{b} to {a}: 1000 of 5000 bytes captured")]);
}

#[test]
fn a_live_capture_that_cannot_start_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = LiveOptions::new(dir.path().join("live.pcapng"));
    options.device = Some("lo".to_owned());
    let Some(capture) = start("a_live_capture_that_cannot_start_says_why", options.clone()) else { return };
    drop(capture);
    let why = |o: &LiveOptions| LiveCapture::start(o.clone()).unwrap_err();

    let wrong = why(&LiveOptions { filter: "tcp prot 80".to_owned(), ..options.clone() });
    assert!(
        matches!(&wrong, CaptureError::Live { message, .. } if message.contains("“tcp prot 80” is wrong")),
        "{wrong}"
    );
    let nowhere = why(&LiveOptions { device: Some("nosuch0".to_owned()), ..options.clone() });
    assert!(
        matches!(&nowhere, CaptureError::Live { device, message } if device == "nosuch0" && message.contains("lo")),
        "{nowhere}"
    );
    let unwritable = why(&LiveOptions { path: dir.path().join("no/such/folder.pcapng"), ..options });
    assert!(matches!(unwritable, CaptureError::Io { .. }), "{unwritable}");
}

proptest::proptest! {
    #[test]
    fn what_is_written_is_read_again(
        frames in proptest::collection::vec(
            (proptest::num::i64::ANY, 0u16..300, 0u32..3, 0u32..9000, proptest::collection::vec(proptest::num::u8::ANY, 0..300)),
            0..20,
        )
    ) {
        let mut numbers = Vec::new();
        let expected: Vec<Owned> = frames.into_iter().zip(1..).map(|((ts, link, interface, more, data), no)| {
            // Interfaces are numbered as they come; one before 1970 is another than one after.
            let key = (interface, link, ts < 0);
            let interface = numbers.iter().position(|k| *k == key).unwrap_or_else(|| { numbers.push(key); numbers.len() - 1 }) as u32;
            Owned { no, ts, link, interface, orig_len: data.len() as u32 + more, data }
        }).collect();
        let bytes = written(|w| expected.iter().try_for_each(|f| {
            let (interface, _, _) = numbers[f.interface as usize];
            w.write(&Frame { interface, ..f.frame() })
        }));
        proptest::prop_assert_eq!(bytes.len() % 4, 0);
        let (got, fault, notes) = read(&bytes);
        proptest::prop_assert_eq!(fault, None);
        proptest::prop_assert_eq!(notes.cut_at, None);
        proptest::prop_assert_eq!(got, expected);
    }

    #[test]
    fn damaged_files_never_panic(which in 0usize..3, flips in proptest::collection::vec((0usize..600, proptest::num::u8::ANY), 1..8)) {
        let mut f = [small_pcap(), rich_pcapng(), gz(&small_pcap())][which].clone();
        for (at, v) in flips {
            let at = at % f.len();
            f[at] = v;
        }
        for f in read(&f).0 {
            let _ = decode(&f.frame());
        }
    }
}
