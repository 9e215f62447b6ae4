//! Packets built by hand, one trap each.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::model::{FrameNo, LinkType, Seq, Ts};
use etherparse::{PacketBuilder, TcpOptionElement};

const A: [u8; 4] = [10, 0, 0, 1];
const B: [u8; 4] = [10, 0, 0, 2];
const A6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const B6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
const MACS: [u8; 12] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];

fn at(link: u16, data: &[u8], orig_len: usize) -> Decoded {
    decode(&Frame {
        no: FrameNo(7),
        ts: Ts(42),
        link: LinkType(link),
        interface: 3,
        orig_len: orig_len as u32,
        data,
    })
}

fn whole(link: u16, data: &[u8]) -> Decoded {
    at(link, data, data.len())
}

#[track_caller]
fn tcp(d: Decoded) -> Segment {
    match d {
        Decoded::Tcp(s) => s,
        other => panic!("not TCP: {other:?}"),
    }
}

/// IPv4, from A:1000 to B:2000, seq 5, ack 9, with timestamps and a SACK block.
fn ip4(payload: &[u8]) -> Vec<u8> {
    let b = PacketBuilder::ipv4(A, B, 61)
        .tcp(1000, 2000, 5, 4096)
        .ack(9)
        .options(&[
            TcpOptionElement::Noop,
            TcpOptionElement::Noop,
            TcpOptionElement::Timestamp(77, 66),
            TcpOptionElement::Noop,
            TcpOptionElement::Noop,
            TcpOptionElement::SelectiveAcknowledgement((20, 30), [None; 3]),
        ])
        .unwrap();
    let mut out = Vec::new();
    b.write(&mut out, payload).unwrap();
    out
}

fn ip6(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    PacketBuilder::ipv6(A6, B6, 61).tcp(1000, 2000, 5, 4096).ack(9).write(&mut out, payload).unwrap();
    out
}

fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

fn set16(p: &mut [u8], at: usize, v: u16) {
    p[at..at + 2].copy_from_slice(&v.to_be_bytes());
}

#[test]
fn every_field_of_a_plain_packet() {
    let s = tcp(whole(1, &join(&[&MACS, &[8, 0], &ip4(b"hello")])));
    assert_eq!((s.frame, s.ts, s.interface), (FrameNo(7), Ts(42), 3));
    assert_eq!(
        (s.src.to_string(), s.dst.to_string()),
        ("10.0.0.1:1000".to_owned(), "10.0.0.2:2000".to_owned())
    );
    assert_eq!((s.seq, s.ack, s.window, s.len, s.ttl), (Seq(5), Seq(9), 4096, 5, 61));
    assert!(s.flags.ack() && !s.flags.syn() && !s.flags.fin());
    assert_eq!(s.options.timestamps, Some((77, 66)));
    assert_eq!(s.options.sack.as_slice(), &[(Seq(20), Seq(30))]);
    assert_eq!((s.checksum_ok, s.cut), (Some(true), false));
    assert!(s.ip_id.is_some());
}

/// From a capture behind a router that padded its ACKs to Ethernet's 46 bytes and numbered the padding as data.
#[test]
fn padding_that_a_pppoe_device_took_for_payload_is_no_data() {
    let mut padded = ip4(&[0; 6])[..46].to_vec();
    padded[0] = 0x45;
    padded[32] = 0x50;
    set16(&mut padded, 2, 46);
    let under = |said: u8| whole(51, &join(&[&[0x11, 0, 0, 9, 0, said, 0, 0x21], &padded]));
    let ack = tcp(under(42));
    assert_eq!((ack.len, ack.ack, ack.checksum_ok), (0, Seq(9), None));
    assert_eq!(tcp(under(48)).len, 6, "a packet of that size is none of them");
}

