//! Capture files: what kind it is, and its frames one after the other.
//!
//! ```text
//! path or stdin → (gzip, zstd) → Input (a window of the stream) ┬ pcap
//!                                                               └ pcapng
//! ```
//!
//! Files are read as a stream, so pipes work, compressed files need no room on disk, and a capture
//! that is still being written is read as far as it goes. The block reader is our own: the bytes
//! of a frame are handed out where they lie, a length is believed only once its bytes have
//! arrived, and every complaint names its offset.

mod input;
mod pcap;
mod pcapng;
mod sniff;

use super::{CaptureError, FrameSource, SourceNotes};
use crate::model::{Frame, FrameNo, LinkType, Ts};
use input::Input;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

/// Opens a capture file; `-` is standard input. See [`open_reader`].
pub fn open(path: impl AsRef<Path>) -> Result<Box<dyn FrameSource>, CaptureError> {
    let path = path.as_ref();
    if path.as_os_str() == "-" {
        return open_reader("standard input", std::io::stdin());
    }
    let name = path.display().to_string();
    match std::fs::File::open(path) {
        Ok(f) => open_reader(name, f),
        Err(e) => Err(CaptureError::Io { name, message: e.to_string() }),
    }
}

/// Reads a capture from any stream: pcap or pcapng in either byte order, plain or compressed with
/// gzip or zstd; its first bytes tell which.
///
/// Frames are handed out up to the first fault of the file. One that ends inside a record simply
/// ends there ([`SourceNotes::cut_at`]); one whose lengths make no sense gives
/// [`CaptureError::Broken`] once, then ends.
pub fn open_reader(
    name: impl Into<String>,
    reader: impl Read + 'static,
) -> Result<Box<dyn FrameSource>, CaptureError> {
    let name = name.into();
    let (mut input, suffix) = Input::new(name.clone(), Box::new(reader)).decompressed()?;
    input.want(sniff::WINDOW)?;
    let (format, kind) = if let Some(f) = pcap::Pcap::recognise(&mut input)? {
        (Format::Pcap(f), "pcap")
    } else if pcapng::Pcapng::recognise(input.head()) {
        (Format::Pcapng(pcapng::Pcapng::default()), "pcapng")
    } else {
        return Err(CaptureError::NotACapture { name, found: sniff::describe(input.head()) });
    };
    let notes = SourceNotes { name, format: format!("{kind}{suffix}"), ..SourceNotes::default() };
    let mut source = FileSource { input, format, notes, count: 0, ended: false };
    if let Format::Pcap(p) = &source.format {
        source.notes.snaplen = Some(p.snaplen());
    }
    Ok(Box::new(source))
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
}
