//! What both connections begin with, and the frames of the control connection.
//!
//! ```text
//! both:     "syncsc" version kind('C' | 'S' | 'D') token[16]
//!             'C' control, 'S' control behind a seal (super::seal) with the user's name as token, 'D' data
//! control:  then frames, both ways:  length u32 LE · kind u8 · body
//!             kind 1: one message as JSON, at most 64 KiB
//!             kind 2: a piece of a blob (zstd), at most 64 KiB; empty: its end
//! data:     then the sync, and nothing else
//! ```
//! The token ties a data connection to the control connection that announced it. All sizes are
//! bounded before anything is allocated.

use super::clock::Clock;
use super::seal::{SealError, Sealed};
use crate::model::Ts;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Version of the control protocol.
pub const VERSION: u8 = 3;
/// Bytes that both connections begin with.
pub const PREAMBLE: usize = 24;
const MAGIC: &[u8; 6] = b"syncsc";
const MAX_FRAME: usize = 64 * 1024;
const SLICE: Duration = Duration::from_millis(100);

/// Ties a data connection to its control connection.
pub type Token = [u8; 16];
/// Asked often: shall we stop?
pub type Stop<'a> = &'a (dyn Fn() -> bool + Sync);

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Messages about a run.
    Control,
    /// The same, behind a seal; the token is the user's name.
    Secured,
    /// The run's bytes.
    Data,
}

/// The first bytes of a connection.
pub fn preamble(kind: Kind, token: Token) -> [u8; PREAMBLE] {
    let mut out = [0; PREAMBLE];
    let letter = match kind {
        Kind::Control => b'C',
        Kind::Secured => b'S',
        Kind::Data => b'D',
    };
    out[..6].copy_from_slice(MAGIC);
    out[6] = VERSION;
    out[7] = letter;
    out[8..].copy_from_slice(&token);
    out
}

/// What is wrong with the first bytes of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadPreamble {
    /// Not ours at all.
    Stranger,
    /// Ours, of another version.
    Version(u8),
}

/// Reads the first bytes of a connection.
pub fn parse_preamble(raw: &[u8; PREAMBLE]) -> Result<(Kind, Token), BadPreamble> {
    if !raw.starts_with(MAGIC) {
        return Err(BadPreamble::Stranger);
    }
    if raw[6] != VERSION {
        return Err(BadPreamble::Version(raw[6]));
    }
    let kind = match raw[7] {
        b'C' => Kind::Control,
        b'S' => Kind::Secured,
        b'D' => Kind::Data,
        _ => return Err(BadPreamble::Stranger),
    };
    let mut token = [0; 16];
    token.copy_from_slice(&raw[8..]);
    Ok((kind, token))
}

/// A message of a handshake with its length before it.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let len = u16::try_from(message.len()).unwrap_or(u16::MAX);
    [&len.to_le_bytes(), message].concat()
}

/// Could a stream that begins with these bytes still become ours?
pub fn may_be_ours(first: &[u8]) -> bool {
    first.iter().zip(MAGIC).all(|(a, b)| a == b)
}

/// What went wrong on a control connection.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The peer closed it.
    #[error("the peer closed the control connection")]
    Closed,
    /// Nothing came for too long.
    #[error("no answer on the control connection for {:.1} s", .0.as_secs_f64())]
    Silent(Duration),
    /// The peer says no.
    #[error("{0}")]
    Refused(String),
    /// It did not come to the point in time, however much it said.
    #[error("it did not come to the point in time")]
    Late,
    /// The other end is not who it should be.
    #[error("{0}")]
    Seal(#[from] SealError),
    /// Told to stop.
    #[error("interrupted")]
    Stopped,
    /// It is not what it should be.
    #[error("the control connection carries something else: {0}")]
    Garbage(String),
    /// The system's words.
    #[error("control connection: {0}")]
    Io(#[from] io::Error),
}

/// One frame.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// A message, as JSON.
    Message(Vec<u8>),
    /// A piece of a blob; empty: its end.
    Chunk(Vec<u8>),
}

