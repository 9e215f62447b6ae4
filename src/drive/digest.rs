//! BLAKE3 of a file that is being written: beside the writer once the file turns out to be large.
//!
//! Writing a page and hashing it cost about the same, and the hash is not needed before the end; a
//! second thread takes it over. Buffers go round, so that none is made and cleared for each piece.
//! What the kernel copied into the file that thread reads from there.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// From here on a thread is worth its start, bytes.
const LARGE: u64 = 2 << 20;
/// So much is handed over at once, bytes: for each piece a thread would have to be woken.
const BATCH: usize = 512 * 1024;
/// Batches that may wait to be hashed.
const WAITING: usize = 2;
/// Buffers that may wait to be filled.
const SPARE: usize = 8;

/// Read at once of what is in the file, bytes.
const READ: usize = 128 * 1024;

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
    /// To be handed over, and their length.
    batch: (Vec<Piece>, usize),
    batches: SyncSender<Vec<Piece>>,
    done: Receiver<Vec<u8>>,
    thread: JoinHandle<io::Result<blake3::Hasher>>,
}

#[derive(Debug)]
enum Piece {
    Bytes(Vec<u8>),
    /// From there in the file, so many bytes.
    Written(Arc<File>, u64, usize),
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
        let Some(apart) = &mut self.apart else {
            self.hasher.update(&piece);
            self.spare = piece;
            return;
        };
        apart.add(piece.len(), Piece::Bytes(piece));
    }

    /// Pieces are hashed by another thread.
    pub fn is_apart(&self) -> bool {
        self.apart.is_some()
    }

    /// Adds `len` bytes that are in this file behind those before; only where another thread hashes.
    pub fn written(&mut self, file: &Arc<File>, len: u32) {
        if let Some(apart) = &mut self.apart {
            apart.add(len as usize, Piece::Written(Arc::clone(file), self.len, len as usize));
            self.len += u64::from(len);
        }
    }

    /// Moves the hash to a thread of its own; without one it stays here.
    fn part(&mut self) {
        let (batches, arriving) = sync_channel::<Vec<Piece>>(WAITING);
        let (back, done) = sync_channel(SPARE);
        let mut hasher = self.hasher.clone();
        let spawned = std::thread::Builder::new().name("hash".to_owned()).spawn(move || {
            let mut buf = Vec::new();
            for piece in arriving.into_iter().flatten() {
                match piece {
                    Piece::Bytes(bytes) => {
                        hasher.update(&bytes);
                        // Where pieces come in buffers of their own, nobody wants them back.
                        let _ = back.try_send(bytes);
                    }
                    Piece::Written(file, from, len) => {
                        for at in (0..len).step_by(READ) {
                            buf.resize(READ.min(len - at), 0);
                            file.read_exact_at(&mut buf, from + at as u64)?;
                            hasher.update(&buf);
                        }
                    }
                }
            }
            Ok(hasher)
        });
        self.apart = spawned.ok().map(|thread| Apart { batch: Default::default(), batches, done, thread });
    }

    /// The hash of all pieces, unless what was written could not be read.
    pub fn finish(&mut self) -> io::Result<[u8; 32]> {
        if let Some(mut apart) = self.apart.take() {
            apart.hand_over();
            drop(apart.batches);
            let lost = || io::Error::other("the thread that hashes is gone; please report it");
            self.hasher = apart.thread.join().map_err(|_| lost())??;
        }
        Ok(*self.hasher.finalize().as_bytes())
    }
}

impl Apart {
    fn add(&mut self, len: usize, piece: Piece) {
        self.batch.1 += len;
        self.batch.0.push(piece);
        if self.batch.1 >= BATCH {
            self.hand_over();
        }
    }

    fn hand_over(&mut self) {
        // The thread is only gone if it could not read; there will be no hash then.
        let _ = self.batches.send(std::mem::take(&mut self.batch.0));
        self.batch.1 = 0;
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
            assert_eq!(digest.finish().unwrap(), *whole.finalize().as_bytes(), "{pieces} pieces");
        }
    }

    #[test]
    fn what_is_in_the_file_counts_and_not_what_should_be() {
        let path = tempfile::tempdir().unwrap();
        let file =
            File::options().create_new(true).read(true).write(true).open(path.path().join("f")).unwrap();
        let all: Vec<u8> = (0..5_000_000u32).map(|i| (i / 1000) as u8).collect();
        file.write_all_at(&all, 0).unwrap();
        let file = Arc::new(file);
        for whole in [true, false] {
            let mut digest = Digest::default();
            digest.update(all[..3_000_000].to_vec());
            assert!(digest.is_apart());
            (0..19).for_each(|_| digest.written(&file, 100_000));
            digest.update(all[4_900_000..].to_vec());
            if !whole {
                file.set_len(4_000_000).unwrap();
                digest.written(&file, 1);
            }
            match digest.finish() {
                Ok(hash) => assert!(whole && hash == *blake3::hash(&all).as_bytes()),
                Err(e) => assert!(!whole && e.kind() == io::ErrorKind::UnexpectedEof, "{e}"),
            }
        }
    }

    #[test]
    fn buffers_come_back() {
        let mut digest = Digest::default();
        digest.update(vec![7; 1000]);
        assert_eq!(digest.buffer().len(), 1000);
    }
}
