//! Who owed the next move.

use super::script::{trace, trace_until};
use super::{HELLO, HELLO_AT_SERVER, with};
use syncscope::model::Dir;
use syncscope::model::tcp::{Owner, SegmentClass, Stall, StallCause};
use syncscope::tcp::Connection;

fn only(c: &Connection) -> &Stall {
    let [s] = c.stalls.as_slice() else { panic!("{:#?}", c.stalls) };
    s
}

fn named(c: &Connection, cause: StallCause) -> &Stall {
    c.stalls.iter().find(|s| s.cause == cause).unwrap_or_else(|| panic!("{:#?}", c.stalls))
}

#[test]
fn a_closed_window_is_the_readers_and_its_probes_are_no_keep_alives() {
    let c = trace(&with(
        HELLO,
        "0.041 c 1:1001
         0.081 s ack 1001 win 0
         0.300 c 1000:1000
         0.340 s ack 1001 win 0
         0.740 c 1000:1000
         0.780 s ack 1001 win 0
         1.640 c 1000:1000
         1.680 s ack 1001 win 0
         3.081 s ack 1001 win 8000
         3.082 c 1001:2001
         3.122 s ack 2001",
    ));
    let s = only(&c);
    assert_eq!((s.owner, s.cause), (Owner::ReceiverApp, StallCause::ZeroWindow));
    assert_eq!(s.detail.probes, Some(3));
    assert_eq!((s.end.unwrap() - s.start).0, 3_001_000_000);
    let probes = c.segments.iter().filter(|r| r.class == SegmentClass::WindowProbe).count();
    assert_eq!(probes, 3);
    assert!(c.segments.iter().all(|r| r.class != SegmentClass::KeepAlive));
}

#[test]
fn the_window_reopened_and_the_sender_only_probes() {
    let c = trace_until(
        &with(
            HELLO,
            "0.041 c 1:1001
             0.081 s ack 1001 win 0
             0.300 c 1000:1000
             0.340 s ack 1001 win 0
             0.500 s ack 1001 win 8000
             0.740 c 1000:1000
             0.780 s ack 1001 win 8000
             1.640 c 1000:1000
             1.680 s ack 1001 win 8000
             3.400 c 1000:1000
             3.440 s ack 1001 win 8000",
        ),
        1.0,
    );
    let s = named(&c, StallCause::StuckWindow);
    assert_eq!((s.owner, s.end), (Owner::SenderTcp, None));
}

#[test]
fn both_windows_closed_is_a_deadlock() {
    let c = trace_until(
        &with(
            HELLO,
            "0.041 c 1:1001
             0.042 s 1:1001
             0.081 s ack 1001 win 0
             0.082 c ack 1001 win 0
             0.300 c 1000:1000
             0.340 s ack 1001 win 0
             0.740 c 1000:1000
             0.780 s ack 1001 win 0",
        ),
        5.0,
    );
    assert!(c.stalls.iter().any(|s| (s.owner, s.cause, s.end) == (Owner::Both, StallCause::Deadlock, None)));
}

#[test]
fn a_sender_that_pauses_in_its_own_stream_had_no_data() {
    let c = trace(&with(
        HELLO,
        "0.041 s 1:1001
         0.0411 c ack 1001
         0.900 s 1001:2001
         0.9001 c ack 2001",
    ));
    let s = only(&c);
    assert_eq!((s.owner, s.cause), (Owner::SenderApp, StallCause::NoData));
    assert_eq!((s.end.unwrap() - s.start).0, 858_900_000);
}

#[test]
fn an_idle_client_is_nobodys_fault() {
    let c = trace(&with(
        HELLO,
        "0.041 c 1:101
         0.081 s 1:501 ack 101
         0.0811 c ack 501
         5.000 c 101:201
         5.040 s 501:901 ack 201
         5.0401 c ack 901",
    ));
    let causes: Vec<_> = c.stalls.iter().map(|s| s.cause).collect();
    assert_eq!(causes, [StallCause::Idle, StallCause::WaitingForPeer]);
}