impl WireError {
    /// The peer has closed the connection, politely or not.
    pub fn is_close(&self) -> bool {
        match self {
            WireError::Closed => true,
            WireError::Io(e) => matches!(e.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
            _ => false,
        }
    }
}

impl Frame {
    /// The message in it.
    pub fn message<T: DeserializeOwned>(self) -> Result<T, WireError> {
        match self {
            Frame::Message(body) => {
                serde_json::from_slice(&body).map_err(|e| WireError::Garbage(e.to_string()))
            }
            Frame::Chunk(_) => {
                Err(WireError::Garbage("a piece of a blob where a message was due".to_owned()))
            }
        }
    }
}

/// What has arrived on a control connection, opened and cut into frames.
#[derive(Debug, Default)]
pub struct Inbox {
    buf: Vec<u8>,
    seal: Option<Sealed>,
}

impl Inbox {
    /// Takes what arrived.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        match &mut self.seal {
            Some(seal) => seal.open(bytes, &mut self.buf)?,
            None => self.buf.extend_from_slice(bytes),
        }
        Ok(())
    }

    /// The next bytes, of a handshake; none: not all are there.
    pub fn raw(&mut self, n: usize) -> Option<Vec<u8>> {
        (self.buf.len() >= n).then(|| self.buf.drain(..n).collect())
    }

    /// What follows is sealed, and what is there already, too.
    pub fn secure(&mut self, seal: Sealed) -> Result<(), WireError> {
        let ahead = std::mem::take(&mut self.buf);
        self.seal = Some(seal);
        self.take(&ahead)
    }

    /// The next frame; none: not all of it is there.
    pub fn frame(&mut self) -> Result<Option<Frame>, WireError> {
        let Some((head, rest)) = self.buf.split_first_chunk::<5>() else { return Ok(None) };
        let [a, b, c, d, kind] = *head;
        let len = u32::from_le_bytes([a, b, c, d]) as usize;
        if len > MAX_FRAME || !(1..=2).contains(&kind) {
            return Err(WireError::Garbage(format!("a frame of kind {kind} with {len} bytes")));
        }
        let Some(body) = rest.get(..len) else { return Ok(None) };
        let body = body.to_vec();
        self.buf.drain(..5 + len);
        Ok(Some(if kind == 1 { Frame::Message(body) } else { Frame::Chunk(body) }))
    }
}

/// A control connection after its preamble.
#[derive(Debug)]
pub struct Channel {
    stream: TcpStream,
    inbox: Inbox,
    deadline: Option<Instant>,
}

