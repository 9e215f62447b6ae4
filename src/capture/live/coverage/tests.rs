use super::*;
use crate::model::{FrameNo, Ts};
use etherparse::PacketBuilder;

const A: &str = "10.0.0.1:1000";
const B: &str = "10.0.0.2:2000";

fn addr(s: &str) -> SocketAddr {
    s.parse().unwrap()
}

struct Trace(Coverage);

impl Trace {
    fn new() -> Trace {
        Trace(Coverage::default())
    }

    /// `from > to flags seq len ack`; flags of `SFA`.
    fn seg(&mut self, from: &str, to: &str, flags: &str, seq: u32, len: usize, ack: u32) -> &mut Trace {
        let (src, dst) = (addr(from), addr(to));
        let (IpAddr::V4(s), IpAddr::V4(d)) = (src.ip(), dst.ip()) else { panic!() };
        let mut b = PacketBuilder::ipv4(s.octets(), d.octets(), 9).tcp(src.port(), dst.port(), seq, 100);
        for f in flags.chars() {
            b = match f {
                'S' => b.syn(),
                'F' => b.fin(),
                _ => b.ack(ack),
            };
        }
        let mut p = Vec::new();
        b.write(&mut p, &vec![0; len]).unwrap();
        // Cut after the headers, as a snap length does.
        let frame = Frame {
            no: FrameNo(1),
            ts: Ts(0),
            link: LinkType::RAW,
            interface: 0,
            orig_len: p.len() as u32,
            data: &p[..40],
        };
        self.0.see(&frame);
        self
    }

    fn missing(&self, e: Expected) -> Option<String> {
        self.0.missing(&[e]).first().map(ToString::to_string)
    }
}

fn a_to_b(bytes: u64) -> Expected {
    Expected::bytes(addr(A), addr(B), bytes)
}

#[test]
fn a_stream_is_complete_when_every_byte_from_its_syn_was_seen() {
    let mut t = Trace::new();
    assert_eq!(t.missing(a_to_b(0)), None);
    t.seg(A, B, "S", 99, 0, 0).seg(B, A, "SA", 499, 0, 100).seg(A, B, "A", 100, 10, 500);
    assert_eq!(t.missing(a_to_b(10)), None);
    assert_eq!(t.missing(a_to_b(11)).unwrap(), format!("{A} to {B}: 10 of 11 bytes captured"));
    t.seg(A, B, "A", 120, 10, 500);
    assert_eq!(
        t.missing(a_to_b(30)).unwrap(),
        format!("{A} to {B}: 20 of 30 bytes captured, the first gap at byte 10")
    );
    t.seg(A, B, "A", 105, 20, 500);
    assert_eq!(t.missing(a_to_b(30)), None);
}

#[test]
fn acknowledgments_and_the_end_can_be_expected_too() {
    let mut t = Trace::new();
    t.seg(A, B, "S", 99, 0, 0).seg(B, A, "SA", 499, 0, 100).seg(A, B, "A", 100, 10, 500);
    let all = Expected { acked: 10, fin: true, ..a_to_b(10) };
    assert_eq!(
        t.missing(all).unwrap(),
        format!("{A} to {B}: acknowledgments of 0 of 10 bytes captured, its end (FIN) not captured")
    );
    t.seg(A, B, "FA", 110, 0, 500);
    assert_eq!(t.missing(all).unwrap(), format!("{A} to {B}: acknowledgments of 0 of 10 bytes captured"));
    t.seg(B, A, "A", 500, 0, 111);
    assert_eq!(t.missing(all), None);
}

#[test]
fn sequence_numbers_wrap_and_streams_grow_past_four_gigabytes() {
    let mut t = Trace::new();
    let isn = u32::MAX - 20_000;
    t.seg(A, B, "S", isn, 0, 0);
    let step = 60_000u64;
    let steps = 5 * (1u64 << 30) / step;
    for i in 0..steps {
        t.seg(A, B, "A", isn.wrapping_add(1).wrapping_add((i * step) as u32), step as usize, 0);
    }
    assert_eq!(t.missing(a_to_b(steps * step)), None);
    assert!(t.missing(a_to_b(steps * step + 1)).is_some());
}

#[test]
fn a_new_connection_on_the_same_ports_starts_afresh() {
    let mut t = Trace::new();
    t.seg(A, B, "S", 99, 0, 0).seg(A, B, "A", 100, 50, 0).seg(A, B, "S", 70_000, 0, 0);
    assert_eq!(t.missing(a_to_b(50)).unwrap(), format!("{A} to {B}: 0 of 50 bytes captured"));
    t.seg(A, B, "S", 70_000, 0, 0).seg(A, B, "A", 70_001, 50, 0);
    assert_eq!(t.missing(a_to_b(50)), None);
}

#[test]
fn an_ipv4_address_in_ipv6_clothes_is_the_same() {
    let mut t = Trace::new();
    t.seg(A, B, "S", 99, 0, 0).seg(A, B, "A", 100, 5, 0);
    let e = Expected::bytes(addr("[::ffff:10.0.0.1]:1000"), addr("[::ffff:10.0.0.2]:2000"), 5);
    assert_eq!(t.missing(e), None);
}

proptest::proptest! {
    /// The interval list agrees with a plain set of bytes, whatever order they come in.
    #[test]
    fn any_order_covers_the_same_bytes(pieces in proptest::collection::vec((0u64..200, 1u64..30), 1..40)) {
        let mut s = Stream::new(Seq(7), true);
        let mut set = std::collections::BTreeSet::new();
        for (at, len) in pieces {
            s.sent(Seq(7).plus(at as u32), len as u32, false);
            set.extend(at..at + len);
            proptest::prop_assert!(s.ranges.windows(2).all(|w| w[0].1 < w[1].0), "in order, not touching");
        }
        let contiguous = (0..).take_while(|b| set.contains(b)).count() as u64;
        proptest::prop_assert_eq!(s.seen(), set.len() as u64);
        proptest::prop_assert_eq!(s.contiguous(), contiguous);
    }
}