#[test]
fn one_packet_under_every_link_header() {
    let p = ip4(b"hello");
    let llc = [0xaa, 0xaa, 3, 0, 0, 0, 8, 0];
    let sll = [0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0];
    let pppoe = [0x11, 0, 0, 9, 0, 67];
    let wrapped: Vec<(u16, Vec<u8>)> = vec![
        (1, join(&[&MACS, &[0x81, 0, 0, 5, 8, 0], &p])),
        (1, join(&[&MACS, &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 8, 0], &p])),
        (1, join(&[&MACS, &[0x81, 0, 0, 5, 0x88, 0x64], &pppoe, &[0, 0x21], &p])),
        (1, join(&[&MACS, &[0x88, 0x47, 0, 1, 0, 64, 0, 1, 0x11, 64], &p])),
        (1, join(&[&MACS, &(p.len() as u16 + 8).to_be_bytes(), &llc, &p, &[0; 9]])),
        (113, join(&[&sll, &[8, 0], &p])),
        (113, join(&[&sll, &[0x81, 0, 0, 5, 8, 0], &p])),
        (276, join(&[&[8, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0], &p])),
        (0, join(&[&[2, 0, 0, 0], &p])),
        (0, join(&[&[0, 0, 0, 2], &p])),
        (108, join(&[&[0, 0, 0, 2], &p])),
        (12, join(&[&[0, 0, 0, 2], &p])),
        (9, join(&[&[0xff, 3, 0, 0x21], &p])),
        (9, join(&[&[0x21], &p])),
        (50, join(&[&[0xff, 3, 0, 0x21], &p])),
        (50, join(&[&[0x0f, 0, 8, 0], &p])),
        (104, join(&[&[0x0f, 0, 8, 0], &p])),
        (51, join(&[&pppoe, &[0, 0x21], &p])),
        (10, join(&[&[0x50], &MACS, &llc, &p])),
        (12, p.clone()),
        (14, p.clone()),
        (101, p.clone()),
        (228, p.clone()),
    ];
    for (link, bytes) in wrapped {
        let s = tcp(whole(link, &bytes));
        assert_eq!((s.src.port(), s.len, s.checksum_ok), (1000, 5, Some(true)), "link type {link}");
        for cut in 0..bytes.len() {
            // Never a panic, no length but the true one, and no verdict on a checksum of bytes that
            // are not there (cut in the trailing padding, they are).
            if let Decoded::Tcp(s) = at(link, &bytes[..cut], bytes.len()) {
                assert_eq!(s.len, 5, "link type {link} cut at {cut}");
                assert_ne!(s.checksum_ok, Some(false), "link type {link} cut at {cut}");
            }
        }
    }
    for family in [10u8, 24, 28, 30] {
        for head in [[family, 0, 0, 0], [0, 0, 0, family]] {
            assert_eq!(tcp(whole(0, &join(&[&head, &ip6(b"abc")]))).len, 3);
        }
    }
    assert_eq!(tcp(whole(229, &ip6(b"abc"))).len, 3);
    assert_eq!(whole(105, &p), Decoded::Skip(Skip::LinkType(105)));
    assert_eq!(whole(1, &join(&[&MACS, &[8, 6], &p])), Decoded::Skip(Skip::NotIp));
}

#[test]
fn the_link_key_tells_links_apart_and_nothing_else() {
    let key = |link, parts: &[&[u8]]| tcp(whole(link, &join(parts))).link_key;
    let (p, q) = (ip4(b"one"), ip4(b"another"));
    let plain = key(1, &[&MACS, &[8, 0], &p]);
    assert_eq!(plain, key(1, &[&MACS, &[8, 0], &q]), "the packet does not matter");
    let vlan5 = key(1, &[&MACS, &[0x81, 0, 0, 5, 8, 0], &p]);
    let vlan5_other_priority = key(1, &[&MACS, &[0x81, 0, 0xe0, 5, 8, 0], &p]);
    let vlan6 = key(1, &[&MACS, &[0x81, 0, 0, 6, 8, 0], &p]);
    assert_eq!(vlan5, vlan5_other_priority);
    assert!(plain != vlan5 && vlan5 != vlan6);
    let sll2 = |ifindex: u8, kind: u8| {
        key(276, &[&[8, 0, 0, 0, 0, 0, 0, ifindex, 0, 1, kind, 6, 2, 0, 0, 0, 0, 1, 0, 0], &p])
    };
    assert_eq!(sll2(2, 0), sll2(2, 0));
    assert!(sll2(2, 0) != sll2(3, 0) && sll2(2, 0) != sll2(2, 4));
}

#[test]
fn ethernet_padding_is_not_payload() {
    let s = tcp(whole(1, &join(&[&MACS, &[8, 0], &ip4(b""), &[0; 14]])));
    assert_eq!((s.len, s.checksum_ok), (0, Some(true)));
    let s = tcp(whole(1, &join(&[&MACS, &[0x86, 0xdd], &ip6(b"x"), &[0xff; 3]])));
    assert_eq!((s.len, s.checksum_ok), (1, Some(true)));
}

