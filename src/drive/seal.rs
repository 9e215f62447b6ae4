//! Who is at the other end, and that nobody else reads or changes a byte: Noise (noiseprotocol.org,
//! revision 34), by the crate `snow`.
//!
//! ```text
//!  control   NNpsk0, its key made from the secret
//!    client  preamble('S', user) · length u16 LE · e · announcement or nothing · tag
//!    server  0 · length u16 LE · e · answer to it or nothing · tag       or 1 and a plain frame that says no
//!    client  the first record; nobody who only repeats what he heard can make it
//!  data      NN, begun by the server; Ready and Begin carry its two messages, so it costs no round trip. It is
//!            bound to the control connection's handshake, as far as that was when Ready was made
//!  record    length u16 LE · ciphertext · tag
//! ```
//! Which handshake it has to be is each end's own setting, never negotiated: there is nothing to
//! downgrade. Lengths of messages and records are seen by whoever listens.
//!
//! What rides in the first message is the secret's owner's word, but perhaps not now: it can be a recording. So nothing
//! is done for it that leaves a trace before the client's first record was opened ([`super::serve`]). It has no forward
//! secrecy either: whoever gets the secret later can read what was announced. What is sent in records he cannot.

use super::secret::Secret;
use snow::{Builder, HandshakeState, TransportState};

/// Bytes of either message of a handshake that carries nothing: an ephemeral key and a tag.
pub const MESSAGE: usize = 48;
/// Longest first message that a server reads of somebody whom it does not know yet, bytes: it fits into a first flight.
pub const FIRST: usize = 8 * 1024;
/// Most plain bytes of one record.
const PLAIN: usize = 65_535 - TAG;
const TAG: usize = 16;
const WITH_SECRET: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";
const WITHIN: &str = "Noise_NN_25519_ChaChaPoly_BLAKE2s";

/// Why two ends do not come together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The handshake does not fit.
    #[error("the other end does not have the same secret")]
    Secret,
    /// A record that the peer did not make, or not now.
    #[error("what arrived is not what the peer sent: it was changed, repeated or cut on the way")]
    Changed,
    /// No random numbers, or a setting that the crate does not have.
    #[error("internal error: no handshake can be made; please report it")]
    Unable,
}

/// What a handshake is bound to: both ends must mean the same.
#[derive(Clone, Copy, Debug)]
pub enum Bond<'a> {
    /// A control connection: its secret and its preamble.
    Secret(&'a Secret, &'a [u8]),
    /// A data connection that a control connection announces, by the hash of that one's handshake.
    Within(&'a [u8]),
}

impl Bond<'_> {
    fn build(self, begins: bool) -> Result<HandshakeState, snow::Error> {
        let (pattern, context, bound): (_, &[u8], &[u8]) = match self {
            Bond::Secret(_, preamble) => (WITH_SECRET, b"syncscope control", preamble),
            Bond::Within(control) => (WITHIN, b"syncscope data", control),
        };
        let prologue = [context, bound].concat();
        let mut builder = Builder::new(pattern.parse()?).prologue(&prologue)?;
        if let Bond::Secret(secret, _) = self {
            builder = builder.psk(0, secret.key())?;
        }
        if begins { builder.build_initiator() } else { builder.build_responder() }
    }
}

/// The beginning of a handshake, on the side that begins it.
#[derive(Debug)]
pub struct Opening(Box<HandshakeState>);

impl Opening {
    /// And its first message, with `payload` in it.
    pub fn new(bond: Bond<'_>, payload: &[u8]) -> Result<(Opening, Vec<u8>), SealError> {
        let mut state = bond.build(true).map_err(|_| SealError::Unable)?;
        let message = write(&mut state, payload)?;
        Ok((Opening(Box::new(state)), message))
    }

    /// What a later handshake may be bound to, before this one is complete.
    pub fn hash(&self) -> &[u8] {
        self.0.get_handshake_hash()
    }

    /// Takes the answer; the connection, and what rode in it.
    pub fn finish(mut self, answer: &[u8]) -> Result<(Sealed, Vec<u8>), SealError> {
        let payload = read(&mut self.0, answer)?;
        Ok((Sealed::new(*self.0)?, payload))
    }
}