#[test]
fn the_hang_at_the_end_is_a_stall() {
    // A black hole: the timers fire and double, nothing comes back.
    let c = trace_until(
        &with(
            HELLO,
            "0.041 c 1:1001
             0.081 s ack 1001
             0.082 c 1001:2001
             0.322 c 1001:2001
             0.582 c 1001:2001
             1.102 c 1001:2001
             2.142 c 1001:2001",
        ),
        2.0,
    );
    let s = only(&c);
    assert_eq!((s.owner, s.cause, s.end), (Owner::Network, StallCause::BlackHole, None));
    assert_eq!(s.detail.path.as_deref(), Some("either"));
    assert!(s.detail.needs.as_deref().unwrap().contains("receiver"));
    assert!(s.detail.timeouts >= Some(3), "{:?}", s.detail);
}

#[test]
fn the_receivers_tap_sees_that_its_acks_do_not_get_through() {
    let c = trace_until(
        &with(
            HELLO_AT_SERVER,
            "0.041 c 1:1001
             0.0411 s ack 1001
             0.082 c 1001:2001
             0.0821 s ack 2001
             0.322 c 1001:2001
             0.3221 s ack 2001 sack 1001:2001
             0.782 c 1001:2001
             0.7821 s ack 2001 sack 1001:2001",
        ),
        3.0,
    );
    // From here nothing of c's is outstanding: the resends are proven needless.
    assert!(c.losses.is_empty(), "{:?}", c.losses);
    assert!(c.segments.iter().filter(|r| r.spurious.is_some()).count() == 2);
}

#[test]
fn only_large_segments_vanish() {
    let c = trace_until(
        &with(
            HELLO,
            "0.041 c 1:201
             0.081 s ack 201
             0.082 c 201:1201
             0.083 c 1201:2201
             0.330 c 201:1201
             0.900 c 201:1201
             2.000 c 201:1201
             4.200 c 201:1201",
        ),
        1.0,
    );
    assert_eq!(only(&c).cause, StallCause::MtuBlackHole);
}

#[test]
fn nagle_waits_for_a_delayed_ack() {
    let c = trace(&with(
        HELLO.replace("0.04", "0.001").as_str(),
        "0.041 c 1:101
         0.0815 s ack 101
         0.0816 c 101:201
         0.0836 s ack 201",
    ));
    let s = only(&c);
    assert_eq!((s.owner, s.cause), (Owner::SenderTcp, StallCause::NagleDelayedAck));
}

#[test]
fn a_delay_spike_makes_a_time_out_that_was_not_needed() {
    let c = trace(&with(
        HELLO,
        "0.041 c 1:1001 ts 41,0
         0.081 s ack 1001 ts 1,41
         0.082 c 1001:2001 ts 82,0
         0.0821 c 2001:3001 ts 82,0
         0.400 c 1001:2001 ts 400,0
         0.500 s ack 3001 ts 2,82",
    ));
    let s = only(&c);
    assert_eq!((s.owner, s.cause), (Owner::Network, StallCause::DelaySpike));
}

