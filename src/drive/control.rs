//! What client and server tell each other beside the sync, over a connection of its own: options, the
//! clocks, that they are alive, and in the end the server's half of the record.
//!
//! ```text
//!  client                         server
//!  Ping ×4…16 ──────────────────► Pong                clocks, while the path is quiet
//!  Prepare{port, options} ──────► start the capture
//!         ◄────────────────────── Ready{token}
//!  Begin ───────────────────────►                     behind a seal
//!  (data connection from that port, with the token; without captures it is opened beside Prepare)
//!  Beat ×… ─────────────────────► Beat                what each end is doing: see `alive`
//!  Ping ×4…16 ──────────────────► Pong                clocks again: drift
//!  Finish{fetch} ───────────────► stop the capture
//!         ◄────────────────────── Ended{stats, …}, then log and capture as blobs
//! ```
//! Behind a seal and without captures, Prepare and Ready ride in the handshake ([`Welcome`]), which is one round trip
//! less; the clocks are compared once with it, and then beside the first heartbeat.

use super::alive::Beat;
use super::clock::{Clock, Exchange, best_offset};
use super::record::{CaptureState, RunEnd};
use super::wire::{Channel, Frame, Stop, WireError};
use crate::model::app::ClockOffset;
use crate::model::units::printable;
use crate::model::{Ns, Ts};
use crate::report::SyncStats;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

/// Exchanges of one comparison of the clocks.
pub const EXCHANGES: usize = 16;
/// The next question is not kept waiting longer than this by the answer to the one before …
const APART: Duration = Duration::from_millis(1);
/// … and where so many are unanswered, none follows: the first flight of a connection has room for ten packets.
const FAR: usize = 4;

/// How often an end says what it does: four times in a time-out, and at least once a second.
pub fn beat_every(timeout: Duration) -> Duration {
    (timeout / 4).clamp(Duration::from_millis(25), Duration::from_secs(1))
}

/// A pause of the server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Since the start of the data connection.
    pub at: Ns,
    /// For how long.
    pub lasts: Ns,
}

/// From the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum Ask {
    /// What time is it?
    Ping,
    /// A data connection will come from this port.
    Prepare(Prepare),
    /// It comes now, and nobody repeats what he heard. Only behind a seal.
    Begin {
        /// The second message of the data connection's handshake, in hexadecimal; none: it is plain.
        hello: Option<String>,
    },
    /// The client is there, and this is what it does.
    Beat(Beat),
    /// The run is over here.
    Finish {
        /// The user ended it: no part of a file shall stay.
        stopped: bool,
        /// Send log and capture, too.
        fetch: bool,
    },
}

/// What the client wants of the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepare {
    /// The client's port of the data connection.
    pub data_port: u16,
    /// Bytes per second to write at most.
    pub bwlimit: Option<u64>,
    /// Pauses of the server.
    pub busy: Vec<Pause>,
    /// Times in which the server's pacing lets nothing through.
    pub hold: Vec<Pause>,
    /// Give up after this long without a sign of life.
    pub timeout: Ns,
    /// Capture packets.
    pub capture: bool,
    /// Bytes kept of each.
    pub snaplen: u32,
    /// Block size, where the server receives.
    pub block: Option<u32>,
    /// Seed of the strong hash, where the server receives.
    pub seed: u64,
    /// What is wanted: a module's name first, where the server has modules.
    pub path: String,
    /// Behind a seal: the data connection shall have one, too.
    pub sealed: bool,
}

/// From the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum Answer {
    /// It is …
    Pong {
        /// Asked at.
        t1: Ts,
        /// Answered at.
        t2: Ts,
    },
    /// Connect now.
    Ready {
        /// To begin the data connection with, in hexadecimal.
        token: String,
        /// The time-out of this run: the smaller of what both want.
        timeout: Ns,
        /// What is wanted, below the module's folder.
        path: String,
        /// The first message of the data connection's handshake, in hexadecimal; none: it is plain.
        hello: Option<String>,
        /// Why there is no capture, if one was asked for.
        no_capture: Option<String>,
    },
    /// The server is there, and this is what it does.
    Beat(Beat),
    /// How it ended there. Log and capture follow as two blobs, if they were asked for.
    Ended(Box<Ended>),
    /// No.
    Refused {
        /// Why.
        message: String,
    },
}

/// What a server answers within its handshake to a [`Prepare`] that came in the client's, and its times of both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Welcome {
    /// Asked at.
    pub t1: Ts,
    /// Answered at.
    pub t2: Ts,
    /// [`Answer::Ready`] or [`Answer::Refused`].
    pub answer: Answer,
}

/// How a run ended at the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// How; none: no data connection came.
    pub end: Option<RunEnd>,
    /// Its own numbers.
    pub stats: SyncStats,
    /// Its capture, if one was asked for.
    pub capture: Option<CaptureState>,
    /// Its system clock was stepped by this much.
    pub clock_step: Ns,
    /// What else went wrong there.
    pub errors: Vec<String>,
    /// The log follows.
    pub log_follows: bool,
    /// The capture follows.
    pub capture_follows: bool,
}

