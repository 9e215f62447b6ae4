//! Long logs, thinned while they are read.

use std::convert::Infallible;
use syncscope::correlate::thin::{Reader, SLOW, thin};
use syncscope::correlate::{BuildInputs, LogInput};
use syncscope::diagnose::build;
use syncscope::model::app::ClockOffset;
use syncscope::model::{AppEvent, AppLog, AppOp, Ns, Phase, Side, Ts};
use syncscope::report::Report;

/// A server that writes a piece every 100 µs and stands still now and then, and a client that reads.
fn logs(pieces: u32) -> [AppLog; 2] {
    let event = |op, start, end, offset: u64, phase| AppEvent {
        op,
        start: Ts(start),
        ready: None,
        end: Ts(end),
        offset,
        len: if op == AppOp::Work { 0 } else { 1000 },
        queued: None,
        phase,
        file: Some(0),
        block: None,
    };
    let (mut client, mut server) = (Vec::new(), Vec::new());
    let mut now = 1_000_000_000;
    for n in 0..pieces {
        let before = now;
        now += 100_000 + i64::from(n % 7) * 1000;
        if n % 997 == 500 {
            now += 300_000_000;
            server.push(event(AppOp::Work, before + 10_000, now - 50_000, u64::from(n) * 1000, Phase::Delta));
        }
        server.push(event(AppOp::Write, now - 20_000, now - 10_000, u64::from(n) * 1000, Phase::Data));
        client.push(event(AppOp::Read, before, now, u64::from(n) * 1000, Phase::Data));
    }
    // Its clock is five seconds ahead.
    for e in &mut server {
        (e.start, e.end) = (e.start + Ns::from_secs(5), e.end + Ns::from_secs(5));
    }
    let log = |side, events| AppLog {
        side,
        local: if side == Side::Client { "10.0.0.1:1" } else { "10.0.0.2:2" }.parse().unwrap(),
        peer: if side == Side::Client { "10.0.0.2:2" } else { "10.0.0.1:1" }.parse().unwrap(),
        events,
        files: vec!["f".to_owned()],
        samples: Vec::new(),
        offsets_known: true,
    };
    [log(Side::Client, client), log(Side::Server, server)]
}

const CLOCK: ClockOffset = ClockOffset { offset: Ns(5_000_000_000), bound: Ns(10_000) };

fn report(logs: Vec<LogInput>) -> Report {
    let slow_read = Ns::from_millis(100);
    build(BuildInputs { slow_read, logs, clock: Some(CLOCK), ..BuildInputs::default() })
}

fn thinned(all: &[AppLog; 2]) -> Vec<LogInput> {
    let mut readers: Vec<Box<Reader<'_, Infallible>>> = Vec::new();
    for log in all {
        readers.push(Box::new(move |each| {
            log.events.iter().for_each(|e| each(*e));
            Ok(AppLog { events: Vec::new(), ..log.clone() })
        }));
    }
    let Ok(thin) = thin(&mut readers, Some(CLOCK), Ns::from_millis(100));
    thin.into_iter().map(|(log, whole)| LogInput { name: "l".to_owned(), log, whole: Some(whole) }).collect()
}

#[test]
fn thinned_or_not_the_report_is_the_same() {
    let all = logs(20_000);
    let whole =
        all.iter().map(|log| LogInput { name: "l".to_owned(), log: log.clone(), whole: None }).collect();
    let thin = thinned(&all);
    assert!(thin.iter().all(|l| l.log.events.len() < 1000), "{}", thin[0].log.events.len());
    let (whole, thin) = (report(whole), report(thin));
    assert_eq!(whole.reads.len(), 20);
    assert!(whole.reads.iter().all(|r| r.budget.peer_app > Ns::from_millis(290)), "{:?}", whole.reads[0]);
    assert_eq!(whole, thin);
}

#[test]
fn of_too_many_slow_reads_the_slowest_are_kept() {
    let [mut client, server] = logs(10_000);
    for (n, e) in client.events.iter_mut().enumerate() {
        e.start = e.end - Ns::from_millis(100 + n as i64);
    }
    let thin = thinned(&[client, server]);
    let whole = thin[0].whole.unwrap();
    assert_eq!((whole.events, whole.reads, whole.slow), (10_000, 10_000, 10_000));
    let reads = report(thin).reads;
    assert!((SLOW..SLOW + 400).contains(&reads.len()), "{}", reads.len());
    let kept = reads.iter().filter(|r| r.end.since(r.start) >= Ns::from_millis(100 + 10_000 - SLOW as i64));
    assert_eq!(kept.count(), SLOW);
}
