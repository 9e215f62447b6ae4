//! The shared captures: what they hold, and what other readers make of them.

use crate::drain;
use crate::real::{captures, rows};
use etherparse::{EtherType, LaxNetSlice, LaxSlicedPacket, TcpOptionElement, TcpSlice, TransportSlice};
use std::collections::{BTreeMap, BTreeSet};
use syncscope::decode::{Decoded, TcpOptions, decode};
use syncscope::model::Seq;

/// Where corpus.tsv, which a strict dissector counted, is not the truth.
const DIFFERENT: &[(&str, u64, u64, &str)] = &[
    ("bad_ack_code.dmp.gz", 40, 40, "pcap 2.2 has its two lengths the other way round"),
    ("trunc.dmp.gz", 1, 0, "the IP packet ends before the TCP header does"),
    ("tcp-malformed.pcap", 2, 0, "data offset 4"),
];

#[test]
fn every_file_of_the_corpus_gives_the_frames_that_it_holds() {
    let Some(dir) = captures("every_file_of_the_corpus_gives_the_frames_that_it_holds") else { return };
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

/// libpcap, nanoseconds: what every other tool sees. It reads no file with interfaces of several
/// link types, and stops where it meets one.
#[test]
fn libpcap_sees_the_same_frames() {
    let Some(dir) = captures("libpcap_sees_the_same_frames") else { return };
    let scratch = tempfile::tempdir().unwrap();
    let (mut files, mut compared) = (0, 0);
    for row in rows(&dir) {
        let path = dir.join(&row["path"]);
        // The first is said above; the other has fractions of more than a second, which libpcap
        // takes for negative.
        if ["bad_ack_code.dmp.gz", "timestamp_invalid_nano.pcap"].iter().any(|n| row["path"].ends_with(n)) {
            continue;
        }
        let (frames, _, notes) = drain(std::fs::File::open(&path).unwrap());
        let plain = scratch.path().join("plain");
        if row["fmt"].ends_with(".gz") {
            let mut from = flate2::read::MultiGzDecoder::new(std::fs::File::open(&path).unwrap());
            std::io::copy(&mut from, &mut std::fs::File::create(&plain).unwrap()).unwrap();
        } else {
            std::fs::copy(&path, &plain).unwrap();
        }
        let Ok(mut theirs) = pcap::Capture::from_file_with_precision(&plain, pcap::Precision::Nano) else {
            continue;
        };
        let mut seen = 0;
        for ours in &frames {
            let Ok(p) = theirs.next_packet() else { break };
            let ts = p.header.ts.tv_sec * 1_000_000_000 + p.header.ts.tv_usec;
            assert_eq!((ours.ts, ours.orig_len), (ts, p.header.len), "{} frame {}", row["path"], ours.no);
            // It cuts frames that are longer than the snap length announced; the bytes are there.
            let cut = p.data.len() == notes.snaplen.unwrap_or(0) as usize && ours.data.starts_with(p.data);
            assert!(ours.data == p.data || cut, "{} frame {}", row["path"], ours.no);
            seen += 1;
        }
        if seen == frames.len() {
            assert!(theirs.next_packet().is_err(), "{}: libpcap sees more", row["path"]);
        }
        files += usize::from(seen > 0);
        compared += seen;
    }
    println!("{compared} frames of {files} files are the same");
    assert!(files > 60 && compared > 100_000, "{compared} frames of {files} files");
}

/// Where the IP packet begins, for link types that etherparse does not know.
fn packet_in<'a>(f: &'a crate::Owned) -> Option<LaxSlicedPacket<'a>> {
    let d = &f.data[..];
    let by_type = |at: usize, payload: usize| {
        let kind = EtherType(u16::from_be_bytes(d.get(at..at + 2)?.try_into().ok()?));
        Some(LaxSlicedPacket::from_ether_type(kind, d.get(payload..)?))
    };
    match f.link {
        1 => LaxSlicedPacket::from_ethernet(d).ok(),
        113 => by_type(14, 16),
        10 => by_type(19, 21),
        9 => LaxSlicedPacket::from_ip(d.get(4..)?).ok(),
        0 => LaxSlicedPacket::from_ip(d.get(4..)?).ok(),
        12 | 228 => LaxSlicedPacket::from_ip(d).ok(),
        n => panic!("link type {n} is new in the corpus"),
    }
}

