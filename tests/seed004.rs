//! A field report as an acceptance test: heartbeats every 60 ms with a time-out of 50 ms, and a
//! read that took 239.6 ms. The two captures hold exactly what the report's two packet listings
//! show (no payload, no handshake: they were not listed); the log holds its three reads.
//!
//! `SYNCSCOPE_WRITE_CAPTURES=1 cargo test --test seed004` writes the files anew.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::path::PathBuf;
use syncscope::capture::writer::{InterfaceInfo, PcapngWriter};
use syncscope::cli::reading::{Reading, read_capture};
use syncscope::correlate::{BuildInputs, LogInput};
use syncscope::diagnose::build;
use syncscope::model::app::ClockOffset;
use syncscope::model::tcp::{Cause, LossWhere, Owner, SegmentClass, StallCause};
use syncscope::model::{
    AppEvent, AppLog, AppOp, Dir, Frame, FrameNo, LinkType, Ns, Phase, RelSeq, Side, StreamRange, Ts,
};
use syncscope::report::{Report, VerdictKind};

/// 2019-08-14 15:18:45 in China.
const SECOND: i64 = 1_565_767_125;
/// Sends heartbeats; listens on port 6300.
const SENDER: ([u8; 4], u16) = ([172, 21, 34, 202], 6300);
/// Answers them.
const RECEIVER: ([u8; 4], u16) = ([172, 21, 3, 92], 57619);
/// The listings show relative numbers; any base will do.
const SENDER_ISN: u32 = 0x5000_0000;
const RECEIVER_ISN: u32 = 0x7000_0000;

enum From {
    Sender,
    Receiver,
}
use From::{Receiver, Sender};

/// Microseconds, who, seq, len, ack, TSval, TSecr, SACK block.
type Line = (u32, From, u32, u32, u32, u32, u32, Option<(u32, u32)>);

#[rustfmt::skip]
const AT_SENDER: [Line; 14] = [
    (643_425, Sender,   525, 21, 164, 3450638986, 3259647687, None),
    (664_930, Receiver, 164,  6, 546, 3259647744, 3450638986, None),
    (703_607, Sender,   546, 21, 170, 3450639047, 3259647744, None),
    (763_909, Sender,   567, 21, 170, 3450639107, 3259647744, None),
    (784_473, Receiver, 170,  0, 546, 3259647863, 3450638986, Some((567, 588))),
    (824_084, Sender,   588, 21, 170, 3450639167, 3259647863, None),
    (840_677, Receiver, 170,  0, 546, 3259647920, 3450638986, Some((567, 609))),
    (869_809, Receiver, 170, 13, 546, 3259647948, 3450638986, Some((567, 609))),
    (870_435, Sender,   609,  6, 183, 3450639213, 3259647948, None),
    (884_354, Sender,   615, 21, 183, 3450639227, 3259647948, None),
    (886_702, Receiver, 183,  0, 546, 3259647966, 3450638986, Some((567, 615))),
    (886_732, Sender,   546, 21, 183, 3450639230, 3259647948, None),
    (902_699, Receiver, 183,  0, 546, 3259647981, 3450638986, Some((567, 636))),
    (903_892, Receiver, 183,  0, 636, 3259647983, 3450639230, None),
];

#[rustfmt::skip]
const AT_RECEIVER: [Line; 13] = [
    (654_608, Sender,   525, 21, 164, 3450638986, 3259647687, None),
    (655_249, Receiver, 164,  6, 546, 3259647744, 3450638986, None),
    (774_317, Sender,   567, 21, 170, 3450639107, 3259647744, None),
    (774_348, Receiver, 170,  0, 546, 3259647863, 3450638986, Some((567, 588))),
    (831_770, Sender,   588, 21, 170, 3450639167, 3259647863, None),
    (831_795, Receiver, 170,  0, 546, 3259647920, 3450638986, Some((567, 609))),
    (859_801, Receiver, 170, 13, 546, 3259647948, 3450638986, Some((567, 609))),
    (877_852, Sender,   609,  6, 183, 3450639213, 3259647948, None),
    (877_870, Receiver, 183,  0, 546, 3259647966, 3450638986, Some((567, 615))),
    (892_884, Sender,   615, 21, 183, 3450639227, 3259647948, None),
    (892_901, Receiver, 183,  0, 546, 3259647981, 3450638986, Some((567, 636))),
    (894_971, Sender,   546, 21, 183, 3450639230, 3259647948, None),
    (894_989, Receiver, 183,  0, 636, 3259647983, 3450639230, None),
];

