//! Moves the bytes of one session over one socket, in one thread, and records every move.
//!
//! ```text
//!         ┌──────────────── while there is something to do ───────────────┐
//!   read what is there → engine → one piece of work (≤ 256 KiB) → write what fits
//!         └───────────────────────── else ppoll ──────────────────────────┘
//! ```
//!
//! What is readable is read whenever the engine wants it, also while output is stuck: two pumps facing
//! each other cannot deadlock. A read's `start` is when this thread had nothing else to do; if it came
//! back from a pause or from work and the bytes were already there, the read did not wait.

use super::alive::{Beat, Facts, Vitals, Watch};
use super::options::Busy;
use super::pace::Pace;
use super::record::RunEnd;
use super::recorder::{Position, Recorder, SAMPLE_EVERY};
use super::tcp_info::{self, TcpInfo};
use crate::model::{Ns, Phase, Ts};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;

/// Largest read and write.
pub const CHUNK: usize = 128 * 1024;
/// The lengths of the socket's queues are asked for at most this often each way: at full speed the
/// question costs more than all other recording together.
const QUEUE_EVERY: Ns = Ns::from_millis(1);
/// How long to wait for the peer's FIN after the last byte.
const LINGER: Ns = Ns::from_secs(5);
/// Digesting what was read is recorded as work if it took this long.
const NOTABLE: Ns = Ns::from_micros(100);
/// A peer that says the same for this long does not get on.
const STANDS: Ns = Ns::from_secs(2);
const NAP: Ns = Ns::from_millis(50);
/// While there is work, less than this much output waits for company …
const WORTH_A_WRITE: usize = CHUNK;
/// … but not longer than this, and nothing that arrived waits longer to be read.
const SOON: Ns = Ns::from_millis(1);

/// What the pump moves bytes for: a sync session with its disk, or a stand-in.
pub trait Engine {
    /// Takes bytes that arrived.
    fn input(&mut self, bytes: &[u8]);
    /// Told that no more will come, once nothing else is left to do.
    fn eof(&mut self);
    /// Does one bounded piece of work, if there is one, and says which.
    fn work(&mut self) -> Option<Position>;
    /// What is to be sent next may be made smaller now.
    fn before_write(&mut self) {}
    /// So many bytes has the peer's kernel by now.
    fn acknowledged(&mut self, now: Ts, bytes: u64) {
        let _ = (now, bytes);
    }
    /// Bytes to send, at most `max`; empty: nothing now.
    fn output(&mut self, max: usize) -> &[u8];
    /// The first `n` of these were sent.
    fn sent(&mut self, n: usize);
    /// False while it has more than it can hold.
    fn wants_input(&self) -> bool;
    /// Nothing is left to do but to send what `output` still holds.
    fn is_done(&self) -> bool;
    /// Why it cannot go on, in words.
    fn failure(&self) -> Option<String>;
    /// What the next bytes to arrive are about.
    fn reading(&self) -> Position;
    /// What the next bytes to be sent are about.
    fn writing(&self) -> Position;
    /// Bytes of files that are sent or taken from a basis, and of all files.
    fn moved(&self) -> (u64, u64) {
        (0, 0)
    }
    /// Names that positions refer to; only grows.
    fn files(&self) -> &[String];
}

/// How one end is to be pumped.
pub struct PumpOptions<'a> {
    /// Since when the connection is open; `busy` counts from here.
    pub opened: Ts,
    /// Bytes per second to write at most.
    pub bwlimit: Option<u64>,
    /// This side's pauses.
    pub busy: Vec<Busy>,
    /// Times in which nothing is written.
    pub hold: Vec<Busy>,
    /// Give up after this long without a sign of life, as [`super::alive`] has it.
    pub timeout: Ns,
    /// Asked at least every 100 ms, when the engine does not work.
    pub stop: &'a dyn Fn() -> bool,
    /// What this end's heartbeats say, and what the peer's said.
    pub vitals: &'a Vitals,
    /// Called once all is sent and received, and only the peer's FIN is waited for.
    pub done: &'a dyn Fn(),
    /// Called every 100 ms.
    pub tick: &'a mut dyn FnMut(Tick<'_>),
}

