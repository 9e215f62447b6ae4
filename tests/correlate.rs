//! Two taps, two logs, one story: what the report says of hand-written transfers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "correlate/case.rs"]
mod case;
#[path = "traces/script.rs"]
#[allow(dead_code)]
mod script;
#[path = "correlate/sums.rs"]
mod sums;
#[path = "correlate/thin.rs"]
mod thin;

use case::Case;
use syncscope::model::tcp::{LossWhere, Owner, SegmentClass, StallCause};
use syncscope::model::{Dir, Ns, Side};
use syncscope::report::{Budget, Report, Severity, VerdictKind};

fn ms(n: i64) -> Ns {
    Ns::from_millis(n)
}

fn codes(r: &Report) -> Vec<&str> {
    r.findings.iter().map(|f| f.code.as_str()).collect()
}

/// The server sends 1:1001 to 3001:4001, the second is lost, duplicate ACKs bring it back.
const FAST: &str = "
    0.100 s 1:1001
    0.101 s 1001:2001 lost
    0.102 s 2001:3001
    0.103 s 3001:4001
    0.104 s 4001:5001
    0.120 c ack 1001
    0.122 c ack 1001 sack 2001:3001
    0.123 c ack 1001 sack 2001:4001
    0.124 c ack 1001 sack 2001:5001
    0.144 s 1001:2001
    0.164 c ack 5001";

const FAST_LOGS: &str = "
    server write 0.0999 0.1001 @0 +5000
    client read 0.060 0.1202 @0 +1000
    client read 0.1203 0.1642 @1000 +4000";

#[test]
fn a_fast_repair_names_the_bytes_the_place_and_the_read() {
    let r = Case::new(FAST).logs(FAST_LOGS).report();
    let l = &r.losses[..];
    assert_eq!(l.len(), 1, "one loss, though both taps show it: {l:?}");
    assert_eq!((l[0].range.to_string().as_str(), l[0].location), ("1001:2001", LossWhere::Network));

    let read = &r.reads[1];
    assert_eq!((read.offset, read.cause, read.owner), (1000, StallCause::LossFast, Owner::Network));
    // sent at 101 (due at 121), sent again at 144, there at 164, returned at 164.2
    let want = Budget {
        transit: Ns::from_micros(700),
        loss_recovery: ms(43),
        local_delivery: Ns::from_micros(200),
        ..Budget::default()
    };
    assert_eq!(read.budget, want);
    assert_eq!(
        read.steps.iter().map(|s| s.part.as_str()).collect::<Vec<_>>(),
        ["transit", "loss-recovery", "local-delivery"]
    );
    assert_eq!(read.steps[0].from, "the read began");
    assert_eq!(read.steps[2].to, "the read returned");
    assert_eq!(r.holes[read.hole.unwrap() as usize].waited, Some(Ns::from_micros(43_900)));

    assert_eq!(codes(&r), ["loss-fast"]);
    assert_eq!(r.incidents.len(), 1, "{:#?}", r.incidents);
    assert_eq!(r.incidents[read.incident.unwrap() as usize].reads, [1]);
    let m = &r.findings[0].message;
    assert!(m.contains("1001:2001") && m.contains("lost in the network") && m.contains("fast"), "{m}");
    assert_eq!(r.verdict.kind, VerdictKind::Degraded);
    assert_eq!(r.verdict.owner, Some(Owner::Network));
}

/// The reader's host was busy: poll said late that there is something to read, and meanwhile more had come.
#[test]
fn a_reader_that_woke_late_was_said_to_wait_for_the_last_byte() {
    let budget = |ready: &str| {
        let logs = format!(
            "server write 0.0999 0.1001 @0 +1000
             server write 0.1299 0.1301 @1000 +1000
             client read 0.060 0.160 @0 +2000 {ready}"
        );
        let packets = "0.100 s 1:1001\n0.130 s 1001:2001\n0.150 c . ack 2001";
        Case::new(packets).logs(&logs).report().reads[0].budget
    };
    assert_eq!((budget("!0.159").local_delivery, budget("").local_delivery), (ms(40), ms(10)));
}

