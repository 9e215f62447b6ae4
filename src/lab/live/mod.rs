//! The link for the kernel's own TCP: two network namespaces, a TUN device in each, and a thread
//! between them that asks the machine what to do with every packet.
//!
//! ```text
//!   namespace “client”                                   namespace “server”
//!   198.18.0.1  link0 ◀──tun──▶ forwarder + machine ◀──tun──▶ link0  198.18.0.2
//!   2001:2::1                        │                               2001:2::2
//!                               truth.ndjson
//! ```
//!
//! The addresses are those set aside for such tests (RFC 2544 appendix C, RFC 5180 §8). The namespaces
//! have no names: they go when the process does, also when it is killed.

mod forward;
pub mod measure;
mod place;
pub mod privilege;
pub mod stats;
mod sys;
pub mod trace;

pub use place::DEVICE;
pub use privilege::{Privilege, prepare};
pub use stats::LabStats;
pub use sys::forget;

use super::fate::Fate;
use super::machine::Machine;
use super::scenario::Scenario;
use crate::model::{PerDir, Side, Ts};
use forward::{Clock, Forwarder, Shared};
use place::Place;
use stats::{Lateness, LinkStats};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

/// Why there is no lab.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabError {
    /// The host does not allow it.
    #[error("not allowed to {what}: {message}\n  mend it with: {mend}")]
    NotAllowed {
        /// What was tried.
        what: String,
        /// The system's words.
        message: String,
        /// The exact command that mends it.
        mend: String,
    },
    /// The kernel failed at something that should work.
    #[error("the emulated link cannot {what}: {message}")]
    Kernel {
        /// What was tried.
        what: String,
        /// The system's words.
        message: String,
    },
    /// The truth log cannot be written.
    #[error("{path}: cannot write the truth log: {message}")]
    Truth {
        /// Where.
        path: String,
        /// The system's words.
        message: String,
    },
}

impl LabError {
    fn kernel(what: &str, e: &std::io::Error) -> LabError {
        LabError::Kernel { what: what.to_owned(), message: e.to_string() }
    }
}

fn place_addr(side: Side) -> Ipv4Addr {
    match side {
        Side::Client => Ipv4Addr::new(198, 18, 0, 1),
        Side::Server => Ipv4Addr::new(198, 18, 0, 2),
    }
}

fn place_addr6(side: Side) -> Ipv6Addr {
    match side {
        Side::Client => Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 1),
        Side::Server => Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 2),
    }
}

/// A running link. Dropping it takes it down; [`Lab::finish`] also says what it did.
pub struct Lab {
    client: Place,
    server: Place,
    shared: Arc<Shared>,
    wake: UnixStream,
    forwarder: Option<JoinHandle<LinkStats>>,
    truth: Option<JoinHandle<Result<(), LabError>>>,
    /// A command was started, so processes may have to be evicted.
    has_commands: AtomicBool,
}

impl Lab {
    /// Brings the link up. `truth`: where the fate of every packet is written, one JSON object a line.
    /// In a process without the capabilities [`prepare`] must have been called before.
    pub fn start(scenario: &Scenario, truth: Option<&Path>) -> Result<Lab, LabError> {
        let log = truth.map(TruthLog::create).transpose()?;
        let (client, from_client) = Place::make(Side::Client, scenario)?;
        let (server, from_server) = Place::make(Side::Server, scenario)?;
        let pair = UnixStream::pair().map_err(|e| LabError::kernel("make a socket pair", &e))?;
        let shared = Arc::new(Shared { stop: AtomicBool::new(false), zero: AtomicI64::new(i64::MIN) });
        let clock = Clock::start();
        let (sender, truth) = match log {
            Some(log) => {
                let (sender, thread) = log.start()?;
                (Some(sender), Some(thread))
            }
            None => (None, None),
        };
        let forwarder = Forwarder {
            machine: Machine::new(scenario, clock.now()),
            clock,
            from: PerDir { c2s: from_client, s2c: from_server },
            wake: pair.0,
            shared: shared.clone(),
            log: sender,
            stats: LinkStats::default(),
            lateness: Lateness::default(),
            spare: Vec::new(),
            offload: scenario.endpoint.offload.then(PerDir::default),
            awake: crate::model::Ns::ZERO,
            fates: Vec::new(),
        };
        let thread = std::thread::Builder::new().name("lab-link".into()).spawn(move || forwarder.run());
        let forwarder = thread.map_err(|e| LabError::kernel("start a thread", &e))?;
        Ok(Lab {
            client,
            server,
            shared,
            wake: pair.1,
            forwarder: Some(forwarder),
            truth,
            has_commands: AtomicBool::new(false),
        })
    }

