//! One capture, from frames to analysed connections, on as many threads as there are.
//!
//! ```text
//! source → decode → Table ─┬→ Trackers (flows 0, N, 2N…) ─┬→ connections in order of flow
//!   this thread            └→ Trackers (flows 1, N+1, …) ─┘
//!                             a thread each
//! ```
//!
//! Which batches there are is decided here, so the result is the same on any number of threads.

use crate::capture::{CaptureError, FrameSource, SourceNotes, unread_link_type};
use crate::correlate::CaptureInput;
use crate::decode::{decode, decode_alone};
use crate::flow::{Batch, Incarnation, Table};
use crate::model::{Frame, Ns, Side, Span, Ts};
use crate::report::{InputFile, Quality, Severity};
use crate::tcp::{Connection, Keep, Trackers};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

/// Segments that wait in the table, where memory is bounded: about 14 MB.
const ROOM: usize = 1 << 16;
/// Batches that wait for a thread.
const QUEUE: usize = 2;

/// How a capture is read.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// What is kept of each connection.
    pub keep: Keep,
    /// Threads that analyse; with 1 everything happens on the caller's.
    pub jobs: usize,
}

impl Reading {
    /// For what is to be laid on other evidence.
    pub fn everything() -> Reading {
        Reading { keep: Keep::Everything, jobs: 1 }
    }
}

/// Reads a capture to its end and analyses every connection in it.
///
/// What can be read before a fault is analysed, and the fault becomes a note on the evidence. A
/// source that gives no frame at all because of a fault is an error.
pub fn read_capture(
    source: &mut dyn FrameSource,
    side: Option<Side>,
    how: Reading,
) -> Result<CaptureInput, CaptureError> {
    let mut table = match how.keep {
        Keep::Everything => Table::new(),
        Keep::Evidence => Table::bounded(ROOM),
    };
    let mut input = CaptureInput { side, ..CaptureInput::default() };
    let mut fault = None;
    std::thread::scope(|scope| {
        let mut analysts = Analysts::new(scope, how);
        loop {
            match source.next_frame() {
                Ok(Some(frame)) => {
                    see(&mut input, &mut table, &frame, how.keep);
                    while let Some(batch) = table.batch() {
                        analysts.take(batch);
                    }
                }
                Ok(None) => break,
                Err(e) if input.frames == 0 => return Err(e),
                Err(e) => {
                    fault = Some(e);
                    break;
                }
            }
        }
        describe(&mut input, source.notes(), fault, &table);
        if let Some(&(link, _)) = unread(&input).iter().find(|(_, n)| *n == input.frames) {
            return Err(CaptureError::LinkType { name: input.name, link });
        }
        let end = input.span.map_or(Ts::MAX, |s| s.end);
        input.connections = analysts.finish(table, end);
        Ok(input)
    })
}

/// Takes one frame.
fn see(input: &mut CaptureInput, table: &mut Table, frame: &Frame<'_>, keep: Keep) {
    input.frames += 1;
    let span = input.span.get_or_insert(Span { start: frame.ts, end: frame.ts });
    span.start = span.start.min(frame.ts);
    span.end = span.end.max(frame.ts);
    table.push(match keep {
        Keep::Everything => decode(frame),
        Keep::Evidence => decode_alone(frame),
    });
}

/// Link types that are not read, with their frames.
fn unread(input: &CaptureInput) -> Vec<(u16, u64)> {
    let skipped = input.skipped.iter();
    skipped.filter_map(|(why, n)| Some((why.strip_prefix("link-type-")?.parse().ok()?, *n))).collect()
}

/// What the source and the table have to say about the capture.
fn describe(input: &mut CaptureInput, notes: SourceNotes, fault: Option<CaptureError>, table: &Table) {
    input.name = notes.name;
    input.dropped = notes.dropped;
    input.tcp = table.segments();
    input.skipped = table.skipped().clone();
    let unread = unread(input);
    let pieces = notes.pieces.into_iter();
    input.files =
        pieces.map(|p| InputFile { name: p.name, frames: p.frames, first_frame: p.first_frame }).collect();
    let mut note = |code: &str, severity, count, message: String| {
        input.quality.push(Quality { input: None, code: code.to_owned(), severity, count, message });
    };
    if let Some(at) = notes.cut_at {
        let message = format!("the file ends inside a record at byte {at}; what comes before is analysed");
        note("cut-file", Severity::Warning, 1, message);
    }
    for r in notes.remarks {
        note(&r.code, if r.severe { Severity::Warning } else { Severity::Info }, r.count, r.message);
    }
    for (link, n) in unread {
        let message = format!("{n} frames are left out: {}", unread_link_type(link));
        note("link-type", Severity::Warning, n, message);
    }
    if let Some(e) = fault {
        let message = format!("reading stopped after frame {}: {e}", input.frames);
        note("broken-file", Severity::Error, 1, message);
    }
    if let Some(n) = notes.dropped.filter(|n| *n > 0) {
        let message =
            format!("the capturing kernel dropped {n} frames: what is missing may not be the network's loss");
        note("capture-drops", Severity::Warning, n, message);
    }
    if table.late() > 0 {
        let message = format!(
            "{} packets came after their connection was over and put away to make room; they are not analysed",
            table.late()
        );
        note("late-packets", Severity::Info, table.late(), message);
    }
    // Two processors that stamp packets of both directions differ by a few microseconds.
    let (backwards, worst) = table.backwards();
    if worst > Ns::from_micros(100) {
        let message = format!("{backwards} time stamps are before their predecessor's, by up to {worst}");
        note("time-backwards", Severity::Info, backwards, message);
    }
}

