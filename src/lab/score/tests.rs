//! The scoring must itself be right: small logs of packets whose meaning is plain.

use super::wire::Wire;
use super::*;
use crate::lab::fate::{Cause as FateCause, Fate, What};
use crate::lab::kernel::{Congestion, Resend};
use crate::model::tcp::SegmentClass::{self, NetworkDuplicate, New, Reordered, Retransmission, WindowProbe};
use crate::model::tcp::{Loss, LossWhere, Owner, Stall, StallDetail};
use crate::model::{Ns, RelSeq, Span, StreamRange};
use std::collections::BTreeMap;

/// Milliseconds.
fn at(ms: i64) -> Ts {
    Ts(ms * 1_000_000)
}

/// A log line: when it entered, which way, sequence number after the ISN, payload, when it left (none: dropped).
#[derive(Default)]
struct Log {
    fates: Vec<Fate>,
    sent: BTreeMap<(bool, u32), u32>,
}

const ISN: u32 = u32::MAX - 2000;

impl Log {
    fn new() -> Log {
        let mut log = Log::default();
        log.push(0, Dir::C2s, 0, 0, 2, Some(20));
        log.push(20, Dir::S2c, 0, 0, 0x12, Some(40));
        log
    }

    fn push(&mut self, t: i64, dir: Dir, seq: u32, len: u32, flags: u16, due: Option<i64>) -> &mut Fate {
        let index = self.fates.iter().filter(|f| f.dir == dir).count() as u64;
        let mut f = Fate::entered(at(t), dir, index, None, 40 + len as usize);
        let client = dir == Dir::C2s;
        (f.sport, f.dport) = if client { (Some(4000), Some(9000)) } else { (Some(9000), Some(4000)) };
        (f.conn, f.seq, f.len, f.flags) = (Some(1), Some(ISN.wrapping_add(seq)), len, Some(flags));
        f.ack = (flags & 0x10 != 0).then_some(ISN.wrapping_add(1));
        f.win = Some(500);
        if len > 0 || flags & 3 != 0 {
            let n = self.sent.entry((client, seq)).or_default();
            *n += 1;
            f.copy = *n;
        }
        match due {
            Some(due) => f.due = Some(at(due)),
            None => f.suffer(What::Dropped, FateCause::Loss),
        }
        self.fates.push(f);
        self.fates.last_mut().unwrap()
    }

    fn data(&mut self, t: i64, seq: u32, len: u32, due: Option<i64>) -> &mut Fate {
        self.push(t, Dir::C2s, seq, len, 0x10, due)
    }

    fn ack(&mut self, t: i64, ack: u32, due: Option<i64>) -> &mut Fate {
        let f = self.push(t, Dir::S2c, 1, 0, 0x10, due);
        f.ack = Some(ISN.wrapping_add(ack));
        f
    }

    fn wire(&self) -> Wire {
        Wire::busiest(&self.fates).unwrap()
    }
}

/// The client's resend at this time, in this state.
fn resend(ms: i64, ca: Congestion) -> Resend {
    Resend { side: Side::Client, t: at(ms), sport: 4000, dport: 9000, ca, seq: None, family: 4 }
}

/// A client whose timer fired once, then.
fn timed_out(ms: i64) -> Kernel {
    let mut kernel = Kernel { resends: Some(vec![resend(ms, Congestion::Loss)]), ..Kernel::default() };
    kernel.client.counters.insert("TcpExtTCPTimeouts".to_owned(), 1);
    kernel
}

fn classes(wire: &Wire, side: Side) -> Vec<(i64, SegmentClass)> {
    let seen = wire.sightings(Dir::C2s, side, true);
    seen.iter().map(|s| (wire.packets.c2s[s.packet].range.start.0, s.class)).collect()
}

#[test]
fn an_original_that_its_successor_overtook_is_late_at_the_receiver_only() {
    let mut log = Log::new();
    log.data(50, 1, 1000, Some(80));
    log.data(51, 1001, 1000, Some(71));
    assert_eq!(classes(&log.wire(), Side::Client), [(0, New), (1, New), (1001, New)]);
    assert_eq!(classes(&log.wire(), Side::Server), [(0, New), (1001, New), (1, Reordered)]);
}

