//! The kernel's own word on every retransmission: trace events of both ends of one connection.
//!
//! The events are collected in an instance of their own, so that nobody else's trace is touched, and
//! only those of the two ports of the connection. Where tracefs is not mounted, it is mounted in a mount
//! namespace that only this thread lives in. The instance goes when the tracer does; one that a killed
//! process has left is removed by the next.

use super::sys::open_nonblocking;
use crate::lab::kernel::{Resend, Traced, resends};
use crate::model::{Ns, Ts};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

const TRACEFS: &str = "/sys/kernel/tracing";
const NAME: &str = "syncscope-";
/// Buffer of each processor, KiB: some five thousand events.
const BUFFER: &str = "1024";
/// The first must be there; a kernel without the others tells less.
const EVENTS: [&str; 3] = ["tcp_retransmit_skb", "tcp_cong_state_set", "tcp_retransmit_synack"];

/// A trace that runs.
pub struct Tracer {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<Result<Collected, String>>,
}

/// What was traced.
#[derive(Debug, Default)]
pub struct Collected {
    /// In order of time.
    pub resends: Vec<Resend>,
    /// What is missing from them, in words.
    pub missing: Option<String>,
}

impl Tracer {
    /// Starts tracing the connection between these two ports. In words why not, else.
    pub fn start(client: u16, server: u16) -> Result<Tracer, String> {
        let (stop, stopped) = mpsc::channel();
        let (ready, started) = mpsc::channel();
        let work = move || {
            let made = Instance::make(client, server);
            let told = ready.send(made.as_ref().map(|_| ()).map_err(Clone::clone));
            let instance = made?;
            if told.is_ok() {
                // An error says that nobody waits any more: the end as well.
                let _ = stopped.recv();
            }
            instance.collect(server)
        };
        let spawned = std::thread::Builder::new().name("lab-trace".into()).spawn(work);
        let thread = spawned.map_err(|e| format!("cannot start a thread: {e}"))?;
        match started.recv() {
            Ok(Ok(())) => Ok(Tracer { stop, thread }),
            Ok(Err(why)) => Err(why),
            Err(_) => Err("the tracer's thread died".to_owned()),
        }
    }

    /// Stops it.
    pub fn finish(self) -> Result<Collected, String> {
        drop(self.stop);
        self.thread.join().unwrap_or_else(|_| Err("the tracer's thread died".to_owned()))
    }
}

/// A trace buffer of our own.
struct Instance {
    dir: PathBuf,
    /// Open all the time: the kernel then lets nobody remove the instance.
    pipe: Option<File>,
    /// Wall clock at 0 of the monotonic clock.
    base: Ts,
    without: Vec<&'static str>,
}

impl Instance {
    fn make(client: u16, server: u16) -> Result<Instance, String> {
        let root = tracefs()?;
        remove_leftovers(&root.join("instances"));
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = root.join("instances").join(format!("{NAME}{}-{number}", std::process::id()));
        std::fs::create_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        let mut instance = Instance { dir, pipe: None, base: monotonic_zero(), without: Vec::new() };
        instance.pipe = Some(
            open_nonblocking(&instance.dir.join("trace_pipe"))
                .map_err(|e| instance.fail("trace_pipe", &e))?,
        );
        instance.write("trace_clock", "mono")?;
        instance.write("buffer_size_kb", BUFFER)?;
        let filter = format!("(sport=={client}&&dport=={server})||(sport=={server}&&dport=={client})");
        for (n, event) in EVENTS.into_iter().enumerate() {
            let format = std::fs::read_to_string(instance.dir.join(format!("events/tcp/{event}/format")));
            let told = format.is_ok_and(|f| f.contains(" sport;") && f.contains(" dport;"));
            if told {
                instance.write(&format!("events/tcp/{event}/filter"), &filter)?;
                instance.write(&format!("events/tcp/{event}/enable"), "1")?;
            } else if n == 0 {
                return Err(format!("this kernel has no trace event tcp:{event} with ports"));
            } else {
                instance.without.push(event);
            }
        }
        Ok(instance)
    }

    fn fail(&self, name: &str, e: &std::io::Error) -> String {
        format!("{}/{name}: {e}", self.dir.display())
    }

