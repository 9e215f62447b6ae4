//! Listings against the files that tcpdump listed: the same packets, whatever its options were.

use crate::real::{captures, rows, skip};
use crate::{Owned, drain, read};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::process::Command;
use syncscope::capture::CaptureError;
use syncscope::decode::{Decoded, Segment, decode};

/// Files that tcpdump itself does not list as they are.
const UNLISTABLE: [&str; 9] = [
    "pppoe-over-qinq.pcap", // padded ACKs: a listing has the IP header's word for the length
    "truncated-header.pcap", // a TCP header that is cut
    "timestamp_invalid_nano.pcap", // fractions of more than a second
    "many_interfaces-1.pcapng", // several link types
    "bigtcp-ipv4.pcap",     // `bad-len 0`
    "ipv4_tcp_http_xml_tso.pcap", // the same
    "bigtcp-ipv6-hbh.pcap", // ports apart from the addresses
    "heapoverflow-tcp_print.pcap", // a cut header
    "tcp-auth-heapoverflow.pcap", // the same
];

fn segments(frames: &[Owned]) -> Vec<Segment> {
    let of = |f: &Owned| match decode(&f.frame()) {
        Decoded::Tcp(s) => Some(s),
        _ => None,
    };
    frames.iter().filter_map(of).collect()
}

/// What a listing carries of a packet, apart from its numbers.
fn carried(s: &Segment) -> impl PartialEq + std::fmt::Debug {
    // this tcpdump does not print AE
    let o = s.options;
    (
        s.src,
        s.dst,
        s.flags.0 & 0xff,
        s.window,
        s.len,
        o.mss,
        o.wscale.map(|w| w.min(14)),
        o.sack_permitted,
        o.timestamps,
    )
}

/// Each number of a sender is off by the same.
#[derive(Default)]
struct Offsets(HashMap<(SocketAddr, SocketAddr), u32>);

impl Offsets {
    fn same(&mut self, from: SocketAddr, to: SocketAddr, listed: u32, real: u32) -> bool {
        let by = listed.wrapping_sub(real);
        *self.0.entry((from, to)).or_insert(by) == by
    }
}

/// The first packet that differs.
fn difference(listed: &[Segment], real: &[Segment], times: bool) -> Option<String> {
    if listed.len() != real.len() {
        return Some(format!("{} of {} packets", listed.len(), real.len()));
    }
    let mut offsets = Offsets::default();
    for (l, r) in listed.iter().zip(real) {
        let numbered = r.len > 0 || r.flags.syn() || r.flags.fin();
        if r.flags.syn() {
            // a new conversation has numbers of its own
            offsets.0.remove(&(r.src, r.dst));
            offsets.0.remove(&(r.dst, r.src));
        }
        let fits = carried(l) == carried(r)
            && (!numbered || offsets.same(r.src, r.dst, l.seq.0, r.seq.0))
            && (!r.flags.ack() || offsets.same(r.dst, r.src, l.ack.0, r.ack.0))
            && l.options.sack.as_slice().iter().count() == r.options.sack.as_slice().iter().count()
            && l.options.sack.as_slice().iter().zip(r.options.sack.as_slice().iter()).all(|(a, b)| {
                offsets.same(r.dst, r.src, a.0.0, b.0.0) && offsets.same(r.dst, r.src, a.1.0, b.1.0)
            })
            && (!times || l.ts.0 / 1000 == r.ts.0 / 1000);
        if !fits {
            return Some(format!("listed {l:#?}\nreal {r:#?}"));
        }
    }
    None
}

