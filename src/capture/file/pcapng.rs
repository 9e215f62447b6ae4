//! pcapng (draft-ietf-opsawg-pcapng): sections, each with its byte order, its interfaces and their clocks.
//!
//! ```text
//! block = type (4) · total length (4) · body, padded to 4 · total length again (4)
//! ```

use super::Record;
use super::input::{Input, Order};
use crate::capture::{CaptureError, SourceNotes};
use crate::model::{LinkType, Ts};
use std::ops::Range;

const SECTION: u32 = 0x0a0d_0d0a;
const MAGIC: u32 = 0x1a2b_3c4d;
/// Largest block believed.
const LIMIT: usize = 64 << 20;

#[derive(Default)]
pub(super) struct Pcapng {
    order: Order,
    /// Interfaces of this section.
    interfaces: Vec<Interface>,
    /// Interfaces of the sections before, so that numbers stay unique in the capture.
    before: u32,
    /// Drops that earlier sections reported.
    dropped_before: Option<u64>,
}

struct Interface {
    link: LinkType,
    snaplen: u32,
    clock: Clock,
    /// Drops according to its latest statistics block.
    statistics: Option<u64>,
    /// Drops according to the packets themselves.
    between: Option<u64>,
}

/// What a time stamp of one interface counts.
#[derive(Clone, Copy)]
struct Clock {
    /// `if_tsresol`: units are 10^-n s, or 2^-n s with the highest bit set.
    resolution: u8,
    /// `if_tsoffset`: seconds to add.
    offset: i64,
}

impl Clock {
    fn at(self, units: u64) -> Ts {
        let units = u128::from(units);
        let n = u32::from(self.resolution & 0x7f);
        let ns = if self.resolution & 0x80 != 0 {
            (units * 1_000_000_000) >> n
        } else if n <= 9 {
            units * 10u128.pow(9 - n)
        } else {
            10u128.checked_pow(n - 9).map_or(0, |d| units / d)
        };
        let offset = i128::from(self.offset) * 1_000_000_000;
        let total = i128::try_from(ns).unwrap_or(i128::MAX).saturating_add(offset);
        Ts(total.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64)
    }
}

impl Pcapng {
    /// True when a file begins with a section header block.
    pub fn recognise(head: &[u8]) -> bool {
        let magic = Order::Little.u32(head, 8);
        Order::Little.u32(head, 0) == Some(SECTION)
            && (magic.is_none() || magic == Some(MAGIC) || magic == Some(MAGIC.swap_bytes()))
    }

    /// The next packet, `None` at the end or where the file is cut.
    pub fn next(
        &mut self,
        input: &mut Input,
        notes: &mut SourceNotes,
    ) -> Result<Option<Record>, CaptureError> {
        loop {
            if !input.want(12)? {
                input.end_inside();
                return Ok(None);
            }
            let at = input.offset();
            // A section may have another byte order than the one before; its type reads the same in both.
            if Order::Little.u32(input.head(), 0) == Some(SECTION) {
                self.order = match Order::Little.u32(input.head(), 8) {
                    Some(MAGIC) => Order::Little,
                    Some(m) if m == MAGIC.swap_bytes() => Order::Big,
                    _ => return Err(input.broken(at + 8, "a section header without its byte-order magic")),
                };
            }
            let field = |n| self.order.u32(input.head(), n).unwrap_or(0);
            let (kind, len) = (field(0), field(4) as usize);
            if len < 12 || len % 4 != 0 || len > LIMIT {
                return Err(input.broken(at + 4, format!("a block says that it is {len} bytes long")));
            }
            if !input.want(len)? {
                input.end_inside();
                return Ok(None);
            }
            let again = self.order.u32(input.head(), len - 4).unwrap_or(0) as usize;
            if again != len {
                let message = format!("a block of {len} bytes says at its end that it has {again}");
                return Err(input.broken(at + len as u64 - 4, message));
            }
            let block = input.take(len);
            let body = block.start + 8..block.end - 4;
            let found = self.block(kind, input.bytes(body.clone()), notes);
            match found {
                Ok(None) => {}
                Ok(Some(p)) => {
                    let data = body.start + p.data.start..body.start + p.data.end;
                    return Ok(Some(Record { data, ..p }));
                }
                Err(message) => return Err(input.broken(at, message)),
            }
        }
    }

    /// One block's body. The range of a packet found is relative to it.
    fn block(&mut self, kind: u32, body: &[u8], notes: &mut SourceNotes) -> Result<Option<Record>, String> {
        match kind {
            SECTION => self.section(body).map(|()| None),
            1 => self.interface(body, notes).map(|()| None),
            2 => self.old_packet(body, notes).map(Some),
            3 => self.simple_packet(body, notes).map(Some),
            5 => {
                self.statistics(body, notes);
                Ok(None)
            }
            6 => self.enhanced_packet(body, notes).map(Some),
            // Names, journal entries, decryption secrets, custom blocks: not about packets.
            4 | 9 | 10 | 0x0bad | 0x4000_0bad => Ok(None),
            _ => {
                *notes.other.entry("unknown-block".to_owned()).or_default() += 1;
                Ok(None)
            }
        }
    }

    fn section(&mut self, body: &[u8]) -> Result<(), String> {
        match self.order.u16(body, 4) {
            Some(1) => {}
            Some(v) => return Err(format!("pcapng version {v}; version 1 is read")),
            None => return Err("a section header that is too short".to_owned()),
        }
        self.dropped_before = self.dropped();
        self.before = self.before.saturating_add(self.interfaces.len() as u32);
        self.interfaces.clear();
        Ok(())
    }