#[test]
fn an_original_behind_its_own_copy_is_late_too() {
    let mut log = Log::new();
    log.data(50, 1, 1000, Some(400));
    log.data(300, 1, 1000, Some(320));
    assert_eq!(classes(&log.wire(), Side::Server), [(0, New), (1, Retransmission), (1, Reordered)]);
}

#[test]
fn a_lost_packet_passes_one_tap_and_a_doubled_one_passes_the_other_twice() {
    let mut log = Log::new();
    log.data(50, 1, 1000, None);
    log.data(51, 1001, 1000, Some(71)).arrivals = 2;
    log.data(95, 1, 1000, Some(115));
    assert_eq!(classes(&log.wire(), Side::Client), [(0, New), (1, New), (1001, New), (1, Retransmission)]);
    assert_eq!(
        classes(&log.wire(), Side::Server),
        [(0, New), (1001, New), (1001, NetworkDuplicate), (1, Retransmission)]
    );
}

#[test]
fn an_empty_packet_below_the_next_number_probes_a_closed_window() {
    let mut log = Log::new();
    log.data(50, 1, 1000, Some(70));
    log.ack(70, 1001, Some(90)).win = Some(0);
    log.data(300, 1000, 0, Some(320));
    let seen = classes(&log.wire(), Side::Client);
    assert_eq!(seen.last(), Some(&(1000, WindowProbe)));
}

#[test]
fn the_kernels_state_names_the_cause_and_the_log_says_whether_it_was_needed() {
    let mut log = Log::new();
    log.data(50, 1, 1000, None);
    log.data(51, 1001, 1000, Some(71));
    log.data(100, 1, 1000, Some(120));
    log.data(400, 1001, 1000, Some(420));
    let wire = log.wire();
    let resends = Some(vec![resend(100, Congestion::Recovery), resend(400, Congestion::Loss)]);
    let mut kernel = Kernel { resends, ..Kernel::default() };
    kernel.client.counters.insert("TcpExtTCPTimeouts".to_owned(), 1);
    let why: Vec<_> = segments::why_sent(&wire, Dir::C2s, Some(&kernel))
        .into_iter()
        .flatten()
        .map(|w| (w.cause, w.needless))
        .collect();
    assert_eq!(why, [(Cause::Fast, false), (Cause::Rto, true)]);
}

#[test]
fn a_wait_ends_with_the_next_byte_acknowledged() {
    let mut log = Log::new();
    log.data(50, 1, 1000, None);
    log.data(300, 1, 1000, Some(320));
    log.ack(320, 1001, Some(340));
    let waits = stalls::waits(&log.wire(), Dir::C2s, Side::Client);
    let long: Vec<_> =
        waits.iter().filter(|w| w.end.is_some_and(|e| e.since(w.start) > Ns::from_millis(100))).collect();
    assert_eq!(long.len(), 1, "{waits:?}");
    assert_eq!((long[0].start, long[0].end), (at(50), Some(at(340))));
    assert_eq!(long[0].outstanding, StreamRange::new(RelSeq(1), RelSeq(1001)));
}

#[test]
fn a_packet_that_a_busy_host_handed_over_late_arrived_late() {
    let mut log = Log::new();
    log.data(50, 1, 1000, Some(70));
    log.ack(70, 1001, Some(90)).left = Some(at(101));
    let waits = stalls::waits(&log.wire(), Dir::C2s, Side::Client);
    assert_eq!(waits.iter().rev().find_map(|w| w.end), Some(at(101)), "{waits:?}");
}

#[test]
fn what_passed_after_the_end_of_a_capture_is_not_asked_for() {
    let mut log = Log::new();
    log.data(50, 1, 1000, Some(70));
    log.data(900, 1001, 1000, Some(920));
    let wire = log.wire();
    let matched = |end: i64| segments::matched(&wire, Dir::C2s, Side::Client, true, &[]).until(at(end));
    let counted =
        |end: i64| matched(end).sightings.iter().filter(|s| wire.packets.c2s[s.packet].len > 0).count();
    assert_eq!((counted(100), counted(1000)), (1, 2));
}

