//! Traps that other tools fall into and no other file here has.

use super::script::trace;
use super::{HELLO, causes, classes, with};
use syncscope::model::Dir;
use syncscope::model::tcp::SegmentClass;

fn spurious(c: &syncscope::tcp::Connection) -> usize {
    c.segments.iter().filter(|r| r.spurious.is_some()).count()
}

#[test]
fn a_dsack_that_answers_a_window_probe_labels_nothing() {
    let c = trace(&with(
        HELLO,
        "0.041 c 1:1001
         0.081 s ack 1001 win 0
         0.300 c 1000:1001
         0.340 s ack 1001 win 0 sack 1000:1001
         0.500 s ack 1001 win 8000
         0.501 c 1001:2001
         0.541 s ack 2001",
    ));
    assert_eq!(classes(&c), [(6, SegmentClass::WindowProbe)]);
    assert_eq!((spurious(&c), c.losses.len()), (0, 0));
}

/// The path doubled 1001:2001, a resend of other bytes is under way: the DSACK is not about that.
#[test]
fn a_dsack_that_answers_a_network_duplicate_labels_nothing() {
    let c = trace(&with(
        HELLO,
        "0.041 c 1:1001 id 110
         0.042 c 1001:2001 id 111
         0.043 c 1001:2001 id 111
         0.044 c 2001:3001 id 112
         0.081 s ack 2001
         0.082 s ack 2001 sack 1001:2001
         0.330 c 2001:3001 id 113
         0.370 s ack 3001",
    ));
    assert_eq!(classes(&c), [(6, SegmentClass::NetworkDuplicate), (10, SegmentClass::Retransmission)]);
    assert_eq!(spurious(&c), 0);
}

/// The receiver reported 2001:3001, dropped it again, and acknowledged no further than the gap's end.
#[test]
fn what_a_receiver_threw_away_again_was_sent_again_for_a_reason() {
    let c = trace(&with(
        HELLO,
        "0.041 c 1:1001
         0.0411 c 1001:2001
         0.0412 c 2001:3001
         0.081 s ack 1001
         0.0812 s ack 1001 sack 2001:3001
         0.330 c 1001:2001
         0.370 s ack 2001
         0.630 c 2001:3001
         0.670 s ack 3001",
    ));
    assert_eq!(causes(&c).len(), 2);
    assert_eq!(spurious(&c), 0, "{:?}", c.segments);
}

/// Two packets of a keep-alive exchange and the answer to a stray segment: no duplicate ACKs, since nothing
/// is outstanding.
#[test]
fn answers_to_keep_alives_are_no_duplicate_acks() {
    let c = trace(&with(
        HELLO,
        "0.041 c 1:1001
         0.081 s ack 1001
         9.000 c 1000:1001
         9.040 s ack 1001
         18.000 c 1000:1001
         18.040 s ack 1001
         18.050 s ack 1001",
    ));
    assert_eq!(c.halves[Dir::C2s].dup_acks, 0);
    assert_eq!(classes(&c), [(6, SegmentClass::KeepAlive), (8, SegmentClass::KeepAlive)]);
}

/// The first frames are missing and the window scale with them: a closed window is closed at any scale, an
/// open one has no size.
#[test]
fn a_closed_window_needs_no_scale() {
    let c = trace(
        "0.0 c 1:1001 ack 1
         0.04 s ack 1001 win 0
         0.30 c 1000:1000
         0.34 s ack 1001 win 0
         0.80 c 1000:1000
         0.84 s ack 1001 win 500
         0.85 c 1001:2001
         0.89 s ack 2001",
    );
    let causes: Vec<_> = c.stalls.iter().map(|s| s.cause.as_str()).collect();
    assert_eq!(causes, ["zero-window"]);
    let d = &c.halves[Dir::C2s];
    assert_eq!((d.zero_windows, d.window_max), (1, None));
    assert!(c.quality.iter().any(|q| q.code == "no-handshake"));
}