    fn interface(&mut self, body: &[u8], notes: &mut SourceNotes) -> Result<(), String> {
        let (Some(link), Some(snaplen)) = (self.order.u16(body, 0), self.order.u32(body, 4)) else {
            return Err("an interface description that is too short".to_owned());
        };
        let mut clock = Clock { resolution: 6, offset: 0 };
        self.options(&body[8..], |code, value| match (code, value) {
            (9, [n, ..]) => clock.resolution = *n,
            (14, v) => clock.offset = self.order.u64(v, 0).map_or(0, |v| v as i64),
            _ => {}
        });
        // 0 stands for “no limit”, and so is larger than any other.
        notes.snaplen = match notes.snaplen {
            Some(0) => Some(0),
            Some(_) if snaplen == 0 => Some(0),
            before => before.max(Some(snaplen)),
        };
        self.interfaces.push(Interface {
            link: LinkType(link),
            snaplen,
            clock,
            statistics: None,
            between: None,
        });
        Ok(())
    }

    fn enhanced_packet(&mut self, body: &[u8], notes: &mut SourceNotes) -> Result<Record, String> {
        let word = |n| self.order.u32(body, n).ok_or("a packet block that is too short");
        let (id, high, low, captured, original) = (word(0)?, word(4)?, word(8)?, word(12)?, word(16)?);
        let data = packet_data(body, 20, captured)?;
        let mut lost = None;
        self.options(body.get(padded(data.end)..).unwrap_or(&[]), |code, value| {
            if code == 4 {
                lost = self.order.u64(value, 0);
            }
        });
        self.packet(id, high, low, original, data, lost, notes)
    }

    /// The packet block of the first drafts, obsolete since 2005 and still found.
    fn old_packet(&mut self, body: &[u8], notes: &mut SourceNotes) -> Result<Record, String> {
        let short = || "a packet block that is too short".to_owned();
        let (Some(id), Some(drops)) = (self.order.u16(body, 0), self.order.u16(body, 2)) else {
            return Err(short());
        };
        let word = |n| self.order.u32(body, n).ok_or_else(short);
        let (high, low, captured, original) = (word(4)?, word(8)?, word(12)?, word(16)?);
        let data = packet_data(body, 20, captured)?;
        let lost = (drops != u16::MAX).then(|| u64::from(drops));
        self.packet(u32::from(id), high, low, original, data, lost, notes)
    }

    fn packet(
        &mut self,
        id: u32,
        high: u32,
        low: u32,
        orig_len: u32,
        data: Range<usize>,
        lost: Option<u64>,
        notes: &mut SourceNotes,
    ) -> Result<Record, String> {
        let known = self.interfaces.len();
        let Some(interface) = self.interfaces.get_mut(id as usize) else {
            return Err(format!("a packet of interface {id}, and only {known} are described"));
        };
        let record = Record {
            ts: interface.clock.at(u64::from(high) << 32 | u64::from(low)),
            link: interface.link,
            interface: self.before.saturating_add(id),
            orig_len,
            data,
        };
        if let Some(n) = lost {
            interface.between = Some(interface.between.unwrap_or(0).saturating_add(n));
            notes.dropped = self.dropped();
        }
        Ok(record)
    }

    /// A packet without time stamp or interface number; it takes the time of the one before.
    fn simple_packet(&mut self, body: &[u8], notes: &mut SourceNotes) -> Result<Record, String> {
        let Some(interface) = self.interfaces.first() else {
            return Err("a packet, and no interface is described".to_owned());
        };
        let original = self.order.u32(body, 0).ok_or("a simple packet block that is too short")?;
        let limit = if interface.snaplen == 0 { u32::MAX } else { interface.snaplen };
        let captured = (original.min(limit) as usize).min(body.len() - 4);
        *notes.other.entry("no-timestamp".to_owned()).or_default() += 1;
        Ok(Record {
            ts: notes.last_ts.unwrap_or_default(),
            link: interface.link,
            interface: self.before,
            orig_len: original,
            data: 4..4 + captured,
        })
    }

    fn statistics(&mut self, body: &[u8], notes: &mut SourceNotes) {
        let Some(id) = self.order.u32(body, 0) else { return };
        let mut lost = None;
        self.options(body.get(12..).unwrap_or(&[]), |code, value| {
            // isb_ifdrop and isb_osdrop: different places, so they add up.
            if let (5 | 7, Some(n)) = (code, self.order.u64(value, 0)) {
                lost = Some(lost.unwrap_or(0u64).saturating_add(n));
            }
        });
        if let (Some(interface), Some(_)) = (self.interfaces.get_mut(id as usize), lost) {
            interface.statistics = lost;
            notes.dropped = self.dropped();
        }
    }

    /// All drops reported so far. An interface may be counted both packet by packet and in total.
    fn dropped(&self) -> Option<u64> {
        let of = |i: &Interface| i.statistics.max(i.between);
        self.interfaces.iter().filter_map(of).chain(self.dropped_before).reduce(u64::saturating_add)
    }

    /// Calls back with each option; a length that makes no sense ends the list.
    fn options(&self, mut rest: &[u8], mut each: impl FnMut(u16, &[u8])) {
        while let (Some(code), Some(len)) = (self.order.u16(rest, 0), self.order.u16(rest, 2)) {
            let len = usize::from(len);
            let Some(value) = rest.get(4..4 + len) else { return };
            if code == 0 {
                return;
            }
            each(code, value);
            rest = rest.get(4 + padded(len)..).unwrap_or(&[]);
        }
    }
}

fn packet_data(body: &[u8], at: usize, captured: u32) -> Result<Range<usize>, String> {
    let room = body.len().saturating_sub(at);
    if captured as usize > room {
        return Err(format!("a packet of {captured} bytes in a block with room for {room}"));
    }
    Ok(at..at + captured as usize)
}

fn padded(n: usize) -> usize {
    n.next_multiple_of(4)
}
