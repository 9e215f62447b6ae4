//! A report made by hand, as a 15 s test sync over a bad link would give: four incidents, each with
//! its reads, holes, losses and resends. Views are tested with it, so it must hold together:
//! [`check`] asserts what every report must keep, hand-made or real.
//!
//! ```text
//!  +2.40 s  loss-fast c2s     one segment lost, repaired after 3 duplicate ACKs
//!  +5.00 s  no-data   s2c     the server hashes for 1.21 s and writes nothing
//!  +8.00 s  loss-rto  c2s     black-out: 4 time-outs, 3 back-offs
//! +13.60 s  loss-tail c2s     the last segment of a flight lost, repaired by a probe
//! ```
#![allow(dead_code)]

mod check;

#[allow(unused_imports)]
pub use check::check;

use std::collections::BTreeMap;
use syncscope::model::app::ClockOffset;
use syncscope::model::tcp::{
    Cause, Filler, HalfStats, Hole, Limits, Loss, LossWhere, Owner, SegmentClass, SegmentRecord, Spurious,
    SpuriousProof, Stall, StallCause, StallDetail, Tap, TapPosition,
};
use syncscope::model::{Dir, FlowId, FrameNo, Ns, PerDir, Phase, RelSeq, Side, Span, StreamRange, Ts};
use syncscope::report::{
    Budget, BudgetStep, Counts, Evidence, Finding, FlowReport, Incident, Input, InputKind, Meta, Quality,
    ReadReport, Report, RunInfo, SCHEMA, Series, SeriesKind, Severity, SyncStats, Verdict, VerdictKind,
};

pub const START: Ts = Ts(1_795_262_400_000_000_000);
const MSS: i64 = 1448;
const CLIENT: u16 = 0;
const SERVER: u16 = 1;

pub fn at(ms: i64) -> Ts {
    START + Ns::from_millis(ms)
}

fn us(us: i64) -> Ts {
    START + Ns::from_micros(us)
}

fn range(start: i64, len: i64) -> StreamRange {
    StreamRange::new(RelSeq(start), RelSeq(start + len))
}

fn client(frame: u64) -> Evidence {
    Evidence { input: CLIENT, frame: FrameNo(frame) }
}

fn server(frame: u64) -> Evidence {
    Evidence { input: SERVER, frame: FrameNo(frame) }
}

fn step(part: &str, from_us: i64, to_us: i64, from: &str, to: &str) -> BudgetStep {
    BudgetStep {
        part: part.to_owned(),
        span: Span::new(us(from_us), us(to_us)),
        from: from.to_owned(),
        to: to.to_owned(),
    }
}

/// The budget that the steps make.
fn budget(steps: &[BudgetStep]) -> Budget {
    let mut b = Budget::default();
    for s in steps {
        let slot = match s.part.as_str() {
            "peer-app" => &mut b.peer_app,
            "send-queue" => &mut b.send_queue,
            "window" => &mut b.window,
            "transit" => &mut b.transit,
            "loss-recovery" => &mut b.loss_recovery,
            "reordering" => &mut b.reordering,
            "local-delivery" => &mut b.local_delivery,
            _ => &mut b.unknown,
        };
        *slot += s.span.len();
    }
    b
}

struct Story {
    dir: Dir,
    cause: StallCause,
    owner: Owner,
    steps: Vec<BudgetStep>,
    offset: i64,
    len: u32,
    phase: Phase,
    file: Option<&'static str>,
    evidence: Vec<Evidence>,
    sentence: &'static str,
    detail: StallDetail,
    /// Resends: time (ms), frame, cause, resend number.
    resends: Vec<(i64, u64, Cause, u16)>,
    birth_ms: i64,
}

