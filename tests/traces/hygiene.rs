//! The capture's own faults, found before anything is counted.

use super::script::trace;
use super::{HELLO, HELLO_AT_SERVER, causes, classes, with};
use syncscope::model::Dir;
use syncscope::model::tcp::{Cause, Filler, LossWhere, SegmentClass, TapPosition};

/// A trace with every packet twice, 20 µs apart.
fn doubled(text: &str) -> String {
    let mut id = (100, 30_000);
    let lines = text.lines().filter(|l| !l.trim().is_empty());
    let twice = lines.flat_map(|l| {
        let side = if l.contains(" c ") { &mut id.0 } else { &mut id.1 };
        *side += 1;
        let (at, rest) = l.trim().split_once(' ').unwrap();
        let again: f64 = at.parse::<f64>().unwrap() + 0.000_02;
        [format!("{at} {rest} id {side}\n"), format!("{again} {rest} id {side}\n")]
    });
    twice.collect()
}

#[test]
fn every_frame_captured_twice_changes_nothing() {
    let text = with(
        HELLO,
        "0.041 c 1:1001
         0.0411 c 1001:2001
         0.081 s ack 1001
         0.165 c 1001:2001
         0.205 s ack 2001",
    );
    let (once, twice) = (trace(&text), trace(&doubled(&text)));
    let genuine = |c: &syncscope::tcp::Connection| {
        c.segments
            .iter()
            .filter(|r| r.class != SegmentClass::CaptureDuplicate)
            .map(|r| (r.seq, r.len, r.class, r.cause))
            .collect::<Vec<_>>()
    };
    assert_eq!(genuine(&once), genuine(&twice));
    assert_eq!(once.halves, twice.halves);
    assert_eq!(once.losses.len(), twice.losses.len());
    assert_eq!(once.stalls.iter().map(|s| s.cause).collect::<Vec<_>>(), [twice.stalls[0].cause]);
    assert!(twice.quality.iter().any(|q| q.code == "capture-duplicates" && q.count == 8));
}

#[test]
fn the_dsack_for_one_needless_resend_does_not_blame_the_network_for_every_frame_captured_twice() {
    let text = with(
        HELLO,
        "0.041 c 1:1001
         0.0411 c 1001:2001
         0.0412 c 2001:3001
         0.0413 c 3001:4001
         0.0414 c 4001:5001
         0.341 c 1:1001
         0.381 s ack 5001
         0.382 s ack 5001 sack 1:1001",
    );
    let (once, twice) = (trace(&text), trace(&doubled(&text)));
    assert!(once.segments.iter().any(|r| r.spurious.is_some()));
    let copies = twice.segments.iter().filter(|r| r.class == SegmentClass::CaptureDuplicate).count();
    assert_eq!(copies, once.segments.len());
    let spurious =
        |c: &syncscope::tcp::Connection| c.segments.iter().filter(|r| r.spurious.is_some()).count();
    assert_eq!(spurious(&once), spurious(&twice));
}

#[test]
fn what_fills_a_hole_is_a_packet_not_its_second_copy_in_the_file() {
    let text = with(
        HELLO,
        "0.041 c 1:1001
         0.0411 c 1001:2001
         0.0412 c 2001:3001
         0.0413 c 3001:4001
         0.081 s ack 1 sack 1001:2001
         0.0811 s ack 1 sack 1001:3001
         0.0812 s ack 1 sack 1001:4001
         0.0813 c 1:1001
         0.121 s ack 4001",
    );
    let filler = |text: &str| trace(text).holes[0].filler;
    assert_eq!(filler(&text), Some(Filler::Retransmission));
    assert_eq!(filler(&doubled(&text)), filler(&text));
}

#[test]
fn what_was_sent_before_the_capture_began_is_nothing_that_it_missed() {
    let c = trace(
        "0.000 c 5001:6001 ts 100,50
         0.001 c 6001:7001 ts 101,50
         0.005 s ack 1001 sack 2001:3001 ts 60,90
         0.010 c 1001:2001 ts 110,60
         0.011 c 3001:4001 ts 111,60
         0.050 s ack 7001 ts 100,111
         0.051 c 7001:8001 ts 151,100
         0.090 s ack 8001 ts 140,151",
    );
    let missed: Vec<_> = c.losses.iter().filter(|l| l.location == LossWhere::Capture).collect();
    assert!(missed.is_empty(), "{missed:?}");
}