#[test]
fn a_time_out_that_interrupts_new_data_is_still_the_timers() {
    let mut log = Log::new();
    log.data(50, 1, 1000, None);
    log.data(240, 1001, 1000, None);
    log.data(250, 1, 1000, Some(270));
    let kernel = timed_out(250);
    let why = segments::why_sent(&log.wire(), Dir::C2s, Some(&kernel));
    assert_eq!(why.into_iter().flatten().map(|w| w.cause).collect::<Vec<_>>(), [Cause::Rto]);
}

#[test]
fn a_host_that_stood_still_is_known_by_what_it_handed_over_late() {
    let mut log = Log::new();
    log.data(50, 1, 1000, Some(70)).left = Some(at(72));
    log.ack(72, 1001, Some(92)).left = Some(at(300));
    assert_eq!(log.wire().stood_still, [Span::new(at(92), at(300))]);
}

/// One packet that arrives and is acknowledged, and that the client's capture lacks.
fn missed_at_the_client() -> Wire {
    let mut log = Log::new();
    log.data(50, 1, 1000, Some(70));
    log.data(51, 1001, 1000, Some(71));
    log.ack(71, 2001, Some(91));
    log.data(400, 1, 1000, Some(420));
    let mut wire = log.wire();
    wire.miss(&[wire::Missed { side: Side::Client, dir: Dir::C2s, index: wire.packets.c2s[1].index }]);
    wire
}

#[test]
fn a_copy_whose_first_the_capture_missed_cannot_be_told_there() {
    let wire = missed_at_the_client();
    let known = |side| -> Vec<(i64, bool)> {
        let seen = wire.sightings(Dir::C2s, side, true);
        seen.iter().map(|s| (wire.packets.c2s[s.packet].range.start.0, s.known)).collect()
    };
    assert_eq!(known(Side::Client), [(0, true), (1001, true), (1, false)]);
    assert_eq!(known(Side::Server), [(0, true), (1, true), (1001, true), (1, true)]);
}

#[test]
fn what_only_the_capture_lacks_is_no_loss_of_the_network() {
    let mut log = Log::new();
    log.data(50, 1, 1000, Some(70));
    log.data(51, 1001, 1000, Some(71));
    log.data(52, 2001, 1000, Some(72));
    log.ack(72, 3001, Some(92));
    let mut wire = log.wire();
    wire.miss(&[wire::Missed { side: Side::Client, dir: Dir::C2s, index: wire.packets.c2s[2].index }]);
    let said = |location| {
        let range = StreamRange::new(RelSeq(1001), RelSeq(2001));
        let loss = Loss {
            input: 0,
            flow: FlowId(0),
            dir: Dir::C2s,
            range,
            sent: None,
            sent_frame: None,
            repaired: None,
            repair_frame: None,
            location,
        };
        let mut s = Score::default();
        let said = losses::Said { losses: &[&loss], records: &[], shift: 0 };
        losses::score(&mut s, "client tap", &wire, Dir::C2s, losses::From::Sender, &said);
        (s.losses, s.gaps)
    };
    let nothing = Found::default();
    assert_eq!(said(LossWhere::Capture), (nothing, Found { truth: 1000, said: 1000, right: 1000 }));
    let (invented, unsaid) = said(LossWhere::Downstream);
    assert_eq!(invented, Found { truth: 0, said: 1000, right: 0 });
    assert_eq!(unsaid, Found { truth: 1000, said: 0, right: 0 });
}