/// How far it is.
#[derive(Clone, Debug)]
pub struct Tick<'a> {
    /// Since the connection was opened.
    pub elapsed: Ns,
    /// Bytes read.
    pub read: u64,
    /// Bytes written.
    pub written: u64,
    /// What it is busy with.
    pub position: Position,
    /// File names so far.
    pub files: &'a [String],
    /// Bytes of files that are sent or taken from a basis, and of all files.
    pub moved: (u64, u64),
    /// What the peer is busy with, or how long nothing is heard of it; none: it gets on.
    pub peer: Option<String>,
}

/// Pumps until the engine is done, fails, the connection breaks, or `stop`. The socket is switched to
/// non-blocking and closed for writing at the end.
pub fn pump<'a>(
    socket: &'a TcpStream,
    engine: &'a mut dyn Engine,
    recorder: &'a mut Recorder<'_>,
    options: PumpOptions<'a>,
) -> RunEnd {
    if let Err(e) = socket.set_nonblocking(true).and_then(|()| socket.set_nodelay(true)) {
        return RunEnd::Failed(format!("cannot set up the data connection: {e}"));
    }
    let mut pump = Pump::new(socket, engine, recorder, options);
    let end = pump.run();
    pump.finish(&end);
    end
}

#[derive(Clone, Copy)]
enum Ask {
    Unread,
    Unacknowledged,
}

struct Pump<'a, 'r> {
    socket: &'a TcpStream,
    engine: &'a mut dyn Engine,
    rec: &'a mut Recorder<'r>,
    options: PumpOptions<'a>,
    pace: Option<Pace>,
    buf: Vec<u8>,
    /// A read may return bytes without a poll.
    try_read: bool,
    /// Since when a read is all that is waited for.
    waiting: Option<Ts>,
    readable: Option<Ts>,
    /// Since when there was work, with the socket left alone.
    working: Option<Ts>,
    /// Since when the socket takes no more.
    blocked: Option<Ts>,
    writable: Option<Ts>,
    eof: bool,
    shut: bool,
    next_tick: Ts,
    /// Begin of the last round, for what need not be exact.
    last_move: Ts,
    next_unread: Ts,
    next_unacknowledged: Ts,
    watch: Watch,
    /// What the next heartbeat says.
    beat: Beat,
}

impl<'a, 'r> Pump<'a, 'r> {
    fn new(
        socket: &'a TcpStream,
        engine: &'a mut dyn Engine,
        rec: &'a mut Recorder<'r>,
        mut options: PumpOptions<'a>,
    ) -> Pump<'a, 'r> {
        options.busy.sort_by_key(|b| std::cmp::Reverse(b.at));
        Pump {
            pace: options.bwlimit.map(Pace::new),
            buf: vec![0; CHUNK],
            try_read: false,
            waiting: None,
            readable: None,
            working: None,
            blocked: None,
            writable: None,
            eof: false,
            shut: false,
            next_tick: Ts::MIN,
            last_move: Ts::MIN,
            next_unread: Ts::MIN,
            next_unacknowledged: Ts::MIN,
            watch: Watch::new(rec.now(), options.timeout),
            beat: Beat::default(),
            socket,
            engine,
            rec,
            options,
        }
    }

    fn run(&mut self) -> RunEnd {
        loop {
            if (self.options.stop)() {
                return RunEnd::Interrupted;
            }
            let now = self.rec.now();
            self.last_move = now;
            if let Some(end) = self.tick(now) {
                return end;
            }
            if let Some(end) = self.pause(now) {
                return end;
            }
            match self.step() {
                Ok(true) => {}
                Ok(false) => {
                    if let Some(end) = self.ending() {
                        return end;
                    }
                    if let Err(e) = self.wait() {
                        return self.broken(&e);
                    }
                }
                Err(e) => return self.broken(&e),
            }
        }
    }

    /// One round over everything that can be done without waiting; false when that was nothing.
    fn step(&mut self) -> io::Result<bool> {
        let mut moved = false;
        if self.try_read && !self.eof && self.engine.wants_input() {
            moved |= self.read()?;
        }
        let start = self.rec.now();
        if self.engine.failure().is_none()
            && let Some(at) = self.engine.work()
        {
            let end = self.rec.work(start, at);
            self.stepped(at);
            // It kept the thread from its socket: something may have arrived.
            let since = *self.working.get_or_insert(start);
            self.try_read |= end - since >= SOON;
            self.waiting = None;
            // Small files make small frames: a system call for each would cost more than the files.
            if end - since < SOON && self.engine.output(WORTH_A_WRITE).len() < WORTH_A_WRITE {
                return Ok(true);
            }
            moved = true;
        }
        self.working = None;
        while self.write()? {
            moved = true;
            // All that waits goes out before there is more: what is sent while it is young is still in the cache.
            if self.engine.output(WORTH_A_WRITE).len() < WORTH_A_WRITE {
                break;
            }
        }
        Ok(moved)
    }