#[test]
fn a_cut_packet_keeps_its_length_and_the_options_that_are_there() {
    let p = ip4(&[7; 1000]);
    // 20 IP, 20 TCP, 12 with timestamps, 12 with SACK.
    let s = tcp(at(101, &p[..52], p.len()));
    assert_eq!((s.len, s.cut, s.checksum_ok), (1000, true, None));
    assert_eq!((s.options.timestamps, s.options.sack.is_empty()), (Some((77, 66)), true));
    let s = tcp(at(101, &p[..64], p.len()));
    assert_eq!((s.len, s.cut, s.options.sack.as_slice().len()), (1000, false, 1));
    assert_eq!(at(101, &p[..39], p.len()), Decoded::Skip(Skip::TooShort));
    // A tap that slices packets says that the slice was all there was; the IP header knows better.
    assert_eq!(tcp(at(101, &p[..64], 64)).len, 1000);
}

#[test]
fn offload_leaves_length_zero_and_the_frame_tells() {
    let mut p = ip4(&[7; 3000]);
    set16(&mut p, 2, 0);
    assert_eq!(tcp(whole(101, &p)).len, 3000);
    assert_eq!(tcp(at(101, &p[..100], p.len())).len, 3000);
    assert!(matches!(at(101, &p[..100], 1 << 30), Decoded::Skip(Skip::Malformed(_))));
    let mut p = ip6(&[7; 3000]);
    set16(&mut p, 4, 0);
    assert_eq!(tcp(whole(101, &p)).len, 3000);
}

#[test]
fn a_jumbo_payload_option_is_the_length() {
    let inner = ip6(&[7; 70_000 - 65_000]);
    let body = &inner[40..];
    let jumbo = (body.len() as u32 + 8).to_be_bytes();
    let mut p = join(&[&inner[..40], &[6, 0, 0xc2, 4], &jumbo, body, &[0; 5]]);
    set16(&mut p, 4, 0);
    p[6] = 0;
    let s = tcp(whole(101, &p));
    assert_eq!((s.len, s.checksum_ok), (5000, Some(true)));
    p[44] = 0x7f;
    assert_eq!(whole(101, &p), Decoded::Skip(Skip::Malformed("jumbo payload length")));
}

#[test]
fn ipv6_extension_headers_are_walked() {
    let inner = ip6(b"abc");
    let dest_opts = [43, 0, 1, 4, 0, 0, 0, 0];
    let routing = [44, 0, 4, 0, 0, 0, 0, 0];
    let atomic_fragment = [51, 0, 0, 0, 0, 0, 0, 1];
    let auth = [6, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1];
    let mut p = join(&[&inner[..40], &dest_opts, &routing, &atomic_fragment, &auth, &inner[40..]]);
    p[6] = 60;
    let more = p.len() as u16 - 40;
    set16(&mut p, 4, more);
    let s = tcp(whole(101, &p));
    assert_eq!((s.src.port(), s.len, s.checksum_ok), (1000, 3, Some(true)));
    p[40 + 8 + 8 + 3] = 0x08;
    assert_eq!(whole(101, &p), Decoded::Skip(Skip::Fragment));
    p[40 + 8 + 8 + 3] = 0x01;
    assert_eq!(tcp(whole(101, &p)).checksum_ok, None, "the first of several fragments");
}

#[test]
fn ipv4_fragments_and_lengths_that_contradict() {
    let good = ip4(b"hello");
    let with = |f: &dyn Fn(&mut Vec<u8>)| {
        let mut p = good.clone();
        f(&mut p);
        whole(101, &p)
    };
    assert_eq!(tcp(with(&|p| set16(p, 6, 0x2000))).checksum_ok, None);
    assert_eq!(with(&|p| set16(p, 6, 0x0003)), Decoded::Skip(Skip::Fragment));
    assert_eq!(with(&|p| set16(p, 2, 19)), Decoded::Skip(Skip::Malformed("IPv4 total length")));
    assert_eq!(with(&|p| p[0] = 0x44), Decoded::Skip(Skip::Malformed("IPv4 header length")));
    assert_eq!(with(&|p| p[32] = 0x40), Decoded::Skip(Skip::Malformed("TCP data offset below 5")));
    assert_eq!(
        with(&|p| {
            set16(p, 2, 60);
            p[32] = 0xf0;
        }),
        Decoded::Skip(Skip::Malformed("TCP header longer than its packet"))
    );
    assert_eq!(with(&|p| p[9] = 17), Decoded::Skip(Skip::NotTcp));
    assert_eq!(tcp(with(&|p| p[36] ^= 1)).checksum_ok, Some(false));
    assert_eq!(with(&|p| p[0] = 0x75), Decoded::Skip(Skip::NotIp));
}