/// A first message that was understood. The peer has proved nothing before its first record was opened.
#[derive(Debug)]
pub struct Heard(Box<HandshakeState>);

impl Heard {
    /// And what rode in it.
    pub fn new(bond: Bond<'_>, first: &[u8]) -> Result<(Heard, Vec<u8>), SealError> {
        let mut state = bond.build(false).map_err(|_| SealError::Unable)?;
        let payload = read(&mut state, first)?;
        Ok((Heard(Box::new(state)), payload))
    }

    /// The same as [`Opening::hash`] at the other end.
    pub fn hash(&self) -> &[u8] {
        self.0.get_handshake_hash()
    }

    /// Answers, with `payload` in it.
    pub fn answer(mut self, payload: &[u8]) -> Result<(Sealed, Vec<u8>), SealError> {
        let message = write(&mut self.0, payload)?;
        Ok((Sealed::new(*self.0)?, message))
    }
}

fn write(state: &mut HandshakeState, payload: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut message = vec![0; MESSAGE + TAG + payload.len()];
    let n = state.write_message(payload, &mut message).map_err(|_| SealError::Unable)?;
    message.truncate(n);
    Ok(message)
}

fn read(state: &mut HandshakeState, message: &[u8]) -> Result<Vec<u8>, SealError> {
    let mut payload = vec![0; message.len()];
    let n = state.read_message(message, &mut payload).map_err(|_| SealError::Secret)?;
    payload.truncate(n);
    Ok(payload)
}

/// A connection after its handshake.
pub struct Sealed {
    state: Box<TransportState>,
    hash: Vec<u8>,
    /// A record that is not all there; never more than one.
    part: Vec<u8>,
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealed")
    }
}

impl Sealed {
    fn new(state: HandshakeState) -> Result<Sealed, SealError> {
        let hash = state.get_handshake_hash().to_vec();
        let state = state.into_transport_mode().map_err(|_| SealError::Unable)?;
        Ok(Sealed { state: Box::new(state), hash, part: Vec::new() })
    }

    /// Of the whole handshake: what a later one may be bound to.
    pub fn hash(&self) -> &[u8] {
        &self.hash
    }

    /// Appends records with these bytes.
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        for piece in plain.chunks(PLAIN) {
            let len = piece.len() + TAG;
            let start = out.len() + 2;
            out.extend_from_slice(&(len as u16).to_le_bytes());
            out.resize(start + len, 0);
            let room = out.get_mut(start..).unwrap_or_default();
            self.state.write_message(piece, room).map_err(|_| SealError::Unable)?;
        }
        Ok(())
    }

    /// Appends what is in the records that are complete with these bytes; of one that is not genuine, nothing.
    pub fn open(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        let mut part = std::mem::take(&mut self.part);
        while !bytes.is_empty() {
            // Whole records need not be copied together.
            if part.is_empty()
                && let Some((record, rest)) = split(bytes)
            {
                self.open_one(record, out)?;
                bytes = rest;
                continue;
            }
            let wanted = match part.first_chunk::<2>() {
                Some(len) => 2 + usize::from(u16::from_le_bytes(*len)) - part.len(),
                None => 2 - part.len(),
            };
            let (more, rest) = bytes.split_at(wanted.min(bytes.len()));
            part.extend_from_slice(more);
            bytes = rest;
            if let Some((record, [])) = split(&part) {
                self.open_one(record, out)?;
                part.clear();
            }
        }
        self.part = part;
        Ok(())
    }

    fn open_one(&mut self, record: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        let start = out.len();
        let len = record.len().checked_sub(TAG).ok_or(SealError::Changed)?;
        out.resize(start + len, 0);
        let room = out.get_mut(start..).unwrap_or_default();
        self.state.read_message(record, room).map(drop).map_err(|_| {
            out.truncate(start);
            SealError::Changed
        })
    }
}

