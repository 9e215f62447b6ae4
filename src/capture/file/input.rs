//! A window on a stream of bytes: contiguous, only as large as what has really arrived, with offsets.

use crate::capture::CaptureError;
use std::io::{self, BufReader, Read};
use std::ops::Range;

/// How much is read at once.
const CHUNK: usize = 256 << 10;

/// The stream, the part of it that is in memory, and where we are.
pub(super) struct Input {
    name: String,
    reader: Box<dyn Read>,
    buf: Vec<u8>,
    start: usize,
    end: usize,
    /// Offset of `start` in the stream.
    offset: u64,
    ended: bool,
    /// A decompressor stands before the reader.
    unpacked: bool,
    /// The compressed data under the stream ended early.
    torn: bool,
    /// The stream ended inside something.
    cut: bool,
}

impl Input {
    pub fn new(name: String, reader: Box<dyn Read>) -> Input {
        Input {
            name,
            reader,
            buf: Vec::new(),
            start: 0,
            end: 0,
            offset: 0,
            ended: false,
            unpacked: false,
            torn: false,
            cut: false,
        }
    }

    /// Looks for a compression, and takes it off; the second value is what to append to the format's name.
    pub fn decompressed(mut self) -> Result<(Input, &'static str), CaptureError> {
        self.want(4)?;
        let kind = match self.head() {
            [0x1f, 0x8b, ..] => ".gz",
            [0x28, 0xb5, 0x2f, 0xfd, ..] => ".zst",
            // A skippable frame may come first (RFC 8878 §3.1.2).
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => ".zst",
            _ => return Ok((self, "")),
        };
        let name = self.name.clone();
        let raw =
            BufReader::with_capacity(CHUNK, Unread { first: self.head().to_vec(), at: 0, rest: self.reader });
        let reader: Box<dyn Read> = if kind == ".gz" {
            Box::new(flate2::bufread::MultiGzDecoder::new(raw))
        } else {
            match zstd::stream::read::Decoder::with_buffer(raw) {
                Ok(d) => Box::new(d),
                Err(e) => return Err(CaptureError::Io { name, message: e.to_string() }),
            }
        };
        Ok((Input { unpacked: true, ..Input::new(name, reader) }, kind))
    }

    /// Reads on until `n` bytes are at hand; false when the stream ends before, or has no more now.
    ///
    /// Memory grows with what arrives, not with what is asked for: a length field that lies costs
    /// nothing.
    #[inline]
    pub fn want(&mut self, n: usize) -> Result<bool, CaptureError> {
        if self.end - self.start >= n { Ok(true) } else { self.read_on(n) }
    }

    fn read_on(&mut self, n: usize) -> Result<bool, CaptureError> {
        while self.end - self.start < n {
            if self.ended {
                return Ok(false);
            }
            if self.start > 0 {
                self.buf.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            }
            if self.buf.len() - self.end < CHUNK / 4 {
                self.buf.resize((self.end * 2).max(CHUNK), 0);
            }
            match self.reader.read(&mut self.buf[self.end..]) {
                Ok(0) => self.ended = true,
                Ok(got) => self.end += got,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // nothing there now, and more may come
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                // How flate2 and zstd say that the compressed file is cut: what came before counts.
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                    self.ended = true;
                    self.torn = true;
                    self.cut = true;
                }
                Err(e) if self.unpacked && is_damage(&e) => {
                    let at = self.offset + (self.end - self.start) as u64;
                    return Err(self.broken(at, format!("compressed data is damaged: {e}")));
                }
                Err(e) => return Err(CaptureError::Io { name: self.name.clone(), message: e.to_string() }),
            }
        }
        Ok(true)
    }

    /// The file's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is at hand and not yet taken.
    #[inline]
    pub fn head(&self) -> &[u8] {
        &self.buf[self.start..self.end]
    }

    /// Offset of [`Input::head`] in the (decompressed) stream.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Takes `n` bytes of the head; they stay readable through [`Input::bytes`] until the next [`Input::want`].
    #[inline]
    pub fn take(&mut self, n: usize) -> Range<usize> {
        let n = n.min(self.end - self.start);
        let taken = self.start..self.start + n;
        self.start += n;
        self.offset += n as u64;
        taken
    }

    /// Bytes taken before.
    #[inline]
    pub fn bytes(&self, r: Range<usize>) -> &[u8] {
        self.buf.get(r).unwrap_or(&[])
    }

    /// Notes that the stream ended inside a record, unless it ended just before one.
    pub fn end_inside(&mut self) {
        self.cut |= self.ended && !self.head().is_empty();
    }

    /// Nothing comes any more.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Where the stream ended, if that was inside a record.
    pub fn cut_at(&self) -> Option<u64> {
        self.cut.then(|| self.offset + self.head().len() as u64)
    }

    /// The compressed data ended early.
    pub fn torn(&self) -> bool {
        self.torn
    }

    pub fn broken(&self, offset: u64, message: impl Into<String>) -> CaptureError {
        CaptureError::Broken { name: self.name.clone(), offset, message: message.into() }
    }
}

/// How flate2 and zstd say that the compressed data makes no sense.
fn is_damage(e: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, Other};
    matches!(e.kind(), InvalidInput | InvalidData | Other) && e.raw_os_error().is_none()
}

/// A reader with some bytes put back before it.
struct Unread {
    first: Vec<u8>,
    at: usize,
    rest: Box<dyn Read>,
}

impl Read for Unread {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = &self.first[self.at..];
        if left.is_empty() {
            return self.rest.read(out);
        }
        let n = left.len().min(out.len());
        out[..n].copy_from_slice(&left[..n]);
        self.at += n;
        Ok(n)
    }
}

/// Fields in the byte order that a file declares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    #[default]
    Little,
    Big,
}

impl Order {
    pub fn u16(self, b: &[u8], at: usize) -> Option<u16> {
        let b = b.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if self == Order::Little { u16::from_le_bytes(b) } else { u16::from_be_bytes(b) })
    }

    pub fn u32(self, b: &[u8], at: usize) -> Option<u32> {
        let b = b.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if self == Order::Little { u32::from_le_bytes(b) } else { u32::from_be_bytes(b) })
    }

    pub fn u64(self, b: &[u8], at: usize) -> Option<u64> {
        let b = b.get(at..at.checked_add(8)?)?.try_into().ok()?;
        Some(if self == Order::Little { u64::from_le_bytes(b) } else { u64::from_be_bytes(b) })
    }
}