/// The options as another parser reads them; none where it gives up on one.
fn options_of(tcp: &TcpSlice<'_>) -> Option<TcpOptions> {
    let mut out = TcpOptions::default();
    for o in tcp.options_iterator() {
        match o.ok()? {
            TcpOptionElement::Noop => {}
            TcpOptionElement::MaximumSegmentSize(n) => out.mss = Some(n),
            TcpOptionElement::WindowScale(n) => out.wscale = Some(n.min(14)),
            TcpOptionElement::SelectiveAcknowledgementPermitted => out.sack_permitted = true,
            TcpOptionElement::SelectiveAcknowledgement(first, rest) => {
                for (l, r) in std::iter::once(first).chain(rest.into_iter().flatten()) {
                    out.sack.push(Seq(l), Seq(r));
                }
            }
            TcpOptionElement::Timestamp(a, b) => out.timestamps = Some((a, b)),
        }
    }
    Some(out)
}

#[test]
fn etherparse_reads_the_same_headers() {
    let Some(dir) = captures("etherparse_reads_the_same_headers") else { return };
    let (mut same, mut options, mut sums) = (0u64, 0u64, 0u64);
    // By reason: frames that only one of the two reads as TCP.
    let mut ours_only: BTreeMap<&str, u64> = BTreeMap::new();
    let mut theirs_only: BTreeMap<String, u64> = BTreeMap::new();
    for row in rows(&dir) {
        let path = &row["path"];
        let (frames, _, _) = drain(std::fs::File::open(dir.join(path)).unwrap());
        for f in &frames {
            let at = format!("{path} frame {}", f.no);
            let p = packet_in(f);
            let theirs = p.as_ref().and_then(|p| match &p.transport {
                Some(TransportSlice::Tcp(t)) => Some(t),
                _ => None,
            });
            match (decode(&f.frame()), theirs) {
                (Decoded::Tcp(s), Some(t)) => {
                    same += 1;
                    assert_eq!((s.src.port(), s.dst.port()), (t.source_port(), t.destination_port()), "{at}");
                    assert_eq!((s.seq.0, s.ack.0), (t.sequence_number(), t.acknowledgment_number()), "{at}");
                    assert_eq!((s.window, s.checksum), (t.window_size(), t.checksum()), "{at}");
                    let fl = s.flags;
                    assert_eq!(
                        [fl.fin(), fl.syn(), fl.rst(), fl.psh(), fl.ack(), fl.urg(), fl.ece(), fl.cwr()],
                        [t.fin(), t.syn(), t.rst(), t.psh(), t.ack(), t.urg(), t.ece(), t.cwr()],
                        "{at}"
                    );
                    if let Some(o) = options_of(t) {
                        assert_eq!(s.options, o, "{at}");
                        options += u64::from(o != TcpOptions::default());
                    }
                    let sum = match p.as_ref().unwrap().net.as_ref().unwrap() {
                        LaxNetSlice::Ipv4(ip) => {
                            let h = ip.header();
                            assert_eq!((s.ttl, s.ip_id), (h.ttl(), Some(h.identification())), "{at}");
                            if h.total_len() > 0 {
                                let headers = usize::from(h.ihl()) * 4 + t.header_slice().len();
                                assert_eq!(s.len as usize, usize::from(h.total_len()) - headers, "{at}");
                            }
                            t.calc_checksum_ipv4(h.source(), h.destination())
                        }
                        LaxNetSlice::Ipv6(ip) => {
                            let h = ip.header();
                            assert_eq!((s.ttl, s.ip_id), (h.hop_limit(), None), "{at}");
                            t.calc_checksum_ipv6(h.source(), h.destination())
                        }
                        LaxNetSlice::Arp(_) => panic!("{at}"),
                    };
                    if let (Some(ok), Ok(sum)) = (s.checksum_ok, sum) {
                        // 0 and 0xffff are the same number in this arithmetic.
                        let fits = sum == s.checksum || (sum ^ s.checksum) == 0xffff && sum % 0xffff == 0;
                        assert_eq!(ok, fits, "{at}");
                        sums += 1;
                    }
                }
                (Decoded::Tcp(s), None) => {
                    let why = match path {
                        _ if s.cut => "options cut by the snap length",
                        p if p.contains("pppoe") => "PPPoE",
                        _ => "other",
                    };
                    *ours_only.entry(why).or_default() += 1;
                }
                (other, Some(_)) => *theirs_only.entry(format!("{other:?}")).or_default() += 1,
                (_, None) => {}
            }
        }
    }
    println!("{same} headers, {options} with options, {sums} checksums are the same");
    println!("only ours: {ours_only:?}");
    assert!(!ours_only.contains_key("other") && theirs_only.is_empty(), "{ours_only:?} {theirs_only:?}");
    assert!(same > 100_000 && options > 50_000 && sums > 50_000, "{same} {options} {sums}");
}