impl Channel {
    /// Takes over a connected socket.
    pub fn new(stream: TcpStream) -> io::Result<Channel> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Channel { stream, inbox: Inbox::default(), deadline: None })
    }

    /// Nothing is waited for beyond this moment, even if something comes all the time.
    pub fn until(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
    }

    /// From here on all that is sent and received is sealed.
    pub fn secure(&mut self, seal: Sealed) -> Result<(), WireError> {
        self.inbox.secure(seal)
    }

    /// The seal, if there is one.
    pub fn seal(&self) -> Option<&Sealed> {
        self.inbox.seal.as_ref()
    }

    /// The next `n` bytes, of a handshake.
    pub fn receive_raw(
        &mut self,
        n: usize,
        patience: Duration,
        stop: Stop<'_>,
    ) -> Result<Vec<u8>, WireError> {
        let mut since = Instant::now();
        loop {
            if let Some(bytes) = self.inbox.raw(n) {
                return Ok(bytes);
            }
            if self.read_some()? {
                since = Instant::now();
            } else {
                self.wait(PollFlags::POLLIN, since, patience, stop)?;
            }
        }
    }

    /// The next message of a handshake, with its length before it: at most `longest` bytes.
    pub fn receive_framed(
        &mut self,
        longest: usize,
        patience: Duration,
        stop: Stop<'_>,
    ) -> Result<Vec<u8>, WireError> {
        let len = self.receive_raw(2, patience, stop)?;
        let len = len.first_chunk().map_or(0, |len| usize::from(u16::from_le_bytes(*len)));
        if len > longest {
            return Err(WireError::Garbage(format!("a message of a handshake with {len} bytes")));
        }
        self.receive_raw(len, patience, stop)
    }

    /// Takes what is there; false: nothing.
    fn read_some(&mut self) -> Result<bool, WireError> {
        if self.deadline.is_some_and(|d| Instant::now() >= d) {
            return Err(WireError::Late);
        }
        let mut chunk = [0; 16 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(WireError::Closed),
            Ok(n) => {
                self.inbox.take(chunk.get(..n).unwrap_or(&[]))?;
                Ok(true)
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(e) if e.kind() == ErrorKind::Interrupted => Ok(true),
            Err(e) => Err(e.into()),
        }
    }

    /// The socket.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends raw bytes, waiting at most `patience` for each bit of progress.
    pub fn send_raw(
        &mut self,
        mut bytes: &[u8],
        patience: Duration,
        stop: Stop<'_>,
    ) -> Result<(), WireError> {
        let mut since = Instant::now();
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(0) => return Err(WireError::Closed),
                Ok(n) => {
                    bytes = bytes.get(n..).unwrap_or(&[]);
                    since = Instant::now();
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.wait(PollFlags::POLLOUT, since, patience, stop)?;
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    fn send_frame(
        &mut self,
        kind: u8,
        body: &[u8],
        patience: Duration,
        stop: Stop<'_>,
    ) -> Result<(), WireError> {
        let mut frame = Vec::with_capacity(body.len() + 5);
        frame.extend_from_slice(&(body.len() as u32).to_le_bytes());
        frame.push(kind);
        frame.extend_from_slice(body);
        if let Some(seal) = &mut self.inbox.seal {
            let plain = std::mem::take(&mut frame);
            seal.seal(&plain, &mut frame)?;
        }
        self.send_raw(&frame, patience, stop)
    }

    /// Sends one message.
    pub fn send(
        &mut self,
        message: &impl Serialize,
        patience: Duration,
        stop: Stop<'_>,
    ) -> Result<(), WireError> {
        let body = serde_json::to_vec(message).map_err(|e| WireError::Garbage(e.to_string()))?;
        if body.len() > MAX_FRAME {
            return Err(WireError::Garbage(format!("a message of {} bytes is too long", body.len())));
        }
        self.send_frame(1, &body, patience, stop)
    }

    /// The next frame, and when its last byte was read.
    pub fn receive(
        &mut self,
        clock: &Clock,
        patience: Duration,
        stop: Stop<'_>,
    ) -> Result<(Frame, Ts), WireError> {
        let mut since = Instant::now();
        let mut read_at = clock.now();
        loop {
            if let Some(frame) = self.inbox.frame()? {
                return Ok((frame, read_at));
            }
            if self.read_some()? {
                read_at = clock.now();
                since = Instant::now();
            } else {
                self.wait(PollFlags::POLLIN, since, patience, stop)?;
            }
        }
    }

    /// Whether something is there to be received, now or within this time.
    pub fn has_word(&self, within: Duration) -> io::Result<bool> {
        Ok(!self.inbox.buf.is_empty() || !wait_for(&self.stream, PollFlags::POLLIN, within)?.is_empty())
    }

    fn wait(
        &self,
        flags: PollFlags,
        since: Instant,
        patience: Duration,
        stop: Stop<'_>,
    ) -> Result<(), WireError> {
        if stop() {
            return Err(WireError::Stopped);
        }
        let waited = since.elapsed();
        if waited >= patience {
            return Err(WireError::Silent(waited));
        }
        let left = self.deadline.map_or(SLICE, |d| d.saturating_duration_since(Instant::now()));
        wait_for(&self.stream, flags, SLICE.min(patience - waited).min(left))?;
        Ok(())
    }

    /// Sends all of `source`, compressed; how many bytes that were.
    pub fn send_blob(
        &mut self,
        source: &mut dyn Read,
        patience: Duration,
        stop: Stop<'_>,
    ) -> Result<u64, WireError> {
        let chunks = ChunkWriter { channel: self, patience, stop, buf: Vec::with_capacity(MAX_FRAME) };
        let mut zstd = zstd::Encoder::new(chunks, 3)?;
        let n = io::copy(source, &mut zstd)?;
        let mut chunks = zstd.finish()?;
        chunks.flush()?;
        self.send_frame(2, &[], patience, stop)?;
        Ok(n)
    }

    /// Receives a blob of at most `limit` bytes into `sink`; how many it had.
    pub fn receive_blob(
        &mut self,
        sink: &mut dyn Write,
        limit: u64,
        clock: &Clock,
        patience: Duration,
        stop: Stop<'_>,
    ) -> Result<u64, WireError> {
        unpack(&mut || Ok(self.receive(clock, patience, stop)?.0), sink, limit)
    }
}

/// Unpacks the blob that the next frames carry, of at most `limit` bytes, into `sink`; how many it had.
pub fn unpack(
    frames: &mut dyn FnMut() -> Result<Frame, WireError>,
    sink: &mut dyn Write,
    limit: u64,
) -> Result<u64, WireError> {
    let mut chunks = ChunkReader { frames, chunk: Vec::new(), at: 0, end: false };
    let mut zstd = zstd::Decoder::new(&mut chunks)?;
    zstd.window_log_max(23)?;
    let n = io::copy(&mut zstd.by_ref().take(limit), sink)?;
    if n == limit {
        return Err(WireError::Garbage(format!("a blob of more than {limit} bytes")));
    }
    drop(zstd);
    match chunks.end || chunks.next_chunk()?.is_empty() {
        true => Ok(n),
        false => Err(WireError::Garbage("something behind the end of a blob".to_owned())),
    }
}

/// Waits until the socket is ready or `timeout` has passed.
pub fn wait_for(stream: &impl AsFd, flags: PollFlags, timeout: Duration) -> io::Result<PollFlags> {
    let mut fds = [PollFd::new(stream.as_fd(), flags)];
    let ms = u16::try_from(timeout.as_millis().max(1)).unwrap_or(u16::MAX);
    match poll(&mut fds, PollTimeout::from(ms)) {
        Ok(_) => Ok(fds[0].revents().unwrap_or(PollFlags::empty())),
        Err(nix::errno::Errno::EINTR) => Ok(PollFlags::empty()),
        Err(e) => Err(e.into()),
    }
}

struct ChunkWriter<'a> {
    channel: &'a mut Channel,
    patience: Duration,
    stop: Stop<'a>,
    buf: Vec<u8>,
}

impl Write for ChunkWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(MAX_FRAME - self.buf.len());
        self.buf.extend_from_slice(bytes.get(..n).unwrap_or(&[]));
        if self.buf.len() == MAX_FRAME {
            self.flush()?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.buf.is_empty() {
            self.channel.send_frame(2, &self.buf, self.patience, self.stop).map_err(io::Error::other)?;
            self.buf.clear();
        }
        Ok(())
    }
}