/// The receiver's log: begin and end of each read, and where in the stream it began.
const READS: [(u32, u32, u64); 3] =
    [(655_477, 895_077, 545), (895_439, 895_452, 566), (895_766, 895_779, 587)];

/// The sender's log: “timeout and retry”.
const SENDER_TIMEOUTS: [u32; 3] = [753_927, 814_221, 874_455];

fn at(us: u32) -> Ts {
    Ts::from_secs_nanos(SECOND, i64::from(us) * 1_000)
}

/// A raw IP packet without its payload; returns its length on the wire too.
fn packet(l: &Line) -> (Vec<u8>, u32) {
    let (_, who, seq, len, ack, val, ecr, sack) = l;
    let (from, to, base, other, window) = match who {
        Sender => (SENDER, RECEIVER, SENDER_ISN, RECEIVER_ISN, 114),
        Receiver => (RECEIVER, SENDER, RECEIVER_ISN, SENDER_ISN, 115),
    };
    use etherparse::TcpOptionElement::{Noop, SelectiveAcknowledgement, Timestamp};
    let mut options = vec![Noop, Noop, Timestamp(*val, *ecr)];
    if let Some((left, right)) = sack {
        let block = (other.wrapping_add(*left), other.wrapping_add(*right));
        options.extend([Noop, Noop, SelectiveAcknowledgement(block, [None, None, None])]);
    }
    let mut b = etherparse::PacketBuilder::ipv4(from.0, to.0, 64)
        .tcp(from.1, to.1, base.wrapping_add(*seq), window)
        .ack(other.wrapping_add(*ack))
        .options(&options)
        .unwrap();
    if *len > 0 {
        b = b.psh();
    }
    let mut bytes = Vec::new();
    b.write(&mut bytes, &vec![0; *len as usize]).unwrap();
    let wire = bytes.len();
    bytes.truncate(wire - *len as usize);
    (bytes, u32::try_from(wire).unwrap())
}

fn capture(lines: &[Line], name: &str) -> Vec<u8> {
    let comment =
        format!("rebuilt from the {name}'s packet listing of a field report; payloads were not listed");
    let mut w = PcapngWriter::new(Vec::new(), &comment).unwrap();
    let info = InterfaceInfo { name: "listing".to_owned(), ..InterfaceInfo::default() };
    w.interface(LinkType::RAW, &info).unwrap();
    for (i, l) in lines.iter().enumerate() {
        let (data, orig_len) = packet(l);
        let no = FrameNo(i as u64 + 1);
        w.write(&Frame { no, ts: at(l.0), link: LinkType::RAW, interface: 0, orig_len, data: &data })
            .unwrap();
    }
    w.into_inner().unwrap()
}

/// The lines as tcpdump printed them on that host, which knows itself by name.
fn listing(lines: &[Line], sender: &str, receiver: &str) -> Vec<u8> {
    use std::fmt::Write;
    let mut out = String::new();
    for (us, who, seq, len, ack, val, ecr, sack) in lines {
        let (from, to, window) = match who {
            Sender => (sender, receiver, 114),
            Receiver => (receiver, sender, 115),
        };
        write!(out, "15:18:45.{us:06} IP {from} > {to}: Flags [").unwrap();
        match len {
            0 => write!(out, ".]").unwrap(),
            _ => write!(out, "P.], seq {seq}:{}", seq + len).unwrap(),
        }
        write!(out, ", ack {ack}, win {window}, options [nop,nop,TS val {val} ecr {ecr}").unwrap();
        if let Some((left, right)) = sack {
            write!(out, ",nop,nop,sack 1 {{{left}:{right}}}").unwrap();
        }
        writeln!(out, "], length {len}").unwrap();
    }
    out.into_bytes()
}

