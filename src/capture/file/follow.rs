//! A capture that is still being written, file after file as they appear (`tcpdump -C`, `-G`).
//!
//! [`FrameSource::next_frame`] gives nothing where there is nothing *now*; asked again later it goes on. A file is done
//! when a later one has appeared and it has nothing more to give.

use super::wait::HEADER;
use super::{Hints, is_plain_capture, open_with};
use crate::capture::kept::Kept;
use crate::capture::{CaptureError, FrameSource, Piece, Position, SourceNotes};
use crate::model::{Frame, FrameNo};
use std::collections::{HashSet, VecDeque};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// See the module.
pub struct Follow {
    places: Vec<PathBuf>,
    hints: Hints,
    known: HashSet<PathBuf>,
    /// Files whose turn comes.
    next: VecDeque<PathBuf>,
    now: Option<Box<dyn FrameSource>>,
    /// The file at hand has a successor: what it gives now is its rest.
    last_look: bool,
    frame: Kept,
    count: u64,
    notes: SourceNotes,
}

impl Follow {
    /// Follows files one after the other; of a folder those that are in it, oldest first, and those that come.
    pub fn new(places: &[PathBuf], hints: &Hints) -> Result<Follow, CaptureError> {
        let io = |p: &Path, message: &str| CaptureError::Io {
            name: p.display().to_string(),
            message: message.to_owned(),
        };
        for p in places.iter().filter(|p| p.as_os_str() != "-") {
            if let Err(e) = p.metadata() {
                return Err(io(p, &e.to_string()));
            }
        }
        let called = |p: &PathBuf| {
            if p.as_os_str() == "-" { "standard input".into() } else { p.display().to_string() }
        };
        let name: Vec<String> = places.iter().map(called).collect();
        let mut follow = Follow {
            places: places.to_vec(),
            hints: Hints { grows: true, ..hints.clone() },
            known: HashSet::new(),
            next: VecDeque::new(),
            now: None,
            last_look: false,
            frame: Kept::default(),
            count: 0,
            notes: SourceNotes { name: name.join(" and "), ..SourceNotes::default() },
        };
        follow.look();
        Ok(follow)
    }

    /// Finds files that are new.
    fn look(&mut self) {
        for place in &self.places {
            let mut files: Vec<(SystemTime, PathBuf)> = Vec::new();
            if place.is_dir() {
                let inside = std::fs::read_dir(place).into_iter().flatten().flatten().map(|e| e.path());
                let written =
                    |p: &PathBuf| p.metadata().ok().filter(std::fs::Metadata::is_file)?.modified().ok();
                let fresh = inside.filter(|p| !self.known.contains(p));
                files.extend(fresh.filter_map(|p| Some((written(&p)?, p))));
                // what else is written there (a report, say) is no successor
                files.retain(|(_, p)| begins_as_capture(p));
                files.sort();
            } else if !self.known.contains(place) {
                files.push((SystemTime::UNIX_EPOCH, place.clone()));
            }
            for (_, path) in files {
                self.known.insert(path.clone());
                self.next.push_back(path);
            }
        }
    }

    /// The next file has its header.
    fn has_next(&self) -> bool {
        let ready = |p: &PathBuf| {
            p.as_os_str() == "-" || p.metadata().is_ok_and(|m| !m.is_file() || m.len() >= HEADER)
        };
        self.next.front().is_some_and(ready)
    }

    fn open_next(&mut self) -> Result<(), CaptureError> {
        let Some(path) = self.next.pop_front() else { return Ok(()) };
        let source = open_with(&path, &self.hints)?;
        let SourceNotes { format, name, .. } = source.notes();
        if format != "pcap" && format != "pcapng" {
            let message = format!("only pcap and pcapng files can be followed, and this is {format}");
            return Err(CaptureError::Io { name, message });
        }
        self.notes.format = format;
        self.notes.pieces.push(Piece { name, ..Piece::default() });
        self.now = Some(source);
        Ok(())
    }

    /// Puts away what has no more to give.
    fn close(&mut self) {
        self.last_look = false;
        let Some(source) = self.now.take() else { return };
        let of = source.notes();
        let n = &mut self.notes;
        n.dropped = [n.dropped, of.dropped].into_iter().flatten().reduce(u64::saturating_add);
        for (what, count) in of.other {
            *n.other.entry(what).or_default() += count;
        }
        n.remarks.extend(of.remarks);
    }
}

fn begins_as_capture(path: &Path) -> bool {
    let mut head = [0; 4];
    let read = std::fs::File::open(path).and_then(|mut f| f.read_exact(&mut head));
    read.is_ok() && is_plain_capture(&head)
}

impl FrameSource for Follow {
    fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        loop {
            let Some(source) = &mut self.now else {
                self.look();
                if !self.has_next() {
                    return Ok(None);
                }
                self.open_next()?;
                continue;
            };
            if let Some(frame) = source.next_frame()? {
                self.frame.keep(&frame);
                break;
            }
            self.look();
            if !self.has_next() {
                return Ok(None);
            }
            if self.last_look {
                self.close();
            } else {
                self.last_look = true;
            }
        }
        self.count += 1;
        let no = FrameNo(self.count);
        if let Some(p) = self.notes.pieces.last_mut() {
            p.frames += 1;
            p.first_frame = p.first_frame.or(Some(no));
        }
        self.notes.last_ts = Some(self.frame.ts);
        Ok(Some(self.frame.frame(no)))
    }

    fn position(&self) -> Position {
        let ended = self.next.is_empty() && self.now.as_ref().is_some_and(|s| s.position().ended);
        Position { ended, ..Position::default() }
    }

    fn notes(&self) -> SourceNotes {
        let mut notes = self.notes.clone();
        if let Some(now) = &self.now {
            let of = now.notes();
            notes.dropped = [notes.dropped, of.dropped].into_iter().flatten().reduce(u64::saturating_add);
            notes.remarks.extend(of.remarks);
        }
        if notes.pieces.len() < 2 {
            notes.pieces.clear();
        }
        notes
    }
}
