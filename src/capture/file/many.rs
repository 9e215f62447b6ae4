//! Several files as one capture: the pieces that a rotating capture left, or what several interfaces saw.
//!
//! ```text
//! folders → their files ┐
//! files, stdin          ┴ by first time stamp ─→ waiting ─→ open ─→ earliest frame of all that are open
//! ```
//!
//! Only files whose time has come are open, so a folder may hold more of them than a process may open. Frames are
//! numbered through, as `mergecap` would number them.

use super::{Hints, open_with};
use crate::capture::kept::Kept;
use crate::capture::{CaptureError, FrameSource, Piece, Position, Remark, SourceNotes};
use crate::model::{Frame, FrameNo, Ts};
use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};

/// How many names a sentence holds.
const NAMED: usize = 3;

/// Opens files and folders as one capture. A folder stands for every capture in it and in the folders below; what
/// else lies there is passed over, and named in a remark. A file that is named itself must be a capture.
pub fn open_all(paths: &[PathBuf], hints: &Hints) -> Result<Box<dyn FrameSource>, CaptureError> {
    if let [one] = paths
        && !one.is_dir()
    {
        return open_with(one, hints);
    }
    let mut joined = Joined::new(name_of(paths), hints);
    let mut known = HashSet::new();
    for path in paths {
        if !path.is_dir() {
            joined.add(path.clone())?;
            continue;
        }
        let before = joined.waiting.len() + joined.empty;
        let files = below(path, &mut known);
        let seen = files.len();
        for file in files {
            let file = file?;
            // what cannot be read at all is passed over as what is no capture
            if let Err(e) = joined.add(file.clone()) {
                joined.pass_over(&file, &e);
            }
        }
        if joined.waiting.len() + joined.empty == before {
            let message = match seen {
                0 => "the folder is empty".to_owned(),
                1 => format!("the folder holds no capture; its only file is {}", joined.passed_over.join("")),
                n => format!(
                    "none of the {n} files in this folder is a capture: {}",
                    some(&joined.passed_over)
                ),
            };
            return Err(CaptureError::Io { name: path.display().to_string(), message });
        }
    }
    joined.waiting.make_contiguous().sort_by_key(|w| (w.first, w.order));
    joined.remark_on_the_passed_over();
    Ok(Box::new(joined))
}

/// The files in a folder and below, by name; each once, whatever links lead to it.
fn below(folder: &Path, known: &mut HashSet<PathBuf>) -> Vec<Result<PathBuf, CaptureError>> {
    let mut files = Vec::new();
    for entry in walkdir::WalkDir::new(folder).sort_by_file_name() {
        match entry {
            Ok(e) => {
                // a pipe or a device would keep its reader waiting
                let regular = e.path().metadata().is_ok_and(|m| m.is_file());
                if regular && e.path().canonicalize().is_ok_and(|real| known.insert(real)) {
                    files.push(Ok(e.into_path()));
                }
            }
            Err(e) => {
                let name = e.path().unwrap_or(folder).display().to_string();
                let message = e.io_error().map_or_else(|| e.to_string(), ToString::to_string);
                files.push(Err(CaptureError::Io { name, message }));
            }
        }
    }
    files
}

fn name_of(paths: &[PathBuf]) -> String {
    let first = paths.first().map(|p| p.display().to_string()).unwrap_or_default();
    match paths.len() {
        0 | 1 => first,
        n => format!("{first} and {} more", n - 1),
    }
}

/// A few of them, and how many there are besides.
fn some(names: &[String]) -> String {
    let more = names.len().saturating_sub(NAMED);
    let shown = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
    if more > 0 { format!("{shown}; and {more} more") } else { shown }
}

/// A file whose first frame is known, and not yet due.
struct Waiting {
    order: usize,
    first: Ts,
    what: Later,
}

enum Later {
    /// It can be opened again.
    File(PathBuf),
    /// It cannot: standard input, a pipe.
    Stream(Box<Open>),
}

/// A file that is being read; `head` is its next frame.
struct Open {
    order: usize,
    source: Box<dyn FrameSource>,
    head: Kept,
}

struct Joined {
    hints: Hints,
    waiting: VecDeque<Waiting>,
    open: Vec<Open>,
    /// The frame handed out last, and whose it was.
    current: Kept,
    current_order: Option<usize>,
    count: u64,
    /// Files without a frame.
    empty: usize,
    passed_over: Vec<String>,
    notes: SourceNotes,
    /// Bytes of files that are done, and of all; none where one does not say it.
    read: u64,
    total: Option<u64>,
}

impl Joined {
    fn new(name: String, hints: &Hints) -> Joined {
        Joined {
            hints: hints.clone(),
            waiting: VecDeque::new(),
            open: Vec::new(),
            current: Kept::default(),
            current_order: None,
            count: 0,
            empty: 0,
            passed_over: Vec::new(),
            notes: SourceNotes { name, ..SourceNotes::default() },
            read: 0,
            total: Some(0),
        }
    }

    /// Looks at the first frame of a file.
    fn add(&mut self, path: PathBuf) -> Result<(), CaptureError> {
        let order = self.notes.pieces.len();
        let mut source = open_with(&path, &self.hints)?;
        let size = source.position().total;
        let mut head = Kept::default();
        match source.next_frame()? {
            Some(frame) => head.keep(&frame),
            None => {
                self.empty += 1;
                self.note_piece(&path);
                self.done(order, &source.notes());
                return Ok(());
            }
        }
        self.note_piece(&path);
        self.total = self.total.zip(size).map(|(all, one)| all.saturating_add(one));
        let first = head.ts;
        let what = if path.is_file() {
            Later::File(path)
        } else {
            Later::Stream(Box::new(Open { order, source, head }))
        };
        self.waiting.push_back(Waiting { order, first, what });
        Ok(())
    }

