//! The application at one end: does its steps, and records each read, write and stretch of other work.

use super::super::recorder::{Position, Recorder, SAMPLE_EVERY};
use super::super::tcp_info;
use super::super::wire::wait_for;
use super::Ending;
use crate::lab::talk::Step;
use crate::model::{Ns, Phase};
use nix::poll::PollFlags;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Most that one call hands over or takes.
const CHUNK: usize = 64 << 10;
/// A reader with a rate takes what it may in this time, then waits.
const RATE_STEP: Ns = Ns::from_millis(20);
/// One write to the disk.
const DISK_CHUNK: usize = 1 << 20;
/// How often something that has no event is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Why a script ends before its last step is done.
#[derive(Debug)]
pub(super) enum Halt {
    /// The talk's time.
    TimeOver,
    /// The connection.
    Broken(io::Error),
}

impl Halt {
    pub(super) fn in_step(self, step: usize) -> Ending {
        match self {
            Halt::TimeOver => Ending::TimeOver { step },
            Halt::Broken(e) => Ending::Broken { step, message: e.to_string() },
        }
    }
}

/// See the module.
pub(super) struct Actor<'a> {
    pub(super) socket: Option<TcpStream>,
    recorder: Recorder<'a>,
    deadline: Instant,
    stop: Arc<AtomicBool>,
    next_sample: Instant,
    buffer: Vec<u8>,
    disk: PathBuf,
}

