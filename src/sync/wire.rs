//! Bytes between the two ends. Every length and number is checked here or, where it takes the
//! session's state, in the sender and the receiver, before anything is done with it.
//!
//! ```text
//! preamble   "syncsc" version:u16               once, each way, before the first frame
//! frame      type:u8 length:u32 payload         little-endian, payload at most 64 KiB
//!
//!  client ─ Hello ─► server
//!  sender ─ Entry… ListFault… ListEnd ─► receiver
//!  sender ◄─ Request [Sums…] … ───────── receiver      many in flight; Sums belong to the last Request
//!  sender ─ Begin (Literal | Copy)… End, or Failed ─► receiver, one file after the other
//!  sender ◄─ Result … Gone … ─────────── receiver
//!  sender ◄─ Finish ──────────────────── receiver
//!  sender ─ Goodbye ─► receiver
//!  either ─ Abort
//! ```

use super::error::{PeerFault, SyncError};
use super::fs::{Kind, Meta, Mtime};
use super::session::{Mode, Stats};
use super::signature::{BlockSum, MAX_BLOCK, MAX_BLOCKS, MIN_BLOCK, STRONG_LEN, Strong};
use super::wish::{Change, Flags};

const MAGIC: &[u8; 6] = b"syncsc";
/// Length of the preamble.
pub const PREAMBLE: usize = 8;
/// Length of a frame's header.
pub const HEADER: usize = 5;
/// Longest path or symlink target, bytes.
pub const MAX_PATH: usize = 4095;
/// Longest set of rules, bytes.
pub const MAX_RULES: usize = 32 * 1024;
/// Longest reason, bytes; longer ones are cut by the sender.
pub const MAX_REASON: usize = 1024;
/// Longest literal, bytes.
pub const MAX_LITERAL: usize = 64 * 1024;
/// Most bytes that are packed into one frame.
pub const MAX_PACKED: usize = 128 * 1024;
/// Most sums in one frame.
pub const MAX_SUMS: usize = 2048;
/// Most bytes of one sum.
const SUM: usize = 4 + STRONG_LEN.1 as usize;

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// What the client wants.
    Hello {
        /// Which way.
        mode: Mode,
        /// 0: the default.
        block_size: u32,
        /// See [`Flags`].
        flags: Flags,
        /// Below the server's root.
        path: &'a str,
        /// What is left out, one rule a line.
        rules: &'a str,
    },
    /// One line of the list.
    Entry {
        /// Where.
        path: &'a str,
        /// What.
        meta: Meta,
        /// It is another name of this earlier entry.
        same_as: Option<u32>,
        /// Of a symlink.
        target: &'a str,
    },
    /// Something that can't be listed.
    ListFault {
        /// Where.
        path: &'a str,
        /// Why.
        reason: &'a str,
    },
    /// The list is complete.
    ListEnd {
        /// Entries in it.
        entries: u32,
    },
    /// Send this file.
    Request {
        /// Which.
        file: u32,
        /// Block size of the signature that follows; 0: none follows, send it whole.
        block_size: u32,
        /// Bytes of the basis that it covers.
        len: u64,
        /// The strong hash of the signature.
        strong: Strong,
        /// Bytes of each strong sum that are sent.
        strong_len: u8,
        /// The beginning of the file that is there already, from a run that was cut.
        have: Have,
    },
    /// Sums of the last request's blocks.
    Sums(Sums<'a>),
    /// A file begins.
    Begin {
        /// Which.
        file: u32,
        /// Its attributes when it was opened.
        meta: Meta,
        /// The bytes before this are those that the receiver has; 0: it starts anew.
        from: u64,
    },
    /// Bytes of the file.
    Literal(&'a [u8]),
    /// Blocks of the basis.
    Copy {
        /// First block.
        first: u32,
        /// How many.
        count: u32,
    },
    /// The file is complete.
    End {
        /// Its length.
        len: u64,
        /// BLAKE3 of all of it.
        hash: [u8; 32],
        /// It changed while it was read.
        torn: bool,
    },
    /// The sender can't send this file, or not the rest of it.
    Failed {
        /// Which.
        file: u32,
        /// Why.
        reason: &'a str,
    },
    /// What came of an entry, from the receiver; an empty reason: it is in place.
    Result {
        /// Which.
        file: u32,
        /// How it differed.
        change: Change,
        /// Why not.
        reason: &'a str,
    },
    /// Something that was not in the list is removed at the receiver; or, with a reason, could not be.
    Gone {
        /// Where.
        path: &'a str,
        /// It is a directory.
        dir: bool,
        /// Why not.
        reason: &'a str,
    },
    /// The receiver has all it wants.
    Finish(Stats),
    /// The sender has nothing left to say.
    Goodbye,
    /// Whole frames, compressed.
    Packed(&'a [u8]),
    /// This end gives up.
    Abort {
        /// Why.
        reason: &'a str,
    },
}

/// The beginning of a file, by its length and BLAKE3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Have {
    /// Bytes; 0: nothing.
    pub len: u64,
    /// BLAKE3 of them.
    pub hash: [u8; 32],
}

/// Sums as they lie in a frame: 4 bytes weak, then as many of the strong one as the request said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sums<'a>(&'a [u8]);

impl<'a> Sums<'a> {
    /// The sums, where there is a whole number of them.
    pub fn split(self, strong_len: u8) -> Option<impl ExactSizeIterator<Item = BlockSum> + 'a> {
        let len = 4 + usize::from(strong_len.min(STRONG_LEN.1));
        let sums = self.0.len().is_multiple_of(len).then(|| self.0.chunks_exact(len))?;
        Some(sums.map(|sum| {
            let (mut weak, mut strong) = ([0; 4], [0; 8]);
            let (w, s) = sum.split_at(4);
            weak.copy_from_slice(w);
            strong[..s.len()].copy_from_slice(s);
            BlockSum { weak: u32::from_le_bytes(weak), strong: u64::from_le_bytes(strong) }
        }))
    }
}