    fn note_piece(&mut self, path: &Path) {
        self.notes.pieces.push(Piece { name: path.display().to_string(), ..Piece::default() });
    }

    fn pass_over(&mut self, path: &Path, why: &CaptureError) {
        let why = match why {
            CaptureError::NotACapture { found, .. } => found.clone(),
            CaptureError::Io { message, .. } | CaptureError::Broken { message, .. } => message.clone(),
            other => other.to_string(),
        };
        self.passed_over.push(format!("{} ({why})", path.display()));
    }

    fn remark_on_the_passed_over(&mut self) {
        let n = self.passed_over.len() as u64;
        if n > 0 {
            let message = format!("no captures, and passed over: {}", some(&self.passed_over));
            self.notes.remarks.push(Remark::info("passed-over", n, &message));
        }
    }

    /// Opens the files whose time has come: all that begin before the earliest frame at hand.
    fn open_due(&mut self) {
        loop {
            let earliest = self.open.iter().map(|o| o.head.ts).min();
            let due = |w: &Waiting| earliest.is_none_or(|e| w.first <= e);
            if !self.waiting.front().is_some_and(due) {
                return;
            }
            let Some(w) = self.waiting.pop_front() else { return };
            match w.what {
                Later::Stream(o) => self.open.push(*o),
                Later::File(path) => {
                    let opened = open_with(&path, &self.hints);
                    let filled = opened.and_then(|source| {
                        let mut o = Open { order: w.order, source, head: Kept::default() };
                        Ok(fill(&mut o)?.then_some(o))
                    });
                    match filled {
                        Ok(Some(o)) => self.open.push(o),
                        // it has changed since it was looked at: a ring buffer goes on
                        Ok(None) => self.fault(w.order, "it is empty now, and had frames a moment ago"),
                        Err(e) => self.fault(w.order, &e.to_string()),
                    }
                }
            }
        }
    }

    fn fault(&mut self, order: usize, message: &str) {
        let frames = self.notes.pieces.get(order).map_or(0, |p| p.frames);
        let name = self.notes.pieces.get(order).map(|p| p.name.clone()).unwrap_or_default();
        let message = format!("{name}: reading stopped after {frames} frames: {message}");
        self.notes.remarks.push(Remark { code: "broken-file".to_owned(), severe: true, count: 1, message });
    }

    /// Takes over what a file that has ended says about itself.
    fn done(&mut self, order: usize, of: &SourceNotes) {
        let n = &mut self.notes;
        if n.format.is_empty() {
            n.format.clone_from(&of.format);
        } else if n.format != of.format {
            n.format = "mixed".to_owned();
        }
        n.dropped = [n.dropped, of.dropped].into_iter().flatten().reduce(u64::saturating_add);
        n.snaplen = match (n.snaplen, of.snaplen) {
            (Some(0), _) | (_, Some(0)) => Some(0),
            (a, b) => a.max(b),
        };
        for (what, count) in &of.other {
            *n.other.entry(what.clone()).or_default() += count;
        }
        if let Some(at) = of.cut_at {
            let name = n.pieces.get(order).map(|p| p.name.as_str()).unwrap_or_default();
            let message = format!("{name} ends inside a record at byte {at}; what comes before is analysed");
            n.remarks.push(Remark { code: "cut-file".to_owned(), severe: true, count: 1, message });
        }
        for r in &of.remarks {
            match n.remarks.iter_mut().find(|x| x.code == r.code && x.message == r.message) {
                Some(same) => same.count += r.count,
                None => n.remarks.push(r.clone()),
            }
        }
    }
}

/// Reads the next frame into `head`; false at the end.
fn fill(o: &mut Open) -> Result<bool, CaptureError> {
    Ok(match o.source.next_frame()? {
        Some(frame) => {
            o.head.keep(&frame);
            true
        }
        None => false,
    })
}

impl FrameSource for Joined {
    fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        self.open_due();
        // at most as many as overlap in time, usually one
        let Some(at) = (0..self.open.len()).min_by_key(|&i| (self.open[i].head.ts, self.open[i].order))
        else {
            return Ok(None);
        };
        let o = &mut self.open[at];
        let order = o.order;
        std::mem::swap(&mut self.current, &mut o.head);
        match fill(o) {
            Ok(true) => {}
            ended => {
                let o = self.open.remove(at);
                self.read = self.read.saturating_add(o.source.position().done);
                self.done(order, &o.source.notes());
                if let Err(e) = ended {
                    self.fault(order, &e.to_string());
                }
            }
        }
        self.count += 1;
        let in_one_piece = self.current_order == Some(order);
        if let Some(p) = self.notes.pieces.get_mut(order) {
            p.frames += 1;
            if p.frames == 1 {
                p.first_frame = Some(FrameNo(self.count));
            } else if !in_one_piece {
                p.first_frame = None;
            }
        }
        self.current_order = Some(order);
        if self.notes.last_ts.is_some_and(|last| self.current.ts < last) {
            *self.notes.other.entry("time-backwards".to_owned()).or_default() += 1;
        }
        self.notes.last_ts = Some(self.current.ts);
        Ok(Some(self.current.frame(FrameNo(self.count))))
    }

    fn notes(&self) -> SourceNotes {
        self.notes.clone()
    }

    fn position(&self) -> Position {
        let open: u64 = self.open.iter().map(|o| o.source.position().done).sum();
        let ended = self.open.is_empty() && self.waiting.is_empty();
        Position { done: self.read.saturating_add(open), total: self.total, ended }
    }
}