/// Questions for the time: how many are on their way, and the answers so far.
///
/// Near by each is answered before the next is asked. Over a long way a few follow each other, and what else there is
/// to say follows them: all of it together costs one round trip.
#[derive(Debug, Default)]
pub struct Clocks {
    asked: VecDeque<Ts>,
    exchanges: Vec<Exchange>,
}

impl Clocks {
    /// They were compared once already.
    pub fn compared(once: Exchange) -> Clocks {
        Clocks { asked: VecDeque::new(), exchanges: vec![once] }
    }

    /// Asks.
    pub fn ask(
        &mut self,
        channel: &mut Channel,
        clock: &Clock,
        patience: Duration,
        stop: Stop<'_>,
    ) -> Result<(), WireError> {
        for _ in 0..EXCHANGES {
            self.asked.push_back(clock.now());
            channel.send(&Ask::Ping, patience, stop)?;
            if channel.has_word(APART)? {
                self.pong(channel.receive(clock, patience, stop)?)?;
            } else if self.asked.len() >= FAR {
                break;
            }
        }
        Ok(())
    }

    /// They were compared only once.
    pub fn is_rough(&self) -> bool {
        self.exchanges.len() == 1
    }

    /// Before they are compared once more; what was asked already is still answered.
    pub fn anew(&mut self) {
        self.exchanges.clear();
    }

    /// The next answer that is neither about time nor a heartbeat.
    pub fn next(
        &mut self,
        channel: &mut Channel,
        clock: &Clock,
        patience: Duration,
        stop: Stop<'_>,
    ) -> Result<Answer, WireError> {
        loop {
            match self.pong(channel.receive(clock, patience, stop)?)? {
                None | Some(Answer::Beat(_)) => {}
                Some(answer) => return Ok(answer),
            }
        }
    }

    /// The next heartbeat.
    pub fn next_beat(
        &mut self,
        channel: &mut Channel,
        clock: &Clock,
        patience: Duration,
        stop: Stop<'_>,
    ) -> Result<Beat, WireError> {
        loop {
            match self.pong(channel.receive(clock, patience, stop)?)? {
                None => {}
                Some(Answer::Beat(beat)) => return Ok(beat),
                Some(_) => return Err(WireError::Garbage("no answer to a heartbeat".to_owned())),
            }
        }
    }

    /// Takes an answer about time, or hands back another one.
    fn pong(&mut self, (frame, t3): (Frame, Ts)) -> Result<Option<Answer>, WireError> {
        match frame.message()? {
            Answer::Pong { t1, t2 } => {
                let none = || WireError::Garbage("an answer about time that nobody asked for".to_owned());
                let t0 = self.asked.pop_front().ok_or_else(none)?;
                self.exchanges.push(Exchange { t0, t1, t2, t3 });
                Ok(None)
            }
            Answer::Refused { message } => Err(WireError::Refused(printable(&message))),
            answer => Ok(Some(answer)),
        }
    }

    /// The tightest of the answers.
    pub fn offset(&self) -> Result<ClockOffset, WireError> {
        best_offset(&self.exchanges).ok_or_else(|| WireError::Garbage("no answer about time".to_owned()))
    }
}

/// A token or a key as text.
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The message of a handshake from text.
pub fn message_from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16);
    let byte = |pair: &[u8]| match pair {
        [a, b] => digit(*a).zip(digit(*b)).map(|(a, b)| (a * 16 + b) as u8),
        _ => None,
    };
    let longest = 2 * super::seal::MESSAGE;
    text.as_bytes().chunks(2).map(byte).collect::<Option<Vec<u8>>>().filter(|_| text.len() <= longest)
}

/// And back.
pub fn from_hex(text: &str) -> Option<[u8; 16]> {
    u128::from_str_radix(text, 16).ok().filter(|_| text.len() == 32).map(u128::to_be_bytes)
}

/// Random bytes from the kernel.
pub fn random() -> std::io::Result<[u8; 16]> {
    let mut out = [0; 16];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut out)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_as_text() {
        let t = random().unwrap();
        assert_ne!(t, random().unwrap());
        assert_eq!(from_hex(&to_hex(&t)), Some(t));
        assert_eq!(from_hex("abc"), None);
        assert_eq!(from_hex(&"é".repeat(16)), None);
        assert_eq!(message_from_hex(&to_hex(&[0, 255, 16])), Some(vec![0, 255, 16]));
        for bad in ["abc", "0g", "é", &"00".repeat(49)] {
            assert_eq!(message_from_hex(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_words_on_the_wire() {
        let json = |m: &Ask| serde_json::to_string(m).unwrap();
        assert_eq!(json(&Ask::Ping), r#"{"type":"ping"}"#);
        assert_eq!(
            json(&Ask::Finish { stopped: false, fetch: true }),
            r#"{"type":"finish","stopped":false,"fetch":true}"#
        );
        assert!(serde_json::from_str::<Ask>(r#"{"type":"format-disk"}"#).is_err());
    }
}
