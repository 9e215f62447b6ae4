//! First copies, probes and resends that never passed the tap, and what the rest still tells of them.

use super::script::trace;
use super::{HELLO_AT_SERVER, causes, classes, with};
use syncscope::model::Dir;
use syncscope::model::tcp::{Cause, LossWhere, SegmentClass, StallCause};

/// Thirty small segments that count their IDs: 1:3001, the last with ID 132 at 0.0440 s.
fn counted() -> String {
    (0..30u32).map(|i| format!("0.{:04} c {}:{}\n", 410 + i, 1 + i * 100, 101 + i * 100)).collect::<String>()
        + "0.0441 s ack 3001\n"
}

/// Six segments were lost on their way to the tap (133 to 138), so was a probe (139). The time-out's resend
/// (140) and the five behind it come by in sequence, after a pause.
#[test]
fn a_go_back_whose_first_copies_never_came_by_was_called_new() {
    let text = counted()
        + "0.500 c 3001:3101 id 140
           0.5001 s ack 3101
           0.5401 c 3101:3201 id 141
           0.5402 c 3201:3301 id 142
           0.5403 s ack 3301
           0.5803 c 3301:3401 id 143
           0.5804 c 3401:3501 id 144
           0.5805 c 3501:3601 id 145
           0.5806 s ack 3601
           1.500 c 3601:3701 id 146
           1.5001 s ack 3701";
    let c = trace(&with(HELLO_AT_SERVER, &text));
    let again: Vec<_> = c.segments.iter().filter(|r| r.cause.is_some()).map(|r| (r.seq.0, r.cause)).collect();
    let first = (3001, Some(Cause::Rto));
    let rest = [3101, 3201, 3301, 3401, 3501].map(|s| (s, Some(Cause::RtoRecovery)));
    assert_eq!(again, [&[first][..], &rest].concat());
    assert_eq!(c.losses.iter().map(|l| l.range.len()).sum::<u64>(), 600);
    assert!(c.losses.iter().all(|l| l.location == LossWhere::Upstream));
}

/// The same, and the capture missed one of the resends: all that came behind was new, and the count reached too far.
#[test]
fn a_go_back_of_which_the_capture_missed_one_was_called_new() {
    let case = |third: &str, fourth: u32| {
        let text = counted()
            + &format!(
                "0.500 c 3001:3101 id 140
                 0.5001 s ack 3101
                 0.5401 c 3101:3201 id 141
                 {third}
                 0.5803 c 3301:3401 id {fourth}
                 0.5804 c 3401:3501 id {}
                 0.5805 c 3501:3601 id {}
                 0.5806 s ack 3601
                 0.5807 c 3601:3701 id {}
                 0.5808 c 3701:3801 id {}
                 0.5809 s ack 3801",
                fourth + 1,
                fourth + 2,
                fourth + 3,
                fourth + 4
            );
        let c = trace(&with(HELLO_AT_SERVER, &text));
        let odd: Vec<_> = c.segments.iter().filter(|r| r.seq.0 > 3200 && r.dir == Dir::C2s).collect();
        odd.iter().map(|r| (r.seq.0, r.class)).collect::<Vec<_>>()
    };
    use SegmentClass::{New, Retransmission};
    let again =
        [(3301, Retransmission), (3401, Retransmission), (3501, Retransmission), (3601, New), (3701, New)];
    assert_eq!(case("0.5403 s ack 3301", 143), again);
    // No packet is missing: it is new data.
    assert!(case("", 142).iter().all(|r| r.1 == New));
}

/// The capture missed a probe that repeated the tail. Its DSACK tells of it; still the next packet, of new data, passed for
/// a resend whose first copy had died.
#[test]
fn new_data_behind_a_probe_that_the_capture_missed_was_called_a_resend() {
    let case = |dsack: &str| {
        let text = counted()
            + &format!(
                "0.210 s ack 3001 {dsack}
                 0.211 c 3001:3101 id 134
                 0.2111 s ack 3101
                 0.2112 c 3101:3201 id 135
                 0.2113 s ack 3201"
            );
        let c = trace(&with(HELLO_AT_SERVER, &text));
        (classes(&c), c.losses.len())
    };
    assert_eq!(case("sack 2901:3001"), (vec![], 0));
    assert_eq!(case(""), (vec![(36, SegmentClass::Retransmission)], 1));
}