fn stories() -> Vec<Story> {
    vec![
        Story {
            dir: Dir::C2s,
            cause: StallCause::LossFast,
            owner: Owner::Network,
            steps: vec![
                step(
                    "transit",
                    2_400_310,
                    2_420_330,
                    "the client sent 301 185:302 633, client.pcapng #412",
                    "due at the server",
                ),
                step(
                    "loss-recovery",
                    2_420_330,
                    2_641_870,
                    "lost on the way",
                    "sent again, server.pcapng #431",
                ),
                step("local-delivery", 2_641_870, 2_641_990, "server.pcapng #431", "read returned"),
            ],
            offset: 301_184,
            len: 1448,
            phase: Phase::Data,
            file: Some("photos/2024/IMG_0042.raw"),
            evidence: vec![client(412), client(418), client(429), server(431)],
            sentence: "one segment (1448 B) was lost between the taps; three duplicate ACKs brought it again after 221.5 ms, and the server's read waited for it",
            detail: StallDetail { resends: Some(1), outstanding: Some(28_960), ..StallDetail::default() },
            resends: vec![(2_621, 429, Cause::Fast, 1)],
            birth_ms: 2_421,
        },
        Story {
            dir: Dir::S2c,
            cause: StallCause::NoData,
            owner: Owner::SenderApp,
            steps: vec![
                step("peer-app", 5_001_200, 6_211_450, "read began", "the server wrote 88 120 B"),
                step(
                    "transit",
                    6_211_450,
                    6_231_600,
                    "the server wrote 88 120 B",
                    "arrived, client.pcapng #902",
                ),
                step("local-delivery", 6_231_600, 6_231_655, "client.pcapng #902", "read returned"),
            ],
            offset: 4_096,
            len: 32_768,
            phase: Phase::Signature,
            file: Some("vm/disk.img"),
            evidence: vec![client(897), server(921), client(902)],
            sentence: "the server's application wrote nothing for 1.21 s: it was making signatures of vm/disk.img; window and path were open",
            detail: StallDetail {
                busy_with: Some("signature vm/disk.img".to_owned()),
                outstanding: Some(0),
                window: Some(262_144),
                ..StallDetail::default()
            },
            resends: vec![],
            birth_ms: 0,
        },
        Story {
            dir: Dir::C2s,
            cause: StallCause::LossRto,
            owner: Owner::Network,
            steps: vec![
                step(
                    "transit",
                    8_000_450,
                    8_020_500,
                    "the client sent 902 105:903 553, client.pcapng #1304",
                    "due at the server",
                ),
                step(
                    "loss-recovery",
                    8_020_500,
                    12_101_220,
                    "lost on the way",
                    "sent again, server.pcapng #1371",
                ),
                step("local-delivery", 12_101_220, 12_101_300, "server.pcapng #1371", "read returned"),
            ],
            offset: 902_104,
            len: 14_480,
            phase: Phase::Data,
            file: Some("vm/disk.img"),
            evidence: vec![
                client(1304),
                client(1330),
                client(1341),
                client(1352),
                client(1363),
                server(1371),
            ],
            sentence: "nothing came through for 3.9 s; four time-outs with three back-offs, the fourth resend after 4.08 s arrived, and the server's read waited for it",
            detail: StallDetail {
                timeouts: Some(4),
                backoffs: Some(3),
                resends: Some(4),
                outstanding: Some(14_480),
                window: Some(262_144),
                range: Some(range(902_105, MSS)),
                ..StallDetail::default()
            },
            resends: vec![
                (8_281, 1330, Cause::Rto, 1),
                (8_801, 1341, Cause::Rto, 2),
                (9_841, 1352, Cause::Rto, 3),
                (12_081, 1363, Cause::Rto, 4),
            ],
            birth_ms: 8_022,
        },
        Story {
            dir: Dir::C2s,
            cause: StallCause::LossTail,
            owner: Owner::Network,
            steps: vec![
                step(
                    "transit",
                    13_600_120,
                    13_620_170,
                    "the client sent 2 801 025:2 802 473, client.pcapng #3310",
                    "due at the server",
                ),
                step(
                    "loss-recovery",
                    13_620_170,
                    13_863_900,
                    "lost on the way",
                    "sent again, server.pcapng #3344",
                ),
                step("local-delivery", 13_863_900, 13_864_010, "server.pcapng #3344", "read returned"),
            ],
            offset: 2_801_024,
            len: 1448,
            phase: Phase::Data,
            file: Some("notes.txt"),
            evidence: vec![client(3310), client(3341), server(3344)],
            sentence: "the last segment of a flight was lost; no later data could show it, a tail loss probe brought it after 243.7 ms",
            detail: StallDetail { resends: Some(1), outstanding: Some(1_448), ..StallDetail::default() },
            resends: vec![(13_843, 3341, Cause::Tlp, 1)],
            birth_ms: 13_843,
        },
    ]
}

/// The demo-like run.
pub fn report() -> Report {
    let flow = FlowId(0);
    let mut r = frame_of_report(flow);
    for (i, s) in stories().into_iter().enumerate() {
        add_story(&mut r, flow, i as u32, s);
    }
    add_chaff(&mut r, flow);
    r.findings = findings(&r);
    r.series = series(&r, flow);
    r
}

