//! The thread that moves packets between the two devices, through the machine.
//!
//! It sleeps until shortly before the next packet is due and watches the clock for the rest: a kernel
//! timer alone would add some 60 µs, and on a virtual machine now and then a millisecond.

use super::stats::{Lateness, LinkStats};
use super::sys;
use crate::lab::fate::{Cause, Fate, What};
use crate::lab::machine::Machine;
use crate::lab::offload::{self, Merge};
use crate::lab::packet::Header;
use crate::model::{Dir, Ns, PerDir, Ts};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use std::fs::File;
use std::io::{IoSlice, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The last stretch before a packet is due is waited awake, unless there is but one CPU for everybody.
const AWAKE: Ns = Ns::from_micros(80);
/// Packets read from one device before the other has its turn.
const BATCH: usize = 64;
/// Fates handed to the log at a time.
const LOG_BATCH: usize = 512;
/// Packet buffers kept for reuse.
const SPARE: usize = 4096;

/// Wall-clock time that does not jump: read once, then moved on by the monotonic clock.
#[derive(Clone, Copy)]
pub struct Clock {
    base: Ts,
    origin: Instant,
}

impl Clock {
    /// Reads the wall clock.
    pub fn start() -> Clock {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Clock { base: Ts(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)), origin: Instant::now() }
    }

    /// Now.
    pub fn now(&self) -> Ts {
        self.base + Ns(i64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(i64::MAX))
    }
}

/// What the forwarder shares with the lab.
pub struct Shared {
    /// It shall end.
    pub stop: AtomicBool,
    /// Time 0 of the scenario, `i64::MIN` before it.
    pub zero: AtomicI64,
}

/// The forwarder.
pub struct Forwarder {
    pub machine: Machine,
    pub clock: Clock,
    /// Where the packets of each way come from; the other one is where they go.
    pub from: PerDir<File>,
    pub wake: UnixStream,
    pub shared: Arc<Shared>,
    pub log: Option<Sender<Vec<Fate>>>,
    pub stats: LinkStats,
    pub lateness: Lateness,
    pub spare: Vec<Vec<u8>>,
    /// With segmentation offload: what is being merged for the far end of each way.
    pub offload: Option<PerDir<Merge>>,
    /// How long before a packet is due the thread wakes.
    pub awake: Ns,
    pub fates: Vec<Fate>,
}

impl Forwarder {
    /// Moves packets until told to stop.
    pub fn run(mut self) -> LinkStats {
        // The default of 50 µs is how much later than asked a thread may be woken.
        let _ = nix::sys::prctl::set_timerslack(1);
        sys::go_first();
        let alone = std::thread::available_parallelism().is_ok_and(|n| n.get() == 1);
        self.awake = if alone { Ns::ZERO } else { AWAKE };
        let mut buffer = vec![0u8; 65_536 + offload::HEADER];
        while !self.shared.stop.load(Ordering::Acquire) {
            for dir in Dir::BOTH {
                self.read(dir, &mut buffer);
            }
            self.deliver();
            if self.fates.len() >= LOG_BATCH {
                self.hand_over_fates();
            }
            self.wait();
        }
        for dir in Dir::BOTH {
            self.read(dir, &mut buffer);
        }
        self.machine.stop();
        self.collect_fates();
        self.hand_over_fates();
        self.stats.lateness = self.lateness;
        self.stats
    }

    fn read(&mut self, dir: Dir, buffer: &mut [u8]) {
        for _ in 0..BATCH {
            // Not ready, or gone: the thread ends when the lab says so, not here.
            let Ok(n) = self.from[dir].read(buffer) else { return };
            let now = self.clock.now();
            if self.offload.is_some() {
                for packet in offload::cut(&buffer[..n]) {
                    self.take(now, dir, packet);
                }
            } else {
                let mut own = self.spare.pop().unwrap_or_default();
                own.clear();
                own.extend_from_slice(&buffer[..n]);
                self.take(now, dir, own);
            }
            if self.shared.zero.load(Ordering::Relaxed) == i64::MIN
                && let Some(zero) = self.machine.zero()
            {
                self.shared.zero.store(zero.0, Ordering::Release);
            }
        }
    }