#[test]
fn a_read_that_waited_for_the_end_of_the_stream_was_of_unknown_reason() {
    let packets = "
    0.100 s 1:1001
    0.120 c ack 1001
    0.400 s F 1001:1001
    0.420 c ack 1002";
    let logs = "
    server write 0.0999 0.1001 @0 +1000
    client read 0.060 0.1202 @0 +1000
    client read 0.1203 0.4201 @1000 +0";
    let r = Case::new(packets).logs(logs).report();
    let read = &r.reads[1];
    let want = Budget {
        peer_app: Ns::from_micros(279_700),
        transit: ms(20),
        local_delivery: Ns::from_micros(100),
        ..Budget::default()
    };
    assert_eq!((read.len, read.budget), (0, want));
    // What the server did meanwhile is no fault: it had said all it had to say.
    let busy = Case::new(packets).logs(&format!("{logs}\n    server work 0.1203 0.3990 busy")).report();
    assert_eq!(busy.reads[1].cause, StallCause::WaitingForPeer);
    assert_eq!(codes(&busy), [] as [&str; 0]);
}

#[test]
fn what_a_reset_cut_off_was_also_called_a_loss() {
    let r = Case::new(
        "
    0.100 s 1:1001
    0.101 s 1001:2001 lost
    0.102 s 2001:3001
    0.120 c ack 1001
    0.122 c ack 1001 sack 2001:3001
    0.123 c R 1:1",
    )
    .report();
    assert_eq!(codes(&r), ["reset"], "{:#?}", r.findings);
}

#[test]
fn a_repair_that_the_receivers_tap_took_for_new_data() {
    // Nothing at the receiver's tap tells that 1001:2001 had been sent before: no ID, no time stamp, no hole.
    let packets = "
    0.100 s 1:1001 id 0
    0.101 s 1001:2001 id 0 lost
    0.120 c ack 1001
    0.420 s 1001:2001 id 0
    0.440 c ack 2001";
    let class_at = |r: &Report| {
        let at_client = r.segments.iter().filter(|s| s.input == 0 && s.dir == Dir::S2c);
        at_client.map(|s| (s.seq.0, s.class, s.cause)).collect::<Vec<_>>()
    };
    let alone = Case::new(packets).only(Side::Client).report();
    assert!(class_at(&alone).iter().all(|s| s.1 != SegmentClass::Retransmission), "{:?}", class_at(&alone));
    let both = Case::new(packets).report();
    let cause = both.segments.iter().find(|s| s.input == 1 && s.class == SegmentClass::Retransmission);
    assert_eq!(class_at(&both), [(1001, SegmentClass::Retransmission, cause.unwrap().cause)]);
}

#[test]
fn the_first_read_only_waited_for_the_server_to_write() {
    let r = Case::new(FAST).logs(FAST_LOGS).report();
    let read = &r.reads[0];
    let want = Budget {
        peer_app: Ns::from_micros(39_900),
        send_queue: Ns::from_micros(100),
        transit: ms(20),
        local_delivery: Ns::from_micros(200),
        ..Budget::default()
    };
    assert_eq!(read.budget, want);
    assert_eq!((read.cause, read.incident), (StallCause::WaitingForPeer, None));
}

#[test]
fn a_server_clock_three_seconds_ahead_changes_nothing() {
    let same = Case::new(FAST).logs(FAST_LOGS).report();
    let r = Case::new(FAST).logs(FAST_LOGS).server_clock(ms(3_000)).report();
    let clock = r.inputs[1].clock.unwrap();
    assert_eq!((clock.offset, clock.bound), (ms(3_000), ms(20)));
    assert_eq!(r.inputs[3].clock, Some(clock), "the server's log is on the server's clock");
    assert_eq!(r.inputs[1].span.unwrap().start, same.inputs[1].span.unwrap().start + ms(3_000));
    assert_eq!((r.reads, r.losses, r.span), (same.reads, same.losses, same.span));
}

#[test]
fn the_control_connection_knows_the_clock_better() {
    let control = syncscope::model::app::ClockOffset { offset: ms(3_001), bound: Ns::from_micros(50) };
    let r = Case::new(FAST).logs(FAST_LOGS).server_clock(ms(3_000)).control(control).report();
    assert_eq!(r.inputs[1].clock, Some(control));
    assert!(r.quality.iter().all(|q| q.code != "clock-disagreement"), "20 ms of slack allow both");
}

#[test]
fn a_lost_tail_is_repaired_by_a_probe() {
    let r = Case::new(
        "0.100 s 1:1001
         0.101 s 1001:2001 lost
         0.120 c ack 1001
         0.230 s 1001:2001
         0.250 c ack 2001",
    )
    .logs(
        "server write 0.0999 0.100 @0 +2000
         client read 0.1201 0.2501 @1000 +1000",
    )
    .report();
    assert_eq!(codes(&r), ["loss-tail"], "{:#?}", r.findings);
    assert_eq!(r.reads[0].cause, StallCause::LossTail);
    // due at 121, there at 250
    assert_eq!(r.reads[0].budget.loss_recovery, ms(129));
}

