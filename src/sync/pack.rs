//! Frames that travel compressed: as many whole ones as wait, in one `packed` frame (zstd, RFC 8878).

use super::error::PeerFault;
use super::wire::MAX_PACKED;
use zstd::bulk::{Compressor, Decompressor};

/// Fast: the next level takes half as long again for a few per cent.
const LEVEL: i32 = 1;

/// Compresses and decompresses, with tables that are made once.
#[derive(Default)]
pub(super) struct Packer {
    to: Option<Compressor<'static>>,
    from: Option<Decompressor<'static>>,
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Packer")
    }
}

impl Packer {
    /// The bytes compressed, where that makes them smaller.
    pub(super) fn pack(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        if self.to.is_none() {
            self.to = Compressor::new(LEVEL).ok();
        }
        let packed = self.to.as_mut()?.compress(bytes).ok();
        packed.filter(|packed| packed.len() < bytes.len())
    }

    /// And back; never more than [`MAX_PACKED`] bytes, whatever the packed ones say.
    pub(super) fn unpack(&mut self, packed: &[u8]) -> Result<Vec<u8>, PeerFault> {
        if self.from.is_none() {
            self.from = Decompressor::new().ok();
        }
        let frames = self.from.as_mut().and_then(|from| from.decompress(packed, MAX_PACKED).ok());
        frames.filter(|frames| !frames.is_empty()).ok_or(PeerFault::Malformed("packed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bomb_is_refused_before_it_goes_off() {
        let mut p = Packer::default();
        let most = vec![0; MAX_PACKED];
        let packed = p.pack(&most).unwrap();
        assert_eq!(p.unpack(&packed).unwrap(), most);
        let bomb = p.pack(&vec![0; 64 << 20]).unwrap();
        assert!(bomb.len() < 16 * 1024);
        assert_eq!(p.unpack(&bomb), Err(PeerFault::Malformed("packed")));
        for garbage in [&b""[..], b"garbage", &bomb[..100]] {
            assert_eq!(p.unpack(garbage), Err(PeerFault::Malformed("packed")));
        }
        assert_eq!(p.unpack(&packed).unwrap(), most, "it goes on");
        assert_eq!(p.pack(&[7]), None, "nothing to be gained");
    }
}
