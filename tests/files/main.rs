//! Capture files: every format, every fault, every byte where one can be cut; and the live capture.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod build;
mod corpus;
mod formats;
mod listing;
mod live;
#[path = "../real/mod.rs"]
mod real;
mod writer;

use std::io::{Cursor, Read};
use syncscope::capture::{CaptureError, SourceNotes, file};
use syncscope::model::{Frame, FrameNo, LinkType, Ts};

/// A frame that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owned {
    no: u64,
    ts: i64,
    link: u16,
    interface: u32,
    orig_len: u32,
    data: Vec<u8>,
}

impl Owned {
    fn frame(&self) -> Frame<'_> {
        Frame {
            no: FrameNo(self.no),
            ts: Ts(self.ts),
            link: LinkType(self.link),
            interface: self.interface,
            orig_len: self.orig_len,
            data: &self.data,
        }
    }
}

/// All frames up to the end or the first fault, the fault, and the notes.
fn drain(reader: impl Read + 'static) -> (Vec<Owned>, Option<CaptureError>, SourceNotes) {
    let mut source = match file::open_reader("test", reader) {
        Ok(s) => s,
        Err(e) => return (Vec::new(), Some(e), SourceNotes::default()),
    };
    let mut frames = Vec::new();
    let fault = loop {
        match source.next_frame() {
            Ok(Some(f)) => frames.push(Owned {
                no: f.no.0,
                ts: f.ts.0,
                link: f.link.0,
                interface: f.interface,
                orig_len: f.orig_len,
                data: f.data.to_vec(),
            }),
            Ok(None) => break None,
            Err(e) => break Some(e),
        }
    };
    assert!(matches!(source.next_frame(), Ok(None)), "nothing comes after the end");
    (frames, fault, source.notes())
}

fn read(bytes: &[u8]) -> (Vec<Owned>, Option<CaptureError>, SourceNotes) {
    drain(Cursor::new(bytes.to_vec()))
}