#[test]
fn ipv4_options_shift_the_tcp_header() {
    let p = ip4(b"hello");
    let mut q = join(&[&p[..20], &[1, 1, 1, 0], &p[20..]]);
    q[0] = 0x46;
    let total = q.len() as u16;
    set16(&mut q, 2, total);
    assert_eq!((tcp(whole(101, &q)).src.port(), tcp(whole(101, &q)).len), (1000, 5));
}

/// A TCP header with the given option bytes (a multiple of four).
fn options(o: &[u8]) -> TcpOptions {
    let mut p = Vec::new();
    PacketBuilder::ipv4(A, B, 1).tcp(1, 2, 3, 4).options_raw(o).unwrap().write(&mut p, &[]).unwrap();
    tcp(whole(101, &p)).options
}

#[test]
fn options_survive_lies() {
    let all = options(&[2, 4, 5, 0xb4, 4, 2, 3, 3, 99, 0, 0, 0]);
    assert_eq!((all.mss, all.sack_permitted, all.wscale), (Some(1460), true, Some(14)));
    assert_eq!(options(&[9, 0, 2, 4, 5, 0xb4, 0, 0]), TcpOptions::default(), "length 0 ends it");
    assert_eq!(options(&[9, 1, 2, 4, 5, 0xb4, 0, 0]), TcpOptions::default(), "length 1 ends it");
    assert_eq!(options(&[2, 200, 5, 0xb4]), TcpOptions::default(), "beyond the end");
    assert_eq!(options(&[1, 1, 1, 2]), TcpOptions::default(), "a kind without a length");
    assert_eq!(options(&[0, 2, 4, 5]), TcpOptions::default(), "nothing counts after the end");
    assert_eq!(
        options(&[2, 3, 5, 3, 3, 7, 0, 0]).mss,
        None,
        "a wrong length of a known kind is stepped over"
    );
    assert_eq!(options(&[2, 3, 5, 3, 3, 7, 0, 0]).wscale, Some(7));
    assert!(options(&[5, 7, 1, 1, 1, 1, 1, 0]).sack.is_empty());
}

#[test]
fn icmp_errors_about_tcp() {
    let quoted = &ip4(b"0123456789")[..28];
    let icmp = join(&[&[3, 4, 0, 0, 0, 0, 0x05, 0x14], quoted]);
    let mut p = join(&[&ip4(b"")[..20], &icmp]);
    p[9] = 1;
    let total = p.len() as u16;
    set16(&mut p, 2, total);
    let Decoded::Icmp(e) = whole(101, &p) else { panic!("not an ICMP error") };
    assert_eq!((e.kind, e.mtu, e.seq), ((3, 4), Some(1300), Seq(5)));
    assert_eq!(
        (e.src.to_string(), e.dst.to_string()),
        ("10.0.0.1:1000".to_owned(), "10.0.0.2:2000".to_owned())
    );
    p[20] = 8;
    assert_eq!(whole(101, &p), Decoded::Skip(Skip::NotTcp), "an echo request");

    let icmp6 = join(&[&[2, 0, 0, 0, 0, 0, 0x05, 0x00], &ip6(b"0123456789")]);
    let mut p = join(&[&ip6(b"")[..40], &icmp6]);
    p[6] = 58;
    let len = p.len() as u16 - 40;
    set16(&mut p, 4, len);
    let Decoded::Icmp(e) = whole(101, &p) else { panic!("not an ICMPv6 error") };
    assert_eq!((e.kind, e.mtu, e.src.port()), ((2, 0), Some(1280), 1000));
}

proptest::proptest! {
    #[test]
    fn random_bytes_never_panic(link in proptest::sample::select(vec![0u16, 1, 9, 10, 12, 50, 51, 101, 104, 108, 113, 228, 229, 276]),
                                data in proptest::collection::vec(proptest::num::u8::ANY, 0..200), orig in 0u32..100_000) {
        let _ = at(link, &data, orig as usize);
    }

    #[test]
    fn broken_packets_never_panic(flips in proptest::collection::vec((0usize..100, proptest::num::u8::ANY), 1..6), six: bool) {
        let mut p = if six { ip6(&[1; 40]) } else { ip4(&[1; 40]) };
        for (at, v) in flips {
            let at = at % p.len();
            p[at] = v;
        }
        let _ = whole(101, &p);
    }
}