/// Name and largest payload of each frame type, by number.
const TYPES: [(&str, usize); 18] = [
    ("", 0),
    ("hello", 12 + 4 + MAX_PATH + MAX_RULES),
    ("entry", 32 + 4 + 4 + 2 * MAX_PATH),
    ("list-fault", 4 + MAX_PATH + MAX_REASON),
    ("list-end", 4),
    ("request", 28 + 40),
    ("sums", MAX_SUMS * SUM),
    ("begin", 36 + 8),
    ("literal", MAX_LITERAL),
    ("copy", 8),
    ("end", 41),
    ("failed", 4 + 2 + MAX_REASON),
    ("result", 5 + 2 + MAX_REASON),
    ("finish", 72),
    ("goodbye", 0),
    ("abort", 2 + MAX_REASON),
    ("gone", 1 + 4 + MAX_PATH + MAX_REASON),
    ("packed", MAX_PACKED),
];

impl Frame<'_> {
    fn number(&self) -> u8 {
        match self {
            Frame::Hello { .. } => 1,
            Frame::Entry { .. } => 2,
            Frame::ListFault { .. } => 3,
            Frame::ListEnd { .. } => 4,
            Frame::Request { .. } => 5,
            Frame::Sums(_) => 6,
            Frame::Begin { .. } => 7,
            Frame::Literal(_) => 8,
            Frame::Copy { .. } => 9,
            Frame::End { .. } => 10,
            Frame::Failed { .. } => 11,
            Frame::Result { .. } => 12,
            Frame::Finish(_) => 13,
            Frame::Goodbye => 14,
            Frame::Abort { .. } => 15,
            Frame::Gone { .. } => 16,
            Frame::Packed(_) => 17,
        }
    }

    /// Its name in messages.
    pub fn name(&self) -> &'static str {
        TYPES[self.number() as usize].0
    }

    /// Appends header and payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[self.number(), 0, 0, 0, 0]);
        match self {
            Frame::Hello { mode, block_size, flags, path, rules } => {
                out.extend_from_slice(&[u8::from(*mode == Mode::Push), 0, 0, 0]);
                out.extend_from_slice(&block_size.to_le_bytes());
                out.extend_from_slice(&flags.bits().to_le_bytes());
                put_str(out, path, MAX_PATH);
                put_str(out, rules, MAX_RULES);
            }
            Frame::Entry { path, meta, same_as, target } => {
                put_meta(out, meta);
                out.extend_from_slice(&same_as.map_or(u32::MAX, |f| f).to_le_bytes());
                put_str(out, path, MAX_PATH);
                put_str(out, target, MAX_PATH);
            }
            Frame::ListFault { path, reason } => {
                put_str(out, path, MAX_PATH);
                put_str(out, reason, MAX_REASON);
            }
            Frame::ListEnd { entries } => out.extend_from_slice(&entries.to_le_bytes()),
            Frame::Request { file, block_size, len, strong, strong_len, have } => {
                out.extend_from_slice(&file.to_le_bytes());
                out.extend_from_slice(&block_size.to_le_bytes());
                out.extend_from_slice(&len.to_le_bytes());
                out.extend_from_slice(&strong.seed().to_le_bytes());
                let kind = u8::from(matches!(strong, Strong::Blake3(_)));
                out.extend_from_slice(&[kind, *strong_len, 0, 0]);
                out.extend_from_slice(&have.len.to_le_bytes());
                out.extend_from_slice(&have.hash);
            }
            Frame::Sums(s) => out.extend_from_slice(s.0),
            Frame::Begin { file, meta, from } => {
                out.extend_from_slice(&file.to_le_bytes());
                put_meta(out, meta);
                out.extend_from_slice(&from.to_le_bytes());
            }
            Frame::Literal(bytes) | Frame::Packed(bytes) => out.extend_from_slice(bytes),
            Frame::Copy { first, count } => {
                out.extend_from_slice(&first.to_le_bytes());
                out.extend_from_slice(&count.to_le_bytes());
            }
            Frame::End { len, hash, torn } => {
                out.extend_from_slice(&len.to_le_bytes());
                out.extend_from_slice(hash);
                out.push(u8::from(*torn));
            }
            Frame::Failed { file, reason } => {
                out.extend_from_slice(&file.to_le_bytes());
                put_str(out, reason, MAX_REASON);
            }
            Frame::Result { file, change, reason } => {
                out.extend_from_slice(&file.to_le_bytes());
                out.push(change.bits());
                put_str(out, reason, MAX_REASON);
            }
            Frame::Gone { path, dir, reason } => {
                out.push(u8::from(*dir));
                put_str(out, path, MAX_PATH);
                put_str(out, reason, MAX_REASON);
            }
            Frame::Finish(s) => {
                let Stats {
                    files, changed, created, deleted, failed, redone, bytes, matched, literal, ..
                } = *s;
                for v in [files, changed, created, deleted, failed, redone, bytes, matched, literal] {
                    out.extend_from_slice(&v.to_le_bytes());
                }
            }
            Frame::Goodbye => {}
            Frame::Abort { reason } => put_str(out, reason, MAX_REASON),
        }
        let len = (out.len() - start - HEADER) as u32;
        out[start + 1..start + HEADER].copy_from_slice(&len.to_le_bytes());
    }
}