/// Two packets are missing before the resend, the first copy and a probe or the second of the flight; but the
/// sender goes on and on. Had it had to go back, it would have tried new data first and left a gap (F-RTO).
#[test]
fn new_data_behind_a_time_out_was_left_undecided() {
    let mut text = counted() + "0.500 c 3001:3101 id 135\n0.5001 s ack 3101\n";
    for i in 0..6u32 {
        text += &format!("0.54{i:02} c {}:{}\n", 3101 + i * 100, 3201 + i * 100);
    }
    let c = trace(&with(HELLO_AT_SERVER, &(text + "0.5410 s ack 3701")));
    let odd: Vec<_> = c.segments.iter().map(|r| (r.seq.0, r.class)).filter(|r| r.0 > 3000).collect();
    assert_eq!(odd[0], (3001, SegmentClass::Retransmission));
    assert!(odd[1..].iter().all(|r| r.1 == SegmentClass::New), "{odd:?}");
}

/// A pause without a missing ID is the application's.
#[test]
fn a_pause_with_no_packet_missing_repeats_nothing() {
    let text = counted() + "0.500 c 3001:3101\n0.5001 s ack 3101\n0.5401 c 3101:3201\n0.5402 s ack 3201";
    assert_eq!(classes(&trace(&with(HELLO_AT_SERVER, &text))), []);
}

/// 3001:3301 never came by; the IDs leave room for its three packets and for one more: the first copy of
/// what came.
#[test]
fn a_tail_loss_probe_whose_first_copy_never_came_by_was_called_new() {
    let case = |id: u32| {
        let text = counted()
            + &format!(
                "0.300 c 3301:3401 id {id}
                 0.3001 s ack 3001 sack 3301:3401
                 0.3402 c 3001:3301 id {}
                 0.3403 s ack 3401",
                id + 1
            );
        let c = trace(&with(HELLO_AT_SERVER, &text));
        (classes(&c), causes(&c).first().map(|c| c.1))
    };
    use SegmentClass::Retransmission;
    assert_eq!(case(137), (vec![(35, Retransmission), (37, Retransmission)], Some(Cause::Tlp)));
    // Exactly the gap's own packets are missing: the application paused, and the first copy came.
    assert_eq!(case(136).0, [(37, Retransmission)]);
}

/// No IDs (IPv6), at the receiver's tap: a full segment alone after a pause, a round trip later two at once.
/// That is how a time-out is repaired; an application that has that much to say begins with more.
#[test]
fn without_ids_what_looks_like_a_time_out_is_not_sold_as_new() {
    let case = |second: &str| {
        let text: String = (0..10u32)
            .map(|i| format!("0.{} c {}:{} v6\n", 410 + i, 1 + i * 1000, 1001 + i * 1000))
            .collect::<String>()
            + &format!(
                "0.4201 s ack 10001 v6
                 1.000 c 10001:11001 v6
                 1.0001 s ack 11001 v6
                 {second} c 11001:12001 v6
                 1.0405 c 12001:13001 v6
                 1.0406 s ack 13001 v6"
            );
        trace(&with(&HELLO_AT_SERVER.replace("mss", "v6 mss").replace(". ack", ". v6 ack"), &text))
    };
    let c = case("1.0404");
    use SegmentClass::Undecided;
    assert_eq!(classes(&c), [(15, Undecided), (17, Undecided), (18, Undecided)]);
    let s = c.stalls.last().unwrap();
    assert_eq!((s.cause, s.owner), (StallCause::Unknown, syncscope::model::tcp::Owner::Unknown));
    assert!(s.detail.needs.as_deref().unwrap().contains("sender"));
    // Two at once after the pause: no time-out sends so.
    let c = case("1.0003");
    assert_eq!(classes(&c), []);
    assert_eq!(c.stalls.last().unwrap().cause, StallCause::NoData);
}