#[test]
fn a_listing_carries_what_the_file_has() {
    let test = "a_listing_carries_what_the_file_has";
    let Some(dir) = captures(test) else { return };
    if Command::new("tcpdump").arg("--version").output().is_err() {
        return skip::skip(test, "no tcpdump");
    }
    let ways: [(&[&str], bool); 6] = [
        (&["-tt", "-S", "-v"], true),
        (&["-tt"], true),
        (&["-tttt", "-e"], true),
        (&["-ttt", "-vv"], false),
        (&[], false),
        (&["-tt", "-X"], true),
    ];
    let mut wrong = Vec::new();
    let mut same = 0;
    for row in rows(&dir) {
        let path = dir.join(&row["path"]);
        let (frames, fault, _) = drain(std::fs::File::open(&path).unwrap());
        let real = segments(&frames);
        if fault.is_some()
            || real.is_empty()
            || real.len() > 3000
            || row["path"].ends_with(".gz")
            || UNLISTABLE.iter().any(|u| row["path"].ends_with(u))
        {
            continue;
        }
        for (options, times) in ways {
            let out = Command::new("tcpdump")
                .env("TZ", "UTC")
                .arg("-nr")
                .arg(&path)
                .args(options)
                .output()
                .unwrap();
            let (listed, fault, notes) = read(&out.stdout);
            match fault.map(|f| f.to_string()).or_else(|| difference(&segments(&listed), &real, times)) {
                None => same += 1,
                Some(how) => wrong.push(format!("{} {options:?}: {how}\n{:?}", row["path"], notes.remarks)),
            }
        }
    }
    assert!(same > 150 || !wrong.is_empty(), "only {same}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn one_packet_is_the_same_however_it_is_listed() {
    const TCP: &str = "Flags [P.], seq 546:567, ack 170, win 114, options [nop,nop,TS val 9 ecr 8,nop,nop,sack 2 {5:6}{7:9}]";
    let v4 = "10.0.0.1.6300 > 10.0.0.2.57619";
    let ip = "(tos 0x2,ECT(0), ttl 63, id 4711, offset 0, flags [DF], proto TCP (6), length 73)";
    let mac = "00:00:5e:00:53:01 > 00:00:5e:00:53:02, ethertype";
    let forms = [
        format!("15:18:45.703607 IP {v4}: {TCP}, length 21"),
        format!("15:18:45.703607 IP localhost.6300 > 10.0.0.2.57619: {TCP}, length 21")
            .replace("localhost", "10.0.0.1"),
        format!("1970-01-01 15:18:45.703607 IP {v4}: {TCP}, length 21: HTTP: GET / Flags"),
        format!("15:18:45.703607000 eth0  Out IP {v4}: {TCP}, length 21"),
        format!("55125.703607 IP {v4}: {TCP}, length 21"),
        format!("15:18:45.703607 {mac} IPv4 (0x0800), length 87: {v4}: {TCP}, length 21"),
        format!(
            "15:18:45.703607 {mac} 802.1Q (0x8100), length 91: vlan 42, p 0, ethertype IPv4 (0x0800), {v4}: {TCP}, length 21"
        ),
        format!(
            "15:18:45.703607 IP {ip}\n    {v4}: {}, length 21",
            TCP.replace("seq", "cksum 0x1f2e (correct), seq")
        ),
    ];
    let want = segments(&read(forms[0].as_bytes()).0);
    assert_eq!((want[0].ts.0, want[0].seq.0, want[0].len), (55_125_703_607_000, 546, 21));
    assert_eq!(want[0].options.sack.as_slice().len(), 2);
    for f in &forms {
        let got = segments(&read(f.as_bytes()).0);
        assert_eq!(got.len(), 1, "{f}");
        assert_eq!(
            (carried(&got[0]), got[0].ts, got[0].seq, got[0].ack),
            (carried(&want[0]), want[0].ts, want[0].seq, want[0].ack),
            "{f}"
        );
    }
    let told = segments(&read(forms[7].as_bytes()).0)[0];
    assert_eq!((told.ttl, told.ip_id, told.dont_fragment, told.ecn), (63, Some(4711), true, 2));
    let v6 = format!("15:18:45.703607 IP6 2001:db8::1.6300 > fe80::2%eth0.57619: {TCP}, length 21");
    assert_eq!(segments(&read(v6.as_bytes()).0)[0].src, "[2001:db8::1]:6300".parse().unwrap());
}

#[test]
fn numbers_relative_absolute_and_left_out_are_one_numbering() {
    // the same conversation as tcpdump prints it by itself, with -S, and as an excerpt of it
    let line = |us: u32, forth: bool, rest: &str| {
        let ends = if forth { "10.0.0.1.5 > 10.0.0.2.80" } else { "10.0.0.2.80 > 10.0.0.1.5" };
        format!("10:00:00.{us:06} IP {ends}: Flags {rest}\n")
    };
    let own = [
        line(0, true, "[S], seq 3000000000, win 9, length 0"),
        line(1, false, "[S.], seq 700, ack 3000000001, win 9, length 0"),
        line(2, true, "[.], ack 1, win 9, length 0"),
        line(3, true, "[P.], seq 1:11, ack 1, win 9, length 10"),
        line(4, false, "[.], ack 11, win 9, options [nop,nop,sack 1 {21:31}], length 0"),
        line(5, true, "[F.], seq 11, ack 1, win 9, length 0"),
        line(6, true, "[R], seq 3000000012, win 0, length 0"),
    ];
    let absolute = [
        own[0].clone(),
        own[1].clone(),
        line(2, true, "[.], ack 701, win 9, length 0"),
        line(3, true, "[P.], seq 3000000001:3000000011, ack 701, win 9, length 10"),
        line(
            4,
            false,
            "[.], ack 3000000011, win 9, options [nop,nop,sack 1 {3000000021:3000000031}], length 0",
        ),
        line(5, true, "[F.], seq 3000000011, ack 701, win 9, length 0"),
        own[6].clone(),
    ];
    let numbers = |lines: &[String]| -> Vec<(u32, u32)> {
        let s = segments(&read(lines.concat().as_bytes()).0);
        s.iter().map(|s| (s.seq.0, if s.flags.ack() { s.ack.0 } else { 0 })).collect()
    };
    let want = [
        (3000000000, 0),
        (700, 3000000001),
        (3000000001, 701),
        (3000000001, 701),
        (701, 3000000011),
        (3000000011, 701),
        (3000000012, 0),
    ];
    assert_eq!(numbers(&own), want);
    assert_eq!(numbers(&absolute), want);
    // without the handshake the numbers stay relative, and an absolute one falls in line
    assert_eq!(numbers(&own[3..]), [(1, 1), (1, 11), (11, 1), (12, 0)]);
}

#[test]
fn what_cannot_be_read_is_named_by_its_line() {
    let good = "15:18:45.1 IP 10.0.0.1.5 > 10.0.0.2.80: Flags [.], ack 1, win 9, length 0\n";
    let told = |text: &str| match read(text.as_bytes()) {
        (frames, None, notes) => {
            let said = notes.remarks.iter().map(|r| format!("{} ×{}: {}", r.code, r.count, r.message));
            format!("{} frames\n{}", frames.len(), said.collect::<Vec<_>>().join("\n"))
        }
        (_, Some(e), _) => e.to_string(),
    };
    for (bad, why) in [
        ("15:18:45.2 IP 10.0.0.1.5 > 10.0.0.2.80: Flags [P.], seq 1:2, ack 1, win 9", "no `length`"),
        (
            "15:18:45.2 IP 10.0.0.1.5 > 10.0.0.2.80: Flags [P.], seq x:2, ack 1, win 9, length 1",
            "`x` is no seq",
        ),
        ("15:18:45.2 IP 10.0.0.1.5 > 10.0.0.2.80: Flags [Q], length 1", "the flags `Q`"),
        ("15:18:45.2 IP 10.0.0.1.5 10.0.0.2.80: Flags [.], ack 1, win 9, length 0", "no ` > `"),
        ("15:18:45.2 IP 10.0.0.1.5 > 10.0.0.2.80: Flags [.], win 9, length 0", "no `ack`"),
        ("1565767125.2 IP 10.0.0.1.5 > 10.0.0.2.80: Flags [.], ack 1, win 9, length 0", "another format"),
    ] {
        let said = told(&format!("{good}{bad}\n{bad}\n"));
        assert!(
            said.contains("1 frames") && said.contains("listing-garbled ×2: line 2 (and 1 more)"),
            "{said}"
        );
        assert!(said.contains(why), "{said}");
    }
    let names = told("15:18:45.1 IP alpha.backup > 10.0.0.2.80: Flags [.], ack 1, win 9, length 0\n");
    assert!(names.contains("line 1") && names.contains("--name alpha=ADDRESS --name backup=PORT"), "{names}");
    let bare = told("IP 10.0.0.1.5 > 10.0.0.2.80: Flags [.], ack 1, win 9, length 0\n");
    assert!(bare.contains("no time stamps (-t)"), "{bare}");
    let other = "15:18:45.3 IP 10.0.0.1.5 > 10.0.0.2.53: 12+ A? a. (20)\n";
    let said = told(&format!("tcpdump: listening on eth0, link-type EN10MB\n{good}{other}\t0x0000:  4500\n"));
    assert!(said.contains("1 frames") && said.contains("listing-not-tcp ×1"), "{said}");
    assert!(said.contains("listing-other-lines ×2"), "{said}");
    let none = told(other);
    assert!(none.contains("no TCP packet is listed"), "{none}");
}

#[test]
fn a_clock_without_a_date_passes_midnight() {
    let line = |t: &str| format!("{t} IP 10.0.0.1.5 > 10.0.0.2.80: Flags [.], ack 1, win 9, length 0\n");
    let (frames, _, _) = read(format!("{}{}", line("23:59:59.9"), line("00:00:00.1")).as_bytes());
    assert_eq!(frames[1].ts - frames[0].ts, 200_000_000);
}

#[test]
fn hostile_listings_end_in_linear_time() {
    let begun = std::time::Instant::now();
    let head = "15:18:45.1 IP 10.0.0.1.5 > 10.0.0.2.80: Flags [.], ack 1, win 9, ";
    let long = format!("{head}options [{}", "sack 1 {1:2},".repeat(2_000_000));
    assert!(matches!(read(long.as_bytes()).1, Some(CaptureError::Listing { line: 1, .. })));
    let many = format!("{head}options [{}], length 0\n", "nop,".repeat(1_000_000));
    assert_eq!(read(many.as_bytes()).0.len(), 1);
    let mut pairs = String::new();
    for i in 0..40_000u32 {
        pairs.push_str(&format!(
            "15:18:45.1 IP 10.{}.{}.1.5 > 10.0.0.2.80: Flags [.], ack {i}, win 9, length 0\n",
            i / 256 % 256,
            i % 256
        ));
    }
    assert_eq!(read(pairs.as_bytes()).0.len(), 40_000);
    let numbers = format!(
        "{head}length 4294967295\n15:18:45.1 IP 10.0.0.1.5 > 10.0.0.2.80: Flags [FSRPUEWe.], seq 4294967295:1, ack 4294967295, win 65535, options [mss 65535,wscale 255,sack 9 {{4294967295:0}}], length 4294967295\n"
    );
    assert_eq!(read(numbers.as_bytes()).0.len(), 2);
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
}