    fn read(&mut self) -> io::Result<bool> {
        let at = self.engine.reading();
        let ready = self.readable.take();
        let start = match (self.waiting, ready) {
            (Some(since), _) => since,
            (None, Some(ready)) => ready,
            (None, None) => self.rec.now(),
        };
        let n = match self.socket.read(&mut self.buf) {
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                self.try_read = false;
                return Ok(false);
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => return Ok(true),
            Err(e) => return Err(e),
        };
        // A read that did not fill the buffer emptied the queue: SIOCINQ need not be asked then.
        let full = n == self.buf.len();
        let queued = match full {
            true => self.ask_queue(Ask::Unread).map(|rest| rest.saturating_add(n as u32)),
            false => Some(n as u32),
        };
        let end = self.rec.read(start, ready, n as u32, queued, at);
        self.waiting = None;
        self.try_read = full;
        self.eof = n == 0;
        self.beat.steps += 1;
        if let Some(bytes) = self.buf.get(..n)
            && n > 0
            && self.engine.failure().is_none()
        {
            self.engine.input(bytes);
            if self.rec.now() - end >= NOTABLE {
                self.rec.work(end, at);
            }
        }
        Ok(true)
    }

    fn write(&mut self) -> io::Result<bool> {
        if self.shut || (self.blocked.is_some() && self.writable.is_none()) {
            return Ok(false);
        }
        let now = self.rec.now();
        if self.held(now) > Ns::ZERO {
            return Ok(false);
        }
        let room = self.pace.as_ref().map_or(CHUNK, |p| usize::try_from(p.available(now)).unwrap_or(CHUNK));
        let at = self.engine.writing();
        self.engine.before_write();
        let bytes = self.engine.output(CHUNK);
        if bytes.is_empty() {
            return Ok(false);
        }
        if self.pace.as_ref().is_some_and(|p| p.wait(now, bytes.len() as u64) > Ns::ZERO) {
            return Ok(false);
        }
        let bytes = bytes.get(..room.min(bytes.len())).unwrap_or(bytes);
        let (start, ready) = (self.blocked.unwrap_or(now), self.writable.take());
        let n = match self.socket.write(bytes) {
            Ok(n) => n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                self.blocked.get_or_insert(now);
                return Ok(false);
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => return Ok(true),
            Err(e) => return Err(e),
        };
        // A short write means that the send buffer is full.
        self.blocked = (n < bytes.len()).then_some(now);
        let queued = self.ask_queue(Ask::Unacknowledged);
        self.rec.write(start, ready, n as u32, queued, at);
        self.engine.sent(n);
        if let Some(p) = &mut self.pace {
            p.take(now, n as u64);
        }
        self.waiting = None;
        Ok(true)
    }

    /// The length of a queue, if it was not asked for just now.
    fn ask_queue(&mut self, which: Ask) -> Option<u32> {
        let (next, ask): (_, fn(&TcpStream) -> Option<u32>) = match which {
            Ask::Unread => (&mut self.next_unread, tcp_info::unread),
            Ask::Unacknowledged => (&mut self.next_unacknowledged, tcp_info::unacknowledged),
        };
        if !self.rec.is_on() || self.last_move < *next {
            return None;
        }
        *next = self.last_move + QUEUE_EVERY;
        ask(self.socket)
    }

