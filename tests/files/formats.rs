//! Formats and faults.

use crate::build::{
    BE, LE, block, gz, interface, option, packet, pcap_header, pcap_record, rich_pcapng, section, small_pcap,
    w32, zst,
};
use crate::{drain, read};
use std::io::{Cursor, Read};
use syncscope::capture::{CaptureError, file};
use syncscope::decode::decode;
use syncscope::model::Ts;

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

/// A file of radio frames was said to have no connection in it, and the reason was a number.
#[test]
fn frames_of_a_link_type_that_is_not_read_were_no_error() {
    use syncscope::cli::reading::{Reading, read_capture};
    let mut f = pcap_header(LE, 0xa1b2_c3d4, 4, 105);
    f.extend(pcap_record(LE, 7_000, 7, 20, &[], &[8; 20]));
    let mut source = file::open_reader("radio.pcap", Cursor::new(f)).unwrap();
    let error = read_capture(source.as_mut(), None, Reading::everything()).unwrap_err().to_string();
    assert!(error.starts_with("radio.pcap: ") && error.contains("105 (802.11)"), "{error}");
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

proptest::proptest! {
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