/// A probe and a time-out went out while the path held everything up; all came at once, and the receiver answered the last
/// original and both resends with one ACK. Its one DSACK is for the time-out's, its echo is the probe's.
#[test]
fn a_probe_answered_together_with_a_needless_time_out_was_called_a_repair() {
    let c = trace(&with(
        HELLO,
        "0.041 c 1:1001 ts 41,0
         0.081 s ack 1001 ts 1,41
         0.082 c 1001:2001 ts 82,0
         0.0821 c 2001:3001 ts 82,0
         0.086 c 3001:4001 ts 86,0
         0.174 c 3001:4001 ts 174,1
         0.420 c 1001:2001 ts 420,1
         0.900 s ack 2001 ts 900,82
         0.9001 s ack 3001 ts 900,82
         0.9002 s ack 4001 sack 1001:2001 ts 900,174",
    ));
    let s = only(&c);
    assert_eq!((s.owner, s.cause), (Owner::Network, StallCause::DelaySpike));
    assert_eq!(c.losses, []);
    // The capture begins with the last original.
    let c = trace(
        "0.086 c 3001:4001 ts 86,0
         0.174 c 3001:4001 ts 174,1
         0.420 c 1001:2001 ts 420,1
         0.900 s ack 2001 ts 900,82
         0.9001 s ack 3001 ts 900,82
         0.9002 s ack 4001 sack 1001:2001 ts 900,174
         0.9003 c 4001:5001 ts 900,900
         0.941 s ack 5001 ts 941,900",
    );
    assert_eq!(only(&c).cause, StallCause::DelaySpike);
    assert_eq!(c.losses, []);
}

/// The first segment of the lost flight did arrive, only its ACK was lost with the rest: three proofs
/// of needless resends, and still no delay spike.
#[test]
fn a_black_out_that_swallowed_an_ack_is_no_delay_spike() {
    let c = trace(&with(
        HELLO,
        "0.041 c 1:1001 ts 41,0
         0.081 s ack 1001 ts 1,41
         0.082 c 1001:2001 ts 82,0
         0.0821 c 2001:3001 ts 82,0
         0.400 c 1001:2001 ts 400,0
         1.000 c 1001:2001 ts 1000,0
         1.040 s ack 2001 ts 2,82
         1.041 c 2001:3001 ts 1041,0
         1.081 s ack 3001 ts 3,1041",
    ));
    let s = named(&c, StallCause::LossRto);
    assert_eq!((s.owner, s.detail.timeouts), (Owner::Network, Some(2)));
    assert_eq!(c.stalls.len(), 1, "{:#?}", c.stalls);
}

#[test]
fn a_probe_that_raced_a_delayed_ack_is_no_event() {
    let c = trace(&with(
        HELLO,
        "0.041 c 1:25 ts 41,0
         0.042 c 25:48 ts 42,0
         0.131 c 25:48 ts 131,0
         0.135 s ack 48 ts 1,41
         0.175 s ack 48 sack 25:48 ts 2,131",
    ));
    assert_eq!(c.stalls, []);
    assert_eq!(c.losses, []);
}

#[test]
fn nothing_is_owed_after_a_goodbye_or_while_keep_alives_tick() {
    let fin = trace(&with(
        HELLO,
        "0.041 c 1:101
         0.081 s F 1:501 ack 101
         0.0811 c ack 502
         9.000 c F 101:101
         9.040 s ack 102",
    ));
    assert!(fin.stalls.iter().all(|s| s.cause != StallCause::NoData), "{:#?}", fin.stalls);
    let idle = trace(&with(
        HELLO,
        "0.041 c 1:101
         0.081 s 1:501 ack 101
         0.0811 c ack 501
         30.000 c 100:101
         30.040 s ack 101
         60.000 s 501:601
         60.001 c ack 601",
    ));
    assert!(idle.stalls.iter().all(|s| s.cause != StallCause::NoData), "{:#?}", idle.stalls);
}

/// From a capture in which a forged reset came during the handshake and was ignored.
#[test]
fn a_reset_that_nobody_obeyed_did_not_end_the_connection() {
    let c = trace(
        "0.000 c S mss 1000 sack
         0.020 s R ttl 250
         0.040 s S mss 1000 sack
         0.0401 c . ack 1
         0.041 c 1:1001
         0.081 s ack 1001
         0.082 c F 1001:1001
         0.122 s F ack 1002
         0.123 c ack 2",
    );
    assert!(c.stalls.iter().all(|s| s.cause != StallCause::Reset), "{:#?}", c.stalls);
    assert_eq!(c.ended, "fin");
}