    /// Waits for the socket, the bucket, the next pause or the next tick.
    fn wait(&mut self) -> io::Result<()> {
        let start = self.rec.now();
        let pending = self.engine.output(CHUNK).len();
        let pacing = match &self.pace {
            Some(p) if pending > 0 && self.blocked.is_none() => p.wait(start, pending as u64),
            _ => Ns::ZERO,
        };
        let held = if pending > 0 { self.held(start) } else { Ns::ZERO };
        let pacing = pacing.max(held);
        let mut flags = PollFlags::empty();
        if !self.eof && self.engine.wants_input() {
            flags |= PollFlags::POLLIN;
        }
        if self.blocked.is_some() && held == Ns::ZERO {
            flags |= PollFlags::POLLOUT;
        }
        if pending == 0 && flags.contains(PollFlags::POLLIN) {
            self.waiting.get_or_insert(start);
        }
        let mut until = self.next_tick;
        if let Some(b) = self.options.busy.last() {
            until = until.min(self.options.opened + b.at);
        }
        let mut timeout = until - start;
        if pacing > Ns::ZERO {
            timeout = timeout.min(pacing);
        }
        self.beat.waits = pending == 0;
        let got = poll(self.socket, flags, timeout)?;
        let now = self.rec.now();
        self.beat.waits &= got.is_empty();
        if got.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
            self.readable = Some(now);
            self.try_read = true;
        }
        if got.intersects(PollFlags::POLLOUT | PollFlags::POLLHUP | PollFlags::POLLERR)
            && self.blocked.is_some()
        {
            self.writable = Some(now);
        }
        if pacing > Ns::ZERO {
            let at = Position { phase: Phase::Pace, ..self.engine.writing() };
            self.rec.work(start, at);
            self.stepped(at);
        }
        Ok(())
    }

    /// How much longer nothing may be written.
    fn held(&self, now: Ts) -> Ns {
        let elapsed = now - self.options.opened;
        let end = |b: &Busy| if b.at <= elapsed { b.at + b.lasts } else { Ns::ZERO };
        let until = self.options.hold.iter().map(end).max().unwrap_or(Ns::ZERO);
        (until - elapsed).max(Ns::ZERO)
    }

    /// With nothing left to do without waiting: is this the end?
    fn ending(&mut self) -> Option<RunEnd> {
        let flushed = self.engine.output(1).is_empty();
        if self.eof && !self.engine.is_done() && self.engine.failure().is_none() {
            self.engine.eof();
            let why = self.engine.failure();
            return Some(RunEnd::Broken(
                why.unwrap_or_else(|| "the peer closed the connection before the sync was done".to_owned()),
            ));
        }
        let over = match self.engine.failure() {
            Some(why) => RunEnd::Failed(why),
            None if self.engine.is_done() => RunEnd::Done,
            None if flushed && !self.engine.wants_input() => {
                RunEnd::Failed("the engine waits for nothing; please report this".to_owned())
            }
            None => return None,
        };
        if !flushed && !self.eof {
            return None;
        }
        self.say_goodbye();
        Some(over)
    }

    /// FIN after the last byte, then waits for the peer's: both ends' records then end alike.
    fn say_goodbye(&mut self) {
        self.shut = true;
        if self.socket.shutdown(Shutdown::Write).is_err() {
            return;
        }
        if self.engine.is_done() && self.engine.failure().is_none() {
            (self.options.done)();
        }
        let until = self.rec.now() + LINGER.min(self.options.timeout);
        while !self.eof && !(self.options.stop)() {
            let start = self.rec.now();
            if start >= until {
                return;
            }
            self.waiting.get_or_insert(start);
            match poll(self.socket, PollFlags::POLLIN, NAP.min(until - start)) {
                Ok(got) if got.is_empty() => continue,
                Ok(_) => self.readable = Some(self.rec.now()),
                Err(_) => return,
            }
            if self.read().is_err() {
                return;
            }
        }
    }

    /// An injected pause, if one is due.
    fn pause(&mut self, now: Ts) -> Option<RunEnd> {
        let due = self.options.busy.last().is_some_and(|b| now >= self.options.opened + b.at);
        let busy = if due { self.options.busy.pop()? } else { return None };
        let until = now + busy.lasts;
        let at = Position { phase: Phase::Busy, ..self.engine.reading() };
        self.stepped(at);
        let mut end = None;
        loop {
            let t = self.rec.now();
            if t >= until {
                break;
            }
            if (self.options.stop)() {
                end = Some(RunEnd::Interrupted);
                break;
            }
            // Busy or not, a peer that is gone is gone.
            end = self.tick(t);
            if end.is_some() {
                break;
            }
            std::thread::sleep(NAP.min(until - t).to_std());
        }
        self.rec.work(now, at);
        self.waiting = None;
        self.readable = None;
        self.try_read = true;
        end
    }

    /// One piece of work more, for the heartbeats.
    fn stepped(&mut self, at: Position) {
        self.beat.steps += 1;
        (self.beat.phase, self.beat.file, self.beat.waits) = (at.phase, at.file, false);
    }

    fn sample(&mut self, now: Ts) -> Option<TcpInfo> {
        self.next_tick = now + SAMPLE_EVERY;
        let info = tcp_info::read(self.socket, now).ok();
        if let Some(i) = info {
            self.engine.acknowledged(now, i.sample.bytes_acked);
            self.rec.sample(i.sample);
        }
        self.rec.publish(self.engine.files());
        info
    }

    /// Ten times a second: TCP_INFO, the log so far, what the next heartbeat says, and whether anybody is
    /// still there.
    fn tick(&mut self, now: Ts) -> Option<RunEnd> {
        if now < self.next_tick {
            return None;
        }
        let info = self.sample(now);
        (self.beat.read, self.beat.written) = (self.rec.bytes_read(), self.rec.bytes_written());
        self.options.vitals.set(self.beat);
        let heard = self.options.vitals.heard();
        let tick = Tick {
            elapsed: now - self.options.opened,
            read: self.beat.read,
            written: self.beat.written,
            position: self.engine.reading(),
            files: self.engine.files(),
            moved: self.engine.moved(),
            peer: heard.filter(|h| now - h.since >= STANDS).map(|h| match now - h.at {
                ago if ago >= STANDS => format!("nothing is heard of the peer for {ago}"),
                _ => format!("the peer is busy: {}", h.in_words(now)),
            }),
        };
        (self.options.tick)(tick);
        let dead = self.watch.look(now, self.facts(info), heard)?;
        let more = heard.map_or_else(String::new, |h| {
            let ago = now - h.at;
            format!("; its last heartbeat came {ago} ago: {}", h.in_words(h.at))
        });
        Some(RunEnd::TimedOut(format!("{}: {}{more}", dead.in_words(), self.describe(info))))
    }

    fn facts(&self, info: Option<TcpInfo>) -> Facts {
        let info = info.unwrap_or_default();
        let s = &info.sample;
        Facts {
            arrived: s.bytes_received,
            acked: s.bytes_acked,
            unacked: s.unacked,
            closed: s.snd_wnd == 0 || info.probes > 0,
            unread: tcp_info::unread(self.socket).unwrap_or(0),
            mine: self.beat,
        }
    }

    fn describe(&self, info: Option<TcpInfo>) -> String {
        info.map_or_else(
            || "the kernel does not say why".to_owned(),
            |i| {
                let queue = |n: Option<u32>| n.unwrap_or(0);
                let unread = queue(tcp_info::unread(self.socket));
                tcp_info::in_words(&i, unread, queue(tcp_info::unacknowledged(self.socket)))
            },
        )
    }

    fn broken(&self, e: &io::Error) -> RunEnd {
        let how = match e.kind() {
            ErrorKind::ConnectionReset => "the connection was reset by the peer or by something on the path",
            ErrorKind::BrokenPipe => "the peer has closed the connection",
            ErrorKind::TimedOut => "TCP gave up: its segments were not acknowledged for too long",
            ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
                "the peer's host cannot be reached any more"
            }
            _ => "the data connection failed",
        };
        RunEnd::Broken(format!("{how} ({e})"))
    }

    fn finish(&mut self, end: &RunEnd) {
        match end {
            RunEnd::TimedOut(_) => tcp_info::forget_on_close(self.socket),
            _ => tcp_info::give_up_after(self.socket, self.options.timeout.to_std()),
        }
        let now = self.rec.now();
        self.sample(now);
        self.rec.finish(self.engine.files());
        if !self.shut {
            // Nothing more will be read: let the peer know.
            let _ = self.socket.shutdown(Shutdown::Both);
        }
    }
}

fn poll(socket: &TcpStream, flags: PollFlags, timeout: Ns) -> io::Result<PollFlags> {
    let mut fds = [PollFd::new(socket.as_fd(), flags)];
    match ppoll(&mut fds, Some(TimeSpec::from_duration(timeout.to_std())), None) {
        Ok(_) => Ok(fds[0].revents().unwrap_or(PollFlags::empty())),
        Err(nix::errno::Errno::EINTR) => Ok(PollFlags::empty()),
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests;