    /// Address of a side.
    pub fn addr(&self, side: Side) -> IpAddr {
        IpAddr::V4(place_addr(side))
    }

    /// IPv6 address of a side. It works where the host has IPv6 and the scenario's MTU is at least 1280.
    pub fn addr6(&self, side: Side) -> IpAddr {
        IpAddr::V6(place_addr6(side))
    }

    /// When time 0 of the scenario was (wall clock, as in captures), if it has been.
    pub fn time_zero(&self) -> Option<Ts> {
        match self.shared.zero.load(Ordering::Acquire) {
            i64::MIN => None,
            t => Some(Ts(t)),
        }
    }

    /// Starts a thread in a side's namespace. Threads and processes that it starts are there too.
    pub fn spawn_thread<T: Send + 'static>(
        &self,
        side: Side,
        name: &str,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<T>, LabError> {
        let builder = std::thread::Builder::new().name(name.to_owned());
        self.on(side, "start a thread", move || builder.spawn(f))
    }

    /// Starts a command in a side's namespace. It is killed when the lab ends, however it ends; processes that
    /// it has started are killed too, unless this process is itself killed by SIGKILL.
    pub fn spawn_command(&self, side: Side, mut command: Command) -> Result<Child, LabError> {
        let what = format!("run {}", command.get_program().to_string_lossy());
        sys::die_with_parent(&mut command);
        self.has_commands.store(true, Ordering::Relaxed);
        self.on(side, &what, move || command.spawn())
    }

    /// Runs something in a side's namespace and waits for it.
    fn on<T: Send + 'static>(
        &self,
        side: Side,
        what: &str,
        f: impl FnOnce() -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, LabError> {
        let gone =
            || LabError::Kernel { what: what.to_owned(), message: "its namespace's thread died".into() };
        self.place(side).run(f).ok_or_else(gone)?.map_err(|e| LabError::kernel(what, &e))
    }

    fn place(&self, side: Side) -> &Place {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    /// Takes the link down, waits until the truth log is written, and says what the link did.
    /// Commands that still run in the namespaces are killed; threads see their network vanish.
    pub fn finish(mut self) -> Result<LabStats, LabError> {
        let drops = |place: &Place| place.run(place::device_drops).unwrap_or(0);
        let unread = (drops(&self.client), drops(&self.server));
        let link = self.stop()?;
        Ok(LabStats { link, unread })
    }

    fn stop(&mut self) -> Result<LinkStats, LabError> {
        self.shared.stop.store(true, Ordering::Release);
        let _ = self.wake.write_all(&[0]);
        let died = || LabError::Kernel { what: "forward packets".into(), message: "its thread died".into() };
        let stats = match self.forwarder.take() {
            Some(thread) => thread.join().map_err(|_| died())?,
            None => LinkStats::default(),
        };
        if let Some(truth) = self.truth.take() {
            truth.join().map_err(|_| died())??;
        }
        if self.has_commands.swap(false, Ordering::Relaxed) {
            self.client.evict();
            self.server.evict();
        }
        self.client.close();
        self.server.close();
        Ok(stats)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// The file behind `truth.ndjson`.
struct TruthLog {
    path: String,
    file: File,
}

impl TruthLog {
    fn create(path: &Path) -> Result<TruthLog, LabError> {
        let name = path.display().to_string();
        match File::create(path) {
            Ok(file) => Ok(TruthLog { path: name, file }),
            Err(e) => Err(LabError::Truth { path: name, message: e.to_string() }),
        }
    }

    /// Writes on a thread of its own: the forwarder must not wait for a disk.
    #[expect(clippy::type_complexity, reason = "used once")]
    fn start(self) -> Result<(mpsc::Sender<Vec<Fate>>, JoinHandle<Result<(), LabError>>), LabError> {
        let (sender, batches) = mpsc::channel::<Vec<Fate>>();
        let path = self.path;
        let file = self.file;
        let write = move || -> std::io::Result<()> {
            let mut out = BufWriter::new(file);
            for fate in batches.iter().flatten() {
                serde_json::to_writer(&mut out, &fate)?;
                out.write_all(b"\n")?;
            }
            out.flush()
        };
        let thread = std::thread::Builder::new()
            .name("lab-truth".into())
            .spawn(move || write().map_err(|e| LabError::Truth { path, message: e.to_string() }))
            .map_err(|e| LabError::kernel("start a thread", &e))?;
        Ok((sender, thread))
    }
}
