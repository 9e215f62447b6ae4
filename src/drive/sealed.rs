//! A session behind a seal: the pump moves records, the session sees what is in them. Offsets are those
//! of the records, which are the bytes that TCP carries.

use super::pump::Engine;
use super::recorder::Position;
use super::seal::{SealError, Sealed};
use crate::model::Ts;

/// Most plain bytes that are sealed ahead of the socket.
const AHEAD: usize = 128 * 1024;

/// See the module.
#[derive(Debug)]
pub struct SealedEngine<'a, E> {
    inner: &'a mut E,
    seal: Sealed,
    plain: Vec<u8>,
    /// Sealed and not yet sent, from `sent` on.
    out: Vec<u8>,
    sent: usize,
    /// What `out` is about.
    about: Position,
    failure: Option<SealError>,
}

impl<'a, E: Engine> SealedEngine<'a, E> {
    /// Puts the seal around it.
    pub fn new(inner: &'a mut E, seal: Sealed) -> SealedEngine<'a, E> {
        let (plain, out) = (Vec::new(), Vec::new());
        SealedEngine { inner, seal, plain, out, sent: 0, about: Position::default(), failure: None }
    }
}

impl<E: Engine> Engine for SealedEngine<'_, E> {
    fn input(&mut self, bytes: &[u8]) {
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        match self.seal.open(bytes, &mut plain) {
            Ok(()) if plain.is_empty() => {}
            Ok(()) => self.inner.input(&plain),
            Err(e) => self.failure = Some(e),
        }
        self.plain = plain;
    }

    fn eof(&mut self) {
        self.inner.eof();
    }

    fn work(&mut self) -> Option<Position> {
        self.inner.work()
    }

    fn output(&mut self, max: usize) -> &[u8] {
        if self.sent == self.out.len() {
            self.out.clear();
            self.sent = 0;
            let about = self.inner.writing();
            self.inner.before_write();
            let plain = self.inner.output(AHEAD);
            let n = plain.len();
            if n > 0 {
                self.about = about;
                if let Err(e) = self.seal.seal(plain, &mut self.out) {
                    self.failure = Some(e);
                    self.out.clear();
                }
                self.inner.sent(n);
            }
        }
        let rest = self.out.get(self.sent..).unwrap_or_default();
        rest.get(..max).unwrap_or(rest)
    }

    fn sent(&mut self, n: usize) {
        self.sent = (self.sent + n).min(self.out.len());
    }

    fn acknowledged(&mut self, now: Ts, bytes: u64) {
        self.inner.acknowledged(now, bytes);
    }

    fn wants_input(&self) -> bool {
        self.failure.is_none() && self.inner.wants_input()
    }

    fn is_done(&self) -> bool {
        self.inner.is_done()
    }

    fn failure(&self) -> Option<String> {
        self.failure.map(|e| e.to_string()).or_else(|| self.inner.failure())
    }

    fn reading(&self) -> Position {
        self.inner.reading()
    }

    fn writing(&self) -> Position {
        if self.sent < self.out.len() { self.about } else { self.inner.writing() }
    }

    fn moved(&self) -> (u64, u64) {
        self.inner.moved()
    }

    fn files(&self) -> &[String] {
        self.inner.files()
    }
}