/// A late original behind its own resend: where the capture lacks the DSACK, nothing tells that it came.
#[test]
fn a_late_original_whose_report_the_capture_lacks_is_asked_of_nobody() {
    let mut log = Log::new();
    log.data(50, 1, 1000, Some(190));
    log.data(51, 1001, 1000, Some(71));
    log.data(110, 1, 1000, Some(130));
    log.ack(130, 2001, Some(150));
    log.ack(190, 2001, Some(210)).sack = vec![(ISN.wrapping_add(1), ISN.wrapping_add(1001))];
    let (orig, dsack) = (1, 2);
    let said = |from, missed: &[(Side, Dir, u64)]| {
        let mut wire = log.wire();
        let missed: Vec<_> =
            missed.iter().map(|&(side, dir, index)| wire::Missed { side, dir, index }).collect();
        wire.miss(&missed);
        let loss = Loss {
            input: 0,
            flow: FlowId(0),
            dir: Dir::C2s,
            range: StreamRange::new(RelSeq(1), RelSeq(1001)),
            sent: None,
            sent_frame: None,
            repaired: None,
            repair_frame: None,
            location: if from == losses::From::Sender { LossWhere::Downstream } else { LossWhere::Upstream },
        };
        let mut s = Score::default();
        let said = losses::Said { losses: &[&loss], records: &[], shift: 0 };
        losses::score(&mut s, "a tap", &wire, Dir::C2s, from, &said);
        s.losses.said
    };
    use losses::From::{Receiver, Sender};
    let (client, server) = (Side::Client, Side::Server);
    assert_eq!(said(Sender, &[]), 1000);
    assert_eq!(said(Sender, &[(client, Dir::S2c, dsack)]), 0);
    assert_eq!(said(Receiver, &[(server, Dir::S2c, dsack)]), 1000, "it came by itself");
    assert_eq!(said(Receiver, &[(server, Dir::S2c, dsack), (server, Dir::C2s, orig)]), 0);
}

#[test]
fn a_capture_with_every_frame_twice_shows_each_packet_and_its_copy() {
    let mut log = Log::new();
    log.data(50, 1, 1000, Some(70));
    let wire = Wire { twice: true, ..log.wire() };
    let twice = SegmentClass::CaptureDuplicate;
    assert_eq!(classes(&wire, Side::Client), [(0, New), (0, twice), (1, New), (1, twice)]);
}

/// A stall from 50 ms to `to`.
fn stall(to: i64, said: (Owner, StallCause)) -> Stall {
    Stall {
        input: 0,
        flow: FlowId(0),
        dir: Dir::C2s,
        start: at(50),
        end: Some(at(to)),
        owner: said.0,
        cause: said.1,
        detail: StallDetail::default(),
        evidence: Vec::new(),
        confidence: 1.0,
    }
}

/// Whether one stall at the client's tap, from 50 ms to `to`, is called right.
fn is_right(
    log: &Log,
    to: i64,
    kernel: Option<&Kernel>,
    planned: &[Planned],
    said: (Owner, StallCause),
) -> bool {
    let wire = log.wire();
    let why = segments::why_sent(&wire, Dir::C2s, kernel);
    let seen = stalls::Seen {
        at: "client tap",
        wire: &wire,
        dir: Dir::C2s,
        side: Side::Client,
        alone: true,
        skew: Ns::ZERO,
        why: &why,
        writer: None,
        end: at(to),
    };
    let stall = stall(to, said);
    let mut s = Score::default();
    stalls::score(&mut s, &seen, &[&stall], planned, false);
    assert_eq!((s.stalls.total(), s.bounds.right), (1, 1), "{:?}", s.notes);
    s.stalls.right() == 1
}

#[test]
fn a_short_standstill_excuses_no_long_wait() {
    let case = |late: i64| {
        let mut log = Log::new();
        log.data(50, 1, 1000, Some(70));
        log.ack(300, 1001, Some(320)).left = Some(at(320 + late));
        is_right(&log, 320 + late, None, &[], (Owner::Network, StallCause::DelaySpike))
    };
    assert!(!case(20));
    assert!(case(300));
}