impl<'a> Actor<'a> {
    /// One whose time is over at `deadline`, or when `stop` says so; `disk`: the file that it writes
    /// when it is to be busy with the disk.
    pub(super) fn new(
        recorder: Recorder<'a>,
        deadline: Instant,
        stop: Arc<AtomicBool>,
        disk: PathBuf,
    ) -> Actor<'a> {
        Actor {
            socket: None,
            recorder,
            deadline,
            stop,
            next_sample: Instant::now(),
            // Not all alike: a capture that keeps payload shows which bytes these are.
            buffer: (0..CHUNK).map(|i| (i % 251) as u8).collect(),
            disk,
        }
    }

    /// Until the talk is over.
    pub(super) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    pub(super) fn is_over(&self) -> bool {
        self.left().is_zero() || self.stop.load(Ordering::Acquire)
    }

    /// Does one step.
    pub(super) fn step(&mut self, step: Step) -> Result<(), Halt> {
        match step {
            Step::Write { bytes, by: None } => self.write(bytes),
            Step::Write { bytes, by: Some((piece, every)) } => self.write_by(bytes, piece, every),
            Step::Read { bytes, rate: None } => self.read(bytes.unwrap_or(u64::MAX), CHUNK).map(|_| ()),
            Step::Read { bytes, rate: Some(rate) } => {
                self.read_at(bytes.unwrap_or(u64::MAX), rate.bytes_per_second())
            }
            Step::Pause(t) => self.work(Some(t), |left| {
                std::thread::sleep(left.min(LOOK));
                Ok(())
            }),
            Step::Spin(t) => self.work(Some(t), |left| {
                let until = Instant::now() + left.min(LOOK);
                while Instant::now() < until {
                    std::hint::spin_loop();
                }
                Ok(())
            }),
            Step::Disk(t) => self.write_to_disk(t),
            Step::Hang => self.work(None, |left| {
                std::thread::sleep(left.min(LOOK));
                Ok(())
            }),
            Step::Shutdown => self.socket()?.shutdown(Shutdown::Write).map_err(Halt::Broken),
            Step::Close => {
                self.sample();
                self.socket = None;
                Ok(())
            }
            Step::Reset => {
                self.sample();
                let socket = socket2::Socket::from(self.socket.take().ok_or_else(closed)?);
                // With a linger of 0 a close sends a RST (RFC 9293 §3.10.7, ABORT).
                socket.set_linger(Some(Duration::ZERO)).map_err(Halt::Broken)
            }
        }
    }

    /// Waits until the peer's kernel has acknowledged what was written, closed or not.
    pub(super) fn settle(&mut self, port: u16) {
        while !self.is_over() && in_flight(port) {
            self.tick();
            std::thread::sleep(LOOK);
        }
    }

    /// Hands out the rest of the log; the socket, if it is still open.
    pub(super) fn finish(mut self) -> Option<TcpStream> {
        self.sample();
        self.recorder.finish(&[]);
        self.socket
    }

    fn socket(&self) -> Result<&TcpStream, Halt> {
        self.socket.as_ref().ok_or_else(closed)
    }

    fn sample(&mut self) {
        if let Some(info) = self.socket.as_ref().and_then(|s| tcp_info::read(s, self.recorder.now()).ok()) {
            self.recorder.sample(info.sample);
        }
    }

    /// Samples and hands out, if it is time.
    fn tick(&mut self) {
        if Instant::now() >= self.next_sample {
            self.next_sample = Instant::now() + SAMPLE_EVERY.to_std();
            self.sample();
            self.recorder.publish(&[]);
        }
    }

    /// Waits until the socket can be read or written.
    fn ready(&mut self, flags: PollFlags) -> Result<(), Halt> {
        loop {
            if self.is_over() {
                return Err(Halt::TimeOver);
            }
            self.tick();
            let nap = self.next_sample.saturating_duration_since(Instant::now()).min(self.left());
            if !wait_for(self.socket()?, flags, nap).map_err(Halt::Broken)?.is_empty() {
                return Ok(());
            }
        }
    }

    fn write(&mut self, bytes: u64) -> Result<(), Halt> {
        let mut left = bytes;
        while left > 0 {
            let start = self.recorder.now();
            self.ready(PollFlags::POLLOUT)?;
            let ready = self.recorder.now();
            let n = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let mut socket = self.socket()?;
            match socket.write(self.buffer.get(..n).unwrap_or_default()) {
                Ok(n) => {
                    let queued = tcp_info::unacknowledged(socket);
                    self.recorder.write(start, Some(ready), n as u32, queued, DATA);
                    left -= n as u64;
                }
                Err(e) if transient(&e) => {}
                Err(e) => return Err(Halt::Broken(e)),
            }
        }
        Ok(())
    }

    fn write_by(&mut self, bytes: u64, piece: u64, every: Ns) -> Result<(), Halt> {
        let mut left = bytes;
        let mut next = Instant::now();
        while left > 0 {
            let n = left.min(piece);
            self.write(n)?;
            left -= n;
            next += every.to_std();
            let rest = next.saturating_duration_since(Instant::now());
            if left > 0 && !rest.is_zero() {
                self.pace(rest, Phase::Pace)?;
            }
        }
        Ok(())
    }

    /// Reads so many bytes; false: the stream ended before.
    fn read(&mut self, bytes: u64, most: usize) -> Result<bool, Halt> {
        let mut left = bytes;
        let mut own = vec![0u8; most];
        while left > 0 {
            let start = self.recorder.now();
            self.ready(PollFlags::POLLIN)?;
            let ready = self.recorder.now();
            let n = usize::try_from(left).unwrap_or(most).min(most);
            let mut socket = self.socket()?;
            let queued = tcp_info::unread(socket);
            match socket.read(own.get_mut(..n).unwrap_or_default()) {
                Ok(n) => {
                    self.recorder.read(start, Some(ready), n as u32, queued, DATA);
                    if n == 0 {
                        return Ok(false);
                    }
                    left -= n as u64;
                }
                Err(e) if transient(&e) => {}
                Err(e) => return Err(Halt::Broken(e)),
            }
        }
        Ok(true)
    }

    fn read_at(&mut self, bytes: u64, rate: u64) -> Result<(), Halt> {
        let step = (i128::from(rate) * i128::from(RATE_STEP.0) / 1_000_000_000).max(1);
        let step = u64::try_from(step).unwrap_or(u64::MAX).min(CHUNK as u64);
        let each = Duration::from_secs_f64(step as f64 / rate as f64);
        let mut left = bytes;
        while left > 0 {
            let next = Instant::now() + each;
            let n = left.min(step);
            if !self.read(n, step as usize)? {
                return Ok(());
            }
            left -= n;
            self.pace(next.saturating_duration_since(Instant::now()), Phase::Busy)?;
        }
        Ok(())
    }

    fn pace(&mut self, rest: Duration, phase: Phase) -> Result<(), Halt> {
        let (start, until) = (self.recorder.now(), Instant::now() + rest);
        while Instant::now() < until && !self.is_over() {
            self.tick();
            std::thread::sleep(until.saturating_duration_since(Instant::now()).min(LOOK));
        }
        self.recorder.work(start, Position { phase, ..DATA });
        if self.is_over() { Err(Halt::TimeOver) } else { Ok(()) }
    }

    /// Is busy with something else for so long; none: until the talk is over.
    fn work(
        &mut self,
        lasts: Option<Ns>,
        mut a_bit: impl FnMut(Duration) -> Result<(), Halt>,
    ) -> Result<(), Halt> {
        let start = self.recorder.now();
        let until = lasts.map(|t| Instant::now() + t.to_std());
        let mut done = Ok(());
        while done.is_ok() && !self.is_over() {
            let left = until.map_or(self.left(), |u| u.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                break;
            }
            self.tick();
            done = a_bit(left);
        }
        self.recorder.work(start, Position { phase: Phase::Busy, ..DATA });
        done?;
        if self.is_over() { Err(Halt::TimeOver) } else { Ok(()) }
    }

    fn write_to_disk(&mut self, lasts: Ns) -> Result<(), Halt> {
        let path = self.disk.clone();
        let mut file = File::create(&path).map_err(Halt::Broken)?;
        let block = vec![0x5a; DISK_CHUNK];
        let done = self.work(Some(lasts), |_| {
            file.set_len(0)
                .and_then(|()| file.write_all(&block))
                .and_then(|()| file.sync_all())
                .map_err(Halt::Broken)
        });
        let _ = std::fs::remove_file(&path);
        done
    }
}

const DATA: Position = Position { phase: Phase::Data, file: None, block: None };

fn closed() -> Halt {
    Halt::Broken(io::Error::new(ErrorKind::NotConnected, "the script has closed the socket before"))
}

fn transient(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Whether this namespace's kernel still owes the network bytes of a connection on this port.
fn in_flight(port: u16) -> bool {
    let tables = ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"];
    let texts = tables.map(|t| std::fs::read_to_string(t).unwrap_or_default());
    // Local address, remote address, state, sending queue:receiving queue. 0A is LISTEN: its queue counts connections.
    let owes = |line: &str| {
        let mut columns = line.split_whitespace().skip(1);
        let local = columns.next()?.rsplit(':').next()?;
        let state = columns.nth(1)?;
        let sending = columns.next()?.split(':').next()?;
        let here = u16::from_str_radix(local, 16).ok()? == port;
        Some(here && state != "0A" && u32::from_str_radix(sending, 16).ok()? > 0)
    };
    texts.iter().flat_map(|t| t.lines().skip(1)).any(|l| owes(l).unwrap_or(false))
}