#[test]
fn a_receiver_that_says_what_is_missing_is_not_silent() {
    let c = trace_until(
        &with(
            HELLO_AT_SERVER,
            "0.041 c 1:1001
             0.0411 s ack 1001
             0.043 c 2001:2101
             0.0431 s ack 1001 sack 2001:2101",
        ),
        20.0,
    );
    let s = only(&c);
    assert_eq!((s.owner, s.cause), (Owner::Network, StallCause::BlackHole));
    assert_eq!(s.detail.path.as_deref(), Some("data"));
}

#[test]
fn a_reset_names_who_sent_it() {
    let talk = "0.041 c 1:1001\n 0.081 s ack 1001\n 0.082 c 1001:2001\n";
    let peer = trace(&with(HELLO, &format!("{talk} 0.12 s R")));
    let s = named(&peer, StallCause::Reset);
    assert_eq!(s.detail.sent_by.as_deref(), Some("peer"));
    let middle = trace(&with(HELLO, &format!("{talk} 0.12 s R ttl 250")));
    assert_eq!(named(&middle, StallCause::Reset).detail.sent_by.as_deref(), Some("middlebox"));
}

#[test]
fn a_whole_flight_lost_once_is_a_burst() {
    let mut text = String::from("0.041 c 1:1001\n 0.081 s ack 1001\n");
    for i in 1..11 {
        text += &format!("0.{:04} c {}:{}\n", 820 + i, 1 + i * 1000, 1001 + i * 1000);
    }
    for i in 1..11 {
        text += &format!("0.{:04} c {}:{}\n", 3500 + i, 1 + i * 1000, 1001 + i * 1000);
    }
    text += "0.3911 s ack 11001";
    assert_eq!(only(&trace(&with(HELLO, &text))).cause, StallCause::BurstLoss);
}

/// A sender that paces itself has the next write ready whenever an ACK happens to come late.
#[test]
fn one_delayed_ack_is_chance_and_a_habit_is_nagle() {
    let findings = |times: u32| {
        let mut text = HELLO.replace("0.04", "0.001");
        for i in 0..times {
            let (at, seq) = (0.05 + f64::from(i) * 0.05, 1 + i * 200);
            text += &format!("{:.4} c {}:{}\n", at, seq, seq + 100);
            text += &format!("{:.4} s ack {}\n", at + 0.0405, seq + 100);
            text += &format!("{:.4} c {}:{}\n", at + 0.0406, seq + 100, seq + 200);
            text += &format!("{:.4} s ack {}\n", at + 0.0426, seq + 200);
        }
        let report = syncscope::diagnose::build(syncscope::correlate::BuildInputs {
            captures: vec![syncscope::correlate::CaptureInput {
                connections: vec![trace(&text)],
                ..Default::default()
            }],
            ..Default::default()
        });
        report.findings.iter().map(|f| f.code.clone()).collect::<Vec<_>>()
    };
    assert_eq!(findings(1), Vec::<String>::new());
    assert_eq!(findings(6), ["nagle-delayed-ack"]);
}

/// From a lab: only the way back is dead. At the receiver's tap everything is there and acknowledged, and
/// still comes again and again. It was called lost bytes, and a server that does not answer.
#[test]
fn at_the_receivers_tap_a_dead_ack_path_was_called_a_loss() {
    let text = "0.041 c 1:1001
        0.0411 s ack 1001
        0.082 c 1001:2001
        0.0821 s ack 2001
        0.322 c 1001:2001
        0.3221 s ack 2001 sack 1001:2001
        0.782 c 1001:2001
        0.7821 s ack 2001 sack 1001:2001
        1.702 c 1001:2001
        1.7021 s ack 2001 sack 1001:2001";
    let open = trace_until(&with(HELLO_AT_SERVER, text), 1.5);
    let s = only(&open);
    assert_eq!((s.owner, s.cause, s.end), (Owner::Network, StallCause::BlackHole, None));
    assert_eq!(s.detail.path.as_deref(), Some("ack"));
    // It stopped asking: an ACK got through, and the rest is silence.
    let idle = trace_until(&with(HELLO_AT_SERVER, text), 30.0);
    assert!(idle.stalls.iter().all(|s| s.cause != StallCause::BlackHole), "{:#?}", idle.stalls);
}