#[test]
fn a_time_out_that_doubled_once() {
    let r = Case::new(
        "0.100 s 1:1001 lost
         0.400 s 1:1001 lost
         1.000 s 1:1001
         1.020 c ack 1001",
    )
    .logs(
        "server write 0.0999 0.100 @0 +1000
         client read 0.090 1.0201 @0 +1000",
    )
    .report();
    assert_eq!(codes(&r), ["loss-rto"], "{:#?}", r.findings);
    let m = &r.findings[0].message;
    assert!(m.contains("2 retransmission time-outs, doubled 1 time"), "{m}");
    assert_eq!(r.reads[0].budget.loss_recovery, ms(900));
    assert_eq!(r.findings[0].severity, Severity::Warning);
}

#[test]
fn a_late_original_is_no_loss() {
    let r = Case::new(
        "0.100 s 1:1001
         0.101 s 1001:2001 late 0.060
         0.102 s 2001:3001
         0.103 s 3001:4001
         0.120 c ack 1001
         0.122 c ack 1001 sack 2001:3001
         0.123 c ack 1001 sack 2001:4001
         0.181 c ack 4001",
    )
    .logs(
        "server write 0.0999 0.100 @0 +4000
         client read 0.1201 0.1811 @1000 +3000",
    )
    .slow(ms(30))
    .report();
    assert!(r.losses.is_empty(), "{:?}", r.losses);
    assert_eq!(codes(&r), ["reordering"], "{:#?}", r.findings);
    assert_eq!(r.reads[0].cause, StallCause::Reordering);
    // due at 121, came at 181
    assert_eq!(r.reads[0].budget.reordering, ms(60));
}

/// The sender's tap cannot tell whether bytes came late or were answered late, or nobody was there. Two taps can, and
/// were not asked.
#[test]
fn an_answer_that_stood_on_the_path_was_of_unknown_cause_with_two_taps() {
    let case = |data: &str, answered: &str, ack: &str| {
        Case::new(&format!(
            "0.100 s 1:1001
             0.120 c ack 1001
             0.141 s 1001:2001 {data}
             0.1411 s 2001:3001 {data}
             {answered} c ack 3001 {ack}
             0.400 s 3001:4001
             0.420 c ack 4001"
        ))
    };
    let of = |r: &Report| {
        let s = r.stalls.iter().find(|s| s.detail.outstanding.is_some()).expect("a stall").clone();
        (s.owner, s.cause, s.detail.path, s.detail.needs.is_some())
    };
    let spike = |path: &str| (Owner::Network, StallCause::DelaySpike, Some(path.to_owned()), false);
    let unknown = (Owner::Unknown, StallCause::Unknown, None, true);
    assert_eq!(of(&case("", "0.1612", "late 0.150").report()), spike("ack"));
    assert_eq!(of(&case("late 0.150", "0.3112", "").report()), spike("data"));
    assert_eq!(of(&case("", "0.3112", "").report()), unknown, "the host itself took its time");
    assert_eq!(of(&case("late 0.150", "0.3112", "").only(Side::Server).report()), unknown);
}

/// The client's window is closed for three seconds because it works on a file.
const CLOSED: &str = "
    0.100 s 1:1001
    0.120 c ack 1001 win 0
    0.360 s 1000:1000
    0.380 c ack 1001 win 0
    0.800 s 1000:1000
    0.820 c ack 1001 win 0
    1.700 s 1000:1000
    1.720 c ack 1001 win 0
    3.120 c ack 1001 win 8000
    3.140 s 1001:2001
    3.160 c ack 2001";

#[test]
fn a_closed_window_is_the_readers_fault_and_its_log_says_why() {
    let r = Case::new(CLOSED)
        .logs(
            "server write 0.0999 0.100 @0 +1000
             server write 0.110 0.111 @1000 +1000
             client work 0.1201 3.119 patch
             client read 3.1195 3.1601 @1000 +1000",
        )
        .slow(ms(30))
        .report();
    assert_eq!(codes(&r), ["zero-window"], "{:#?}", r.findings);
    let f = &r.findings[0];
    assert_eq!((f.owner, f.dir), (Owner::ReceiverApp, Some(Dir::S2c)));
    assert!(
        f.message.contains("of the client was closed") && f.message.contains("busy with patch"),
        "{}",
        f.message
    );
    assert_eq!(r.verdict.owner, Some(Owner::ReceiverApp));
    // half a round trip for the window's word, half for the bytes
    let b = r.reads[0].budget;
    assert_eq!(b.window + b.transit + b.local_delivery, b.total());
    assert!(b.window >= ms(20), "{b:?}");
}

