//! A frame that outlives the next one.

use crate::model::{Frame, FrameNo, LinkType, Ts};

/// A copy of a frame; its room is used again for the next.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) ts: Ts,
    link: LinkType,
    interface: u32,
    orig_len: u32,
    data: Vec<u8>,
}

impl Default for Kept {
    fn default() -> Kept {
        Kept { ts: Ts(0), link: LinkType::NULL, interface: 0, orig_len: 0, data: Vec::new() }
    }
}

impl Kept {
    /// Takes over a frame.
    pub(super) fn keep(&mut self, f: &Frame<'_>) {
        (self.ts, self.link, self.interface, self.orig_len) = (f.ts, f.link, f.interface, f.orig_len);
        self.data.clear();
        self.data.extend_from_slice(f.data);
    }

    /// The frame again, under this number.
    pub(super) fn frame(&self, no: FrameNo) -> Frame<'_> {
        Frame {
            no,
            ts: self.ts,
            link: self.link,
            interface: self.interface,
            orig_len: self.orig_len,
            data: &self.data,
        }
    }
}