/// Appends a frame of sums, with this many bytes of each strong one.
pub fn encode_sums(sums: &[BlockSum], strong_len: u8, out: &mut Vec<u8>) {
    let strong_len = usize::from(strong_len.min(STRONG_LEN.1));
    let mut bytes = Vec::with_capacity(sums.len() * SUM);
    for s in sums {
        bytes.extend_from_slice(&s.weak.to_le_bytes());
        bytes.extend(s.strong.to_le_bytes().iter().take(strong_len));
    }
    Frame::Sums(Sums(&bytes)).encode(out);
}

/// The preamble of this version.
pub fn preamble(version: u16) -> [u8; PREAMBLE] {
    let mut p = [0; PREAMBLE];
    p[..6].copy_from_slice(MAGIC);
    p[6..].copy_from_slice(&version.to_le_bytes());
    p
}

/// Checks the peer's preamble as far as it is there; true once it is complete.
pub fn check_preamble(bytes: &[u8], ours: u16) -> Result<bool, SyncError> {
    let n = bytes.len().min(MAGIC.len());
    if bytes[..n] != MAGIC[..n] {
        let found = bytes.iter().take(16).map(|&b| if (32..127).contains(&b) { b as char } else { '.' });
        return Err(SyncError::NotSyncscope { found: found.collect() });
    }
    match bytes.get(6..PREAMBLE) {
        Some(v) if v == ours.to_le_bytes() => Ok(true),
        Some(v) => Err(SyncError::Version { ours, theirs: u16::from_le_bytes([v[0], v[1]]) }),
        None => Ok(false),
    }
}

