//! Classic pcap (draft-ietf-opsawg-pcap): a 24-byte header, then records of 16 bytes and data.

use super::Record;
use super::input::{Input, Order};
use crate::capture::CaptureError;
use crate::model::{LinkType, Ts};

const HEADER: usize = 24;

/// Largest record believed where the snap length says nothing.
const LIMIT: usize = 64 << 20;

/// What the file header said.
pub(super) struct Pcap {
    order: Order,
    /// Nanoseconds in one unit of the fraction field.
    unit: i64,
    /// 16; 24 in files of the “modified” format (Kuznetzov's patch), whose records say more.
    record: usize,
    minor: u16,
    snaplen: u32,
    link: LinkType,
}

impl Pcap {
    /// Reads the file header, if that is what the input begins with.
    pub fn recognise(input: &mut Input) -> Result<Option<Pcap>, CaptureError> {
        let head = input.head();
        let kind = |order: Order| match order.u32(head, 0) {
            Some(0xa1b2_c3d4) => Some((order, 1_000, 16)),
            Some(0xa1b2_3c4d) => Some((order, 1, 16)),
            Some(0xa1b2_cd34) => Some((order, 1_000, 24)),
            _ => None,
        };
        let Some((order, unit, record)) = kind(Order::Little).or_else(|| kind(Order::Big)) else {
            return Ok(None);
        };
        let fields = (order.u16(head, 6), order.u32(head, 16), order.u32(head, 20));
        let (Some(minor), Some(snaplen), Some(link)) = fields else {
            let message = format!("the file ends inside its header, after {} of {HEADER} bytes", head.len());
            return Err(input.broken(head.len() as u64, message));
        };
        input.take(HEADER);
        // The upper half of the link field may hold the length of the frame check sequence.
        Ok(Some(Pcap { order, unit, record, minor, snaplen, link: LinkType(link as u16) }))
    }

    pub fn snaplen(&self) -> u32 {
        self.snaplen
    }

    /// The next record, `None` at the end or where the file is cut.
    pub fn next(&mut self, input: &mut Input) -> Result<Option<Record>, CaptureError> {
        if !input.want(self.record)? {
            input.end_inside();
            return Ok(None);
        }
        let Some(head) = input.head().first_chunk::<16>() else { return Ok(None) };
        let (fields, _) = head.as_chunks::<4>();
        let field = |i: usize| match self.order {
            Order::Little => u32::from_le_bytes(fields[i]),
            Order::Big => u32::from_be_bytes(fields[i]),
        };
        let (secs, fraction) = (field(0), field(1));
        let (mut captured, mut original) = (field(2), field(3));
        // Before version 2.3 the two lengths stood the other way round; 2.3 has both kinds.
        if self.minor < 3 || self.minor == 3 && captured > original {
            std::mem::swap(&mut captured, &mut original);
        }
        let len = captured as usize;
        let limit = (self.snaplen as usize).clamp(1 << 20, LIMIT);
        if len > limit {
            let message = format!("a record says that it holds {len} bytes");
            return Err(input.broken(input.offset(), message));
        }
        if !input.want(self.record + len)? {
            input.end_inside();
            return Ok(None);
        }
        input.take(self.record);
        Ok(Some(Record {
            ts: Ts::from_secs_nanos(i64::from(secs), i64::from(fraction) * self.unit),
            link: self.link,
            interface: 0,
            orig_len: original,
            data: input.take(len),
        }))
    }
}