/// A needless probe, then nobody had anything to say for five seconds: that is no loss of five seconds.
#[test]
fn silence_after_a_needless_probe_was_called_a_loss() {
    let c = trace(&with(
        HELLO_AT_SERVER,
        "0.041 c 1:101
         0.042 c 101:201
         0.0821 s ack 201
         0.131 c 101:201
         0.1311 s ack 201 sack 101:201
         5.000 c 201:301
         5.0001 s ack 301",
    ));
    let s = only(&c);
    assert_eq!((s.owner, s.cause), (Owner::SenderApp, StallCause::NoData));
}

/// Held up in the network for 480 ms and delivered at once: the receiver's tap sees a silence and then
/// originals, whose time stamps say when they were sent.
fn late_or_paused(held: bool) -> Connection {
    let mut text = String::new();
    for i in 0..100u32 {
        let sent = 41 + i * 20 + if i < 76 || held { 0 } else { 480 };
        let came = match (held, i) {
            (true, 76..) => 2041 + i,
            _ => sent,
        };
        let (from, to) = (1 + i * 100, 101 + i * 100);
        let at = f64::from(came) / 1000.0;
        text += &format!("{at:.4} c {from}:{to} ts {sent},0\n{:.4} s ack {to} ts 1,{sent}\n", at + 0.0001);
    }
    trace(&with(HELLO_AT_SERVER, &text))
}

#[test]
fn data_that_stood_on_the_path_was_called_an_application_without_data() {
    let s = late_or_paused(true);
    let s = only(&s);
    assert_eq!((s.owner, s.cause), (Owner::Network, StallCause::DelaySpike));
    assert_eq!(s.detail.path.as_deref(), Some("data"));
    let s = late_or_paused(false);
    assert_eq!((only(&s).owner, only(&s).cause), (Owner::SenderApp, StallCause::NoData));
}

/// The ACKs stood on the path: the receiver's tap sees acknowledged bytes once more.
#[test]
fn a_needless_resend_at_the_receivers_tap_is_a_late_ack() {
    let c = trace(&with(
        HELLO_AT_SERVER,
        "0.041 c 1:1001
         0.0411 s ack 1001
         0.082 c 1001:2001
         0.0821 s ack 2001
         0.322 c 1001:2001
         0.3221 s ack 2001 sack 1001:2001
         0.500 c 2001:3001
         0.5001 s ack 3001",
    ));
    let s = only(&c);
    assert_eq!((s.owner, s.cause), (Owner::Network, StallCause::DelaySpike));
    assert_eq!(s.detail.path.as_deref(), Some("ack"));
}

/// The server's tap: two SYN-ACKs were lost, so the SYN comes again. One wait, not two.
#[test]
fn a_lost_syn_ack_is_no_loss_of_the_clients_bytes() {
    let c = trace(
        "0.000 c S mss 1000 sack wscale 0
         0.0001 s S mss 1000 sack wscale 0
         1.020 c S mss 1000 sack wscale 0
         1.0201 s S mss 1000 sack wscale 0
         1.060 c . ack 1
         1.061 c 1:1001
         1.0611 s ack 1001",
    );
    let s = only(&c);
    assert_eq!((s.owner, s.cause), (Owner::Network, StallCause::HandshakeLoss));
    assert_eq!(c.losses.iter().filter(|l| l.dir == syncscope::model::Dir::C2s).count(), 0, "{:?}", c.losses);
}