struct ChunkReader<'a> {
    frames: &'a mut dyn FnMut() -> Result<Frame, WireError>,
    chunk: Vec<u8>,
    at: usize,
    end: bool,
}

impl ChunkReader<'_> {
    fn next_chunk(&mut self) -> Result<Vec<u8>, WireError> {
        match (self.frames)()? {
            Frame::Chunk(c) => Ok(c),
            Frame::Message(_) => Err(WireError::Garbage("a message inside a blob".to_owned())),
        }
    }
}

impl Read for ChunkReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.chunk.len() && !self.end {
            self.chunk = self.next_chunk().map_err(io::Error::other)?;
            self.at = 0;
            self.end = self.chunk.is_empty();
        }
        let rest = self.chunk.get(self.at..).unwrap_or(&[]);
        let n = rest.len().min(out.len());
        out[..n].copy_from_slice(&rest[..n]);
        self.at += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    const SOON: Duration = Duration::from_secs(5);

    fn pair() -> (Channel, Channel) {
        let l = TcpListener::bind("127.0.0.1:0").unwrap();
        let a = TcpStream::connect(l.local_addr().unwrap()).unwrap();
        (Channel::new(a).unwrap(), Channel::new(l.accept().unwrap().0).unwrap())
    }

    #[test]
    fn preambles_are_told_apart() {
        assert_eq!(parse_preamble(&preamble(Kind::Data, [9; 16])), Ok((Kind::Data, [9; 16])));
        assert_eq!(parse_preamble(&preamble(Kind::Control, [0; 16])), Ok((Kind::Control, [0; 16])));
        assert_eq!(parse_preamble(b"GET / HTTP/1.1\r\nHost: a\r"), Err(BadPreamble::Stranger));
        let mut newer = preamble(Kind::Data, [0; 16]);
        newer[6] = VERSION + 1;
        assert_eq!(parse_preamble(&newer), Err(BadPreamble::Version(VERSION + 1)));
        assert!(may_be_ours(b"syn") && may_be_ours(&newer) && !may_be_ours(b"GET"));
    }

    #[test]
    fn messages_and_blobs_arrive_as_they_were_sent() {
        let (mut a, mut b) = pair();
        let blob: Vec<u8> =
            (0..3_000_000u32).flat_map(|i| (i.wrapping_mul(2_654_435_761) >> 7).to_le_bytes()).collect();
        std::thread::scope(|s| {
            s.spawn(|| {
                a.send(&("hello", 7), SOON, &|| false).unwrap();
                a.send_blob(&mut &blob[..], SOON, &|| false).unwrap();
                a.send(&"after", SOON, &|| false).unwrap();
            });
            let clock = Clock::new();
            let hello: (String, u8) = b.receive(&clock, SOON, &|| false).unwrap().0.message().unwrap();
            assert_eq!(hello, ("hello".to_owned(), 7));
            let mut got = Vec::new();
            assert_eq!(
                b.receive_blob(&mut got, 1 << 30, &clock, SOON, &|| false).unwrap(),
                blob.len() as u64
            );
            assert!(got == blob);
            let after: String = b.receive(&clock, SOON, &|| false).unwrap().0.message().unwrap();
            assert_eq!(after, "after");
        });
    }

    #[test]
    fn a_blob_that_unpacks_to_too_much_is_refused() {
        let (mut a, mut b) = pair();
        std::thread::scope(|s| {
            s.spawn(move || a.send_blob(&mut io::repeat(0).take(64 << 20), SOON, &|| false));
            let e = b.receive_blob(&mut io::sink(), 1 << 20, &Clock::new(), SOON, &|| false).unwrap_err();
            assert!(matches!(e, WireError::Garbage(_)), "{e}");
        });
    }

    #[test]
    fn lengths_are_checked_before_memory_is_taken() {
        let (mut a, mut b) = pair();
        a.send_raw(&[0xff, 0xff, 0xff, 0x7f, 1], SOON, &|| false).unwrap();
        let e = b.receive(&Clock::new(), SOON, &|| false).unwrap_err();
        assert!(matches!(e, WireError::Garbage(_)), "{e}");
    }

    #[test]
    fn silence_a_stop_and_a_close_are_told_apart() {
        let (a, mut b) = pair();
        let clock = Clock::new();
        let short = Duration::from_millis(50);
        assert!(matches!(b.receive(&clock, short, &|| false), Err(WireError::Silent(_))));
        assert!(matches!(b.receive(&clock, SOON, &|| true), Err(WireError::Stopped)));
        drop(a);
        assert!(matches!(b.receive(&clock, SOON, &|| false), Err(WireError::Closed)));
    }
}