/// What one tap cannot know it may leave open, where the link's log has the reason and the other capture shows it.
#[test]
fn a_standstill_may_be_left_to_the_other_capture_by_one_tap_that_says_so() {
    let mut log = Log::new();
    log.data(50, 1, 1000, Some(70));
    log.ack(70, 1001, Some(90)).left = Some(at(300));
    let wire = log.wire();
    let right = |alone: bool, needs: bool, side: Side| {
        let seen = stalls::Seen {
            at: "a tap",
            wire: &wire,
            dir: Dir::C2s,
            side,
            alone,
            skew: Ns::ZERO,
            why: &[],
            writer: None,
            end: at(300),
        };
        let detail = StallDetail { needs: needs.then(|| "the other".to_owned()), ..StallDetail::default() };
        let stall = Stall { detail, ..stall(300, (Owner::Unknown, StallCause::Unknown)) };
        let mut s = Score::default();
        stalls::score(&mut s, &seen, &[&stall], &[], false);
        s.stalls.right() == 1
    };
    assert!(right(true, true, Side::Client));
    assert!(!right(false, true, Side::Client), "both taps know it");
    assert!(!right(true, false, Side::Client), "it does not say so");
    assert!(!right(true, true, Side::Server), "it is the other capture itself");
}

#[test]
fn a_timer_of_the_kernel_excuses_no_other_name_of_what_was_planned() {
    let mut log = Log::new();
    log.data(50, 1, 1000, None);
    log.data(300, 1, 1000, Some(320));
    log.ack(320, 1001, Some(340));
    let kernel = timed_out(300);
    let plan = |cause| Planned {
        dir: Dir::C2s,
        owner: Owner::Network,
        cause: vec![cause],
        optional: false,
        tap: None,
        at: None,
        lasts: None,
        findings: Vec::new(),
    };
    let timed = |cause| {
        let said = (Owner::Network, StallCause::LossRto);
        is_right(&log, 340, Some(&kernel), &[plan(cause)], said)
    };
    assert!(timed(StallCause::LossTail));
    assert!(!timed(StallCause::BlackHole));
}

/// The kernel counted a resend that left when the capture had ended.
#[test]
fn what_was_sent_again_after_the_end_of_a_capture_is_missing_from_no_count() {
    let mut log = Log::new();
    log.data(50, 1, 1000, None);
    log.data(300, 1, 1000, Some(320));
    let wire = log.wire();
    let resend = Resend {
        side: Side::Client,
        t: at(300),
        sport: 4000,
        dport: 9000,
        ca: Congestion::Loss,
        seq: None,
        family: 4,
    };
    let mut kernel = Kernel { resends: Some(vec![resend]), ..Kernel::default() };
    for name in ["TcpRetransSegs", "TcpExtTCPTimeouts"] {
        kernel.client.counters.insert(name.to_owned(), 1);
    }
    let why = segments::why_sent(&wire, Dir::C2s, Some(&kernel));
    let odd = |end: i64| {
        let m = segments::matched(&wire, Dir::C2s, Side::Client, true, &[]).until(at(end));
        let beyond: Vec<_> = m.beyond.iter().filter_map(|&i| why[i]).collect();
        let mut s = Score::default();
        counters(&mut s, &kernel, Side::Client, Dir::C2s, &[], &[], &beyond);
        s.counters.iter().filter(|c| c.kernel != c.said).count()
    };
    assert_eq!((odd(200), odd(400)), (0, 2));
}

#[test]
fn what_only_the_capture_lacks_makes_a_wait_a_gap() {
    let mut log = Log::new();
    log.data(50, 1, 1000, Some(70));
    log.ack(70, 1001, Some(90));
    log.data(300, 1001, 1000, Some(320));
    log.ack(320, 2001, Some(340));
    let mut wire = log.wire();
    let ack = wire.packets.s2c[1].index;
    wire.miss(&[wire::Missed { side: Side::Client, dir: Dir::S2c, index: ack }]);
    let torn = |wire: &Wire| {
        stalls::waits(wire, Dir::C2s, Side::Client)
            .iter()
            .any(|w| w.end == Some(at(340)) && w.start == at(50))
    };
    assert!(torn(&wire) && !torn(&log.wire()));
}

#[test]
fn a_packet_that_waited_for_a_busy_link_was_sent_before() {
    let mut log = Log::new();
    log.data(50, 1, 1000, Some(70));
    let mut wire = log.wire();
    wire.send(&[(Dir::C2s, 1, at(20)), (Dir::C2s, 0, at(5))]);
    assert_eq!((wire.packets.c2s[0].sent, wire.packets.c2s[1].sent), (at(0), at(20)));
    assert_eq!(wire.stood_still, [Span::new(at(20), at(50))]);
}
