//! What a peer that is not yet trusted, or whoever sits between, says: a handshake, sealed records, the messages of the
//! control connection.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::LazyLock;
use syncscope::drive::Secret;
use syncscope::drive::alive::{Facts, Vitals, Watch};
use syncscope::drive::clock::{Exchange, best_offset, over_run};
use syncscope::drive::control::{Answer, Ask, from_hex, message_from_hex, to_hex};
use syncscope::drive::pump::Engine;
use syncscope::drive::recorder::Position;
use syncscope::drive::seal::{Bond, Heard, Opening, SealError, Sealed};
use syncscope::drive::sealed::SealedEngine;
use syncscope::drive::wire::{Frame, Inbox, PREAMBLE, WireError, parse_preamble, preamble, unpack};
use syncscope::model::{Ns, Ts};

/// Both ends of a connection after its handshake.
fn pair() -> (Sealed, Sealed) {
    let s = secret();
    let (opening, first) = Opening::new(Bond::Secret(&s, b"ann"), b"hello").unwrap();
    let (heard, said) = Heard::new(Bond::Secret(&s, b"ann"), &first).unwrap();
    let (there, second) = heard.answer(&said).unwrap();
    let (here, said) = opening.finish(&second).unwrap();
    assert_eq!(said, b"hello");
    (here, there)
}

fn secret() -> Secret {
    Secret::new(b"a secret of some length").unwrap()
}

/// A message of a handshake from somebody without the secret, or records that are changed on their way.
pub fn seal(data: &[u8]) {
    let [what, rest @ ..] = data else { return };
    let s = secret();
    match what {
        0 => assert_eq!(Heard::new(Bond::Secret(&s, b"ann"), rest).unwrap_err(), SealError::Secret),
        1 => {
            let opening = Opening::new(Bond::Secret(&s, b"ann"), &[]).unwrap().0;
            assert_eq!(opening.finish(rest).unwrap_err(), SealError::Secret);
        }
        // The data connection's handshake has no secret of its own: anybody can make one, and nothing with it.
        2 => drop(Heard::new(Bond::Within(pair().0.hash()), rest).and_then(|h| h.0.answer(&[]))),
        _ => records(rest),
    }
}

/// Three bytes a step: what happens, and two numbers for it.
fn records(steps: &[u8]) {
    let (from, mut to) = pair();
    let offered = Rc::new(Cell::new(0));
    let mut source = Source { offered: Rc::clone(&offered), sent: 0 };
    let mut engine = SealedEngine::new(&mut source, from);
    let (mut wire, mut got, mut changed) = (Vec::new(), Vec::new(), false);
    let genuine = |got: &[u8]| got.len() <= offered.get() && WORDS.starts_with(got);
    for step in steps.chunks_exact(3) {
        let [what, a, b] = [step[0], step[1], step[2]].map(usize::from);
        let at = (a * 256 + b).min(wire.len());
        let some = at..(at + 1 + b).min(wire.len());
        match what % 8 {
            // The application has more to say; the socket takes some of it.
            0 => offered.set((offered.get() + a * 257 + b).min(WORDS.len())),
            1 => write(&mut engine, 1 + a * 700 + b, &mut wire),
            // Bytes arrive, in pieces.
            2 => {
                let arrived: Vec<u8> = wire.drain(..at).collect();
                for piece in arrived.chunks(1 + b * 17) {
                    if to.open(piece, &mut got).is_err() {
                        assert!(changed, "an honest record was refused");
                        return assert!(genuine(&got), "what was opened was never sent");
                    }
                }
                assert!(genuine(&got), "what was opened was never sent");
            }
            // Somebody changes, leaves out, says again, adds.
            3 if at < wire.len() => {
                wire[at] ^= 1 << (b % 8);
                changed = true;
            }
            4 => {
                changed |= wire.drain(some).count() > 0;
            }
            5 => {
                let again = wire[some].to_vec();
                changed |= !again.is_empty();
                wire.splice(at..at, again);
            }
            6 => {
                wire.splice(at..at, [a as u8, b as u8]);
                changed = true;
            }
            _ => {}
        }
    }
    if !changed {
        while engine.writing().block.is_none() {
            write(&mut engine, usize::MAX, &mut wire);
        }
        to.open(&wire, &mut got).unwrap();
        assert!(got.len() == offered.get() && genuine(&got));
    }
}

/// One call of the socket.
fn write(engine: &mut SealedEngine<'_, Source>, max: usize, wire: &mut Vec<u8>) {
    let some = engine.output(max);
    let n = some.len();
    wire.extend_from_slice(some);
    engine.sent(n);
    assert_eq!(engine.failure(), None);
}

/// All that an application ever says.
static WORDS: LazyLock<Vec<u8>> = LazyLock::new(|| (0..300_000u32).map(|i| (i / 3) as u8).collect());

/// An application that says as much of it as is offered.
struct Source {
    offered: Rc<Cell<usize>>,
    sent: usize,
}

impl Engine for Source {
    fn input(&mut self, _: &[u8]) {}

    fn eof(&mut self) {}

    fn work(&mut self) -> Option<Position> {
        None
    }

    fn output(&mut self, max: usize) -> &[u8] {
        &WORDS[self.sent..self.offered.get().min(self.sent + max)]
    }