fn add_story(r: &mut Report, flow: FlowId, incident: u32, s: Story) {
    let span = Span::new(s.steps[0].span.start, s.steps[s.steps.len() - 1].span.end);
    let bytes = range(s.offset + 1, i64::from(s.len));
    let lost = s.owner == Owner::Network;
    let mut hole = None;
    if lost {
        let missing = range(s.offset + 1, MSS);
        let repaired = s.steps[1].span.end;
        for &(ms, frame, cause, resend) in &s.resends {
            r.segments.push(SegmentRecord {
                input: CLIENT,
                frame: FrameNo(frame),
                flow,
                dir: s.dir,
                ts: at(ms),
                seq: missing.start,
                len: MSS as u32,
                class: SegmentClass::Retransmission,
                cause: Some(cause),
                resend: Some(resend),
                spurious: None,
                of: Some(s.evidence[0].frame),
                syn: false,
                fin: false,
            });
        }
        r.losses.push(Loss {
            input: CLIENT,
            flow,
            dir: s.dir,
            range: missing,
            sent: Some(span.start),
            sent_frame: Some(s.evidence[0].frame),
            repaired: Some(repaired),
            repair_frame: Some(s.evidence[s.evidence.len() - 1].frame),
            location: LossWhere::Network,
        });
        hole = Some(r.holes.len() as u32);
        r.holes.push(Hole {
            input: SERVER,
            flow,
            dir: s.dir,
            range: missing,
            birth: at(s.birth_ms),
            birth_frame: FrameNo(s.evidence[1].frame.0),
            death: Some(repaired),
            filler_frame: Some(s.evidence[s.evidence.len() - 1].frame),
            filler: Some(Filler::Retransmission),
            queued_behind: s.detail.outstanding.unwrap_or(0).saturating_sub(MSS as u64),
            waited: Some(span.len()),
        });
    }
    r.stalls.push(Stall {
        input: CLIENT,
        flow,
        dir: s.dir,
        start: span.start,
        end: Some(s.steps[1].span.end),
        owner: s.owner,
        cause: s.cause,
        detail: s.detail,
        evidence: s.evidence.iter().filter(|e| e.input == CLIENT).map(|e| e.frame).collect(),
        confidence: 0.97,
    });
    r.reads.push(ReadReport {
        flow,
        dir: s.dir,
        side: if s.dir == Dir::C2s { Side::Server } else { Side::Client },
        start: span.start,
        end: span.end,
        offset: s.offset as u64,
        len: s.len,
        phase: s.phase,
        file: s.file.map(str::to_owned),
        budget: budget(&s.steps),
        steps: s.steps,
        cause: s.cause,
        owner: s.owner,
        hole,
        incident: Some(incident),
        evidence: s.evidence.clone(),
    });
    r.incidents.push(Incident {
        flow,
        dir: s.dir,
        span,
        owner: s.owner,
        cause: s.cause,
        bytes: Some(bytes),
        reads: vec![r.reads.len() as u32 - 1],
        stalls: vec![r.stalls.len() as u32 - 1],
        holes: hole.into_iter().collect(),
        losses: if lost { vec![r.losses.len() as u32 - 1] } else { vec![] },
        waited: span.len(),
        sentence: s.sentence.to_owned(),
        evidence: s.evidence,
    });
}

/// What a real run also has: resends that nobody waited for, a reordered segment, a spurious one.
fn add_chaff(r: &mut Report, flow: FlowId) {
    let base = SegmentRecord {
        input: CLIENT,
        frame: FrameNo(0),
        flow,
        dir: Dir::C2s,
        ts: START,
        seq: RelSeq(1),
        len: MSS as u32,
        class: SegmentClass::Retransmission,
        cause: Some(Cause::Fast),
        resend: Some(1),
        spurious: None,
        of: None,
        syn: false,
        fin: false,
    };
    r.segments.push(SegmentRecord { frame: FrameNo(150), ts: at(1_102), seq: RelSeq(90_001), ..base });
    r.segments.push(SegmentRecord {
        frame: FrameNo(2810),
        ts: at(12_640),
        seq: RelSeq(1_900_001),
        spurious: Some(Spurious { proof: SpuriousProof::Dsack, frame: Some(FrameNo(2822)) }),
        ..base
    });
    r.segments.push(SegmentRecord {
        input: SERVER,
        frame: FrameNo(700),
        ts: at(4_020),
        seq: RelSeq(600_001),
        class: SegmentClass::Reordered,
        cause: None,
        resend: None,
        ..base
    });
    r.holes.push(Hole {
        input: SERVER,
        flow,
        dir: Dir::C2s,
        range: range(600_001, MSS),
        birth: at(4_012),
        birth_frame: FrameNo(698),
        death: Some(at(4_020)),
        filler_frame: Some(FrameNo(700)),
        filler: Some(Filler::Reordered),
        queued_behind: 4_344,
        waited: None,
    });
    r.segments.sort_by_key(|s| s.ts);
}

