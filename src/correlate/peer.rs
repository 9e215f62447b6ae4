//! What the other end's application was doing, from its own log.

use crate::model::tcp::{Owner, Stall, StallCause};
use crate::model::{AppEvent, AppLog, AppOp, Ns, Phase, RelSeq, Span};
use std::collections::BTreeMap;

/// A peer's log, indexed.
pub struct Peer<'a> {
    log: &'a AppLog,
    /// By offset.
    writes: Vec<&'a AppEvent>,
}

/// What it did in a stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct During {
    /// It computed, read its disk, or was held up.
    pub worked: Ns,
    /// Of that, held up on purpose by a test.
    pub held: Ns,
    /// It kept to its own rate limit.
    pub paced: Ns,
    /// It waited for bytes from the other end.
    pub reading: Ns,
    /// It waited for room to write.
    pub writing: Ns,
    /// What it mostly worked on: phase and file.
    pub busy_with: Option<String>,
}

impl<'a> Peer<'a> {
    /// Indexes a log.
    pub fn new(log: &'a AppLog) -> Peer<'a> {
        let mut writes: Vec<&AppEvent> =
            log.events.iter().filter(|e| log.offsets_known && e.op == AppOp::Write && e.len > 0).collect();
        writes.sort_by_key(|e| (e.offset, e.start));
        Peer { log, writes }
    }

    /// The write that handed over byte `x`.
    pub fn write_of(&self, x: RelSeq) -> Option<&'a AppEvent> {
        let offset = u64::try_from(x.stream_offset()).ok()?;
        let w = self.writes[..self.writes.partition_point(|w| w.offset <= offset)].last()?;
        (offset < w.offset + u64::from(w.len)).then_some(w)
    }

    /// Sums up a stretch of time.
    pub fn during(&self, span: Span) -> During {
        let mut d = During::default();
        let mut work: BTreeMap<(Phase, Option<u32>), Ns> = BTreeMap::new();
        let from = self.log.events.partition_point(|e| e.end <= span.start);
        let mut past = 0;
        for e in &self.log.events[from..] {
            let Some(part) = Span::new(e.start, e.end).intersect(span) else {
                past += usize::from(e.start >= span.end);
                // events are in order of their ends; a second thread's may still begin in time
                if past > 64 {
                    break;
                }
                continue;
            };
            let len = part.len();
            match e.op {
                AppOp::Work if e.phase == Phase::Pace => d.paced += len,
                AppOp::Work => {
                    d.worked += len;
                    if e.phase == Phase::Busy {
                        d.held += len;
                    }
                    *work.entry((e.phase, e.file)).or_default() += len;
                }
                AppOp::Read => d.reading += len,
                AppOp::Write => d.writing += len,
            }
        }
        d.busy_with = work.into_iter().max_by_key(|w| w.1).map(|((phase, file), _)| {
            let name = file.and_then(|f| self.log.files.get(f as usize));
            match name {
                Some(n) => format!("{} of {}", phase.as_str(), crate::model::units::printable(n)),
                None => phase.as_str().to_owned(),
            }
        });
        d
    }
}

/// Why the peer had not written: it was busy, it waited itself, or it had nothing to say.
pub fn cause(peer: Option<&During>, stall: Option<&Stall>, wait: Ns) -> (StallCause, Owner) {
    let app = |c| (c, Owner::SenderApp);
    let Some(p) = peer else {
        return match stall.filter(|s| s.owner == Owner::SenderApp) {
            Some(s) => app(s.cause),
            None => app(StallCause::WaitingForPeer),
        };
    };
    if p.paced.scaled(2, 1) > wait && p.paced > p.worked {
        app(StallCause::Idle)
    } else if p.worked > p.reading || p.worked.scaled(2, 1) > wait {
        app(StallCause::NoData)
    } else {
        app(StallCause::WaitingForPeer)
    }
}