    fn sent(&mut self, n: usize) {
        self.sent += n;
    }

    fn wants_input(&self) -> bool {
        true
    }

    fn is_done(&self) -> bool {
        self.sent == self.offered.get()
    }

    fn failure(&self) -> Option<String> {
        None
    }

    fn reading(&self) -> Position {
        Position::default()
    }

    /// Has a block once all is said.
    fn writing(&self) -> Position {
        Position { block: self.is_done().then_some(0), ..Position::default() }
    }

    fn files(&self) -> &[String] {
        &[]
    }
}

/// What a peer says on the control connection: how it is heard, then its bytes, the preamble first.
pub fn control(data: &[u8]) {
    let [how, said @ ..] = data else { return };
    let Some((first, said)) = said.split_first_chunk::<PREAMBLE>() else { return };
    if let Ok((kind, token)) = parse_preamble(first) {
        assert_eq!(preamble(kind, token), *first);
    }
    let mut inbox = Inbox::default();
    let mut sealed = None;
    if how & 1 == 1 {
        let (here, there) = pair();
        inbox.secure(there).unwrap();
        sealed = Some(here);
    }
    let mut pieces = said.chunks(1 + usize::from(how >> 2));
    let mut next = || -> Result<Frame, WireError> {
        loop {
            if let Some(frame) = inbox.frame()? {
                return Ok(frame);
            }
            let piece = pieces.next().ok_or(WireError::Closed)?;
            match &mut sealed {
                Some(seal) => {
                    let mut record = Vec::new();
                    seal.seal(piece, &mut record).unwrap();
                    inbox.take(&record)?;
                }
                None => inbox.take(piece)?,
            }
        }
    };
    let mut hearer = Hearer::default();
    let end = loop {
        let heard = match next() {
            Ok(Frame::Message(m)) if how & 2 == 0 => hearer.ask(Frame::Message(m)),
            Ok(Frame::Message(m)) => hearer.answer(Frame::Message(m)),
            Ok(Frame::Chunk(c)) => {
                // A blob that began with this piece.
                let mut begun = Some(c);
                let mut frames = || begun.take().map_or_else(&mut next, |c| Ok(Frame::Chunk(c)));
                let mut kept = Vec::new();
                let n = unpack(&mut frames, &mut kept, BLOB);
                assert!(kept.len() as u64 <= BLOB);
                n.map(|n| assert_eq!(n, kept.len() as u64))
            }
            Err(e) => Err(e),
        };
        if let Err(e) = heard {
            break e;
        }
    };
    let end = end.to_string();
    assert!(!end.is_empty() && !end.contains("internal error"), "{end}");
}

/// Most bytes of a blob.
const BLOB: u64 = 1 << 16;

/// What one end keeps of what it was told.
#[derive(Default)]
struct Hearer {
    vitals: Vitals,
    exchanges: Vec<Exchange>,
    now: i64,
}

impl Hearer {
    /// As a server.
    fn ask(&mut self, frame: Frame) -> Result<(), WireError> {
        let ask: Ask = frame.message()?;
        let again = serde_json::to_vec(&ask).unwrap();
        assert_eq!(Frame::Message(again).message::<Ask>()?, ask);
        match ask {
            Ask::Beat(beat) => self.beat(beat),
            Ask::Begin { hello } => drop(hello.as_deref().and_then(message_from_hex)),
            Ask::Prepare(_) | Ask::Ping | Ask::Finish { .. } => {}
        }
        Ok(())
    }

    /// As a client.
    fn answer(&mut self, frame: Frame) -> Result<(), WireError> {
        let answer: Answer = frame.message()?;
        let again = serde_json::to_vec(&answer).unwrap();
        assert_eq!(Frame::Message(again).message::<Answer>()?, answer);
        match answer {
            Answer::Pong { t1, t2 } => {
                self.now += 1000;
                self.exchanges.push(Exchange { t0: Ts(self.now - 1000), t1, t2, t3: Ts(self.now) });
                if let (Some(before), Some(after)) =
                    (best_offset(&self.exchanges[..1]), best_offset(&self.exchanges))
                {
                    assert!(over_run(before, after).bound >= Ns::ZERO);
                }
            }
            Answer::Beat(beat) => self.beat(beat),
            Answer::Ready { token, hello, .. } => {
                assert!(from_hex(&token).is_none_or(|t| to_hex(&t) == token.to_lowercase()));
                drop(hello.as_deref().and_then(message_from_hex));
            }
            Answer::Ended(ended) => drop(ended.end.map(|e| e.sentence())),
            Answer::Refused { .. } => {}
        }
        Ok(())
    }

    /// Whatever a heartbeat says, it is one: who says it is not called silent.
    fn beat(&mut self, beat: syncscope::drive::alive::Beat) {
        self.now += 1_000_000;
        self.vitals.hear(Ts(self.now), beat);
        let heard = self.vitals.heard();
        assert!(heard.is_some_and(|h| !h.in_words(Ts(self.now)).is_empty()));
        let mut watch = Watch::new(Ts(self.now), Ns::from_secs(1));
        assert_eq!(watch.look(Ts(self.now), Facts::default(), heard), None);
        if let Some(dead) = watch.look(Ts(self.now) + Ns::from_secs(2), Facts::default(), heard) {
            assert!(!dead.in_words().is_empty());
        }
    }
}