    fn take(&mut self, now: Ts, dir: Dir, packet: Vec<u8>) {
        if Header::read(&packet).is_some_and(|h| !h.is_chatter(&packet)) {
            self.machine.push(now, dir, packet);
        }
    }

    fn deliver(&mut self) {
        while let Some(d) = self.machine.pop(self.clock.now()) {
            let mut written = true;
            let left = self.clock.now();
            for _ in 0..d.times {
                written &= self.write(d.dir, &d.packet);
            }
            self.lateness.note(self.clock.now() - d.due);
            self.collect_fates();
            // What is merged leaves with what it is merged with.
            if self.offload.is_none()
                && let Some(last) = self.fates.last_mut()
            {
                last.left = Some(left);
            }
            if !written && let Some(last) = self.fates.last_mut() {
                // The fate of a delivery is the last that the machine told.
                last.fate = What::Dropped;
                last.suffer(What::Dropped, Cause::Device);
                last.cause = Cause::Device;
                self.stats.device_refused += 1;
            }
            if self.spare.len() < SPARE {
                self.spare.push(d.packet);
            }
        }
        self.flush(Dir::C2s);
        self.flush(Dir::S2c);
        self.collect_fates();
    }

    /// Hands a packet to the kernel at the far end, or to what is being merged for it.
    fn write(&mut self, dir: Dir, packet: &[u8]) -> bool {
        let Some(merge) = &mut self.offload else {
            return (&self.from[dir.flip()]).write(packet).is_ok();
        };
        merge[dir].add(packet)
            || (self.flush(dir) && self.offload.as_mut().is_some_and(|m| m[dir].add(packet)))
    }

    /// Hands over what has been merged.
    fn flush(&mut self, dir: Dir) -> bool {
        let Some((head, packet)) = self.offload.as_mut().and_then(|m| m[dir].take()) else { return true };
        let left = self.clock.now();
        let merged = self.fates.iter_mut().rev().filter(|f| f.dir == dir && f.due.is_some());
        merged.take_while(|f| f.left.is_none()).for_each(|f| f.left = Some(left));
        let parts = [IoSlice::new(&head), IoSlice::new(&packet)];
        let written = (&self.from[dir.flip()]).write_vectored(&parts).is_ok();
        // The fates of what was merged have been told; that the device refused them can only be counted.
        self.stats.device_refused += u64::from(!written);
        written
    }

    fn collect_fates(&mut self) {
        while let Some(fate) = self.machine.next_fate() {
            self.fates.push(fate);
        }
    }

    fn hand_over_fates(&mut self) {
        for fate in &self.fates {
            self.stats.ways[fate.dir].count(fate);
        }
        let batch = std::mem::take(&mut self.fates);
        if let Some(log) = &self.log
            && !batch.is_empty()
        {
            // The log's thread tells of its own errors when the lab ends.
            let _ = log.send(batch);
        }
    }

    fn wait(&mut self) {
        let patience = match self.machine.next_due() {
            Some(due) => (due - self.clock.now()).0 - self.awake.0,
            None => i64::MAX,
        };
        if patience <= 0 {
            std::hint::spin_loop();
            return;
        }
        if !self.fates.is_empty() && patience > 1_000_000 {
            self.hand_over_fates();
        }
        let patience =
            TimeSpec::from_duration(Duration::from_nanos(patience.min(1_000_000_000).unsigned_abs()));
        let mut fds = [
            PollFd::new(self.from.c2s.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.from.s2c.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.wake.as_fd(), PollFlags::POLLIN),
        ];
        // An interrupted sleep is only a short one.
        let _ = ppoll(&mut fds, Some(patience), None);
    }
}
