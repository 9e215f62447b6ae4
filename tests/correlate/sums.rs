//! Whatever the evidence says, the parts of a budget add up, and no input makes the report panic.

use crate::script::{T0, connections};
use proptest::prelude::*;
use std::fmt::Write;
use syncscope::correlate::{BuildInputs, CaptureInput, LogInput};
use syncscope::diagnose::build;
use syncscope::model::{AppEvent, AppLog, AppOp, Ns, Phase, Side, Span, Ts};

/// Time and place of one packet, nonsense included.
fn packets() -> impl Strategy<Value = String> {
    let line =
        (0u32..2_000, any::<bool>(), 0u32..8, 0u32..3, 0u32..9, prop::option::of(0u32..8), any::<bool>());
    prop::collection::vec(line, 0..40).prop_map(|mut lines| {
        lines.sort_by_key(|l| l.0);
        let mut text = crate::case::HELLO.to_owned();
        for (t, server, from, len, ack, sack, closed) in lines {
            let who = if server { 's' } else { 'c' };
            let at = 0.05 + f64::from(t) / 1e3;
            let (a, b) = (from * 500 + 1, (from + len) * 500 + 1);
            write!(
                text,
                "\n{at:.6} {who} {a}:{b} ack {} win {}",
                ack * 500 + 1,
                if closed { 0 } else { 8000 }
            )
            .unwrap();
            if let Some(s) = sack {
                write!(text, " sack {}:{}", s * 500 + 501, s * 500 + 1001).unwrap();
            }
        }
        text
    })
}

fn events() -> impl Strategy<Value = Vec<AppEvent>> {
    let event =
        (0i64..2_200, 0i64..900, 0u8..3, 0u64..5_000, 0u32..3_000, 0u8..3, prop::option::of(0i64..900));
    prop::collection::vec(event, 0..30).prop_map(|list| {
        let mut all: Vec<AppEvent> = list
            .into_iter()
            .map(|(start, len, op, offset, bytes, phase, ready)| AppEvent {
                op: [AppOp::Read, AppOp::Write, AppOp::Work][op as usize],
                start: T0 + Ns::from_millis(start),
                ready: ready.map(|r| T0 + Ns::from_millis(start + r)),
                end: T0 + Ns::from_millis(start + len) + Ns(7),
                offset,
                len: bytes,
                queued: None,
                phase: [Phase::Data, Phase::Pace, Phase::Busy][phase as usize],
                file: Some(9),
                block: None,
            })
            .collect();
        all.sort_by_key(|e| e.end);
        all
    })
}

fn log(side: Side, events: Vec<AppEvent>) -> LogInput {
    let (client, server) = ("192.0.2.1:40000".parse().unwrap(), "192.0.2.2:873".parse().unwrap());
    let (local, peer) = if side == Side::Client { (client, server) } else { (server, client) };
    let log = AppLog { side, local, peer, events, files: vec![], samples: vec![], offsets_known: true };
    LogInput { name: String::new(), log, whole: None }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn parts_add_up_to_the_wait(
        client in packets(), server in packets(), reads in events(), writes in events(),
        taps in 0usize..4, ahead in -3_000i64..3_000, named in any::<bool>(),
    ) {
        let capture = |text: &str, side| CaptureInput {
            side: named.then_some(side),
            span: Some(Span::new(T0, T0 + Ns::from_secs(3))),
            connections: connections(text, 0.5, 1_000, 2_000),
            ..CaptureInput::default()
        };
        let mut captures = vec![capture(&client, Side::Client), capture(&server, Side::Server)];
        match taps {
            0 => captures.clear(),
            1 => { captures.pop(); }
            2 => { captures.remove(0); }
            _ => {}
        }
        let shifted: Vec<AppEvent> = writes
            .into_iter()
            .map(|e| AppEvent { start: e.start + Ns::from_millis(ahead), end: e.end + Ns::from_millis(ahead), ..e })
            .collect();
        let slow = Ns::from_millis(1);
        let wanted = reads.iter().chain(&shifted).filter(|e| e.op == AppOp::Read && e.end.since(e.start) >= slow).count();
        let r = build(BuildInputs {
            slow_read: slow,
            captures,
            logs: vec![log(Side::Client, reads), log(Side::Server, shifted)],
            ..BuildInputs::default()
        });
        prop_assert_eq!(r.reads.len(), wanted);
        for read in &r.reads {
            prop_assert_eq!(read.budget.total(), read.end.since(read.start));
            prop_assert!(read.budget.parts().iter().all(|p| p.1 >= Ns::ZERO));
            let mut at = read.start;
            for s in &read.steps {
                prop_assert_eq!(s.span.start, at);
                prop_assert!(s.span.end > at);
                at = s.span.end;
            }
            prop_assert!(read.steps.is_empty() || at == read.end);
        }
        for i in &r.incidents {
            prop_assert!(i.span.start <= i.span.end);
            prop_assert!(i.reads.iter().all(|&n| (n as usize) < r.reads.len()));
            prop_assert!(i.sentence.ends_with('.') && i.sentence.len() < 2_000);
        }
        for f in &r.findings {
            prop_assert!((0.0..=1.0).contains(&f.confidence), "{}", f.confidence);
            prop_assert!(!f.incidents.is_empty() && !f.message.is_empty() && !f.next.is_empty());
        }
        let text = serde_json::to_string(&r).unwrap();
        prop_assert!(serde_json::from_str::<syncscope::report::Report>(&text).is_ok());
        let _ = Ts::MAX;
    }
}