fn finding(
    r: &Report,
    code: &str,
    severity: Severity,
    incidents: &[u32],
    message: &str,
    next: &str,
) -> Finding {
    let of: Vec<&Incident> = incidents.iter().map(|&i| &r.incidents[i as usize]).collect();
    Finding {
        code: code.to_owned(),
        severity,
        confidence: 0.97,
        owner: of[0].owner,
        flow: Some(of[0].flow),
        dir: Some(of[0].dir),
        span: Span::new(of[0].span.start, of[of.len() - 1].span.end),
        bytes: of[0].bytes,
        count: of.len() as u64,
        cost: of.iter().map(|i| i.waited).sum(),
        evidence: of.iter().flat_map(|i| i.evidence.clone()).collect(),
        incidents: incidents.to_vec(),
        message: message.to_owned(),
        next: next.to_owned(),
    }
}

fn findings(r: &Report) -> Vec<Finding> {
    vec![
        finding(
            r,
            "loss-rto",
            Severity::Error,
            &[2],
            "The path dropped everything from client to server for 3.9 s; only the fourth time-out got through, so one read waited 4.10 s.",
            "Look at the path at that moment (interface errors, routing change, tunnel re-key); the sender did all it could.",
        ),
        finding(
            r,
            "no-data",
            Severity::Warning,
            &[1],
            "The server's application left the connection idle for 1.21 s while it made signatures; the network was ready.",
            "Look at the server's CPU and disk; a larger block size makes fewer signatures.",
        ),
        finding(
            r,
            "loss-tail",
            Severity::Warning,
            &[3],
            "A flight's last segment was lost and only a probe could find out, 243.7 ms later.",
            "Nothing on the hosts: the loss is on the path. Fewer small flights (larger writes) meet it less often.",
        ),
        finding(
            r,
            "loss-fast",
            Severity::Info,
            &[0],
            "One segment was lost and repaired in about one round trip.",
            "A single loss is normal; look closer when it repeats.",
        ),
    ]
}

fn series(r: &Report, flow: FlowId) -> Vec<Series> {
    const STEP_MS: i64 = 20;
    let buckets = (r.span.len().0 / Ns::from_millis(STEP_MS).0) as usize;
    let make = |kind, dir, input, f: &dyn Fn(i64, bool) -> i64| Series {
        kind,
        flow,
        dir,
        input,
        start: START,
        step: Ns::from_millis(STEP_MS),
        values: (0..buckets as i64)
            .map(|i| {
                let t = at(i * STEP_MS + STEP_MS / 2);
                let blocked = r.stalls.iter().any(|s| s.start <= t && s.end.is_none_or(|e| t < e));
                f(i, blocked)
            })
            .collect(),
    };
    // A little unrest, the same every time.
    let noise = |i: i64, of: i64| (i.wrapping_mul(2_654_435_761) >> 7).rem_euclid(of.max(1));
    let reads_at = |i: i64, dir: Dir| {
        let bucket = Span::new(at(i * STEP_MS), at((i + 1) * STEP_MS));
        let slow = r.reads.iter().filter(|x| x.dir == dir && bucket.start <= x.end && x.end < bucket.end);
        slow.map(|x| (x.end - x.start).0).max()
    };
    vec![
        make(SeriesKind::Bytes, Dir::C2s, SERVER, &|i, b| if b { 0 } else { 4_000 + noise(i, 3_000) }),
        make(SeriesKind::Bytes, Dir::S2c, CLIENT, &|i, b| {
            if b || i % 5 > 0 { 0 } else { 900 + noise(i, 200) }
        }),
        make(SeriesKind::Rtt, Dir::C2s, CLIENT, &|i, b| {
            if b { -1 } else { 40_000_000 + noise(i, 9_000_000) }
        }),
        make(SeriesKind::Read, Dir::C2s, 3, &|i, b| {
            reads_at(i, Dir::C2s).unwrap_or(if b { -1 } else { 2_000_000 + noise(i, 30_000_000) })
        }),
        make(SeriesKind::Read, Dir::S2c, 2, &|i, b| {
            reads_at(i, Dir::S2c).unwrap_or(if b || i % 5 > 0 {
                -1
            } else {
                41_000_000 + noise(i, 9_000_000)
            })
        }),
    ]
}

