//! The signature of a large basis: every second piece is read and summed by a second thread. The sender waits for all
//! of it, so that nobody else would use that processor.

use super::files::read;
use crate::sync::FsError;
use crate::sync::signature::{BlockSum, Strong, sums};
use std::fs::File;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// So far in the file a thread is worth its start, bytes.
const LARGE: u64 = 4 << 20;

/// A piece of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) offset: u64,
    pub(super) len: u32,
    pub(super) block_size: u32,
    pub(super) strong: Strong,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    apart: Option<Apart>,
    /// What the thread was asked for, and of which file.
    coming: Option<(Arc<File>, Piece)>,
    buf: Vec<u8>,
}

type Sums = Result<Vec<BlockSum>, FsError>;

#[derive(Debug)]
struct Apart {
    wanted: SyncSender<(Arc<File>, Piece)>,
    sums: Receiver<Sums>,
}

impl Ahead {
    /// Reads the piece and sums it, unless that was done ahead.
    pub(super) fn sums(&mut self, file: &Arc<File>, piece: Piece) -> Sums {
        let ahead = self.take();
        if let Some((of, there, sums)) = ahead
            && Arc::ptr_eq(&of, file)
            && there == piece
        {
            return sums;
        }
        if piece.offset >= LARGE {
            let next = Piece { offset: piece.offset + u64::from(piece.len), ..piece };
            self.ask(file, next);
        }
        take(file, piece, &mut self.buf)
    }

    /// Takes what was asked for, if the thread is still there.
    fn take(&mut self) -> Option<(Arc<File>, Piece, Sums)> {
        let (file, piece) = self.coming.take()?;
        let sums = self.apart.as_ref()?.sums.recv().ok()?;
        Some((file, piece, sums))
    }

    fn ask(&mut self, file: &Arc<File>, piece: Piece) {
        if self.apart.is_none() {
            self.apart = Apart::start();
        }
        let wish = (Arc::clone(file), piece);
        if self.apart.as_ref().is_some_and(|a| a.wanted.send(wish.clone()).is_ok()) {
            self.coming = Some(wish);
        }
    }
}

impl Apart {
    fn start() -> Option<Apart> {
        let (wanted, pieces) = sync_channel::<(Arc<File>, Piece)>(1);
        let (told, sums) = sync_channel(1);
        let work = move || {
            let mut buf = Vec::new();
            for (file, piece) in pieces {
                if told.send(take(&file, piece, &mut buf)).is_err() {
                    return;
                }
            }
        };
        // It ends with its channel, and leaves nothing behind.
        std::thread::Builder::new().name("signature".to_owned()).spawn(work).ok()?;
        Some(Apart { wanted, sums })
    }
}

fn take(file: &File, piece: Piece, buf: &mut Vec<u8>) -> Sums {
    read(Some(file), piece.offset, piece.len, buf)?;
    Ok(sums(buf, piece.block_size, piece.strong))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ahead_or_not_the_sums_are_those_of_the_piece() {
        let dir = tempfile::tempdir().unwrap();
        let all: Vec<u8> = (0..6_000_000u32).map(|i| (i * 7 / 1000) as u8).collect();
        let open = |name: &str, data: &[u8]| {
            std::fs::write(dir.path().join(name), data).unwrap();
            Arc::new(File::open(dir.path().join(name)).unwrap())
        };
        let (file, other) = (open("f", &all), open("g", &all[1..]));
        let mut ahead = Ahead::default();
        let mut check = |of: &Arc<File>, data: &[u8], offset: u64, len: u32, strong| {
            let end = data.len().min(offset as usize + len as usize);
            let want = sums(&data[offset as usize..end], 4096, strong);
            assert_eq!(ahead.sums(of, Piece { offset, len, block_size: 4096, strong }), Ok(want), "{offset}");
        };
        for strong in [Strong::Xxh3(1), Strong::Blake3(2)] {
            for at in (0..6_000_000u64).step_by(262_144) {
                check(&file, &all, at, 262_144.min(6_000_000 - at as u32), strong);
                if at == 5_242_880 {
                    check(&other, &all[1..], at + 262_144, 262_144, strong);
                    check(&file, &all, at, 4096, strong);
                }
            }
        }
    }
}
