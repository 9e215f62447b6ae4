//! Is the link itself good enough to be trusted? Measures what it adds to a delay and how much it carries.

use super::stats::Lateness;
use super::{Lab, LabError, sys};
use crate::lab::scenario::Scenario;
use crate::model::{Ns, Side};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// The delay that the link is asked for.
pub const DELAY: Ns = Ns::from_millis(20);
/// What it may add at the 99th percentile.
pub const MARK_LATE: Ns = Ns::from_micros(500);
/// What it must carry at an MTU of 1500, in bits of TCP payload per second.
pub const MARK_RATE: f64 = 1e9;

const PROBES: u32 = 1500;
const GAP: Duration = Duration::from_millis(2);
const SEND_FOR: Duration = Duration::from_secs(3);

/// What was measured.
#[derive(Clone, Debug)]
pub struct Measured {
    /// UDP, from the sender's `send` to the receiver's `recv`, less the delay that was asked for.
    pub end_to_end: Lateness,
    /// From due to handed to the kernel, as the link itself saw it.
    pub link: Lateness,
    /// Probes sent, and arrived.
    pub probes: (u32, u32),
    /// Bytes of TCP payload carried, and in what time.
    pub carried: (u64, Duration),
    /// Packets that the kernels dropped before the link could read them.
    pub unread: u64,
}

impl Measured {
    /// Bits of TCP payload per second.
    pub fn bits_per_second(&self) -> f64 {
        self.carried.0 as f64 * 8.0 / self.carried.1.as_secs_f64().max(1e-9)
    }

    /// Whether both marks are met.
    pub fn good(&self) -> bool {
        self.end_to_end.quantile(0.99) < MARK_LATE && self.bits_per_second() >= MARK_RATE
    }
}

fn scenario(delay: &str) -> Result<Scenario, LabError> {
    let text = format!(
        "name = \"measure\"\nmtu = 1500\n[c2s]\ndelay = \"{delay}\"\n[s2c]\ndelay = \"{delay}\"\n[endpoint]\ncc = \"reno\"\n"
    );
    Scenario::parse("measure", &text)
        .map_err(|e| LabError::Kernel { what: "measure".into(), message: e.to_string() })
}

/// Measures both; takes about seven seconds.
pub fn measure() -> Result<Measured, LabError> {
    let (end_to_end, received, link) = delays()?;
    let (carried, unread) = throughput()?;
    Ok(Measured { end_to_end, link, probes: (PROBES, received), carried, unread })
}

fn join<T>(thread: std::thread::JoinHandle<std::io::Result<T>>) -> Result<T, LabError> {
    let io = |e: std::io::Error| LabError::kernel("carry the measurement's own traffic", &e);
    thread.join().map_err(|_| io(std::io::Error::other("a thread died")))?.map_err(io)
}

fn delays() -> Result<(Lateness, u32, Lateness), LabError> {
    let lab = Lab::start(&scenario("20ms")?, None)?;
    let to = SocketAddr::new(lab.addr(Side::Server), 9000);
    let from = SocketAddr::new(lab.addr(Side::Client), 0);
    let origin = Instant::now();
    let (ready, bound) = std::sync::mpsc::channel();
    // Both ends go first too: what shall be measured is the link, not how long this machine lets them wait.
    let receiver = lab.spawn_thread(Side::Server, "lab-probe-rx", move || {
        sys::go_first();
        let socket = UdpSocket::bind(to)?;
        socket.set_read_timeout(Some(Duration::from_millis(300)))?;
        let _ = ready.send(());
        let mut late = Lateness::default();
        let mut received = 0;
        let mut stamp = [0u8; 16];
        while socket.recv(&mut stamp).is_ok() {
            let now = origin.elapsed().as_nanos();
            late.note(Ns(now.saturating_sub(u128::from_be_bytes(stamp)) as i64) + -DELAY);
            received += 1;
        }
        Ok((late, received))
    })?;
    let _ = bound.recv();
    let sender = lab.spawn_thread(Side::Client, "lab-probe-tx", move || {
        sys::go_first();
        let socket = UdpSocket::bind(from)?;
        for _ in 0..PROBES {
            socket.send_to(&origin.elapsed().as_nanos().to_be_bytes(), to)?;
            std::thread::sleep(GAP);
        }
        Ok(())
    })?;
    join(sender)?;
    let (late, received) = join(receiver)?;
    Ok((late, received, lab.finish()?.link.lateness))
}

fn throughput() -> Result<((u64, Duration), u64), LabError> {
    let lab = Lab::start(&scenario("1ms")?, None)?;
    let to = SocketAddr::new(lab.addr(Side::Server), 9001);
    let (ready, bound) = std::sync::mpsc::channel();
    let receiver = lab.spawn_thread(Side::Server, "lab-bulk-rx", move || {
        let listener = TcpListener::bind(to)?;
        let _ = ready.send(());
        let (mut stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        let begin = Instant::now();
        let mut buffer = vec![0u8; 256 << 10];
        let mut bytes = 0u64;
        loop {
            match stream.read(&mut buffer)? {
                0 => return Ok((bytes, begin.elapsed())),
                n => bytes += n as u64,
            }
        }
    })?;
    let _ = bound.recv();
    let sender = lab.spawn_thread(Side::Client, "lab-bulk-tx", move || {
        let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(2))?;
        stream.set_write_timeout(Some(Duration::from_secs(2)))?;
        let block = vec![0u8; 256 << 10];
        let begin = Instant::now();
        while begin.elapsed() < SEND_FOR {
            stream.write_all(&block)?;
        }
        Ok(())
    })?;
    join(sender)?;
    let carried = join(receiver)?;
    let stats = lab.finish()?;
    Ok((carried, stats.unread.0 + stats.unread.1))
}
