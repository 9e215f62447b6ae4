//! Frames that travel compressed: as many whole ones as wait, in one `packed` frame (zstd, RFC 8878).

use super::error::PeerFault;
use super::wire::MAX_PACKED;

/// Fast: the next level takes half as long again for a few per cent.
const LEVEL: i32 = 1;

/// The bytes compressed, where that makes them smaller.
pub(super) fn pack(bytes: &[u8]) -> Option<Vec<u8>> {
    zstd::bulk::compress(bytes, LEVEL).ok().filter(|packed| packed.len() < bytes.len())
}

/// And back; never more than [`MAX_PACKED`] bytes, whatever the packed ones say.
pub(super) fn unpack(packed: &[u8]) -> Result<Vec<u8>, PeerFault> {
    let frames = zstd::bulk::decompress(packed, MAX_PACKED).ok().filter(|frames| !frames.is_empty());
    frames.ok_or(PeerFault::Malformed("packed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bomb_is_refused_before_it_goes_off() {
        let most = vec![0; MAX_PACKED];
        assert_eq!(unpack(&pack(&most).unwrap()).unwrap(), most);
        let bomb = pack(&vec![0; 64 << 20]).unwrap();
        assert!(bomb.len() < 16 * 1024);
        assert_eq!(unpack(&bomb), Err(PeerFault::Malformed("packed")));
        for garbage in [&b""[..], b"garbage", &bomb[..100]] {
            assert_eq!(unpack(garbage), Err(PeerFault::Malformed("packed")));
        }
        assert_eq!(pack(&[7]), None, "nothing to be gained");
    }
}
