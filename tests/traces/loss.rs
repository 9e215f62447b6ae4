//! Retransmission or late original, why, needed or not, and what was lost where.

use super::script::{connections, trace, trace_until};
use super::{HELLO, HELLO_AT_SERVER, causes, classes, range, with};
use syncscope::model::Dir;
use syncscope::model::tcp::{Cause, Filler, LossWhere, SegmentClass, SpuriousProof, StallCause};

/// Ten segments of 1000 bytes from 41 ms on, a millisecond apart; `without` left out (lost upstream).
fn flight(without: &[u32]) -> String {
    (0..10u32)
        .filter(|i| !without.contains(i))
        .map(|i| format!("0.0{} c {}:{} id {}\n", 41 + i, 1 + i * 1000, 1001 + i * 1000, 103 + i))
        .collect()
}

#[test]
fn fast_retransmission_at_the_senders_tap() {
    let c = trace(&with(
        HELLO,
        &(flight(&[])
            + "0.081 s ack 1001
               0.083 s ack 1001 sack 2001:3001
               0.084 s ack 1001 sack 2001:4001
               0.085 s ack 1001 sack 2001:5001
               0.0851 c 1001:2001
               0.092 s ack 1001 sack 2001:10001
               0.1251 s ack 10001"),
    ));
    assert_eq!(causes(&c), [(18, Cause::Fast, 1)]);
    let [l] = c.losses.as_slice() else { panic!("{:?}", c.losses) };
    assert_eq!((l.range, l.location), (range(1001, 2001), LossWhere::Downstream));
    assert_eq!((l.sent_frame.unwrap().0, l.repair_frame.unwrap().0), (5, 18));
    let [h] = c.holes.as_slice() else { panic!("{:?}", c.holes) };
    assert_eq!((h.range, h.birth_frame.0, h.filler), (range(1001, 2001), 15, Some(Filler::Retransmission)));
    assert_eq!(h.queued_behind, 8000);
    assert_eq!(c.halves[Dir::C2s].dup_acks, 4);
}

#[test]
fn the_same_loss_at_the_receivers_tap_is_upstream() {
    let c = trace(&with(
        HELLO_AT_SERVER,
        &(flight(&[1])
            + "0.0501 s ack 1001 sack 2001:10001
               0.0902 c 1001:2001 id 113
               0.0903 s ack 10001"),
    ));
    assert_eq!(classes(&c), [(14, SegmentClass::Retransmission)]);
    let [l] = c.losses.as_slice() else { panic!("{:?}", c.losses) };
    assert_eq!((l.range, l.location, l.sent), (range(1001, 2001), LossWhere::Upstream, None));
    assert_eq!(c.holes[0].filler, Some(Filler::Retransmission));
}

#[test]
fn a_late_original_is_told_by_its_ip_id() {
    let late = "0.053 c 1001:2001 id 104\n 0.0531 s ack 10001";
    let c = trace(&with(HELLO_AT_SERVER, &(flight(&[1]) + late)));
    assert_eq!(classes(&c), [(13, SegmentClass::Reordered)]);
    assert!(c.losses.is_empty());
    assert_eq!(c.holes[0].filler, Some(Filler::Reordered));
}

#[test]
fn without_ids_the_time_stamp_tells_and_a_tie_does_not() {
    let case = |ts: u32, at: &str| {
        let c = trace(&with(
            HELLO_AT_SERVER,
            &format!(
                "0.041 c 1:1001 noid ts 500,0
                 0.043 c 2001:3001 noid ts 510,0
                 0.0431 s ack 1001 sack 2001:3001
                 {at} c 1001:2001 noid ts {ts},0
                 0.2 s ack 3001"
            ),
        ));
        c.segments.iter().find(|r| r.frame.0 == 7).unwrap().class
    };
    assert_eq!(case(505, "0.044"), SegmentClass::Reordered);
    assert_eq!(case(560, "0.084"), SegmentClass::Retransmission);
    // A tie: sooner than any trigger could come back.
    assert_eq!(case(510, "0.050"), SegmentClass::Reordered);
    // A tie, and a SACK had the time to reach the sender.
    assert_eq!(case(510, "0.090"), SegmentClass::Retransmission);
}

#[test]
fn the_original_behind_its_own_resend_is_the_late_one() {
    let c = trace(&with(
        HELLO_AT_SERVER,
        &(flight(&[1])
            + "0.0501 s ack 1001 sack 2001:10001
               0.0902 c 1001:2001 id 113
               0.0903 s ack 10001
               0.0950 c 1001:2001 id 104
               0.0951 s ack 10001 sack 1001:2001"),
    ));
    assert_eq!(classes(&c), [(14, SegmentClass::Retransmission), (16, SegmentClass::Reordered)]);
    let resend = c.segments.iter().find(|r| r.frame.0 == 14).unwrap();
    assert_eq!(resend.spurious.unwrap().proof, SpuriousProof::Dsack);
    assert!(c.losses.is_empty(), "nothing was lost: {:?}", c.losses);
}

#[test]
fn tail_loss_probe_and_time_out_are_told_apart() {
    // The last segment is lost: a probe two round trips later repairs it.
    let tlp = trace(&with(
        HELLO,
        "0.041 c 1:1001
         0.0411 c 1001:2001
         0.081 s ack 1001
         0.165 c 1001:2001
         0.205 s ack 2001",
    ));
    assert_eq!(causes(&tlp), [(7, Cause::Tlp, 1)]);
    assert_eq!(tlp.stalls[0].cause, StallCause::LossTail);

    // The whole flight is lost: probe, then time-outs from the front, then the rest.
    let rto = trace(&with(
        HELLO,
        "0.041 c 1:1001
         0.081 s ack 1001
         0.082 c 1001:2001
         0.0821 c 2001:3001
         0.166 c 2001:3001
         0.450 c 1001:2001
         1.020 c 1001:2001
         1.060 s ack 2001
         1.0601 c 2001:3001
         1.100 s ack 3001",
    ));
    assert_eq!(
        causes(&rto),
        [(8, Cause::Tlp, 1), (9, Cause::Rto, 1), (10, Cause::Rto, 2), (12, Cause::RtoRecovery, 2)]
    );
    let s = rto.stalls.iter().find(|s| s.cause == StallCause::LossRto).unwrap();
    assert_eq!((s.detail.timeouts, s.detail.backoffs), (Some(2), Some(1)));
}

/// After the time-out the sender tries new data first (F-RTO); the receiver's tap sees a hole open
/// above the resend, and what fills it is still that time-out's work.
#[test]
fn repairs_after_a_time_out_are_its_recovery_at_the_receivers_tap_too() {
    let mut text = String::new();
    for i in 0..30u32 {
        text += &format!("0.{:04} c {}:{}\n", 410 + i, 1 + i * 100, 101 + i * 100);
    }
    text += "0.0441 s ack 3001
        0.500 c 3001:3101 id 140
        0.5001 s ack 3101
        0.5402 c 3501:3601 id 141
        0.5403 s ack 3101 sack 3501:3601
        0.5804 c 3101:3501 id 142
        0.5805 s ack 3601";
    let c = trace(&with(HELLO_AT_SERVER, &text));
    assert_eq!(causes(&c), [(35, Cause::Rto, 1), (39, Cause::RtoRecovery, 1)]);
}

#[test]
fn one_recovery_has_one_recovery_point() {
    // Three losses in one flight, no SACK: a partial ACK keeps the recovery going.
    let hello = HELLO.replace(" sack", "");
    let c = trace(&with(
        &hello,
        &(flight(&[])
            + "0.081 s ack 1001
               0.083 s ack 1001
               0.084 s ack 1001
               0.085 s ack 1001
               0.0851 c 1001:2001
               0.1251 s ack 4001
               0.1252 c 4001:5001
               0.1652 s ack 7001
               0.1653 c 7001:8001
               0.2053 s ack 10001"),
    ));
    assert_eq!(causes(&c), [(18, Cause::Fast, 1), (20, Cause::PartialAck, 1), (22, Cause::PartialAck, 1)]);
    assert_eq!(c.losses.len(), 3);
}

#[test]
fn the_lost_retransmission_counts_as_a_second_loss() {
    let c = trace(&with(
        HELLO,
        &(flight(&[])
            + "0.081 s ack 1001
               0.085 s ack 1001 sack 2001:5001
               0.0851 c 1001:2001
               0.092 s ack 1001 sack 2001:10001
               0.0921 c 10001:11001
               0.1321 s ack 1001 sack 2001:11001
               0.1322 c 1001:2001
               0.1722 s ack 11001"),
    ));
    assert_eq!(causes(&c), [(16, Cause::Fast, 1), (20, Cause::Fast, 2)]);
    let lost: Vec<_> =
        c.losses.iter().map(|l| (l.sent_frame.unwrap().0, l.repair_frame.unwrap().0)).collect();
    assert_eq!(lost, [(5, 20), (16, 20)]);
}

#[test]
fn spurious_needs_a_proof_and_each_kind_is_known() {
    let case = |ack: &str| {
        let c = trace(&with(
            HELLO,
            &format!(
                "0.041 c 1:1001 ts 41,0
                 0.330 c 1:1001 ts 330,0
                 {ack}"
            ),
        ));
        c.segments.iter().find(|r| r.frame.0 == 5).unwrap().spurious.map(|s| s.proof)
    };
    assert_eq!(case("0.371 s ack 1001 ts 9,330"), None);
    assert_eq!(case("0.340 s ack 1001 ts 9,41"), Some(SpuriousProof::Eifel));
    assert_eq!(case("0.371 s ack 1001 sack 1:1001 ts 9,330"), Some(SpuriousProof::Dsack));
    let acked = trace(&with(HELLO, "0.041 c 1:1001\n 0.081 s ack 1001\n 0.082 c 1:1001\n 0.12 s ack 1001"));
    let r = acked.segments.iter().find(|r| r.frame.0 == 6).unwrap();
    assert_eq!(r.spurious.unwrap().proof, SpuriousProof::AlreadyAcked);
    assert!(acked.losses.is_empty());
}

/// The receiver's delayed ACK for both repairs echoes the time stamp of the first (RFC 7323 §4.3).
#[test]
fn a_second_repair_under_one_ack_was_called_spurious_by_the_time_stamp_of_the_first() {
    let c = trace(
        "0.000 c S mss 1000 sack wscale 7 ts 1,0
         0.040 s S mss 1000 sack wscale 7 ts 5,1
         0.040 c . ack 1 ts 41,5
         0.050 c 1:1001 ts 50,5
         0.051 c 1001:2001 ts 51,5
         0.400 c 1:1001 ts 400,5
         0.402 c 1001:2001 ts 402,5
         0.442 s ack 2001 ts 45,400",
    );
    let again = c.segments.iter().filter(|r| r.class == SegmentClass::Retransmission);
    assert_eq!(again.map(|r| r.spurious).collect::<Vec<_>>(), [None, None]);
}

/// All that was lost were ACKs and copies that nobody needed.
#[test]
fn a_black_out_over_acknowledged_bytes_loses_no_bytes() {
    let c = trace(&with(
        HELLO,
        "0.041 c 1:101 ts 41,0
         0.081 s ack 101 ts 1,41
         0.082 c 101:201 ts 82,0
         0.300 c 101:201 ts 300,0
         0.800 c 101:201 ts 800,0
         1.800 c 101:201 ts 1800,0
         1.840 s ack 201 sack 101:201 ts 2,1800",
    ));
    assert_eq!(c.losses, [], "{:#?}", c.segments);
}

#[test]
fn a_resend_that_repairs_one_half_and_repeats_the_other_was_needed() {
    let c = trace(&with(
        HELLO,
        "0.041 c 1:101
         0.081 s ack 101
         0.082 c 101:201
         0.0821 c 201:301
         0.500 c 101:301
         0.540 s ack 301 sack 101:201",
    ));
    assert!(c.segments.iter().all(|r| r.spurious.is_none()));
    assert!(c.losses.iter().any(|l| l.range.covers(range(201, 301))), "{:?}", c.losses);
}

#[test]
fn the_half_that_a_resend_only_repeated_was_not_lost_at_the_receivers_tap() {
    let c = trace(&with(
        HELLO_AT_SERVER,
        "0.041 c 1:101
         0.0411 s ack 101
         0.500 c 1:201
         0.5001 s ack 201 sack 1:101",
    ));
    assert!(c.losses.iter().all(|l| !l.range.overlaps(range(1, 101))), "{:?}", c.losses);
}

#[test]
fn what_overruns_a_closed_window_is_dropped_by_the_receiver() {
    let c = trace(&with(
        &HELLO.replace("s S mss", "s S win 1000 mss"),
        "0.041 c 1:1001
         0.081 s ack 1001 win 0
         0.100 c 1001:2001
         0.140 s ack 1001 win 0
         0.500 s ack 1001 win 8000
         0.501 c 1001:2001
         0.541 s ack 2001",
    ));
    assert_eq!(c.losses.iter().map(|l| l.location).collect::<Vec<_>>(), [LossWhere::ReceivingHost]);
}

#[test]
fn a_fin_sent_again_after_its_ack_lost_nothing() {
    let c = trace(&with(HELLO, "0.041 c F 1:101\n 0.081 s ack 102\n 0.300 c F 101:101\n 0.340 s ack 102"));
    assert_eq!(c.losses, []);
}

#[test]
fn a_dsack_that_answers_a_keep_alive_labels_nothing() {
    let c = trace(&with(
        HELLO,
        "0.041 c 1:1001
         0.081 s ack 1001
         9.000 c 1000:1001
         9.040 s ack 1001 sack 1000:1001",
    ));
    assert_eq!(classes(&c), [(6, SegmentClass::KeepAlive)]);
    assert!(c.segments.iter().all(|r| r.spurious.is_none()));
}

#[test]
fn one_byte_sent_again_before_its_ack_is_a_retransmission() {
    let c = trace(&with(HELLO, "0.041 c 1:2\n 0.330 c 1:2\n 0.370 s ack 2"));
    assert_eq!(classes(&c), [(5, SegmentClass::Retransmission)]);
    assert_eq!(c.losses[0].range, range(1, 2));
}

#[test]
fn sack_blocks_accumulate_over_many_acks() {
    // Every second segment of 40 is lost; no ACK can name more than three blocks.
    let mut text = String::new();
    for i in 0..40u32 {
        text += &format!("0.{:04} c {}:{}\n", 410 + i, 1 + i * 1000, 1001 + i * 1000);
    }
    for i in (1..40u32).step_by(2) {
        text += &format!("0.{:04} s ack 1 sack {}:{}\n", 810 + i, 1 + i * 1000, 1001 + i * 1000);
    }
    text += "0.3 s ack 40001";
    let c = trace(&with(HELLO, &text));
    assert_eq!(c.holes.len(), 20, "{:?}", c.holes);
    assert!(c.holes.iter().all(|h| h.range.len() == 1000 && h.filler == Some(Filler::Reordered)));
}

#[test]
fn resegmented_and_offloaded_resends_count_in_bytes_and_segments() {
    // The kernel hands 8 segments down as one; four of them are sent again as one.
    let c = trace(&with(
        HELLO,
        "0.041 c 1:8001
         0.081 s ack 1001 sack 5001:8001
         0.0811 c 1001:5001
         0.1211 s ack 8001",
    ));
    let half = &c.halves[Dir::C2s];
    assert_eq!((half.bytes, half.bytes_resent, half.resent_mss), (8000, 4000, 4));
    assert_eq!(c.losses.iter().map(|l| l.range).collect::<Vec<_>>(), [range(1001, 5001)]);
    assert!(c.quality.iter().any(|q| q.code == "offload"));
}

/// The capture lost 1001:2001 and the ACK that opened the window again.
#[test]
fn what_overran_a_window_whose_ack_the_capture_lost_was_blamed_on_the_receiving_host() {
    let c = trace(&with(
        &HELLO.replace("s S mss", "s S win 2000 mss"),
        "0.041 c 1:1001
         0.081 s ack 1001 win 1000
         0.100 c 2001:3001
         0.140 s ack 2001 win 8000
         0.501 c 2001:3001
         0.541 s ack 3001",
    ));
    assert_eq!(
        c.losses.iter().map(|l| (l.range.start.0, l.location)).collect::<Vec<_>>(),
        [(1001, LossWhere::Capture), (2001, LossWhere::Downstream)]
    );
}

#[test]
fn acknowledged_but_never_captured_is_the_captures_loss() {
    let c = trace(&with(HELLO, &(flight(&[3]) + "0.090 s ack 10001")));
    assert_eq!(c.losses.len(), 1);
    assert_eq!((c.losses[0].range, c.losses[0].location), (range(3001, 4001), LossWhere::Capture));
    assert!(c.holes.is_empty(), "a hole of the capture is no hole of the path");
    assert!(c.quality.iter().any(|q| q.code == "capture-drops" && q.count == 1));
}

#[test]
fn seen_at_the_receivers_tap_and_sent_again_was_lost_in_that_host() {
    let c = trace(&with(
        HELLO_AT_SERVER,
        "0.041 c 1:1001
         0.0411 s ack 1001
         0.042 c 1001:2001
         0.330 c 1001:2001
         0.3301 s ack 2001",
    ));
    assert_eq!(c.losses[0].location, LossWhere::ReceivingHost);
}

#[test]
fn a_resend_whose_first_copy_never_passed_the_tap_is_told_by_the_missing_ids() {
    let mut text = String::new();
    for i in 0..30u32 {
        text += &format!("0.{:04} c {}:{}\n", 410 + i, 1 + i * 100, 101 + i * 100);
    }
    text += "0.0441 s ack 3001\n";
    // ID 134 and 135 were lost on the way; 136 brings their bytes.
    text += "0.200 c 3001:3101 id 136\n 0.2001 s ack 3101";
    let c = trace(&with(HELLO_AT_SERVER, &text));
    assert_eq!(classes(&c), [(35, SegmentClass::Retransmission)]);
    assert_eq!(c.losses[0].location, LossWhere::Upstream);
}

#[test]
fn a_reused_port_is_another_connection() {
    let first = with(HELLO, "0.041 c F 1:101\n 0.081 s F ack 102\n 0.082 c ack 2\n");
    let mut all = connections(&first, 0.0, 1_000, 2_000);
    assert_eq!(all.len(), 1);
    all = connections(&(first + "1.0 c S 70000:70000 mss 1000 sack"), 0.0, 1_000, 2_000);
    assert_eq!(all.len(), 2);
}

#[test]
fn a_retransmitted_segment_gives_no_round_trip() {
    let c = trace(&with(
        HELLO,
        "0.041 c 1:1001\n 0.330 c 1:1001\n 0.3301 s ack 1001\n 0.34 c 1001:2001\n 0.38 s ack 2001",
    ));
    let rtts: Vec<_> = c.rtt[Dir::C2s].iter().map(|s| s.rtt.0).collect();
    assert_eq!(rtts, [40_000_000, 40_000_000]);
}

#[test]
fn a_lost_fin_and_a_lost_syn_have_causes_of_their_own() {
    let c = trace_until(
        "0.0 c S mss 1000 sack
         1.0 c S mss 1000 sack
         1.04 s S mss 1000 sack
         1.0401 c . ack 1
         2.0 c F 1:1
         2.3 c F 1:1
         2.34 s ack 2",
        0.0,
    );
    assert_eq!(causes(&c), [(2, Cause::Syn, 1), (6, Cause::Fin, 1)]);
    assert_eq!(c.stalls[0].cause, StallCause::HandshakeLoss);
}

/// On the receiver's host, with a wrong checksum: the network broke it, the host only looked.
#[test]
fn a_broken_packet_was_blamed_on_the_receiving_host() {
    let case = |bad: &str| {
        let text = flight(&[]).replace("c 1001:2001", &format!("c 1001:2001 {bad}"))
            + "0.0501 s ack 1001 sack 2001:10001
               0.0902 c 1001:2001 id 113
               0.0903 s ack 10001";
        trace(&with(HELLO_AT_SERVER, &text)).losses.iter().map(|l| l.location).collect::<Vec<_>>()
    };
    assert_eq!(case("bad"), [LossWhere::Upstream]);
    assert_eq!(case(""), [LossWhere::ReceivingHost]);
}

/// On the sender's host the third duplicate ACK and the resend are microseconds apart, fewer than the
/// host's own round trip to its tap. The trigger was taken for one that came too late.
#[test]
fn the_trigger_on_the_senders_own_host_came_too_late() {
    let hello = HELLO.replace(" sack", "");
    let text = "0.041 s 1:101
        0.04106 c ack 101\n"
        .to_owned()
        + &flight(&[]).replace("0.0", "0.1")
        + "0.181 s ack 1001
           0.18201 s ack 1001
           0.18202 s ack 1001
           0.18203 s ack 1001
           0.18205 c 1001:2001
           0.222 s ack 10001";
    let c = trace(&with(&hello, &text));
    assert_eq!(causes(&c), [(20, Cause::Fast, 1)]);
}

/// The last stamp of a flight that was sent again on two ticks of the clock is newer than what the ACK for all of it
/// echoes: these resends were once called needless.
#[test]
fn one_ack_for_a_resent_flight_is_no_proof_that_its_second_half_was_needless() {
    let case = |last: &str| {
        let text = format!(
            "0.000 c S mss 1000 wscale 0 ts 10,0
             0.040 s S mss 1000 wscale 0 ts 50,10
             0.040 c . ack 1 ts 50,50
             0.041 c 1:1001 ts 51,50
             0.041 c 1001:2001 ts 51,50
             0.341 c 1:1001 ts 341,50
             0.342 c 1001:2001 ts 342,50
             {last}"
        );
        let c = trace(&text);
        let again = c.segments.iter().filter(|s| s.class == SegmentClass::Retransmission);
        again.map(|s| s.spurious.map(|p| p.proof)).collect::<Vec<_>>()
    };
    assert_eq!(case("0.382 s ack 2001 ts 400,341"), [None, None]);
    assert_eq!(case("0.382 s ack 2001 ts 400,51"), [Some(SpuriousProof::Eifel); 2]);
}

/// What was sent behind the lost segment in time lies before it in the stream: a repair of an older gap. RACK goes
/// by time (RFC 8985 §6.2); this resend was once one without a reason.
#[test]
fn a_resend_that_rack_asked_for_had_no_cause() {
    let c = trace(&with(
        HELLO,
        &(flight(&[])
            + "0.081 s ack 1001 sack 2001:5001
               0.0811 c 1001:2001
               0.082 s ack 1001 sack 2001:5001,6001:10001
               0.0821 c 10001:11001
               0.0822 c 5001:6001
               0.1211 s ack 5001 sack 6001:10001
               0.1222 s ack 10001
               0.1223 c 10001:11001
               0.1623 s ack 11001"),
    ));
    assert_eq!(causes(&c), [(15, Cause::Fast, 1), (18, Cause::Fast, 1), (21, Cause::Fast, 1)]);
}

/// Segments of 1000 bytes with time stamps from 41 ms on, a millisecond apart: 1:1001, …
fn stamped(n: u32) -> String {
    (0..n).map(|i| format!("0.0{0} c {1}:{2} ts {0},0\n", 41 + i, 1 + i * 1000, 1001 + i * 1000)).collect()
}

/// The ACKs of a flight were lost, its last segment too. The time-out was not needed and its sender knew by the
/// echoed stamp; what RACK asked for afterwards was called the time-out's work.
#[test]
fn a_repair_after_a_time_out_that_was_undone_was_called_its_recovery() {
    let case = |echo: u32| {
        let c = trace(&with(
            HELLO,
            &(stamped(5)
                + &format!(
                    "0.300 c 1:1001 ts 300,0
                     0.340 s ack 4001 ts 340,{echo}
                     0.3401 c 5001:6001 ts 340,340
                     0.3402 c 6001:7001 ts 340,340
                     0.3801 s ack 4001 sack 5001:7001 ts 380,{echo}
                     0.3902 c 4001:5001 ts 390,380
                     0.4302 s ack 7001 ts 430,390"
                )),
        ));
        causes(&c)
    };
    assert_eq!(case(44), [(9, Cause::Rto, 1), (14, Cause::Fast, 1)]);
    // The echo of the resend proves nothing, but more arrived than was sent again.
    assert_eq!(case(300), [(9, Cause::Rto, 1), (14, Cause::Fast, 1)]);
}

/// The time-out brought its own segment and nothing else: what is sent again next is its recovery. With an ACK for
/// an original beside it the sender takes the time-out back (RFC 5682), and that resend was called its recovery.
#[test]
fn a_repair_after_originals_had_arrived_was_called_the_time_outs_recovery() {
    let case = |arrived: &str| {
        let c = trace(&with(
            HELLO,
            &(stamped(5)
                + &format!(
                    "0.300 c 1:1001 ts 300,0
                     0.340 s ack 1001{arrived} ts 340,300
                     0.3401 c 5001:6001 ts 340,340
                     0.3402 c 6001:7001 ts 340,340
                     0.3801 s ack 1001 sack 5001:7001 ts 380,300
                     0.3902 c 1001:2001 ts 390,380
                     0.4302 s ack 7001 ts 430,390"
                )),
        ));
        causes(&c)
    };
    assert_eq!(case(" sack 3001:4001"), [(9, Cause::Rto, 1), (14, Cause::Fast, 1)]);
    assert_eq!(case("")[1].1, Cause::RtoRecovery);
}

/// No ACK comes back, and the application goes on writing: probe and time-out come all the same, right behind new
/// data. They had no cause.
#[test]
fn timers_that_fire_between_new_data_had_no_cause() {
    let mut text = String::from("0.041 c 1:1001\n0.081 s ack 1001\n");
    for i in 0..60u32 {
        text += &format!("0.{} c {}:{}\n", 100 + i * 10, 1001 + i * 100, 1101 + i * 100);
        if i == 15 {
            text += "0.2501 c 2501:2601\n";
        }
        if i == 30 {
            text += "0.4001 c 1001:1101\n";
        }
    }
    let c = trace_until(&with(HELLO, &text), 0.1);
    assert_eq!(causes(&c).iter().map(|c| c.1).collect::<Vec<_>>(), [Cause::Tlp, Cause::Rto]);
}

/// At the receiver's tap the handshake alone tells the way to the sender and back; a resend that came 0.1 ms faster
/// had no cause, as if its SACK had not been there in time.
#[test]
fn a_resend_a_little_faster_than_the_handshake_had_no_cause() {
    let c = trace(&with(
        HELLO_AT_SERVER,
        &(flight(&[1])
            + "0.0501 s ack 1001 sack 2001:10001
               0.0899 c 1001:2001 id 113
               0.0900 s ack 10001"),
    ));
    assert_eq!(causes(&c), [(14, Cause::Fast, 1)]);
}

/// Behind the lost ACKs both segments had arrived, and a time-out repeats both at once: it fired once, not twice.
#[test]
fn resends_that_follow_a_time_out_at_once_were_time_outs_of_their_own() {
    let c = trace(&with(
        HELLO_AT_SERVER,
        "0.061 c 1:1001
         0.0611 c 1001:2001
         0.0612 s ack 2001
         0.461 c 1:1001
         0.4611 c 1001:2001
         0.4612 s ack 2001",
    ));
    assert_eq!(causes(&c), [(7, Cause::Rto, 1), (8, Cause::RtoRecovery, 1)]);
}

/// A FIN of its own was lost with data before it, and the ACK of that data's repair called for it.
#[test]
fn a_fin_that_fast_recovery_sent_again_was_no_fast_retransmission() {
    let c = trace(&with(
        HELLO,
        "0.041 c 1:1001
         0.0411 c 1001:2001
         0.0412 c 2001:3001
         0.0413 c 3001:4001
         0.0414 c 4001:5001
         0.0415 c F 5001:5001
         0.081 s ack 1001
         0.0811 s ack 1001 sack 2001:3001
         0.0812 s ack 1001 sack 2001:4001
         0.0813 s ack 1001 sack 2001:5001
         0.0814 c 1001:2001
         0.121 s ack 5001
         0.1211 c F 5001:5001
         0.161 s ack 5002",
    ));
    let named: Vec<Cause> = causes(&c).iter().map(|c| c.1).collect();
    assert_eq!(named, [Cause::Fast, Cause::PartialAck]);
}