/// A request, and an answer 900 ms later.
const SLOW_ANSWER: &str = "
    0.100 c 1:101
    0.120 s ack 101
    1.020 s 1:1001
    1.040 c ack 1001";

#[test]
fn a_busy_server_is_to_blame_and_not_the_network() {
    let r = Case::new(SLOW_ANSWER)
        .logs(
            "client write 0.0999 0.100 @0 +100
             client read 0.1001 1.0401 @0 +1000
             server read 0.060 0.1201 @0 +100
             server work 0.1202 1.019 delta
             server write 1.0195 1.020 @0 +1000",
        )
        .report();
    assert_eq!(codes(&r), ["no-data"], "{:#?}", r.findings);
    let f = &r.findings[0];
    assert_eq!((f.owner, f.dir), (Owner::SenderApp, Some(Dir::S2c)));
    assert!(f.message.contains("of the server sent nothing"), "{}", f.message);
    assert!(f.message.contains("matching blocks"), "{}", f.message);
    assert_eq!(r.reads[1].cause, StallCause::NoData);
    assert_eq!(r.reads[1].budget.peer_app, Ns::from_micros(919_400));
    assert!(r.stalls.iter().any(|s| s.detail.busy_with.as_deref() == Some("delta")));
}

#[test]
fn a_sender_that_keeps_to_its_own_rate_limit_is_no_finding() {
    let r = Case::new(SLOW_ANSWER)
        .logs(
            "client write 0.0999 0.100 @0 +100
             client read 0.1001 1.0401 @0 +1000
             server read 0.060 0.1201 @0 +100
             server work 0.1202 1.019 pace
             server write 1.0195 1.020 @0 +1000",
        )
        .report();
    assert!(r.findings.is_empty(), "{:#?}", r.findings);
    assert_eq!(r.verdict.kind, VerdictKind::Healthy);
}

#[test]
fn a_server_that_waits_for_us_is_no_finding() {
    let r = Case::new(
        "0.100 s 1:101
         0.120 c ack 101
         0.900 c 1:101
         0.920 s ack 101
         0.921 s 101:201
         0.941 c ack 201",
    )
    .logs(
        "server write 0.0999 0.100 @0 +100
         client read 0.060 0.1201 @0 +100
         client work 0.1202 0.899 pace
         client write 0.8999 0.900 @0 +100
         server read 0.101 0.9201 @0 +100
         server write 0.9205 0.921 @100 +100
         client read 0.9001 0.9411 @100 +100",
    )
    .slow(ms(30))
    .report();
    assert!(r.findings.is_empty(), "{:#?}", r.findings);
    assert_eq!(r.verdict.kind, VerdictKind::Healthy);
    assert!(r.reads.len() >= 3, "they are listed: {:?}", r.reads.len());
}

#[test]
fn a_black_out_both_ways_is_one_incident() {
    let r = Case::new(
        "0.100 s 1:1001
         0.120 c ack 1001
         0.125 c 1:101 lost
         0.130 s 1001:2001 lost
         0.131 s 2001:3001 lost
         0.425 c 1:101 lost
         0.430 s 1001:2001 lost
         1.025 c 1:101
         1.030 s 1001:2001
         1.045 s ack 101
         1.050 c ack 2001
         1.070 s 2001:3001
         1.090 c ack 3001",
    )
    .logs(
        "server write 0.0999 0.100 @0 +1000
         server write 0.1299 0.130 @1000 +2000
         client write 0.1249 0.125 @0 +100
         client read 0.1202 1.0501 @1000 +1000
         client read 1.0502 1.0901 @2000 +1000
         server read 0.061 1.0451 @0 +100",
    )
    .slow(ms(30))
    .report();
    assert_eq!(r.incidents.len(), 1, "{:#?}", r.incidents);
    let i = &r.incidents[0];
    assert_eq!(i.cause, StallCause::LossRto);
    assert_eq!(i.reads.len(), 3, "three reads on two sides: {i:#?}");
    assert_eq!(codes(&r), ["loss-rto"]);
    assert!(i.evidence.iter().any(|e| e.input == 0) && i.evidence.iter().any(|e| e.input == 1));
}

