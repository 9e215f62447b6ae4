//! Packets that were too long for the path, and said to be: sent again in shorter segments.

use super::script::trace;
use super::{HELLO, HELLO_AT_SERVER, causes, classes, range, with};
use syncscope::model::Dir;
use syncscope::model::tcp::{Cause, LossWhere, SegmentClass};

/// Three segments of 1000 bytes do not fit, a router says so half a round trip later.
#[test]
fn shorter_resends_after_an_icmp_had_no_cause() {
    let case = |icmp: &str| {
        let text = format!(
            "0.041 c 1:1001
             0.0411 c 1001:2001
             0.0412 c 2001:3001
             {icmp}
             0.0611 c 1:801
             0.0612 c 801:1001
             0.0613 c 1001:1801
             0.0614 c 1801:2601
             0.0615 c 2601:3001
             0.1012 s ack 801
             0.1013 s ack 3001"
        );
        causes(&trace(&with(HELLO, &text)))
    };
    let first = |frame: u64| [0, 1, 2, 3, 4].map(|i| (frame + i, Cause::PathMtu, 1));
    assert_eq!(case("0.061 s icmp 840"), first(8));
    // It says nothing of segments that fit.
    assert_eq!(case("0.061 s icmp 1400").iter().filter(|c| c.1 == Cause::PathMtu).count(), 0);
    assert_eq!(case("").iter().filter(|c| c.1 == Cause::PathMtu).count(), 0);
}

/// What was sent again shorter, and is lost once more, is repeated for another reason.
#[test]
fn an_icmp_explains_no_second_loss_of_the_shorter_segment() {
    let c = trace(&with(
        HELLO,
        "0.041 c 1:1001
         0.061 s icmp 840
         0.0611 c 1:801
         0.0612 c 801:1001
         0.0613 c 1001:1801
         0.0614 c 1801:2601
         0.0615 c 2601:3401
         0.1012 s ack 1 sack 801:1001
         0.1013 s ack 1 sack 801:1801
         0.1014 s ack 1 sack 801:2601
         0.1015 s ack 1 sack 801:3401
         0.1016 c 1:801
         0.1416 s ack 3401",
    ));
    assert_eq!(causes(&c).last(), Some(&(15, Cause::Fast, 2)));
}

/// The same at the receiver's tap: three IDs are missing behind the handshake, and the ends of three full
/// segments show in what follows.
fn behind(first: u32) -> String {
    let mut text = format!(
        "0.0605 c 1:801 id {first}
         0.0606 c 801:1001
         0.0607 c 1001:1801
         0.0608 c 1801:2601
         0.0609 c 2601:3001\n"
    );
    for i in 0..24u32 {
        text += &format!("0.1{i:02} c {}:{}\n", 3001 + i * 800, 3801 + i * 800);
    }
    text + "0.13 s ack 22201"
}

#[test]
fn at_the_receivers_tap_shorter_resends_were_called_new() {
    let c = trace(&with(HELLO_AT_SERVER, &behind(106)));
    assert_eq!(classes(&c), [4, 5, 6, 7, 8].map(|n| (n, SegmentClass::Retransmission)));
    assert!(causes(&c).iter().all(|c| c.1 == Cause::PathMtu), "{:?}", causes(&c));
    let lost: Vec<_> = c.losses.iter().map(|l| (l.dir, l.location)).collect();
    assert!(lost.iter().all(|l| *l == (Dir::C2s, LossWhere::Upstream)));
    assert_eq!(c.losses.iter().map(|l| l.range.len()).sum::<u64>(), range(1, 3001).len());
}

/// Where the ends do not fit the number of missing packets, nothing proves that anything was repeated.
#[test]
fn short_segments_behind_missing_packets_prove_no_path_mtu() {
    for first in [103, 105, 107] {
        assert_eq!(classes(&trace(&with(HELLO_AT_SERVER, &behind(first)))), [], "{first}");
    }
}
