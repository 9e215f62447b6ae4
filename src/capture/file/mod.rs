//! Capture files: what kind it is, and its frames one after the other.
//!
//! ```text
//! path or stdin → (gzip, zstd) → Input (a window of the stream) ┬ pcap
//!   × many, by time                                             ├ pcapng
//!                                                               └ listing (what tcpdump prints)
//! ```
//!
//! Files are read as a stream, so pipes work, compressed files need no room on disk, and a capture
//! that is still being written is read as far as it goes. The block reader is our own: the bytes
//! of a frame are handed out where they lie, a length is believed only once its bytes have
//! arrived, and every complaint names its offset.

mod follow;
mod input;
mod listing;
mod many;
mod pcap;
mod pcapng;
mod sniff;
mod wait;

pub use follow::Follow;
pub use many::open_all;
pub use sniff::is_plain_capture;

use super::{CaptureError, FrameSource, Position, SourceNotes};
use crate::model::{Frame, FrameNo, LinkType, Ts};
use input::Input;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What is known from elsewhere about a file that does not say everything itself (a listing).
#[derive(Clone, Debug, Default)]
pub struct Hints {
    /// Day number (since 1970-01-01) of times without a date.
    pub day: Option<i64>,
    /// Without that: a moment on the same day.
    pub near: Option<Ts>,
    /// Seconds east of Greenwich of times that name no zone.
    pub zone: Option<i64>,
    /// What names of hosts and services stand for.
    pub names: Vec<(String, Name)>,
    /// Set once nobody waits any longer: a pipe that has nothing to say ends then.
    pub stop: Option<Arc<AtomicBool>>,
    /// The file is being written: where it ends now is not its end.
    pub grows: bool,
}

/// What a name in a listing stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// A host.
    Address(std::net::IpAddr),
    /// A service.
    Port(u16),
}

/// Opens a capture file; `-` is standard input. See [`open_reader`].
pub fn open(path: impl AsRef<Path>) -> Result<Box<dyn FrameSource>, CaptureError> {
    open_with(path, &Hints::default())
}

/// As [`open`], for files that need to be told something.
pub fn open_with(path: impl AsRef<Path>, hints: &Hints) -> Result<Box<dyn FrameSource>, CaptureError> {
    let path = path.as_ref();
    if path.as_os_str() == "-" {
        let name = "standard input".to_owned();
        return match wait::standard_input(hints) {
            Ok(f) => read_with(name, f, None, hints),
            Err(e) => Err(CaptureError::Io { name, message: e.to_string() }),
        };
    }
    let name = path.display().to_string();
    match std::fs::File::open(path) {
        Ok(f) => {
            let total = f.metadata().ok().filter(std::fs::Metadata::is_file).map(|m| m.len());
            read_with(name, wait::Waiting::new(f, hints), total, hints)
        }
        Err(e) => Err(CaptureError::Io { name, message: e.to_string() }),
    }
}

/// Reads a capture from any stream: pcap or pcapng in either byte order, plain or compressed with
/// gzip or zstd, or a listing as tcpdump prints it; its first bytes tell which.
///
/// Frames are handed out up to the first fault of the file. One that ends inside a record simply
/// ends there ([`SourceNotes::cut_at`]); one whose lengths make no sense gives
/// [`CaptureError::Broken`] once, then ends.
pub fn open_reader(
    name: impl Into<String>,
    reader: impl Read + 'static,
) -> Result<Box<dyn FrameSource>, CaptureError> {
    open_reader_with(name, reader, &Hints::default())
}

/// As [`open_reader`], for streams that need to be told something.
pub fn open_reader_with(
    name: impl Into<String>,
    reader: impl Read + 'static,
    hints: &Hints,
) -> Result<Box<dyn FrameSource>, CaptureError> {
    read_with(name.into(), reader, None, hints)
}

fn read_with(
    name: String,
    reader: impl Read + 'static,
    total: Option<u64>,
    hints: &Hints,
) -> Result<Box<dyn FrameSource>, CaptureError> {
    let done = Arc::new(AtomicU64::new(0));
    let counted = Counted { reader, done: Arc::clone(&done) };
    let (mut input, suffix) = Input::new(name.clone(), Box::new(counted)).decompressed()?;
    input.want(sniff::WINDOW)?;
    let (format, kind) = if let Some(f) = pcap::Pcap::recognise(&mut input)? {
        (Format::Pcap(f), "pcap")
    } else if pcapng::Pcapng::recognise(input.head()) {
        (Format::Pcapng(pcapng::Pcapng::default()), "pcapng")
    } else if listing::recognise(input.head()) {
        return Ok(Box::new(listing::Listing::read(&mut input, format!("listing{suffix}"), hints)?));
    } else {
        return Err(CaptureError::NotACapture { name, found: sniff::describe(input.head()) });
    };
    let notes = SourceNotes { name, format: format!("{kind}{suffix}"), ..SourceNotes::default() };
    let mut source = FileSource { input, format, notes, count: 0, ended: false, done, total };
    if let Format::Pcap(p) = &source.format {
        source.notes.snaplen = Some(p.snaplen());
    }
    Ok(Box::new(source))
}

/// The bytes of a file, or of standard input where it is `-`, as they are.
pub fn bytes_of(path: &Path, hints: &Hints) -> std::io::Result<impl Read + 'static> {
    if path.as_os_str() == "-" {
        return wait::standard_input(hints);
    }
    std::fs::File::open(path).map(|f| wait::Waiting::new(f, hints))
}

/// A frame found in the input, not yet given its number.
struct Record {
    ts: Ts,
    link: LinkType,
    interface: u32,
    orig_len: u32,
    /// Where its bytes lie in the input's window.
    data: Range<usize>,
}

enum Format {
    Pcap(pcap::Pcap),
    Pcapng(pcapng::Pcapng),
}

struct FileSource {
    input: Input,
    format: Format,
    notes: SourceNotes,
    count: u64,
    ended: bool,
    done: Arc<AtomicU64>,
    total: Option<u64>,
}

/// Counts what is read from a file, below any decompression.
struct Counted<R> {
    reader: R,
    done: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let n = self.reader.read(out)?;
        self.done.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

impl FrameSource for FileSource {
    fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        if self.ended {
            return Ok(None);
        }
        let found = match &mut self.format {
            Format::Pcap(f) => f.next(&mut self.input),
            Format::Pcapng(f) => f.next(&mut self.input, &mut self.notes),
        };
        let Some(record) = found.inspect_err(|_| self.ended = true)? else {
            if !self.input.ended() {
                return Ok(None);
            }
            self.ended = true;
            self.notes.cut_at = self.input.cut_at();
            if self.input.torn() {
                self.notes.other.insert("cut-compressed-data".to_owned(), 1);
            }
            return Ok(None);
        };
        self.count += 1;
        if self.notes.last_ts.is_some_and(|last| record.ts < last) {
            *self.notes.other.entry("time-backwards".to_owned()).or_default() += 1;
        }
        self.notes.last_ts = Some(record.ts);
        Ok(Some(Frame {
            no: FrameNo(self.count),
            ts: record.ts,
            link: record.link,
            interface: record.interface,
            orig_len: record.orig_len,
            data: self.input.bytes(record.data),
        }))
    }

    fn notes(&self) -> SourceNotes {
        self.notes.clone()
    }

    fn position(&self) -> Position {
        Position { done: self.done.load(Ordering::Relaxed), total: self.total, ended: self.ended }
    }
}
