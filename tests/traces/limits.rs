//! What set the pace of a transfer that never stood still.

use super::script::trace;
use super::{HELLO, HELLO_AT_SERVER, with};
use syncscope::model::tcp::Limits;
use syncscope::model::{Dir, Ns};
use syncscope::tcp::Connection;

/// One burst a round trip: so many segments of 1000 bytes and a tail, `spacing` seconds apart at the
/// receiver, let go by the last ACK of the burst before.
fn bursts(hello: &str, sizes: &[u32], tail: u32, rtt: impl Fn(usize) -> f64, spacing: f64) -> Option<Limits> {
    transfer(hello, sizes, tail, rtt, spacing).halves[Dir::C2s].limits.as_deref().copied()
}

fn transfer(hello: &str, sizes: &[u32], tail: u32, rtt: impl Fn(usize) -> f64, spacing: f64) -> Connection {
    let mut lines: Vec<(f64, String)> = Vec::new();
    let (mut at, mut seq) = (0.05, 1);
    for (k, &n) in sizes.iter().enumerate() {
        let whole = n + u32::from(tail > 0);
        for i in 0..whole {
            let len = if i == n { tail } else { 1000 };
            lines.push((at + f64::from(i) * 0.000_002, format!("c {seq}:{}", seq + len)));
            seq += len;
            lines.push((at + rtt(k) + f64::from(i) * spacing, format!("s ack {seq}")));
        }
        at += rtt(k) + f64::from(whole - 1) * spacing + 0.000_05;
    }
    lines.sort_by(|a, b| a.0.total_cmp(&b.0));
    let text: String = lines.iter().map(|(t, what)| format!("{t:.7} {what}\n")).collect();
    trace(&with(hello, &text))
}

fn wide() -> String {
    HELLO.replace("s S", "s S win 60000")
}

/// Its share in percent.
fn share(part: Ns, of: &Limits) -> i64 {
    part.0 * 100 / of.total().0
}

fn steady(_: usize) -> f64 {
    0.04
}

#[test]
fn a_full_receive_window_sets_the_pace() {
    let hello = HELLO.replace("s S", "s S win 20000");
    let l = bursts(&hello, &[20; 20], 0, steady, 0.000_01).unwrap();
    assert!(share(l.receive_window, &l) > 95, "{l:?}");
}

#[test]
fn a_level_below_every_window_is_the_send_buffer() {
    let l = bursts(&wide(), &[20; 24], 0, steady, 0.000_01).unwrap();
    assert!(share(l.send_buffer, &l) > 90, "{l:?}");
    // Too few round trips show no level.
    let l = bursts(&wide(), &[20; 10], 0, steady, 0.000_01).unwrap();
    assert_eq!(l.send_buffer, Ns::ZERO, "{l:?}");
}

#[test]
fn what_grows_by_a_segment_a_round_trip_is_the_congestion_window() {
    let sizes: Vec<u32> = (10..34).collect();
    let l = bursts(&wide(), &sizes, 0, steady, 0.000_01).unwrap();
    assert!(share(l.congestion_window, &l) > 90, "{l:?}");
    assert_eq!(l.send_buffer, Ns::ZERO);
}

/// The same level as a send buffer would give, but each burst ends with a short segment: the queue was empty.
#[test]
fn messages_of_one_size_are_no_send_buffer() {
    let l = bursts(&wide(), &[20; 24], 300, steady, 0.000_01).unwrap();
    assert!(share(l.application, &l) > 90, "{l:?}");
}

#[test]
fn a_queue_that_grows_is_the_rate_of_the_path() {
    let sizes: Vec<u32> = (30..54).collect();
    let l = bursts(&wide(), &sizes, 0, |k| 0.04 + 0.004 * k as f64, 0.001).unwrap();
    assert!(share(l.path_rate, &l) > 80, "{l:?}");
}

#[test]
fn a_tap_at_the_receiver_does_not_know_what_the_sender_waited_for() {
    let text = "0.041 c 1:1001
        0.0411 s ack 1001
        0.082 c 1001:2001
        0.0821 s ack 2001\n";
    assert_eq!(trace(&with(HELLO_AT_SERVER, text)).halves[Dir::C2s].limits, None);
}

/// Nothing stood still and nothing was lost, so nothing was said, although each round trip took four times as long
/// as it need.
#[test]
fn a_queue_that_stands_for_the_whole_transfer_is_a_finding() {
    let found = |c: Connection| {
        let report = syncscope::diagnose::build(syncscope::correlate::BuildInputs {
            captures: vec![syncscope::correlate::CaptureInput { connections: vec![c], ..Default::default() }],
            ..Default::default()
        });
        report.findings.iter().map(|f| f.code.clone()).collect::<Vec<_>>()
    };
    let sizes: Vec<u32> = (30..56).collect();
    let queued = transfer(&wide(), &sizes, 0, |k| 0.04 + 0.006 * (k as f64).min(24.0), 0.001);
    assert_eq!(found(queued), ["queueing"]);
    // A short queue is what a full line has.
    let short = transfer(&wide(), &sizes, 0, |k| 0.04 + 0.001 * (k as f64).min(24.0), 0.001);
    assert_eq!(found(short), Vec::<String>::new());
}