    fn write(&self, name: &str, value: &str) -> Result<(), String> {
        std::fs::write(self.dir.join(name), value).map_err(|e| self.fail(name, &e))
    }

    fn collect(mut self, server: u16) -> Result<Collected, String> {
        for event in EVENTS.into_iter().filter(|e| !self.without.contains(e)) {
            self.write(&format!("events/tcp/{event}/enable"), "0")?;
        }
        let mut text = Vec::new();
        if let Some(pipe) = &mut self.pipe {
            let mut chunk = vec![0u8; 1 << 16];
            loop {
                match pipe.read(&mut chunk) {
                    Ok(0) => break,
                    Ok(n) => text.extend_from_slice(&chunk[..n]),
                    Err(e) if e.kind() == ErrorKind::Interrupted => {}
                    Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                    Err(e) => return Err(self.fail("trace_pipe", &e)),
                }
            }
        }
        let lines: Vec<Traced> = String::from_utf8_lossy(&text).lines().filter_map(Traced::parse).collect();
        let mut missing = Vec::new();
        let overrun = self.overrun();
        if overrun > 0 {
            missing.push(format!("{overrun} trace events found no room in the kernel's buffer"));
        }
        for event in &self.without {
            missing.push(format!("this kernel has no trace event tcp:{event} with ports"));
        }
        let missing = (!missing.is_empty()).then(|| missing.join("; "));
        Ok(Collected { resends: resends(&lines, server, self.base), missing })
    }

    fn overrun(&self) -> u64 {
        let cpus = std::fs::read_dir(self.dir.join("per_cpu")).into_iter().flatten().flatten();
        let lost = |stats: &str| {
            let of = |l: &str| l.strip_prefix("overrun:")?.trim().parse::<u64>().ok();
            stats.lines().filter_map(of).sum::<u64>()
        };
        cpus.filter_map(|cpu| std::fs::read_to_string(cpu.path().join("stats")).ok()).map(|s| lost(&s)).sum()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.pipe = None;
        // Nothing can be done about a failure here; the next tracer tries again.
        let _ = std::fs::remove_dir(&self.dir);
    }
}

/// Where tracefs is, for the calling thread, which gets a mount namespace of its own if need be.
fn tracefs() -> Result<PathBuf, String> {
    let root = PathBuf::from(TRACEFS);
    if root.join("instances").is_dir() {
        return Ok(root);
    }
    let told = |what: &str, e: nix::Error| format!("cannot {what}: {}", e.desc());
    unshare(CloneFlags::CLONE_NEWNS).map_err(|e| told("make a mount namespace", e))?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .map_err(|e| told("make mounts private", e))?;
    mount(Some("tracefs"), TRACEFS, Some("tracefs"), MsFlags::empty(), none)
        .map_err(|e| told(&format!("mount tracefs at {TRACEFS} (it needs root)"), e))?;
    Ok(root)
}

/// Removes instances of processes that are gone; of one that nobody has buried yet only the program is.
/// An instance that is in use cannot be removed.
fn remove_leftovers(instances: &Path) {
    for entry in std::fs::read_dir(instances).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|n| n.strip_prefix(NAME)?.split('-').next()?.parse::<u32>().ok());
        if pid.is_some_and(|pid| std::fs::read_link(format!("/proc/{pid}/exe")).is_err()) {
            let _ = std::fs::remove_dir(entry.path());
        }
    }
}

/// Wall clock at 0 of the monotonic clock: the tightest of a few pairs of readings.
fn monotonic_zero() -> Ts {
    let ns = |clock| {
        let t = clock_gettime(clock).ok()?;
        Some(t.tv_sec() * 1_000_000_000 + t.tv_nsec())
    };
    let pair = || {
        let before = ns(ClockId::CLOCK_MONOTONIC)?;
        let real = ns(ClockId::CLOCK_REALTIME)?;
        let after = ns(ClockId::CLOCK_MONOTONIC)?;
        Some((after - before, Ts(real) - Ns(before.midpoint(after))))
    };
    let best = (0..5).filter_map(|_| pair()).min_by_key(|p| p.0);
    best.map_or(Ts(0), |p| p.1)
}