/// How far whole frames reach from the begin on, at most `max` bytes. These are frames of ours.
pub fn whole(bytes: &[u8], max: usize) -> usize {
    let mut end = 0;
    while let Some(&[_, a, b, c, d]) = bytes.get(end..).and_then(|rest| rest.first_chunk::<HEADER>()) {
        let next = end + HEADER + u32::from_le_bytes([a, b, c, d]) as usize;
        if next > bytes.len().min(max) {
            break;
        }
        end = next;
    }
    end
}

/// Bytes that the first frame lacks: of its header, if that is not there; 0: it is whole.
pub fn missing(bytes: &[u8]) -> usize {
    let end = match bytes.first_chunk::<HEADER>() {
        Some(&[_, a, b, c, d]) => HEADER + u32::from_le_bytes([a, b, c, d]) as usize,
        None => HEADER,
    };
    end.saturating_sub(bytes.len())
}

/// The first frame and the bytes it takes; none: not all of it is there yet.
pub fn decode(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, PeerFault> {
    let Some((&kind, rest)) = bytes.split_first() else { return Ok(None) };
    let (name, max) =
        *TYPES.get(usize::from(kind)).filter(|t| !t.0.is_empty()).ok_or(PeerFault::UnknownFrame(kind))?;
    let Some(len) = rest.first_chunk::<4>() else { return Ok(None) };
    let len = u32::from_le_bytes(*len) as usize;
    if len > max {
        return Err(PeerFault::TooLong { frame: name, len: len as u64, max: max as u64 });
    }
    let Some(payload) = rest.get(4..4 + len) else { return Ok(None) };
    let mut r = Reader { rest: payload };
    let frame = match kind {
        6 if len > 0 => Some(Frame::Sums(Sums(r.all()))),
        8 if len > 0 => Some(Frame::Literal(r.all())),
        17 if len > 0 => Some(Frame::Packed(r.all())),
        _ => fields(kind, &mut r)?,
    };
    match frame {
        Some(f) if r.rest.is_empty() => Ok(Some((f, HEADER + len))),
        _ => Err(PeerFault::Malformed(name)),
    }
}

fn fields<'a>(kind: u8, r: &mut Reader<'a>) -> Result<Option<Frame<'a>>, PeerFault> {
    let frame = match kind {
        1 => r.hello()?,
        2 => match (r.meta()?, r.u32()) {
            (Some(meta), Some(same)) => {
                let same_as = (same != u32::MAX).then_some(same);
                r.str().zip(r.str()).map(|(path, target)| Frame::Entry { path, meta, same_as, target })
            }
            _ => None,
        },
        3 => r.str().zip(r.str()).map(|(path, reason)| Frame::ListFault { path, reason }),
        4 => r.u32().map(|entries| Frame::ListEnd { entries }),
        5 => r.request()?,
        7 => match (r.u32(), r.meta()?, r.u64()) {
            (Some(file), Some(meta), Some(from)) => {
                if from > meta.size {
                    return Err(out_of_range("beginning of a file", from, "at most its size"));
                }
                Some(Frame::Begin { file, meta, from })
            }
            _ => None,
        },
        9 => r.u32().zip(r.u32()).map(|(first, count)| Frame::Copy { first, count }),
        10 => match (r.u64().zip(r.array()), r.u8()) {
            (Some((len, hash)), Some(torn @ 0..=1)) => Some(Frame::End { len, hash, torn: torn == 1 }),
            _ => None,
        },
        11 => r.u32().zip(r.str()).map(|(file, reason)| Frame::Failed { file, reason }),
        12 => match r.u32().zip(r.u8()) {
            Some((file, bits)) => {
                let change = Change::from_bits(bits)
                    .ok_or_else(|| out_of_range("kind of change", u64::from(bits), "0 to 63"))?;
                r.str().map(|reason| Frame::Result { file, change, reason })
            }
            None => None,
        },
        13 => r.stats().map(Frame::Finish),
        14 => Some(Frame::Goodbye),
        15 => r.str().map(|reason| Frame::Abort { reason }),
        16 => match (r.u8(), r.str().zip(r.str())) {
            (Some(dir @ 0..=1), Some((path, reason))) => Some(Frame::Gone { path, dir: dir == 1, reason }),
            _ => None,
        },
        _ => None,
    };
    Ok(frame)
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn all(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|b| b[0])
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn str(&mut self) -> Option<&'a str> {
        let len = usize::from(u16::from_le_bytes(self.array()?));
        let (s, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        std::str::from_utf8(s).ok()
    }

    fn meta(&mut self) -> Result<Option<Meta>, PeerFault> {
        let Some((kind, pad)) = self.u8().zip(self.array::<3>()) else { return Ok(None) };
        let Some((mode, size)) = self.u32().zip(self.u64()) else { return Ok(None) };
        let Some((secs, nanos)) = self.array().map(i64::from_le_bytes).zip(self.u32()) else {
            return Ok(None);
        };
        let Some(reserved) = self.u32() else { return Ok(None) };
        let kind = match kind {
            0 => Kind::File,
            1 => Kind::Dir,
            2 => Kind::Symlink,
            v => return Err(out_of_range("entry kind", u64::from(v), "0 to 2")),
        };
        if mode > 0o777 {
            return Err(out_of_range("mode", u64::from(mode), "at most 0777"));
        }
        if nanos > 999_999_999 {
            return Err(out_of_range("nanoseconds", u64::from(nanos), "below 1000000000"));
        }
        if i64::try_from(size).is_err() {
            return Err(out_of_range("file size", size, "below 2^63"));
        }
        let meta = Meta { kind, size, mode, mtime: Mtime { secs, nanos } };
        Ok((pad == [0; 3] && reserved == 0).then_some(meta))
    }

    fn hello(&mut self) -> Result<Option<Frame<'a>>, PeerFault> {
        let Some([mode, 0, 0, 0]) = self.array() else { return Ok(None) };
        let Some((block_size, bits)) = self.u32().zip(self.u32()) else { return Ok(None) };
        let Some((path, rules)) = self.str().zip(self.str()) else { return Ok(None) };
        let mode = match mode {
            0 => Mode::Pull,
            1 => Mode::Push,
            v => return Err(out_of_range("mode of the sync", u64::from(v), "0 or 1")),
        };
        if block_size != 0 {
            check_block_size(block_size)?;
        }
        let flags = Flags::from_bits(bits).ok_or_else(|| {
            out_of_range("wishes for the sync", u64::from(bits), "those that this version knows")
        })?;
        Ok(Some(Frame::Hello { mode, block_size, flags, path, rules }))
    }

    fn request(&mut self) -> Result<Option<Frame<'a>>, PeerFault> {
        let Some((file, block_size)) = self.u32().zip(self.u32()) else { return Ok(None) };
        let Some((len, seed)) = self.u64().zip(self.u64()) else { return Ok(None) };
        let Some([kind, strong_len, 0, 0]) = self.array() else { return Ok(None) };
        let strong = match kind {
            0 => Strong::Xxh3(seed),
            1 => Strong::Blake3(seed),
            v => return Err(out_of_range("kind of strong hash", u64::from(v), "0 or 1")),
        };
        if !(STRONG_LEN.0..=STRONG_LEN.1).contains(&strong_len) {
            return Err(out_of_range("length of strong sums", u64::from(strong_len), "4 to 8"));
        }
        if block_size != 0 {
            check_block_size(block_size)?;
            let max = u64::from(block_size) * u64::from(MAX_BLOCKS);
            if len == 0 || len > max {
                return Err(out_of_range("basis length", len, "1 to 2^19 blocks"));
            }
        } else if len != 0 {
            return Err(out_of_range("basis length", len, "0 without a block size"));
        }
        let Some((have_len, hash)) = self.u64().zip(self.array()) else { return Ok(None) };
        let have = Have { len: have_len, hash };
        if have == Have::default() || have_len > 0 && i64::try_from(have_len).is_ok() {
            return Ok(Some(Frame::Request { file, block_size, len, strong, strong_len, have }));
        }
        Err(out_of_range("bytes that are there", have_len, "1 to 2^63, or nothing at all"))
    }

    fn stats(&mut self) -> Option<Stats> {
        let mut v = [0u64; 9];
        for x in &mut v {
            *x = self.u64()?;
        }
        let [files, changed, created, deleted, failed, redone, bytes, matched, literal] = v;
        let stats = Stats {
            files,
            changed,
            created,
            deleted,
            failed,
            redone,
            bytes,
            matched,
            literal,
            ..Stats::default()
        };
        Some(stats)
    }
}