/// The client's own uploads hang on a closed window: its server owes no answer yet.
#[test]
fn a_server_that_does_not_read_was_called_a_server_that_does_not_answer() {
    let c = trace_until(
        &with(
            HELLO,
            "0.041 c 1:1001
             0.081 s ack 1001 win 0
             0.300 c 1000:1000
             0.340 s ack 1001 win 0
             0.740 c 1000:1000
             0.780 s ack 1001 win 0",
        ),
        5.0,
    );
    let s = only(&c);
    assert_eq!((s.owner, s.cause), (Owner::ReceiverApp, StallCause::ZeroWindow));
}

/// Requests in two short writes: every second one waits for a delayed ACK, and so the usual round trip
/// *is* the delayed ACK. After the eighth time it was no longer called a stall.
#[test]
fn a_habit_of_nagle_was_taken_for_the_round_trip() {
    let mut text = HELLO.replace("0.04", "0.001");
    for i in 0..20u32 {
        let (at, seq, answer) = (0.05 + f64::from(i) * 0.05, 1 + i * 200, 1 + i * 100);
        text += &format!("{at:.4} c {seq}:{} ack {answer}\n", seq + 100);
        text += &format!("{:.4} s ack {}\n", at + 0.0445, seq + 100);
        text += &format!("{:.4} c {}:{}\n", at + 0.0446, seq + 100, seq + 200);
        text += &format!("{:.4} s {answer}:{} ack {}\n", at + 0.0456, answer + 100, seq + 200);
    }
    let c = trace(&text);
    let nagle = c.stalls.iter().filter(|s| s.cause == StallCause::NagleDelayedAck).count();
    assert_eq!(nagle, 20, "{:#?}", c.stalls);
}

#[test]
fn one_direction_alone_proves_no_black_hole() {
    let c = trace_until(
        "0.0 c 1:1001 ack 1
         0.3 c 1:1001
         0.9 c 1:1001
         2.1 c 1:1001",
        5.0,
    );
    let s = only(&c);
    assert_eq!((s.owner, s.cause), (Owner::Capture, StallCause::Gap));
    assert!(s.detail.needs.as_deref().unwrap().contains("both directions"));
}

/// Small messages passed before; then a large one meets a path that is dead for all.
#[test]
fn a_dead_path_and_an_mtu_black_hole_differ_in_how_sure_they_are() {
    let case = |more: &str| {
        let text = "0.041 c 1:201
             0.081 s ack 201
             0.082 c 201:1201
             0.083 c 1201:2201
             0.084 c 2201:2301
             0.330 c 201:1201
             0.900 c 201:1201
             2.000 c 201:1201\n";
        trace_until(&with(HELLO, &format!("{text}{more}")), 1.0)
    };
    let maybe = case("");
    let s = named(&maybe, StallCause::MtuBlackHole);
    assert!(s.confidence < 0.7, "{s:?}");
    let sure = case("2.100 s ack 201 sack 2201:2301");
    let s = named(&sure, StallCause::MtuBlackHole);
    assert!(s.confidence > 0.85, "{s:?}");
    let told = case("2.100 s icmp 1200");
    assert!(named(&told, StallCause::MtuBlackHole).confidence > 0.9, "{:#?}", told.stalls);
    // A large one did pass before: then it is no matter of size.
    let large = trace_until(
        &with(
            HELLO,
            "0.041 c 1:1001
             0.081 s ack 1001
             0.082 c 1001:2001
             0.330 c 1001:2001
             0.900 c 1001:2001
             2.000 c 1001:2001",
        ),
        1.0,
    );
    assert_eq!(only(&large).cause, StallCause::BlackHole);
}

