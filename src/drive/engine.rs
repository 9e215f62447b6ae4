//! One sync session and its disk, as the pump sees them.

use super::clock::Clock;
use super::files::Disk;
use super::part::Part;
use super::pump::Engine;
use super::recorder::Position;
use super::squeeze::Squeeze;
use crate::model::{Ns, Phase, Ts};
use crate::report::SyncStats;
use crate::sync::{Change, Compress, Kind, Session, SessionEvent, SyncError};
use std::time::{Duration, Instant};

/// Failed files that are told by name; the others are counted.
const NAMED_FAILURES: usize = 100;

/// A session that executes its own requests.
#[derive(Debug)]
pub struct SessionEngine {
    session: Session,
    disk: Disk,
    failure: Option<SyncError>,
    /// What failed, and whether at the other end.
    failed: Vec<(bool, String)>,
    unnamed: u64,
    /// What was changed, by index of the file where it has one; none: nobody wants to know.
    changed: Option<Vec<SessionEvent>>,
    clock: Clock,
    squeeze: Squeeze,
    /// All that there was to send was sent, since the last time it was asked.
    starved: bool,
}

/// One thing that a sync did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An entry is in place now.
    Changed {
        /// Its path.
        path: String,
        /// What it is.
        kind: Kind,
        /// How it differed.
        change: Change,
    },
    /// Something was removed.
    Gone {
        /// Its path.
        path: String,
        /// It was a directory.
        dir: bool,
    },
}

impl SessionEngine {
    /// Joins the two.
    pub fn new(session: Session, disk: Disk) -> SessionEngine {
        SessionEngine {
            session,
            disk,
            failure: None,
            failed: Vec::new(),
            unnamed: 0,
            changed: None,
            clock: Clock::new(),
            squeeze: Squeeze::default(),
            starved: true,
        }
    }

    /// Remembers each change.
    #[must_use]
    pub fn itemize(self, on: bool) -> SessionEngine {
        SessionEngine { changed: on.then(Vec::new), ..self }
    }

    /// What was changed, if it was remembered, in the order of the list; what was removed comes last.
    pub fn items(&mut self) -> Vec<Item> {
        let mut events = self.changed.take().unwrap_or_default();
        events.sort_by_key(|e| if let SessionEvent::Done { file, .. } = e { *file } else { u32::MAX });
        let names = self.session.file_names();
        let item = |event| match event {
            SessionEvent::Done { file, kind, change } => {
                Some(Item::Changed { path: names.get(file as usize)?.clone(), kind, change })
            }
            SessionEvent::Gone { path, dir } => Some(Item::Gone { path, dir }),
            _ => None,
        };
        events.into_iter().filter_map(item).collect()
    }

    fn note<T>(&mut self, result: Result<T, SyncError>) {
        if let Err(e) = result {
            self.failure.get_or_insert(e);
        }
        while let Some(event) = self.session.poll_event() {
            match (event, &mut self.changed) {
                (SessionEvent::Failed { path, reason, there }, _) if self.failed.len() < NAMED_FAILURES => {
                    self.failed.push((there, format!("{path}: {reason}")));
                }
                (SessionEvent::Failed { .. }, _) => self.unnamed += 1,
                (e @ (SessionEvent::Done { .. } | SessionEvent::Gone { .. }), Some(changed)) => {
                    changed.push(e)
                }
                _ => {}
            }
        }
    }

    /// After the connection was cut: deals with what had arrived, and keeps the part of a file that is there. At
    /// most about `patience` is taken.
    pub fn salvage(&mut self, patience: Duration) -> Option<Part> {
        let until = Instant::now() + patience;
        while Instant::now() < until
            && let Some(request) = self.session.poll_remains()
        {
            let reply = self.disk.execute(request);
            self.session.handle_remains(reply);
        }
        self.disk.keep_part()
    }

    /// What could not be synchronised, in words; `peer` is what the other end is called.
    pub fn failures(&self, peer: &str) -> Vec<String> {
        let more = (self.unnamed > 0).then(|| format!("and {} more files failed", self.unnamed));
        let named = self.failed.iter().map(|(there, why)| match there {
            true => format!("{peer}: {why}"),
            false => why.clone(),
        });
        named.chain(more).collect()
    }

    /// The same, as far as it failed at this end: the other one knows the rest better.
    pub fn failures_here(&self) -> Vec<String> {
        self.failed.iter().filter(|f| !f.0).map(|f| f.1.clone()).collect()
    }

    /// What was done so far; bytes on the wire and the duration are the pump's to know.
    pub fn stats(&self, wire_c2s: u64, wire_s2c: u64, duration: Ns) -> SyncStats {
        let s = self.session.stats();
        SyncStats {
            files: s.files,
            changed: s.changed,
            created: s.created,
            deleted: s.deleted,
            failed: self.failed.len() as u64 + self.unnamed,
            bytes: s.bytes,
            matched: s.matched,
            literal: s.literal,
            wire_c2s,
            wire_s2c,
            duration,
        }
    }
}

fn position((phase, file, block): (Phase, Option<u32>, Option<u32>)) -> Position {
    Position { phase, file, block }
}

impl Engine for SessionEngine {
    fn input(&mut self, bytes: &[u8]) {
        let result = self.session.handle_input(bytes);
        self.note(result);
    }

    fn eof(&mut self) {
        let result = self.session.handle_eof();
        self.note(result);
    }

    fn work(&mut self) -> Option<Position> {
        let request = self.session.poll_request()?;
        let at = Position { phase: request.phase, file: request.file, block: request.block };
        let id = request.id;
        let reply = self.disk.execute(request);
        let result = self.session.handle_reply(id, reply);
        self.note(result);
        Some(at)
    }

    fn before_write(&mut self) {
        let wish = self.session.compress();
        // A list shrinks to a fraction at no cost worth naming, and comes first, when little fits into a flight.
        let list = wish != Compress::Never && self.session.output_phase().0 == Phase::List;
        if list || self.squeeze.pays(wish) {
            let began = self.clock.now();
            if let Some((from, to)) = self.session.pack() {
                self.squeeze.done(from, to, self.clock.now() - began);
            }
        }
    }

    fn acknowledged(&mut self, now: Ts, bytes: u64) {
        self.squeeze.acknowledged(now, bytes, !self.starved);
        self.starved = false;
    }

    fn output(&mut self, max: usize) -> &[u8] {
        self.session.poll_output(max)
    }

    fn sent(&mut self, n: usize) {
        self.session.consume_output(n);
        self.starved |= self.session.poll_output(1).is_empty();
    }

    fn wants_input(&self) -> bool {
        self.session.wants_input()
    }

    fn is_done(&self) -> bool {
        self.session.is_done()
    }

    fn failure(&self) -> Option<String> {
        self.failure.as_ref().map(ToString::to_string)
    }

    fn reading(&self) -> Position {
        position(self.session.input_phase())
    }

    fn writing(&self) -> Position {
        position(self.session.output_phase())
    }

    fn moved(&self) -> (u64, u64) {
        let s = self.session.stats();
        (s.literal + s.matched, s.bytes)
    }

    fn files(&self) -> &[String] {
        self.session.file_names()
    }
}
