//! BLAKE3 of a file that is being written: beside the writer once the file turns out to be large.
//!
//! Writing a page and hashing it cost about the same, and the hash is not needed before the end; a
//! second thread takes it over. Buffers go round, so that none is made and cleared for each piece.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// From here on a thread is worth its start, bytes.
const LARGE: u64 = 2 << 20;
/// Pieces that may wait to be hashed, and buffers that may wait to be filled.
const WAITING: usize = 4;

/// See the module.
#[derive(Debug)]
pub struct Digest {
    hasher: blake3::Hasher,
    len: u64,
    spare: Vec<u8>,
    apart: Option<Apart>,
}

#[derive(Debug)]
struct Apart {
    pieces: SyncSender<Vec<u8>>,
    done: Receiver<Vec<u8>>,
    thread: JoinHandle<blake3::Hasher>,
}

impl Default for Digest {
    fn default() -> Digest {
        Digest { hasher: blake3::Hasher::new(), len: 0, spare: Vec::new(), apart: None }
    }
}

impl Digest {
    /// Goes on behind `len` bytes that are summed.
    pub fn behind(hasher: blake3::Hasher, len: u64) -> Digest {
        Digest { hasher, len, ..Digest::default() }
    }

    /// An empty buffer, or one with old content, for the next piece.
    pub fn buffer(&mut self) -> Vec<u8> {
        let back = self.apart.as_ref().and_then(|a| a.done.try_recv().ok());
        back.unwrap_or_else(|| std::mem::take(&mut self.spare))
    }

    /// Adds a piece.
    pub fn update(&mut self, piece: Vec<u8>) {
        self.len += piece.len() as u64;
        if self.apart.is_none() && self.len > LARGE {
            self.part();
        }
        let piece = match &self.apart {
            Some(apart) => match apart.pieces.send(piece) {
                Ok(()) => return,
                // The thread never ends before its channel does.
                Err(returned) => returned.0,
            },
            None => piece,
        };
        self.hasher.update(&piece);
        self.spare = piece;
    }

    /// Moves the hash to a thread of its own; without one it stays here.
    fn part(&mut self) {
        let (pieces, arriving) = sync_channel::<Vec<u8>>(WAITING);
        let (back, done) = sync_channel(WAITING);
        let mut hasher = self.hasher.clone();
        let spawned = std::thread::Builder::new().name("hash".to_owned()).spawn(move || {
            for piece in arriving {
                hasher.update(&piece);
                // Where pieces come in buffers of their own, nobody wants them back.
                let _ = back.try_send(piece);
            }
            hasher
        });
        self.apart = spawned.ok().map(|thread| Apart { pieces, done, thread });
    }

    /// The hash of all pieces. None, if the thread that had them is gone.
    pub fn finish(&mut self) -> Option<[u8; 32]> {
        if let Some(Apart { pieces, thread, .. }) = self.apart.take() {
            drop(pieces);
            self.hasher = thread.join().ok()?;
        }
        Some(*self.hasher.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_files_have_the_hash_of_all_their_pieces() {
        for pieces in [0usize, 1, 3, 200] {
            let (mut digest, mut whole) = (Digest::default(), blake3::Hasher::new());
            for i in 0..pieces {
                let mut piece = digest.buffer();
                piece.clear();
                piece.resize(50_000 + i, i as u8);
                whole.update(&piece);
                digest.update(piece);
            }
            assert_eq!(digest.finish(), Some(*whole.finalize().as_bytes()), "{pieces} pieces");
        }
    }

    #[test]
    fn buffers_come_back() {
        let mut digest = Digest::default();
        digest.update(vec![7; 1000]);
        assert_eq!(digest.buffer().len(), 1000);
    }
}