/// A capture that goes on: what has come is looked at again and again.
pub struct Growing {
    table: Table,
    keep: Keep,
    trackers: Trackers,
    input: CaptureInput,
}

impl Growing {
    /// Nothing has come yet.
    pub fn new(keep: Keep) -> Growing {
        let table = Table::bounded(ROOM);
        Growing { table, keep, trackers: Trackers::new(keep), input: CaptureInput::default() }
    }

    /// Takes one frame.
    pub fn see(&mut self, frame: &Frame<'_>) {
        see(&mut self.input, &mut self.table, frame, self.keep);
        while let Some(batch) = self.table.batch() {
            self.trackers.take(batch);
        }
    }

    /// Frames so far.
    pub fn frames(&self) -> u64 {
        self.input.frames
    }

    /// The capture as if it ended here.
    pub fn so_far(&self, notes: SourceNotes, fault: Option<CaptureError>) -> CaptureInput {
        let mut input = self.input.clone();
        describe(&mut input, notes, fault, &self.table);
        let end = input.span.map_or(Ts::MAX, |s| s.end);
        let analysts = Analysts::Here(self.trackers.clone());
        input.connections = analysts.finish(self.table.clone(), end);
        input
    }
}

/// A part of a connection on its way to its thread; the last one says when the capture ended.
enum Part {
    Some(Batch),
    Last(Incarnation, Ts),
}

/// The threads that analyse.
enum Analysts<'s> {
    Here(Trackers),
    Threads(Vec<(SyncSender<Part>, ScopedJoinHandle<'s, Trackers>)>),
}

impl<'s> Analysts<'s> {
    fn new<'e>(scope: &'s Scope<'s, 'e>, how: Reading) -> Analysts<'s> {
        if how.jobs <= 1 {
            return Analysts::Here(Trackers::new(how.keep));
        }
        let thread = |_| {
            let (send, parts) = sync_channel(QUEUE);
            let work = move || {
                let mut trackers = Trackers::new(how.keep);
                for part in parts {
                    digest(&mut trackers, part);
                }
                trackers
            };
            (send, scope.spawn(work))
        };
        Analysts::Threads((0..how.jobs).map(thread).collect())
    }

    fn take(&mut self, batch: Batch) {
        self.send(batch.part.flow.0 as usize, Part::Some(batch));
    }

    fn send(&mut self, flow: usize, part: Part) {
        match self {
            Analysts::Here(trackers) => digest(trackers, part),
            Analysts::Threads(all) => {
                // A thread that is gone has panicked, and says so when it is joined.
                let _ = all[flow % all.len()].0.send(part);
            }
        }
    }

    fn finish(mut self, table: Table, end: Ts) -> Vec<Connection> {
        for rest in table.finish() {
            self.send(rest.flow.0 as usize, Part::Last(rest, end));
        }
        let mut connections = match self {
            Analysts::Here(trackers) => trackers.into_connections(),
            Analysts::Threads(all) => {
                let (senders, threads): (Vec<_>, Vec<_>) = all.into_iter().unzip();
                drop(senders);
                let joined = threads.into_iter().map(|t| match t.join() {
                    Ok(trackers) => trackers.into_connections(),
                    Err(panic) => std::panic::resume_unwind(panic),
                });
                joined.flatten().collect()
            }
        };
        connections.sort_unstable_by_key(|c| c.flow);
        connections
    }
}

fn digest(trackers: &mut Trackers, part: Part) {
    match part {
        Part::Some(batch) => trackers.take(batch),
        Part::Last(rest, end) => trackers.finish(rest, Some(end)),
    }
}