/// IPv6 at the receiver's tap: what comes two round trips after a lost tail is its probe or, rarely, new.
#[test]
fn without_ids_a_probe_beyond_a_gap_is_not_sold_as_new() {
    let case = |at: &str, more: &str| {
        let text: String = (0..10u32)
            .map(|i| format!("0.{} c {}:{} v6\n", 410 + i, 1 + i * 1000, 1001 + i * 1000))
            .collect::<String>()
            + &format!(
                "0.4201 s ack 10001 v6
                 {at} c 11001:11501 v6
                 {at}1 s ack 10001 sack 11001:11501 v6
                 {more} c 10001:11001 v6
                 {more}1 s ack 11501 v6"
            );
        let c = trace(&with(&HELLO_AT_SERVER.replace("mss", "v6 mss").replace(". ack", ". v6 ack"), &text));
        classes(&c)[0]
    };
    assert_eq!(case("0.500", "0.540"), (15, SegmentClass::Undecided));
    // Right behind the gap no timer can have fired.
    assert_eq!(case("0.421", "0.461"), (17, SegmentClass::Retransmission));
}

/// A policer cut off the end of a burst, and the front of the flight had lost something, too. IDs 142 to 144 died
/// between what arrived last and the first repair, too early for a resend: three segments beyond the end.
#[test]
fn the_lost_end_of_a_flight_with_an_older_gap_was_called_new() {
    let case = |resend: u32| {
        let mut text = counted();
        for i in (0..9u32).filter(|&i| i != 2) {
            text += &format!("0.50{i} c {}:{} id {}\n", 3001 + i * 100, 3101 + i * 100, 133 + i);
        }
        text += &format!(
            "0.5091 s ack 3201 sack 3301:3901
             0.5492 c 3201:3301 id {resend}
             0.5493 s ack 3901\n"
        );
        for i in 0..5u32 {
            text +=
                &format!("0.589{} c {}:{} id {}\n", 4 + i, 3901 + i * 100, 4001 + i * 100, resend + 1 + i);
        }
        trace(&with(HELLO_AT_SERVER, &(text + "0.5899 s ack 4401")))
    };
    let c = case(145);
    let again: Vec<_> = c.segments.iter().filter(|r| r.cause.is_some()).map(|r| (r.seq.0, r.cause)).collect();
    assert_eq!(again, [3201, 3901, 4001, 4101].map(|s| (s, Some(Cause::Fast))));
    // No packet is missing there: what follows is new.
    assert_eq!(classes(&case(142)).len(), 1);
}

/// Of a flight that a policer cut, the end died, and the gap before it had been repaired once already: the packet
/// missing behind the newest data was more of it, or a resend. What came next in sequence was called new.
#[test]
fn what_may_have_died_behind_the_newest_data_was_called_new() {
    let case = |resend: u32| {
        let mut text = counted();
        for i in 1..10u32 {
            text += &format!("0.50{i} c {}:{} id {}\n", 3001 + i * 100, 3101 + i * 100, 133 + i);
        }
        text += &format!(
            "0.5095 s ack 3001 sack 3101:4001
             0.580 c 3001:3101 id {resend}
             0.5801 s ack 4001
             0.5802 c 4001:4101 id {}
             0.5803 s ack 4101",
            resend + 1
        );
        let c = trace(&with(HELLO_AT_SERVER, &text));
        c.segments.iter().find(|r| r.seq.0 == 4001).map(|r| r.class)
    };
    // 143 did not come by, and a round trip has passed.
    assert_eq!(case(144), Some(SegmentClass::Undecided));
    assert_eq!(case(143), Some(SegmentClass::New));
}

/// The repair of an older gap died in the capture, and so did the packet before the next new one: as many as are missing.
#[test]
fn new_data_behind_a_repair_that_the_capture_missed_was_called_a_resend() {
    let case = |repaired: &str| {
        let more = |i: u32| format!("0.45{i:02} c {}:{}\n", 3001 + i * 100, 3101 + i * 100);
        let text = counted()
            + &(0..50).map(more).collect::<String>()
            + &format!(
                "0.500 c 8001:8101 id 183
                 0.5001 s ack 8101
                 0.780 c 8201:8301 id 186
                 0.7801 s ack 8101 sack 8201:8301
                 {repaired}
                 1.060 c 8401:8501 id 189
                 1.0601 s ack 8501
                 1.061 c 8501:8601 id 190
                 1.0611 s ack 8601"
            );
        let c = trace(&with(HELLO_AT_SERVER, &text));
        c.segments.iter().find(|r| r.seq.0 == 8401).map(|r| r.class)
    };
    assert_eq!(case(""), Some(SegmentClass::New));
    assert_eq!(case("0.819 c 8101:8201 id 187"), Some(SegmentClass::New));
}