/// Nothing tells that the first packet is a repair; the first ACKs show how far its sender was.
#[test]
fn what_was_sent_before_a_capture_that_began_with_a_repair_was_missed_by_it() {
    let c = trace(
        "0.000 c 1001:2001 ts 110,60
         0.010 s ack 1001 sack 4001:5001 ts 60,90
         0.020 s ack 1001 sack 4001:6001 ts 70,90
         0.021 c 9001:10001 ts 121,70
         0.039 s ack 1001 sack 4001:9001 ts 89,90
         0.040 s ack 2001 sack 4001:9001 ts 90,110
         0.041 c 2001:3001 ts 141,90
         0.0411 c 3001:4001 ts 141,90
         0.081 s ack 10001 ts 130,141
         0.082 c 10001:11001 ts 182,130
         0.121 s ack 11001 ts 170,182",
    );
    let missed: Vec<_> = c.losses.iter().filter(|l| l.location == LossWhere::Capture).collect();
    assert!(missed.is_empty(), "{missed:?}");
}

#[test]
fn a_packet_that_the_network_doubled_is_no_retransmission() {
    let c = trace(&with(
        HELLO,
        "0.041 c 1:1001 id 110
         0.042 c 1001:2001 id 111
         0.043 c 1001:2001 id 111
         0.044 c 2001:3001 id 112
         0.081 s ack 2001
         0.082 s ack 2001 sack 1001:2001
         0.084 s ack 3001",
    ));
    assert_eq!(classes(&c), [(6, SegmentClass::NetworkDuplicate)]);
    assert_eq!(causes(&c), []);
    assert!(c.losses.is_empty());
}

#[test]
fn one_packet_on_three_links_is_one_packet_however_far_apart() {
    let c = trace(&with(
        HELLO,
        "0.041 c 1:101 id 19098 ts 41,0
         0.091 c 1:101 id 19098 ts 41,0 link 2
         0.141 c 1:101 id 19098 ts 41,0 link 3
         0.181 s ack 101 ts 1,41",
    ));
    assert!(c.segments.iter().all(|r| r.class != SegmentClass::Retransmission), "{:?}", classes(&c));
    assert!(c.losses.is_empty());
}

#[test]
fn duplicate_acks_are_not_window_updates_or_probe_answers() {
    let c = trace(&with(
        HELLO,
        "0.041 c 1:1001
         0.081 s ack 1001 win 4000
         # nothing outstanding: a window update
         0.090 s ack 1001 win 8000
         0.091 s ack 1001 win 8000
         0.100 c 1001:2001
         # outstanding, but the window moved
         0.120 s ack 1001 win 9000
         0.140 s ack 2001 win 9000",
    ));
    assert_eq!(c.halves[Dir::C2s].dup_acks, 0);
}

#[test]
fn the_tap_is_placed_by_its_round_trips() {
    let talk = "0.041 c 1:1001\n 0.081 s ack 1001\n 0.0811 s 1:101\n 0.0812 c ack 101";
    assert_eq!(trace(&with(HELLO, talk)).tap.position, TapPosition::ClientHost);
    let far = with(HELLO, talk).replace(" c ", " c ttl 57 ");
    assert_eq!(trace(&far).tap.position, TapPosition::NearClient);
}

#[test]
fn without_a_handshake_the_window_is_not_guessed() {
    let c = trace("0.0 c 1:1001 ack 1\n 0.04 s ack 1001 win 500\n 0.05 c 1001:2001\n 0.09 s ack 2001");
    assert!(!c.offsets_known);
    assert_eq!(c.halves[Dir::C2s].window_max, None);
    assert!(c.quality.iter().any(|q| q.code == "no-handshake"));
    assert!(c.stalls.is_empty());
}

#[test]
fn sacks_of_another_numbering_are_counted_not_believed() {
    let c = trace(&with(
        HELLO,
        "0.041 c 1:1001
         0.0411 c 1001:2001
         0.081 s ack 1001 sack 1500001001:1500002001
         0.1 s ack 2001",
    ));
    assert!(c.holes.is_empty(), "{:?}", c.holes);
    assert!(c.quality.iter().any(|q| q.code == "foreign-sacks"));
}