fn frame_of_report(flow: FlowId) -> Report {
    let span = Span::new(START, at(15_020));
    let counts = |list: &[(&'static str, u64)]| {
        let mut all = Counts::default();
        list.iter().for_each(|(word, n)| all.add(word, *n));
        all
    };
    let c2s = HalfStats {
        packets: 2_301,
        bytes: 3_145_728,
        bytes_resent: 12_000,
        resent_mss: 8,
        mss: Some(1460),
        wscale: Some(7),
        sack: Some(true),
        timestamps: Some(true),
        rtt_min: Some(Ns::from_micros(40_050)),
        rtt_p50: Some(Ns::from_micros(41_800)),
        rtt_p99: Some(Ns::from_micros(48_700)),
        window_min: Some(65_536),
        window_max: Some(262_144),
        zero_windows: 0,
        dup_acks: 41,
        limits: Some(Box::new(Limits {
            application: Ns::from_millis(10_300),
            recovery: Ns::from_millis(4_100),
            congestion_window: Ns::from_millis(410),
            ..Limits::default()
        })),
    };
    let s2c = HalfStats {
        packets: 1_344,
        bytes: 147_000,
        bytes_resent: 0,
        resent_mss: 0,
        dup_acks: 0,
        ..c2s.clone()
    };
    let seen = |input: u16, position, rtt_client, rtt_server| FlowReport {
        flow,
        input,
        client: "10.77.0.1:40112".parse().unwrap(),
        server: "10.77.0.2:8730".parse().unwrap(),
        tap: Tap {
            position,
            confidence: 0.99,
            because: "checksums of outgoing segments are not filled in yet".to_owned(),
            rtt_client,
            rtt_server,
        },
        span,
        handshake: true,
        ended: "fin".to_owned(),
        irtt: Some(Ns::from_micros(40_090)),
        segments: counts(&[("new", 3_620), ("retransmission", 8), ("reordered", u64::from(input))]),
        retransmissions: counts(&[("fast", 3), ("rto", 4), ("tlp", 1)]),
        spurious: 1,
        dirs: PerDir { c2s: c2s.clone(), s2c: s2c.clone() },
    };
    let input = |kind, name: &str, side, frames, tcp| Input {
        files: Vec::new(),
        kind,
        name: name.to_owned(),
        side: Some(side),
        frames,
        tcp,
        span: Some(span),
        clock: None,
        dropped: (kind == InputKind::Capture).then_some(0),
        skipped: BTreeMap::new(),
    };
    let mut inputs = vec![
        input(InputKind::Capture, "run-1/client.pcapng", Side::Client, 3_645, 3_643),
        input(InputKind::Capture, "run-1/server.pcapng", Side::Server, 3_640, 3_638),
        input(InputKind::AppLog, "run-1/client.events.json", Side::Client, 910, 0),
        input(InputKind::AppLog, "run-1/server.events.json", Side::Server, 2_480, 0),
    ];
    inputs[0].skipped.insert("ARP".to_owned(), 2);
    inputs[1].clock = Some(ClockOffset { offset: Ns(-710_000), bound: Ns(8_120_000) });
    Report {
        meta: Meta {
            schema: SCHEMA.to_owned(),
            tool: "syncscope 0.1.0".to_owned(),
            title: "demo: sync over an emulated link".to_owned(),
            slow_read: Ns::from_millis(200),
            live: false,
        },
        inputs,
        span,
        quality: vec![Quality {
            input: Some(0),
            code: "offload".to_owned(),
            severity: Severity::Info,
            count: 12,
            message: "12 frames are larger than the MSS: the capture was taken before segmentation, so packet counts are lower than on the wire.".to_owned(),
        }],
        flows: vec![
            seen(CLIENT, TapPosition::ClientHost, Some(Ns(20_000)), Some(Ns(40_050_000))),
            seen(SERVER, TapPosition::ServerHost, Some(Ns(40_050_000)), Some(Ns(20_000))),
        ],
        segments: vec![],
        losses: vec![],
        holes: vec![],
        stalls: vec![],
        reads: vec![],
        incidents: vec![],
        findings: vec![],
        verdict: Verdict {
            kind: VerdictKind::Degraded,
            owner: Some(Owner::Network),
            sentence: "4 reads waited 5.84 s of 15.0 s, 4.61 s of it for lost segments and 1.23 s for the server's application.".to_owned(),
        },
        series: vec![],
        comparison: None,
        run: Some(RunInfo {
            scenario: "demo".to_owned(),
            seed: Some(7),
            injected: ["loss-fast", "no-data", "loss-rto", "loss-tail"].map(str::to_owned).to_vec(),
            found: ["loss-fast", "no-data", "loss-rto", "loss-tail"].map(str::to_owned).to_vec(),
            missed: vec![],
            unexpected: vec![],
            sync: Some(SyncStats {
                files: 64,
                changed: 9,
                created: 0,
                deleted: 0,
                failed: 0,
                bytes: 25_165_824,
                matched: 22_544_384,
                literal: 2_621_440,
                wire_c2s: 3_145_728,
                wire_s2c: 147_000,
                duration: Ns::from_millis(15_001),
            }),
            ended: None,
            record: Some("runs/2026-11-21T12-00-00-demo".to_owned()),
        }),
    }
}

/// The same run, three times as connections of their own, the later ones shifted by a second each.
pub fn several_flows() -> Report {
    let mut r = report();
    let one = r.clone();
    for n in 1..3u32 {
        let shift = |t: Ts| t + Ns::from_secs(i64::from(n));
        let (holes, losses) = (r.holes.len() as u32, r.losses.len() as u32);
        let (stalls, reads, incidents) =
            (r.stalls.len() as u32, r.reads.len() as u32, r.incidents.len() as u32);
        for f in &one.flows {
            let mut f = f.clone();
            f.flow = FlowId(n);
            f.client.set_port(40_112 + n as u16);
            r.flows.push(f);
        }
        r.holes.extend(one.holes.iter().map(|h| Hole {
            flow: FlowId(n),
            birth: shift(h.birth),
            death: h.death.map(shift),
            ..*h
        }));
        r.losses.extend(one.losses.iter().map(|l| Loss {
            flow: FlowId(n),
            sent: l.sent.map(shift),
            repaired: l.repaired.map(shift),
            ..*l
        }));
        r.stalls.extend(one.stalls.iter().cloned().map(|s| Stall {
            flow: FlowId(n),
            start: shift(s.start),
            end: s.end.map(shift),
            ..s
        }));
        r.segments.extend(one.segments.iter().map(|s| SegmentRecord {
            flow: FlowId(n),
            ts: shift(s.ts),
            ..*s
        }));
        r.reads.extend(one.reads.iter().cloned().map(|x| {
            ReadReport {
                flow: FlowId(n),
                start: shift(x.start),
                end: shift(x.end),
                steps: x
                    .steps
                    .iter()
                    .cloned()
                    .map(|s| BudgetStep { span: Span::new(shift(s.span.start), shift(s.span.end)), ..s })
                    .collect(),
                hole: x.hole.map(|h| h + holes),
                incident: x.incident.map(|i| i + incidents),
                ..x
            }
        }));
        let moved = |v: &[u32], by: u32| v.iter().map(|i| i + by).collect::<Vec<_>>();
        r.incidents.extend(one.incidents.iter().cloned().map(|i| Incident {
            flow: FlowId(n),
            span: Span::new(shift(i.span.start), shift(i.span.end)),
            reads: moved(&i.reads, reads),
            stalls: moved(&i.stalls, stalls),
            holes: moved(&i.holes, holes),
            losses: moved(&i.losses, losses),
            ..i
        }));
        r.series.extend(one.series.iter().cloned().map(|s| Series {
            flow: FlowId(n),
            start: shift(s.start),
            ..s
        }));
    }
    r.span.end += Ns::from_secs(2);
    r.segments.sort_by_key(|s| s.ts);
    r
}

/// A report without anything in it, as an empty capture gives.
pub fn empty() -> Report {
    let mut r = report();
    r.flows.clear();
    r.segments.clear();
    r.losses.clear();
    r.holes.clear();
    r.stalls.clear();
    r.reads.clear();
    r.incidents.clear();
    r.findings.clear();
    r.series.clear();
    r.run = None;
    r.span = Span::default();
    r.verdict = Verdict {
        kind: VerdictKind::Inconclusive,
        owner: None,
        sentence: "the capture holds no TCP segment".to_owned(),
    };
    r
}