/// On the receiver's host every copy came by, intact, and the host answers, but not for them.
#[test]
fn what_the_receivers_own_tap_saw_again_and_again_was_called_a_dead_ack_path() {
    let case = |bad: &str| {
        trace_until(
            &with(
                HELLO_AT_SERVER,
                &format!(
                    "0.041 c 1:1001
                     0.0411 s ack 1001
                     0.082 c 1001:2001 {bad}
                     0.332 c 1001:2001 {bad}
                     0.400 s 1:101 ack 1001
                     0.440 c ack 101
                     0.832 c 1001:2001 {bad}
                     0.833 s ack 1001
                     1.832 c 1001:2001 {bad}
                     1.833 s ack 1001"
                ),
            ),
            0.5,
        )
    };
    let c = case("");
    let s = named(&c, StallCause::HostDrop);
    assert_eq!((s.owner, s.end), (Owner::ReceiverHost, None));
    // It comes to its senses later: what it dropped meanwhile it dropped all the same. Its own silence was
    // called the network's loss.
    let late = trace(&with(
        HELLO_AT_SERVER,
        "0.041 c 1:1001
         0.0411 s ack 1001
         0.082 c 1001:2001
         0.332 c 1001:2001
         0.832 c 1001:2001
         0.8321 s ack 2001",
    ));
    assert_eq!((only(&late).owner, only(&late).cause), (Owner::ReceiverHost, StallCause::HostDrop));
    // Broken on the way: the host does right to drop them.
    assert!(case("bad").stalls.iter().all(|s| s.cause != StallCause::HostDrop));
}

/// The update got lost, and so did the answers to the probes: at the receiver's tap this looks like a sender
/// that does not use its window. What it echoes says that it never heard.
#[test]
fn a_lost_window_update_was_called_a_stuck_sender() {
    let case = |echo: u32| {
        trace(&with(
            HELLO_AT_SERVER,
            &format!(
                "0.041 c 1:1001 ts 41,0
                 0.0411 s ack 1001 win 0 ts 500,41
                 0.300 c 1000:1000 ts 300,500
                 0.3001 s ack 1001 win 0 ts 759,300
                 0.500 s ack 1001 win 8000 ts 959,300
                 0.740 c 1000:1000 ts 740,{echo}
                 0.7401 s ack 1001 win 8000 ts 1199,740
                 1.640 c 1000:1000 ts 1640,{echo}
                 1.6401 s ack 1001 win 8000 ts 2099,1640
                 1.800 c 1001:2001 ts 1800,2099
                 1.8001 s ack 2001 ts 2259,1800"
            ),
        ))
    };
    let lost = case(759);
    assert!(lost.stalls.iter().all(|s| s.cause != StallCause::StuckWindow), "{:#?}", lost.stalls);
    let stuck = case(1199);
    assert_eq!((only(&stuck).owner, only(&stuck).cause), (Owner::SenderTcp, StallCause::StuckWindow));
}

/// A reset that answers a stray segment comes from no connection: ID 0, no window, no options. That is the
/// peer's kernel; but whoever goes on sending after "its" reset did not send it.
#[test]
fn a_reset_is_told_by_its_distance_and_by_who_goes_on_speaking() {
    let talk = "0.041 c 1:1001 ts 41,0\n 0.081 s ack 1001 ts 5,41\n 0.082 c 1001:2001 ts 82,5\n";
    let peer = trace(&with(HELLO, &format!("{talk} 0.12 s R noid win 0")));
    assert_eq!(named(&peer, StallCause::Reset).detail.sent_by.as_deref(), Some("peer"));
    assert_eq!(named(&peer, StallCause::Reset).owner, Owner::ReceiverApp);
    let forged = trace(&with(
        HELLO,
        &format!(
            "{talk} 0.10 s R noid win 0\n 0.30 s 1:501 ack 2001 win 8000 ts 9,82\n 0.60 s 1:501 ts 12,82"
        ),
    ));
    let forged = named(&forged, StallCause::Reset);
    assert_eq!((forged.owner, forged.detail.sent_by.as_deref()), (Owner::Network, Some("middlebox")));
}