/// Its wrong number opened a gap of megabytes, which the capture was said to have lost.
#[test]
fn a_damaged_packet_that_came_first_was_believed() {
    let c = trace(
        "0.000 c 2031616:2033076 ack 1 bad
         0.0047 s ack 1461
         0.006 c 1461:2921
         0.0061 s ack 2921
         0.0071 c 2921:4381
         0.0081 c 4381:5841
         0.0091 c 5841:7301
         0.0101 s ack 7301",
    );
    assert!(c.losses.is_empty(), "{:?}", c.losses);
    let damaged = c.quality.iter().find(|q| q.code == "damaged-packets").unwrap();
    assert_eq!(
        damaged.sentence(),
        "1 packet has a wrong checksum and numbers out of place: damaged on the way, and not believed"
    );
    assert!(!c.quality.iter().any(|q| q.code == "capture-drops"));
}

/// A fuzzer wrote numbers and mended the checksums: gigabytes were said to be acknowledged and never captured.
#[test]
fn numbers_that_lie_were_gigabytes_that_the_capture_had_lost() {
    let said = |talk: &str| {
        let c = trace(talk);
        let code = |q: &syncscope::tcp::CaptureFault| (q.code, q.count, q.bytes);
        c.quality.iter().map(code).filter(|q| q.0 != "no-handshake").collect::<Vec<_>>()
    };
    let talk = "0.000 c 1:13 ack 1
         0.010 s 1:10 ack 13
         0.020 c 13:25 ack 10
         0.030 s 10:19 ack 25
         0.040 c 25:37 ack 19
         0.050 s 19:28 ack 37
         0.060 c 37:49 ack 28";
    assert_eq!(said(talk), []);
    let acked = talk.replace("13:25 ack 10", "13:25 ack 1979711497");
    assert_eq!(said(&acked), [("stray-numbers", 1, 0)]);
    // What it carried was acknowledged, and is not in the file as it was sent.
    let sent = talk.replace("10:19 ack", "900000010:900000019 ack");
    assert_eq!(said(&sent), [("capture-drops", 1, 9), ("stray-numbers", 1, 0)]);
    // A stream that moves on and stays there is one of which frames are missing.
    let moved = "0.070 c 900000:900012 ack 28\n 0.075 s 28:37 ack 900012\n 0.080 c 900012:900024 ack 37";
    assert_eq!(said(&format!("{talk}\n {moved}")), [("capture-drops", 1, 899_951)]);
}

/// Linux sends SYN-ACKs with IP ID 0; three VLANs showed one of them 50 ms apart.
#[test]
fn a_syn_ack_without_an_id_on_another_link_was_sent_again() {
    let c = trace(
        "0.000 c S mss 1000 sack wscale 0 ts 10,0
         0.040 s S mss 1000 sack wscale 0 noid ts 500,10
         0.0401 c . ack 1 ts 50,500
         0.090 s S mss 1000 sack wscale 0 noid ts 500,10 link 2
         0.140 s S mss 1000 sack wscale 0 noid ts 500,10 link 3",
    );
    assert_eq!(classes(&c), [(4, SegmentClass::CaptureDuplicate), (5, SegmentClass::CaptureDuplicate)]);
}

/// The network doubled a SYN and the server answered both: its kernel counts a resend, and it passed for a copy.
#[test]
fn the_answer_to_a_doubled_syn_was_called_a_copy() {
    let c = trace(
        "0.000 c S mss 1000 sack ts 10,0 id 7
         0.0001 s S mss 1000 sack noid ts 500,10
         0.0008 c S mss 1000 sack ts 10,0 id 7
         0.0009 s S mss 1000 sack noid ts 500,10
         0.0401 c . ack 1 ts 50,500
         0.041 c 1:1001 ts 51,500
         0.0411 c 1001:2001 ts 51,500
         0.0412 s ack 2001 ts 541,51
         0.081 c 2001:3001 ts 91,541
         0.0811 c 3001:4001 ts 91,541
         0.0812 s ack 4001 ts 581,91",
    );
    // The server's kernel had the SYN twice, so it is no copy of the capture's either.
    assert_eq!(classes(&c), [(3, SegmentClass::NetworkDuplicate), (4, SegmentClass::Retransmission)]);
}

/// The same at the client's tap, where only the answers come by, and its kernel acknowledges both: either the SYN or
/// the answer was doubled on the way, and the file did nothing.
#[test]
fn the_answer_to_a_syn_that_was_doubled_behind_the_tap_was_called_a_copy_of_the_capture() {
    let case = |second: &str| {
        let c = trace(&format!(
            "0.000 c S mss 1000 sack ts 10,0
             0.0402 s S mss 1000 sack noid ts 500,10
             0.0403 c . ack 1 ts 50,500
             0.0404 s S mss 1000 sack noid ts 500,10
             0.0405 c . ack 1 ts 50,500 {second}
             0.041 c 1:1001 ts 51,500
             0.081 s ack 1001 ts 541,51"
        ));
        let classes = classes(&c);
        assert!(c.stalls.is_empty() && c.losses.is_empty());
        classes
    };
    assert_eq!(case(""), [(4, SegmentClass::Undecided)]);
    // The same ACK twice: the file has both packets twice.
    assert_eq!(case("id 102"), [(4, SegmentClass::CaptureDuplicate)]);
}