fn check_block_size(v: u32) -> Result<(), PeerFault> {
    if (MIN_BLOCK..=MAX_BLOCK).contains(&v) {
        Ok(())
    } else {
        Err(out_of_range("block size", u64::from(v), "64 to 262144"))
    }
}

/// A field that is out of its range.
pub fn out_of_range(field: &'static str, value: u64, range: &'static str) -> PeerFault {
    PeerFault::OutOfRange { field, value, range }
}

fn put_str(out: &mut Vec<u8>, s: &str, max: usize) {
    let s = cut(s, max);
    out.extend_from_slice(&(s.len() as u16).to_le_bytes());
    out.extend_from_slice(s.as_bytes());
}

fn cut(s: &str, max: usize) -> &str {
    let mut end = s.len().min(max);
    while !s.is_char_boundary(end) {
        end -= 1;
    }
    &s[..end]
}

fn put_meta(out: &mut Vec<u8>, m: &Meta) {
    let kind = match m.kind {
        Kind::File => 0,
        Kind::Dir => 1,
        // What is neither is never listed.
        Kind::Symlink | Kind::Other => 2,
    };
    out.extend_from_slice(&[kind, 0, 0, 0]);
    out.extend_from_slice(&m.mode.to_le_bytes());
    out.extend_from_slice(&m.size.to_le_bytes());
    out.extend_from_slice(&m.mtime.secs.to_le_bytes());
    out.extend_from_slice(&m.mtime.nanos.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames() -> Vec<Frame<'static>> {
        let meta = Meta {
            kind: Kind::File,
            size: 1 << 40,
            mode: 0o644,
            mtime: Mtime { secs: -5, nanos: 999_999_999 },
        };
        vec![
            Frame::Hello {
                mode: Mode::Push,
                block_size: 4096,
                flags: Flags { delete: true, whole_file: true, ..Flags::default() },
                path: "a/b c",
                rules: "*.o\n!keep.o",
            },
            Frame::Entry { path: "dir/ünï.txt", meta, same_as: Some(0), target: "" },
            Frame::Entry {
                path: "l",
                meta: Meta { kind: Kind::Symlink, ..meta },
                same_as: None,
                target: "../x",
            },
            Frame::ListFault { path: "p", reason: "permission denied" },
            Frame::ListEnd { entries: 7 },
            Frame::Request {
                file: 3,
                block_size: 700,
                len: 12_345,
                strong: Strong::Xxh3(u64::MAX),
                strong_len: 4,
                have: Have { len: 1 << 20, hash: [4; 32] },
            },
            Frame::Request {
                file: 3,
                block_size: 0,
                len: 0,
                strong: Strong::Blake3(0),
                strong_len: 8,
                have: Have::default(),
            },
            Frame::Sums(Sums(&[7; 24])),
            Frame::Begin { file: 9, meta, from: 1 << 20 },
            Frame::Literal(b"abc"),
            Frame::Copy { first: 1, count: u32::MAX },
            Frame::End { len: 3, hash: [9; 32], torn: true },
            Frame::Failed { file: 1, reason: "gone" },
            Frame::Result {
                file: 1,
                change: Change { size: true, time: true, ..Change::default() },
                reason: "",
            },
            Frame::Gone { path: "old/file", dir: false, reason: "" },
            Frame::Finish(Stats { files: 1, literal: 2, ..Stats::default() }),
            Frame::Goodbye,
            Frame::Packed(&[9; 30]),
            Frame::Abort { reason: "why" },
        ]
    }

    #[test]
    fn every_frame_comes_back_and_no_part_of_one_does() {
        for f in frames() {
            let mut bytes = Vec::new();
            f.encode(&mut bytes);
            assert_eq!(decode(&bytes), Ok(Some((f, bytes.len()))), "{f:?}");
            for n in 0..bytes.len() {
                assert_eq!(decode(&bytes[..n]), Ok(None), "{f:?} cut at {n}");
            }
        }
    }

    #[test]
    fn a_wrong_length_is_the_peers_fault() {
        for f in frames() {
            let mut bytes = Vec::new();
            f.encode(&mut bytes);
            bytes.extend_from_slice(&[0; 140_000]);
            let len = u32::from_le_bytes(bytes[1..5].try_into().unwrap());
            for wrong in [len + 1, len.wrapping_sub(1), u32::MAX, 131_073] {
                // These two are as long as they are; whether sums are whole is for the request to say.
                let any = match f {
                    Frame::Literal(_) => 65_537,
                    Frame::Packed(_) => 131_073,
                    Frame::Sums(_) => 24_577,
                    _ => 0,
                };
                if wrong == len || wrong < any {
                    continue;
                }
                bytes[1..5].copy_from_slice(&wrong.to_le_bytes());
                assert!(decode(&bytes).is_err(), "{f:?} with length {wrong} for {len}");
            }
        }
        assert_eq!(decode(&[0]), Err(PeerFault::UnknownFrame(0)));
        assert_eq!(decode(&[200, 1]), Err(PeerFault::UnknownFrame(200)));
        let huge = [8, 255, 255, 255, 255];
        assert_eq!(
            decode(&huge),
            Err(PeerFault::TooLong { frame: "literal", len: 4_294_967_295, max: 65_536 })
        );
    }

    #[test]
    fn other_protocols_and_other_versions_are_told_apart() {
        assert_eq!(check_preamble(&preamble(1)[..7], 1), Ok(false));
        assert_eq!(check_preamble(&preamble(1), 1), Ok(true));
        let e = check_preamble(&preamble(9), 1).unwrap_err();
        assert_eq!(e, SyncError::Version { ours: 1, theirs: 9 });
        let e = check_preamble(b"@RSYNCD: 31.0\n", 1).unwrap_err();
        assert_eq!(
            e.to_string(),
            "the peer is not a syncscope: it began with \"@RSYNCD: 31.0.\"; check the address and the port"
        );
    }

    #[test]
    fn sums_come_back_cut_to_their_length_or_not_at_all() {
        let sums =
            [BlockSum { weak: 7, strong: u64::MAX }, BlockSum { weak: 9, strong: 0x0102_0304_0506_0708 }];
        for (len, mask) in [(4, 0xffff_ffff), (5, 0xff_ffff_ffff), (8, u64::MAX)] {
            let mut bytes = Vec::new();
            encode_sums(&sums, len, &mut bytes);
            let Ok(Some((Frame::Sums(s), _))) = decode(&bytes) else { panic!("no sums") };
            let back: Vec<_> = s.split(len).unwrap().collect();
            assert_eq!(back, sums.map(|s| BlockSum { strong: s.strong & mask, ..s }));
            assert!(Sums(&bytes[5..bytes.len() - 1]).split(len).is_none(), "not a whole number of sums");
        }
    }

    #[test]
    fn long_reasons_are_cut_between_characters() {
        let long = "ü".repeat(4000);
        let mut bytes = Vec::new();
        Frame::Abort { reason: &long }.encode(&mut bytes);
        let Ok(Some((Frame::Abort { reason }, _))) = decode(&bytes) else { panic!("no abort") };
        assert_eq!(reason.len(), 1024);
    }

    proptest! {
        #[test]
        fn garbage_is_an_error_or_a_frame_never_a_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0u8..19, len in 0u32..80) {
            let _ = decode(&bytes);
            if bytes.len() >= 5 {
                bytes[0] = kind;
                bytes[1..5].copy_from_slice(&len.to_le_bytes());
                if let Ok(Some((frame, n))) = decode(&bytes) {
                    let mut again = Vec::new();
                    frame.encode(&mut again);
                    prop_assert_eq!(&again[..], &bytes[..n]);
                }
            }
        }
    }
}
