//! Where frames come from and go to: capture files, the live interface, evidence files.
//! An edge: the only room left of the TUI that opens files and devices for packets.

pub mod file;
pub mod filter;
mod kept;
pub mod live;
pub mod writer;

use crate::model::{Frame, FrameNo, Ts};
use std::collections::BTreeMap;

/// A stream of frames in the order in which they were captured.
pub trait FrameSource {
    /// The next frame; `Ok(None)` at the end. A file whose last record is cut gives what is
    /// there, then ends, and says so in [`FrameSource::notes`].
    fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError>;

    /// What the source has to say about itself, complete once it has ended.
    fn notes(&self) -> SourceNotes;

    /// How far it is.
    fn position(&self) -> Position {
        Position::default()
    }
}

/// How far a source is, in bytes of its files as they lie on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Read.
    pub done: u64,
    /// In all; none where that is not known.
    pub total: Option<u64>,
    /// Nothing comes any more.
    pub ended: bool,
}

/// What a source says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceNotes {
    /// File name or interface.
    pub name: String,
    /// `pcap`, `pcapng`, `pcap.gz`, `live`, …
    pub format: String,
    /// Frames that the capture program or the kernel said it dropped; none: not said.
    pub dropped: Option<u64>,
    /// The file ends inside a record: at this byte offset.
    pub cut_at: Option<u64>,
    /// Largest snap length announced, 0 or none: unlimited.
    pub snaplen: Option<u32>,
    /// Anything else worth saying, by kind, with a count (`unknown-block`, …).
    pub other: BTreeMap<String, u64>,
    /// Time stamp of the last frame handed out.
    pub last_ts: Option<Ts>,
    /// What the source lacks, in sentences.
    pub remarks: Vec<Remark>,
    /// The files that it is made of, in the order in which they were named; none: one file.
    pub pieces: Vec<Piece>,
}

/// One of several files that are read as one capture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// File name.
    pub name: String,
    /// Frames taken from it.
    pub frames: u64,
    /// Number of its first frame in the whole capture; none where frames of other files came between.
    pub first_frame: Option<FrameNo>,
}

/// Something to know about a source before its frames are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remark {
    /// What kind: `listing-no-date`, …
    pub code: String,
    /// Evidence is missing that should be there.
    pub severe: bool,
    /// How often.
    pub count: u64,
    /// One plain sentence.
    pub message: String,
}

impl Remark {
    /// Something that is merely good to know.
    pub fn info(code: &str, count: u64, message: &str) -> Remark {
        Remark { code: code.to_owned(), severe: false, count, message: message.to_owned() }
    }
}

/// What can go wrong with a source, grouped by who can mend it.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum CaptureError {
    /// The file can't be opened or read.
    #[error("{name}: {message}")]
    Io {
        /// File name.
        name: String,
        /// The system's words.
        message: String,
    },
    /// It is no capture file.
    #[error(
        "{name}: not a capture file: {found}; pcap and pcapng are read, also compressed with gzip or zstd"
    )]
    NotACapture {
        /// File name.
        name: String,
        /// What the first bytes look like.
        found: String,
    },
    /// It is one, and broken.
    #[error("{name}: broken at byte {offset}: {message}")]
    Broken {
        /// File name.
        name: String,
        /// Where, in the (decompressed) file.
        offset: u64,
        /// What is wrong.
        message: String,
    },
    /// It is a listing, and cannot be used.
    #[error("{name}: line {line}: {message}")]
    Listing {
        /// File name.
        name: String,
        /// Where.
        line: u64,
        /// What is wrong, and what to do.
        message: String,
    },
    /// None of its frames can be read.
    #[error("{name}: {}", unread_link_type(*.link))]
    LinkType {
        /// File name.
        name: String,
        /// What they are.
        link: u16,
    },
    /// A filter that cannot be used on it.
    #[error("{name}: {message}")]
    Filter {
        /// File name.
        name: String,
        /// Why.
        message: String,
    },
    /// The live capture is not allowed.
    #[error("no permission to capture on {device}: {message}\n  mend it with: {mend}")]
    Permission {
        /// Interface.
        device: String,
        /// The system's words.
        message: String,
        /// The exact command that mends it.
        mend: String,
    },
    /// The live capture failed.
    #[error("capture on {device}: {message}")]
    Live {
        /// Interface.
        device: String,
        /// The library's words.
        message: String,
    },
}

/// Says which link type is not read, by libpcap's name, and which ones are.
#[must_use]
pub fn unread_link_type(link: u16) -> String {
    let name = pcap::Linktype(i32::from(link)).get_description();
    let name = name.map_or(String::new(), |d| format!(" ({d})"));
    format!(
        "its frames are of link type {link}{name}, which is not read; Ethernet (also with VLAN tags or PPPoE), PPP, \
         Linux cooked (v1, v2), raw IP and BSD loopback are"
    )
}
