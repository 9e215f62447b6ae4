//! The capture's thread: takes what lies in the ring, writes it, sleeps a little, and ends with proof.

use super::coverage::Coverage;
use super::{Counters, LiveSummary, Stop, io_error, text_of};
use crate::capture::CaptureError;
use crate::capture::writer::{PcapngWriter, Statistics};
use crate::model::{Frame, FrameNo, LinkType, Ts};
use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Between two looks at an empty ring. The ring holds tens of thousands of packets, so this only
/// bounds how often a capture wakes up beside the transfer that it watches.
const NAP: Duration = Duration::from_millis(5);

/// The same while the end is near.
const SHORT_NAP: Duration = Duration::from_millis(1);

/// How far the file may be behind.
const FLUSH: Duration = Duration::from_millis(150);

/// Packets taken before the clock and the inbox are looked at again.
const BATCH: u64 = 4096;

/// After everything expected is there, for the last acknowledgments.
const SETTLE: Duration = Duration::from_millis(30);

pub(super) struct Pump {
    handle: pcap::Capture<pcap::Active>,
    link: LinkType,
    writer: PcapngWriter<BufWriter<File>>,
    path: PathBuf,
    device: String,
    counters: Arc<Counters>,
    coverage: Coverage,
    frames: u64,
    first: Option<Ts>,
    last: Option<Ts>,
    flushed: Instant,
}

impl Pump {
    pub fn new(
        handle: pcap::Capture<pcap::Active>,
        link: LinkType,
        writer: PcapngWriter<BufWriter<File>>,
        path: PathBuf,
        device: String,
        counters: Arc<Counters>,
    ) -> Pump {
        Pump {
            handle,
            link,
            writer,
            path,
            device,
            counters,
            coverage: Coverage::default(),
            frames: 0,
            first: None,
            last: None,
            flushed: Instant::now(),
        }
    }

    /// Runs until told to stop (or until the other end of `inbox` is gone, which expects nothing).
    pub fn run(mut self, inbox: &Receiver<Stop>) -> Result<LiveSummary, CaptureError> {
        let stop = loop {
            let busy = self.drain()? == BATCH;
            self.flush_if_due()?;
            // A full batch means that more is waiting: no nap then.
            let order = if busy {
                inbox.try_recv().map_err(|e| e == TryRecvError::Disconnected)
            } else {
                inbox.recv_timeout(NAP).map_err(|e| e == RecvTimeoutError::Disconnected)
            };
            match order {
                Ok(stop) => break stop,
                Err(false) => {}
                Err(true) => break Stop { expected: Vec::new(), patience: Duration::ZERO },
            }
        };
        self.prove(&stop)?;
        self.finish(&stop)
    }

    /// Reads on until everything expected is there and the ring is empty, or patience ends.
    fn prove(&mut self, stop: &Stop) -> Result<(), CaptureError> {
        let deadline = Instant::now() + stop.patience;
        let mut satisfied = None;
        loop {
            let took = self.drain()?;
            let now = Instant::now();
            if satisfied.is_none() && self.coverage.missing(&stop.expected).is_empty() {
                satisfied = Some(now);
            }
            let settled = satisfied.is_some_and(|at| now.duration_since(at) >= SETTLE);
            if settled && took < BATCH || now >= deadline.max(satisfied.map_or(deadline, |at| at + SETTLE)) {
                return Ok(());
            }
            self.flush_if_due()?;
            if took == 0 {
                std::thread::sleep(SHORT_NAP);
            }
        }
    }

    fn finish(mut self, stop: &Stop) -> Result<LiveSummary, CaptureError> {
        let statistics = self.statistics()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = Ts::from_secs_nanos(
            i64::try_from(now.as_secs()).unwrap_or(i64::MAX),
            i64::from(now.subsec_nanos()),
        );
        self.writer
            .statistics(0, now, statistics)
            .and_then(|()| self.writer.flush())
            .map_err(|e| io_error(&self.path, &e))?;
        let missing = self.coverage.missing(&stop.expected);
        Ok(LiveSummary {
            path: self.path,
            device: self.device,
            link: self.link,
            frames: self.frames,
            received: statistics.received,
            dropped: statistics.dropped,
            first: self.first,
            last: self.last,
            complete: missing.is_empty(),
            missing,
        })
    }

    /// Takes what lies in the ring, at most a batch; the number taken.
    fn drain(&mut self) -> Result<u64, CaptureError> {
        let mut taken = 0;
        while taken < BATCH {
            let packet = match self.handle.next_packet() {
                Ok(p) => p,
                Err(pcap::Error::TimeoutExpired | pcap::Error::NoMorePackets) => break,
                Err(e) => {
                    let message = text_of(e);
                    return Err(CaptureError::Live { device: self.device.clone(), message });
                }
            };
            taken += 1;
            self.frames += 1;
            // With nanosecond precision, the microseconds field holds nanoseconds.
            let ts = Ts::from_secs_nanos(packet.header.ts.tv_sec, packet.header.ts.tv_usec);
            let frame = Frame {
                no: FrameNo(self.frames),
                ts,
                link: self.link,
                interface: 0,
                orig_len: packet.header.len,
                data: packet.data,
            };
            self.coverage.see(&frame);
            self.writer.write(&frame).map_err(|e| io_error(&self.path, &e))?;
            self.first = self.first.or(Some(ts));
            self.last = Some(ts);
        }
        self.counters.frames.store(self.frames, Ordering::Relaxed);
        Ok(taken)
    }

    fn flush_if_due(&mut self) -> Result<(), CaptureError> {
        if self.flushed.elapsed() >= FLUSH {
            self.writer.flush().map_err(|e| io_error(&self.path, &e))?;
            self.statistics()?;
            self.flushed = Instant::now();
        }
        Ok(())
    }

    fn statistics(&mut self) -> Result<Statistics, CaptureError> {
        let s = self
            .handle
            .stats()
            .map_err(|e| CaptureError::Live { device: self.device.clone(), message: text_of(e) })?;
        self.counters.dropped.store(u64::from(s.dropped), Ordering::Relaxed);
        Ok(Statistics {
            received: u64::from(s.received),
            dropped: u64::from(s.dropped),
            delivered: self.frames,
        })
    }
}