/// The first record and what is behind it.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(words: &str) -> Secret {
        Secret::new(words.as_bytes()).unwrap()
    }

    fn pair() -> (Sealed, Sealed) {
        let s = secret("a secret of some length");
        let (opening, first) = Opening::new(Bond::Secret(&s, b"hello"), &[]).unwrap();
        let (server, second) = answer(Bond::Secret(&s, b"hello"), &first).unwrap();
        assert_eq!((first.len(), second.len()), (MESSAGE, MESSAGE));
        (opening.finish(&second).unwrap().0, server)
    }

    fn answer(bond: Bond<'_>, first: &[u8]) -> Result<(Sealed, Vec<u8>), SealError> {
        Heard::new(bond, first)?.0.answer(&[])
    }

    fn sealed(end: &mut Sealed, plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        end.seal(plain, &mut out).unwrap();
        out
    }

    #[test]
    fn records_arrive_however_they_are_cut() {
        let (mut a, mut b) = pair();
        let data: Vec<u8> = (0..200_000u32).map(|i| ((i * 7) >> 3) as u8).collect();
        let wire = [sealed(&mut a, b"x"), sealed(&mut a, &data), sealed(&mut a, &data[..PLAIN])].concat();
        assert_eq!(wire.len(), 1 + data.len() + PLAIN + 18 * (1 + 4 + 1));
        for cut in [1, 2, 3, 17, 4096, 65_535, 131_072, wire.len()] {
            let (mut a, mut b) = pair();
            let wire = [sealed(&mut a, b"x"), sealed(&mut a, &data), sealed(&mut a, &data[..PLAIN])].concat();
            let mut got = Vec::new();
            wire.chunks(cut).for_each(|c| b.open(c, &mut got).unwrap());
            assert!(got == [b"x", &data[..], &data[..PLAIN]].concat(), "in pieces of {cut}");
            assert!(b.part.is_empty());
        }
        let mut got = Vec::new();
        b.open(&wire, &mut got).unwrap();
        let piece = &data[1000..1064];
        assert!(!wire.windows(64).any(|w| w == piece), "nothing is plain");
    }

    #[test]
    fn another_secret_another_user_and_a_reflection_end_the_handshake() {
        let (s, other) = (secret("a secret of some length"), secret("another secret of some"));
        let (opening, first) = Opening::new(Bond::Secret(&s, b"ann"), &[]).unwrap();
        assert_eq!(answer(Bond::Secret(&other, b"ann"), &first).unwrap_err(), SealError::Secret);
        assert_eq!(answer(Bond::Secret(&s, b"bob"), &first).unwrap_err(), SealError::Secret);
        for n in 0..first.len() {
            let mut bad = first.clone();
            bad[n] ^= 1;
            assert!(answer(Bond::Secret(&s, b"ann"), &bad).is_err(), "byte {n} changed");
            assert!(answer(Bond::Secret(&s, b"ann"), &first[..n]).is_err(), "cut at {n}");
        }
        // The client's own message is no answer, and neither is that of a server without the secret.
        assert_eq!(opening.finish(&first).unwrap_err(), SealError::Secret);
        let (opening, _) = Opening::new(Bond::Secret(&s, b"ann"), &[]).unwrap();
        let (_, strange) = Opening::new(Bond::Secret(&other, b"ann"), &[]).unwrap();
        assert_eq!(opening.finish(&strange).unwrap_err(), SealError::Secret);
    }

    #[test]
    fn a_replayed_handshake_gives_nothing_that_can_be_used() {
        let s = secret("a secret of some length");
        let (opening, first) = Opening::new(Bond::Secret(&s, b"ann"), &[]).unwrap();
        let (_, second) = answer(Bond::Secret(&s, b"ann"), &first).unwrap();
        let mut client = opening.finish(&second).unwrap().0;
        let heard = sealed(&mut client, b"a command");
        // Somebody who heard all of it says it again.
        let (mut server, _) = answer(Bond::Secret(&s, b"ann"), &first).unwrap();
        assert_eq!(server.open(&heard, &mut Vec::new()), Err(SealError::Changed));
    }

    #[test]
    fn changed_repeated_reordered_and_reflected_records_are_found_out() {
        let (mut a, mut b) = pair();
        let (one, two) = (sealed(&mut a, b"one"), sealed(&mut a, b"two"));
        let open = |b: &mut Sealed, wire: &[u8]| b.open(wire, &mut Vec::new());
        assert_eq!(open(&mut b, &two), Err(SealError::Changed), "out of turn");
        assert_eq!(open(&mut a, &one), Err(SealError::Changed), "its own");
        assert_eq!(open(&mut b, &[5, 0, 1, 2, 3, 4, 5]), Err(SealError::Changed), "shorter than a tag");
        let (mut a, mut b) = pair();
        let mut one = sealed(&mut a, b"one");
        assert_eq!(open(&mut b, &one), Ok(()));
        assert_eq!(open(&mut b, &one), Err(SealError::Changed), "again");
        one[4] ^= 1;
        assert_eq!(open(&mut pair().1, &one), Err(SealError::Changed));
    }

    #[test]
    fn a_record_that_is_not_genuine_leaves_no_bytes_behind() {
        let (mut a, mut b) = pair();
        let mut wire = [sealed(&mut a, b"genuine"), sealed(&mut a, b"changed")].concat();
        *wire.last_mut().unwrap() ^= 1;
        let mut got = Vec::new();
        assert_eq!(b.open(&wire, &mut got), Err(SealError::Changed));
        assert_eq!(got, b"genuine");
    }

    #[test]
    fn what_rides_in_a_handshake_arrives_is_not_seen_and_cannot_be_changed() {
        let s = secret("a secret of some length");
        let (asked, said) = (b"an announcement".repeat(40), b"the answer to it".repeat(30));
        let (opening, first) = Opening::new(Bond::Secret(&s, b"ann"), &asked).unwrap();
        let (heard, payload) = Heard::new(Bond::Secret(&s, b"ann"), &first).unwrap();
        assert!(payload == asked && heard.hash() == opening.hash());
        let (mut server, second) = heard.answer(&said).unwrap();
        assert_eq!((first.len(), second.len()), (MESSAGE + asked.len(), MESSAGE + said.len()));
        let seen = [&first[..], &second].concat();
        assert!(!seen.windows(8).any(|w| asked.windows(8).chain(said.windows(8)).any(|p| p == w)));
        for n in 0..first.len() {
            let mut bad = first.clone();
            bad[n] ^= 1;
            assert!(Heard::new(Bond::Secret(&s, b"ann"), &bad).is_err(), "byte {n} changed");
        }
        let (mut client, payload) = opening.finish(&second).unwrap();
        assert!(payload == said && client.hash() == server.hash());
        let mut got = Vec::new();
        server.open(&sealed(&mut client, b"it is me"), &mut got).unwrap();
        assert_eq!(got, b"it is me");
    }

    /// What is heard again is understood again, and answered with keys that only the first one who said it could make.
    #[test]
    fn who_repeats_an_announcement_cannot_read_the_answer() {
        let s = secret("a secret of some length");
        let (opening, first) = Opening::new(Bond::Secret(&s, b"ann"), b"push").unwrap();
        let answer = || Heard::new(Bond::Secret(&s, b"ann"), &first).unwrap().0.answer(b"ready").unwrap().1;
        let (one, two) = (answer(), answer());
        assert_ne!(one, two);
        // Not even with the secret, if he has not the ephemeral key that goes with the recording.
        let (other, _) = Opening::new(Bond::Secret(&s, b"ann"), b"push").unwrap();
        assert_eq!(other.finish(&two).unwrap_err(), SealError::Secret);
        assert_eq!(opening.finish(&one).unwrap().1, b"ready");
    }

    #[test]
    fn a_data_connection_is_bound_to_its_control_connection() {
        let (client, server) = pair();
        let (opening, first) = Opening::new(Bond::Within(server.hash()), &[]).unwrap();
        let (mut here, second) = answer(Bond::Within(client.hash()), &first).unwrap();
        let mut there = opening.finish(&second).unwrap().0;
        let mut got = Vec::new();
        there.open(&sealed(&mut here, b"hello"), &mut got).unwrap();
        assert_eq!(got, b"hello");
        let (opening, first) = Opening::new(Bond::Within(server.hash()), &[]).unwrap();
        let (_, second) = answer(Bond::Within(pair().1.hash()), &first).unwrap();
        assert!(opening.finish(&second).is_err(), "announced by another one");
    }
}