#[test]
fn the_readers_capture_alone_knows_only_since_later_bytes_came() {
    let r = Case::new(FAST).logs(FAST_LOGS).only(Side::Client).report();
    assert_eq!(r.losses[0].location, LossWhere::Upstream);
    let b = r.reads[1].budget;
    assert_eq!(b.total(), Ns::from_micros(43_900));
    // the server's log says when the bytes were written: half a round trip later they were due
    assert!(b.loss_recovery >= ms(42), "{b:?}");
    assert_eq!(b.local_delivery, Ns::from_micros(200));
    assert_eq!(codes(&r), ["loss-fast"]);
}

#[test]
fn the_senders_capture_alone_leaves_the_arrival_open() {
    let r = Case::new(FAST).logs("client read 0.1203 0.1642 @1000 +4000").only(Side::Server).report();
    assert_eq!(r.losses[0].location, LossWhere::Downstream);
    let b = r.reads[0].budget;
    assert_eq!(b.total(), Ns::from_micros(43_900));
    assert!(b.loss_recovery > ms(40), "{b:?}");
    assert_eq!(b.local_delivery, Ns::ZERO, "nobody saw the bytes arrive");
    assert_eq!(codes(&r), ["loss-fast"]);
}

#[test]
fn without_a_log_the_loss_is_found_all_the_same() {
    let r = Case::new(FAST).report();
    assert!(r.reads.is_empty());
    assert_eq!(codes(&r), ["loss-fast"]);
    assert_eq!(r.losses[0].location, LossWhere::Network);
}

#[test]
fn logs_alone_tell_who_had_not_written() {
    let r = Case::new(SLOW_ANSWER)
        .logs(
            "client read 0.1001 1.0401 @0 +1000
             server work 0.1202 1.019 delta
             server write 1.0195 1.020 @0 +1000",
        )
        .no_captures()
        .report();
    let b = r.reads[0].budget;
    assert_eq!((b.peer_app, b.unknown), (Ns::from_micros(919_400), Ns::from_micros(20_600)));
    assert_eq!(codes(&r), ["no-data"]);
}

#[test]
fn a_hole_that_is_still_open_at_the_end() {
    let r = Case::new(
        "0.100 s 1:1001 lost
         0.101 s 1001:2001
         0.102 s 2001:3001
         0.121 c ack 1 sack 1001:2001
         0.122 c ack 1 sack 1001:3001",
    )
    .more(0.2)
    .report();
    assert!(r.holes.iter().all(|h| h.death.is_none()) && !r.holes.is_empty(), "{:?}", r.holes);
    let i = &r.incidents[0];
    assert!(i.sentence.contains("not repaired by the end of the capture"), "{}", i.sentence);
}

#[test]
fn a_transfer_that_hangs_has_failed() {
    let r = Case::new(
        "0.100 s 1:1001
         0.120 c ack 1001
         0.130 s 1001:2001 lost
         0.430 s 1001:2001 lost
         1.030 s 1001:2001 lost
         2.230 s 1001:2001 lost
         4.630 s 1001:2001 lost",
    )
    .more(5.0)
    .report();
    assert_eq!(codes(&r), ["black-hole"], "{:#?}", r.findings);
    assert_eq!(r.verdict.kind, VerdictKind::Failed);
    assert_eq!(r.findings[0].severity, Severity::Error);
    assert!(r.verdict.sentence.starts_with("Hung because of the network"), "{}", r.verdict.sentence);
    assert!(r.verdict.sentence.contains("data from the server does not arrive"), "{}", r.verdict.sentence);
}

#[test]
fn a_clean_transfer_with_delayed_acks_is_healthy() {
    let r = Case::new(
        "0.100 c 1:1001
         0.101 c 1001:2001
         0.102 c 2001:2501
         0.121 s ack 2001
         0.162 s ack 2501
         0.500 c 2501:2601
         0.540 s ack 2601
         0.541 s 1:501
         0.561 c F 2601:2601 ack 501
         0.581 s F 501:501 ack 2602
         0.601 c ack 502",
    )
    .logs(
        "client write 0.0999 0.100 @0 +2500
         server read 0.060 0.1201 @0 +1000
         server read 0.1202 0.1211 @1000 +1500
         client work 0.102 0.499 pace
         client write 0.4999 0.500 @2500 +100
         server read 0.1212 0.5201 @2500 +100
         server write 0.5409 0.541 @0 +500
         client read 0.5001 0.5611 @0 +500",
    )
    .report();
    assert!(r.findings.is_empty(), "{:#?}", r.findings);
    assert_eq!(r.verdict.kind, VerdictKind::Healthy);
}

#[test]
fn nothing_to_judge_is_inconclusive() {
    assert_eq!(Case::new("").only_hello().report().verdict.kind, VerdictKind::Inconclusive);
}