fn log() -> AppLog {
    let event = |&(start, end, offset): &(u32, u32, u64)| AppEvent {
        op: AppOp::Read,
        start: at(start),
        ready: None,
        end: at(end),
        offset,
        len: 1,
        queued: None,
        phase: Phase::Other,
        file: None,
        block: None,
    };
    AppLog {
        side: Side::Client,
        local: (RECEIVER.0, RECEIVER.1).into(),
        peer: (SENDER.0, SENDER.1).into(),
        events: READS.iter().map(event).collect(),
        files: Vec::new(),
        samples: Vec::new(),
        offsets_known: true,
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("captures/seed004")
}

#[test]
fn the_files_are_what_the_listings_say() {
    let files = [
        ("sender.pcapng", capture(&AT_SENDER, "sender")),
        ("receiver.pcapng", capture(&AT_RECEIVER, "receiver")),
        ("sender.listing", listing(&AT_SENDER, "lin-21-34-202.bmc-grx", "172.21.3.92.57619")),
        ("receiver.listing", listing(&AT_RECEIVER, "172.21.34.202.bmc-grx", "lin-21-3-92.57619")),
        ("receiver.events.json", {
            let mut text = serde_json::to_string_pretty(&log()).unwrap();
            text.push('\n');
            text.into_bytes()
        }),
    ];
    for (name, bytes) in files {
        let path = folder().join(name);
        if std::env::var_os("SYNCSCOPE_WRITE_CAPTURES").is_some() {
            std::fs::create_dir_all(folder()).unwrap();
            std::fs::write(&path, &bytes).unwrap();
        }
        assert!(std::fs::read(&path).unwrap() == bytes, "{name} differs from its listing");
    }
}

fn input(name: &str) -> syncscope::correlate::CaptureInput {
    let mut source = syncscope::capture::file::open(folder().join(name)).unwrap();
    read_capture(&mut *source, None, Reading::everything()).unwrap()
}

fn report(captures: &[&str]) -> Report {
    build(BuildInputs {
        title: "seed004".to_owned(),
        slow_read: Ns::from_millis(50),
        captures: captures.iter().map(|c| input(c)).collect(),
        logs: vec![LogInput { name: "receiver.events.json".to_owned(), log: log(), whole: None }],
        ..BuildInputs::default()
    })
}

const HEARTBEAT: StreamRange = StreamRange { start: RelSeq(546), end: RelSeq(567) };

#[test]
fn the_clock_offset_follows_from_the_fastest_packet_each_way() {
    let r = report(&["sender.pcapng", "receiver.pcapng"]);
    // 7.417 ms there (609:615), 8.832 ms back (the ACK of 567:615)
    let clock =
        ClockOffset { offset: Ns::from_micros(-707) - Ns(500), bound: Ns::from_micros(8_124) + Ns(500) };
    assert_eq!(r.inputs[1].clock, Some(clock));
    assert_eq!(r.inputs[0].side, Some(Side::Server));
    assert_eq!(r.inputs[1].side, Some(Side::Client));
    // the log was written on the receiver's host
    assert_eq!(r.inputs[2].clock, Some(clock));
}

#[test]
fn the_heartbeat_was_lost_in_the_network_and_sent_again() {
    let r = report(&["sender.pcapng", "receiver.pcapng"]);
    assert_eq!(r.losses.len(), 1, "{:?}", r.losses);
    let l = &r.losses[0];
    assert_eq!((l.range, l.dir, l.location), (HEARTBEAT, Dir::S2c, LossWhere::Network));
    assert_eq!((l.sent, l.sent_frame), (Some(at(703_607)), Some(FrameNo(3))));
    assert_eq!((l.repaired, l.repair_frame), (Some(at(886_732)), Some(FrameNo(12))));
    let again = |s: &&syncscope::model::tcp::SegmentRecord| s.class == SegmentClass::Retransmission;
    let sent: Vec<_> = r.segments.iter().filter(again).map(|s| (s.input, s.frame.0, s.seq.0)).collect();
    assert_eq!(sent, [(0, 12, 546), (1, 12, 546)]);
    // three segments had been selectively acknowledged: no time-out was needed
    assert_eq!(r.segments.iter().find(again).unwrap().cause, Some(Cause::Fast));
}

#[test]
fn the_read_waited_for_the_repair() {
    let r = report(&["sender.pcapng", "receiver.pcapng"]);
    assert_eq!(r.reads.len(), 1);
    let read = &r.reads[0];
    assert_eq!((read.offset, read.side, read.cause), (545, Side::Client, StallCause::LossFast));
    assert_eq!(read.owner, Owner::Network);
    let wait = read.end.since(read.start);
    assert_eq!(wait, Ns::from_micros(239_600));
    assert_eq!(read.budget.total(), wait);
    assert_eq!(read.budget.local_delivery, Ns::from_micros(106));
    // sent at .703607, due one shortest transit (8.1245 ms by the halved round trip) later; the copy
    // was there at .894971 by the receiver's clock, which is 0.7075 ms behind
    assert_eq!(read.budget.loss_recovery, Ns(183_947_000));
    assert_eq!(read.budget.peer_app + read.budget.transit, wait - Ns(183_947_000) - Ns(106_000));
    let hole = &r.holes[read.hole.unwrap() as usize];
    assert_eq!((hole.range, hole.waited), (HEARTBEAT, Some(wait)));
    // 567:588, 588:609 (two more heartbeats), 609:615 and 615:636 came up with it
    assert_eq!(hole.queued_behind, 69);
}

#[test]
fn three_heartbeats_came_up_at_once_and_the_sender_had_given_up_three_times() {
    let r = report(&["sender.pcapng", "receiver.pcapng"]);
    let back = r.inputs[2].clock.unwrap().offset;
    let repaired = at(894_971) - back;
    assert_eq!(SENDER_TIMEOUTS.iter().filter(|&&t| at(t) < repaired && at(t) > at(703_607)).count(), 3);
    let slow = Ns::from_millis(50);
    let quick = log().events.iter().filter(|e| e.end.since(e.start) < slow).count();
    assert_eq!((r.reads.len(), quick), (1, 2), "one read waited, the two behind it did not");
}

#[test]
fn the_report_says_what_the_field_report_found() {
    let r = report(&["sender.pcapng", "receiver.pcapng"]);
    assert_eq!(r.incidents.len(), 1, "{:#?}", r.incidents);
    assert_eq!(r.findings.len(), 1);
    let f = &r.findings[0];
    assert_eq!((f.code.as_str(), f.owner, f.bytes), ("loss-fast", Owner::Network, Some(HEARTBEAT)));
    assert_eq!(r.verdict.kind, VerdictKind::Degraded);
    assert_eq!(r.verdict.owner, Some(Owner::Network));
    for part in [
        "21 B 546:567",
        "left the server at +0.060 s (frame 3)",
        "lost in the network",
        "183.1 ms later (frame 12)",
        "239.6 ms",
        "106 µs",
    ] {
        assert!(f.message.contains(part), "`{part}` is not in: {}", f.message);
    }
    for part in ["21 B 546:567", "lost in the network", "239.6 ms"] {
        assert!(r.verdict.sentence.contains(part), "`{part}` is not in: {}", r.verdict.sentence);
    }
    assert!(r.verdict.sentence.len() < 200, "a headline is short: {}", r.verdict.sentence);
}

#[test]
fn the_receivers_capture_alone_tells_most_of_it() {
    let r = report(&["receiver.pcapng"]);
    let read = &r.reads[0];
    assert_eq!(read.budget.total(), Ns::from_micros(239_600));
    assert_eq!(read.budget.local_delivery, Ns::from_micros(106));
    // it knows that bytes were missing only since later ones came
    assert_eq!(read.budget.loss_recovery, Ns::from_micros(894_971 - 774_317));
    assert_eq!(r.losses[0].location, LossWhere::Upstream);
    assert_eq!(r.findings[0].code, "loss-fast");
}

#[test]
fn the_senders_capture_alone_tells_most_of_it() {
    let r = report(&["sender.pcapng"]);
    assert_eq!(r.losses[0].location, LossWhere::Downstream);
    assert_eq!(r.findings.len(), 1, "{:#?}", r.findings);
    assert_eq!(r.findings[0].code, "loss-fast");
}
