//! What the mutations broke once, each by its smallest trace.

use super::mutate::Rng;
use super::packets::{MSS, P, chance, handshake};
use super::run::{Case, survives};
use syncscope::decode::Segment;
use syncscope::model::Ts;

fn segments(packets: &[P]) -> Vec<Segment> {
    let all = handshake().into_iter().chain(packets.iter().copied());
    all.enumerate().map(|(n, p)| p.segment(n, 4000, &[])).collect()
}

fn survive(s: Vec<Segment>) {
    survives(Case::Segments(s)).unwrap();
}

/// Each packet in turn is centuries before or after the others: waits and round trips of the largest
/// size there is, which are then compared with fractions and multiples of each other.
#[test]
fn waits_of_centuries_overflow_no_comparison() {
    let talk = [
        P::data(30.0, 1),
        P::data(30.1, 1 + MSS),
        P::ack(50.0, 1 + MSS),
        P::data(400.0, 1 + MSS),
        P::data(900.0, 1 + MSS),
        P { window: 0, ..P::ack(920.0, 1 + 2 * MSS) },
        P { len: 1, ..P::data(1500.0, 1 + 2 * MSS) },
        P::ack(3000.0, 1 + 2 * MSS),
        P { client: false, seq: 1, ack: 1 + 2 * MSS, ..P::data(3100.0, 1) },
    ];
    let usual = segments(&talk);
    for i in 0..usual.len() {
        for t in [Ts::MIN, Ts(i64::MIN / 2), Ts(0), Ts(i64::MAX / 2), Ts::MAX] {
            let mut s = usual.clone();
            s[i].ts = t;
            survive(s.clone());
            s[i..].iter_mut().for_each(|s| s.ts = t);
            survive(s);
        }
    }
}

/// Two round trips of centuries do not add up to a number.
#[test]
fn round_trips_that_cannot_be_added_give_no_tap_position() {
    let mut s = segments(&[
        P::data(30.0, 1),
        P::ack(50.0, 1 + MSS),
        P { client: false, seq: 1, ack: 1 + MSS, ..P::data(60.0, 1) },
        P { client: true, ..P::ack(61.0, 1 + MSS) },
    ]);
    s[3].ts = Ts(i64::MIN);
    s[5].ts = Ts(i64::MIN);
    survive(s);
}

/// One byte range sent 70,000 times: more copies than a 16-bit count holds.
#[test]
fn a_segment_may_be_sent_again_more_often_than_a_short_count_holds() {
    let again: Vec<P> = (0..70_000).map(|i| P::data(30.0 + f64::from(i), 1)).collect();
    survive(segments(&again));
}

#[test]
fn chance_that_broke_it_before() {
    for seed in [0, 2, 6, 12, 36, 173, 222, 237, 303] {
        survive(chance(&mut Rng::new(seed)));
    }
}