/// At the receiver's tap a first copy and one resend are in the file twice each: that the host had dropped both was
/// read from four.
#[test]
fn an_unanswered_segment_that_the_file_has_twice_was_called_a_drop_of_the_host() {
    let text = with(
        HELLO_AT_SERVER,
        "0.061 c 1:1001
         0.0611 s ack 1001
         0.102 c 1001:2001
         0.1022 c 3001:4001
         0.1023 s ack 2001 sack 3001:4001
         0.400 c 2001:3001
         0.4001 s ack 4001",
    );
    let said =
        |c: &syncscope::tcp::Connection| c.stalls.iter().map(|s| (s.owner, s.cause)).collect::<Vec<_>>();
    let once = said(&trace(&text));
    assert!(!once.is_empty());
    assert_eq!(said(&trace(&doubled(&text))), once);
}

/// Without IP IDs and time stamps: the resend came by, and right behind it what it had replaced. A sender repeats
/// nothing twice within a round trip, and still it was called another resend.
#[test]
fn a_late_original_behind_its_own_resend_was_called_another_resend() {
    let case = |at: &str| {
        let mut text: String = (0..10)
            .filter(|i| *i != 1)
            .map(|i| format!("0.0{} c {}:{} noid\n", 41 + i, 1 + i * 1000, 1001 + i * 1000))
            .collect();
        text +=
            &format!("0.0501 s ack 1001 sack 2001:10001\n0.0902 c 1001:2001 noid\n{at} c 1001:2001 noid\n");
        classes(&trace(&with(&HELLO_AT_SERVER.replace("mss", "noid mss"), &text)))
    };
    use SegmentClass::{NetworkDuplicate, Reordered, Retransmission};
    assert_eq!(case("0.115"), [(14, Retransmission), (15, Reordered)]);
    assert_eq!(case("0.300"), [(14, Retransmission), (15, Retransmission)]);
    // A copy that the network made comes at once, or nearly.
    assert!(
        case("0.0952")
            .last()
            .is_some_and(|c| [NetworkDuplicate, SegmentClass::CaptureDuplicate].contains(&c.1))
    );
}

/// A real one, seen over PPPoE: three times the same ID, 300 and 600 ms apart.
#[test]
fn a_resend_under_its_old_ip_id_was_called_a_copy_of_the_network() {
    let c = trace(&with(
        HELLO,
        "0.041 c 1:1001
         0.081 s ack 1001
         0.082 c 1001:2001 id 120
         0.122 s ack 2001
         0.130 c 2001:3001 id 130
         0.430 c 2001:3001 id 130
         1.030 c 2001:3001 id 130
         1.070 s ack 3001
         1.071 c 3001:4001 id 140
         1.111 s ack 4001",
    ));
    assert_eq!(causes(&c), [(9, Cause::Rto, 1), (10, Cause::Rto, 2)]);
    // So soon it is a copy all the same, from whomever.
    let soon = trace(&with(
        HELLO,
        "0.041 c 1:1001
         0.081 s ack 1001
         0.082 c 1001:2001 id 120
         0.0825 c 1001:2001 id 120
         0.122 s ack 2001
         0.123 s ack 2001 sack 1001:2001",
    ));
    assert_eq!(classes(&soon), [(7, SegmentClass::NetworkDuplicate)]);
}

/// The same capture: the time-out came 3 ms after new data, and that went out again with the rest.
#[test]
fn the_last_of_a_run_of_resends_was_called_a_copy_of_what_was_sent_just_before() {
    let c = trace(&with(
        HELLO,
        "0.0410 c 1:1001 noid
         0.0411 c 1001:2001 noid
         0.3400 c 2001:2501 noid
         0.3430 c 1:1001 noid
         0.3431 c 1001:2001 noid
         0.3440 c 2001:2501 noid
         0.3830 s ack 2501",
    ));
    assert_eq!(classes(&c).last(), Some(&(9, SegmentClass::Retransmission)));
}
