//! Writes pcapng: evidence files that Wireshark opens, with nanoseconds, names, comments and drops.
//!
//! Frames go out as they come in; interfaces are described when the first frame of each arrives,
//! unless they were announced with [`PcapngWriter::interface`] before.

use crate::model::{Frame, LinkType, Ts};
use std::collections::HashMap;
use std::io::{self, Write};

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const STATISTICS: u32 = 5;
const PACKET: u32 = 6;

/// Seconds that `if_tsoffset` takes off for time stamps before 1970, which have no other form.
const EARLY: i64 = 9_223_372_037;

/// What is told about an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceInfo {
    /// `eth0`, `any`, …; empty: not said.
    pub name: String,
    /// Bytes kept of each frame; 0: all.
    pub snaplen: u32,
    /// The capture filter; empty: not said.
    pub filter: String,
}

/// What a capture counted on one interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Packets that passed the filter, as the kernel counts them (on loopback, some kernels count each twice).
    pub received: u64,
    /// Of these, dropped by the kernel because nobody took them in time.
    pub dropped: u64,
    /// Packets that reached the file.
    pub delivered: u64,
}

/// A pcapng file (one section, little-endian) on its way out.
#[derive(Debug)]
pub struct PcapngWriter<W: Write> {
    out: W,
    /// Frame's interface, link type, whether before 1970 → number in the file.
    interfaces: HashMap<(u32, LinkType, bool), u32>,
    described: u32,
    block: Vec<u8>,
}

impl<W: Write> PcapngWriter<W> {
    /// Begins a file. `comment` (may be empty) goes to its head.
    pub fn new(out: W, comment: &str) -> io::Result<PcapngWriter<W>> {
        let mut w = PcapngWriter { out, interfaces: HashMap::new(), described: 0, block: Vec::new() };
        w.begin(SECTION);
        w.word(0x1a2b_3c4d);
        w.half(1);
        w.half(0);
        // Section length: not known.
        w.long(u64::MAX);
        w.text(1, comment);
        w.text(4, concat!("syncscope ", env!("CARGO_PKG_VERSION")));
        w.end_options();
        w.finish()?;
        Ok(w)
    }

    /// Describes an interface before its first frame. Frames whose `interface` is the number
    /// returned (and whose link type is `link`) belong to it.
    pub fn interface(&mut self, link: LinkType, info: &InterfaceInfo) -> io::Result<u32> {
        let number = self.described;
        self.describe(link, info, false)?;
        self.interfaces.insert((number, link, false), number);
        Ok(number)
    }

    /// Writes a frame.
    pub fn write(&mut self, frame: &Frame<'_>) -> io::Result<()> {
        self.write_with_comments(frame, &[])
    }

    /// Writes a frame with comments, which Wireshark shows beside it. A comment longer than an
    /// option can be (65535 bytes) is cut.
    pub fn write_with_comments(&mut self, frame: &Frame<'_>, comments: &[&str]) -> io::Result<()> {
        let early = frame.ts < Ts(0);
        let key = (frame.interface, frame.link, early);
        let interface = match self.interfaces.get(&key) {
            Some(n) => *n,
            None => {
                let n = self.described;
                self.describe(frame.link, &InterfaceInfo::default(), early)?;
                self.interfaces.insert(key, n);
                n
            }
        };
        let captured = u32::try_from(frame.data.len())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a frame of 4 GiB"))?;
        self.begin(PACKET);
        self.word(interface);
        self.time(frame.ts, early);
        self.word(captured);
        self.word(frame.orig_len.max(captured));
        self.block.extend_from_slice(frame.data);
        self.pad();
        for c in comments {
            self.text(1, c);
        }
        if !comments.is_empty() {
            self.end_options();
        }
        self.finish()
    }

    /// Writes what the capture counted on an interface, as of `now`.
    pub fn statistics(&mut self, interface: u32, now: Ts, s: Statistics) -> io::Result<()> {
        self.begin(STATISTICS);
        self.word(interface);
        self.time(now.max(Ts(0)), false);
        // isb_filteraccept, isb_osdrop, isb_usrdeliv
        for (code, n) in [(6, s.received), (7, s.dropped), (8, s.delivered)] {
            self.option(code, &n.to_le_bytes());
        }
        self.end_options();
        self.finish()
    }

    /// Hands everything on to the file.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// The writer underneath, flushed.
    pub fn into_inner(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }

    fn describe(&mut self, link: LinkType, info: &InterfaceInfo, early: bool) -> io::Result<()> {
        self.begin(INTERFACE);
        self.half(link.0);
        self.half(0);
        self.word(info.snaplen);
        self.text(2, &info.name);
        self.option(9, &[9]);
        if !info.filter.is_empty() {
            // The first byte says: in words, as libpcap reads them.
            self.option(11, &[&[0], info.filter.as_bytes()].concat());
        }
        if early {
            self.option(14, &(-EARLY).to_le_bytes());
        }
        self.end_options();
        self.described += 1;
        self.finish()
    }

    fn begin(&mut self, kind: u32) {
        self.block.clear();
        self.word(kind);
        self.word(0);
    }

    fn finish(&mut self) -> io::Result<()> {
        let len = u32::try_from(self.block.len() + 4)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a block of 4 GiB"))?;
        self.block[4..8].copy_from_slice(&len.to_le_bytes());
        self.word(len);
        self.out.write_all(&self.block)
    }

    fn half(&mut self, v: u16) {
        self.block.extend_from_slice(&v.to_le_bytes());
    }

    fn word(&mut self, v: u32) {
        self.block.extend_from_slice(&v.to_le_bytes());
    }

    fn long(&mut self, v: u64) {
        self.block.extend_from_slice(&v.to_le_bytes());
    }

    /// A time stamp in nanoseconds: high word first, whatever the byte order.
    fn time(&mut self, ts: Ts, early: bool) {
        let ns = i128::from(ts.0) + if early { i128::from(EARLY) * 1_000_000_000 } else { 0 };
        let ns = u64::try_from(ns).unwrap_or(0);
        self.word((ns >> 32) as u32);
        self.word(ns as u32);
    }

    fn pad(&mut self) {
        self.block.resize(self.block.len().next_multiple_of(4), 0);
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        let value = &value[..value.len().min(usize::from(u16::MAX))];
        self.half(code);
        self.half(value.len() as u16);
        self.block.extend_from_slice(value);
        self.pad();
    }

    /// A text option; none when it is empty.
    fn text(&mut self, code: u16, text: &str) {
        let end = (0..=text.len().min(usize::from(u16::MAX))).rev().find(|i| text.is_char_boundary(*i));
        match end {
            None | Some(0) => {}
            Some(end) => self.option(code, &text.as_bytes()[..end]),
        }
    }

    fn end_options(&mut self) {
        self.word(0);
    }
}