/// Nothing was outstanding, nobody had said goodbye: the connection was cut all the same.
#[test]
fn a_reset_of_a_quiet_connection_went_unnamed() {
    let c = trace(&with(HELLO, "0.041 c 1:1001\n 0.081 s ack 1001\n 0.500 s R"));
    let s = named(&c, StallCause::Reset);
    assert_eq!((s.detail.outstanding, s.detail.sent_by.as_deref()), (Some(0), Some("peer")));
    let tidy = trace(&with(HELLO, "0.041 c F 1:1001\n 0.081 s F ack 1002\n 0.0811 c ack 2\n 0.0812 c R"));
    assert!(tidy.stalls.iter().all(|s| s.cause != StallCause::Reset), "{:#?}", tidy.stalls);
}

/// One ACK that is late by far has a cause; which one, a single round trip does not say. A queue that had
/// grown before does.
#[test]
fn one_late_ack_is_no_queue_and_grown_round_trips_are() {
    let case = |rtt: [f64; 6]| {
        let mut text = String::new();
        let (mut at, mut seq) = (0.1, 1);
        for r in rtt {
            text += &format!(
                "{at:.4} c {seq}:{}\n{:.4} c {}:{}\n",
                seq + 1000,
                at + 0.0001,
                seq + 1000,
                seq + 2000
            );
            text += &format!("{:.4} s ack {}\n", at + r, seq + 2000);
            (at, seq) = (at + r + 0.001, seq + 2000);
        }
        trace(&with(HELLO, &text)).stalls.iter().map(|s| s.cause).collect::<Vec<_>>()
    };
    assert_eq!(case([0.04, 0.04, 0.04, 0.04, 0.04, 0.25]), [StallCause::Unknown]);
    let grown = case([0.09, 0.1, 0.11, 0.12, 0.13, 0.45]);
    assert_eq!(grown.last(), Some(&StallCause::Queueing), "{grown:?}");
    // From a real capture full of gaps: no queue holds bytes for a minute without their being sent again.
    let minute = case([0.09, 0.1, 0.11, 0.12, 0.13, 58.2]);
    assert_eq!(minute.last(), Some(&StallCause::Unknown), "{minute:?}");
}

/// A box resets both ends of a running upload. What was under way arrives after that and leaves a gap, which was
/// called a loss; the server had nothing outstanding, and so the reset was called harmless.
#[test]
fn a_forged_reset_of_a_running_upload_was_harmless_and_followed_by_a_loss() {
    let c = trace(&with(
        HELLO_AT_SERVER,
        "0.041 c 1:1001
         0.0411 s ack 1001
         0.082 c 1001:2001
         0.0821 s ack 2001
         0.090 c R 2001:2001 ttl 250
         0.1001 c 3001:4001
         0.1002 s R 1:1
         0.1004 c 4001:5001
         0.1005 s R 1:1",
    ));
    assert_eq!(c.holes, []);
    assert_eq!(named(&c, StallCause::Reset).detail.sent_by.as_deref(), Some("middlebox"));
    let report = syncscope::diagnose::build(syncscope::correlate::BuildInputs {
        captures: vec![syncscope::correlate::CaptureInput { connections: vec![c], ..Default::default() }],
        ..Default::default()
    });
    let found: Vec<_> = report.findings.iter().map(|f| (f.code.as_str(), f.severity)).collect();
    assert_eq!(found, [("reset", syncscope::report::Severity::Error)]);
}

#[test]
fn a_sender_that_waited_for_a_larger_window_was_called_idle() {
    let c = trace(
        "0.000 c S mss 1000 sack wscale 7
         0.040 s S mss 1000 sack wscale 7
         0.040 c . ack 1
         0.041 c 1:1001
         0.081 s ack 1001 win 4
         0.361 c 1001:1513
         0.401 s ack 1513 win 200",
    );
    let stall = c.stalls.iter().find(|s| s.dir == Dir::C2s).unwrap();
    assert_eq!((stall.owner, stall.cause), (Owner::ReceiverApp, StallCause::SmallWindow));
}
