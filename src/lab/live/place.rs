//! One end of the link: a network namespace without a name, and a thread that keeps it.
//!
//! Whatever must happen in the namespace is handed to that thread: the threads and processes that it
//! starts live there too. The namespace goes when the last of them and the thread have gone, so
//! nothing is left behind, not even when the process is killed.

use super::privilege::not_allowed;
use super::sys::{self, Interface};
use super::{LabError, place_addr, place_addr6};
use crate::lab::scenario::Scenario;
use crate::model::Side;
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Name of the link's device in both namespaces.
pub const DEVICE: &str = "link0";
/// Packets that may wait for the device before the kernel drops; far above what TCP keeps there.
const QUEUE: u32 = 10_000;

type Job = Box<dyn FnOnce() + Send>;

/// One end.
pub struct Place {
    jobs: Option<mpsc::Sender<Job>>,
    keeper: Option<JoinHandle<()>>,
}

impl Place {
    /// Makes the namespace and its device; the packets of the device are read from and written to the file.
    pub fn make(side: Side, scenario: &Scenario) -> Result<(Place, File), LabError> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (ready, made) = mpsc::channel();
        let scenario = scenario.clone();
        let keeper = std::thread::Builder::new()
            .name(format!("lab-{}", side.as_str()))
            .spawn(move || {
                let tun = set_up(side, &scenario);
                let ok = tun.is_ok();
                if ready.send(tun).is_ok() && ok {
                    inbox.iter().for_each(|job| job());
                }
            })
            .map_err(|e| LabError::kernel("start a thread", &e))?;
        let mut place = Place { jobs: Some(jobs), keeper: Some(keeper) };
        match made.recv() {
            Ok(Ok(tun)) => Ok((place, tun)),
            Ok(Err(e)) => {
                place.close();
                Err(e)
            }
            Err(_) => {
                Err(LabError::Kernel { what: "set up a namespace".into(), message: "its thread died".into() })
            }
        }
    }

    /// Runs something on the keeper's thread, in the namespace, and waits for it. None: the keeper is gone.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (done, result) = mpsc::channel();
        let job: Job = Box::new(move || {
            let _ = done.send(job());
        });
        self.jobs.as_ref()?.send(job).ok()?;
        result.recv().ok()
    }

    /// Kills whatever other processes still live in the namespace. Commands start processes that outlive
    /// them, and one is enough to keep the namespace.
    pub fn evict(&self) {
        let own = |path: &str| std::fs::read_link(path).ok();
        let Some(Some(namespace)) = self.run(move || own("/proc/thread-self/ns/net")) else { return };
        for _ in 0..100 {
            let others = residents(&namespace);
            if others.is_empty() {
                return;
            }
            for pid in others {
                let _ = kill(pid, Signal::SIGKILL);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Lets the keeper end.
    pub fn close(&mut self) {
        self.jobs = None;
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.close();
    }
}

/// Other processes of which the main thread lives in this namespace.
fn residents(namespace: &Path) -> Vec<Pid> {
    let me = std::process::id().cast_signed();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok()).filter(|pid| *pid != me);
    let here = |pid: &i32| std::fs::read_link(format!("/proc/{pid}/ns/net")).is_ok_and(|l| l == namespace);
    pids.filter(here).map(Pid::from_raw).collect()
}

fn set_up(side: Side, scenario: &Scenario) -> Result<File, LabError> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|e| not_allowed("make a network namespace", e))?;
    let tun = sys::open_tun().map_err(|e| LabError::kernel("open /dev/net/tun", &e))?;
    let step = |what: &str, r: io::Result<()>| r.map_err(|e| LabError::kernel(what, &e));
    step("bring up lo", Interface::named("lo").and_then(|lo| lo.up()))?;
    let link =
        Interface::create(&tun, DEVICE, scenario.endpoint.offload).map_err(|e| match e.raw_os_error() {
            Some(libc::EPERM) => not_allowed("make a TUN device", Errno::EPERM),
            _ => LabError::kernel("make a TUN device", &e),
        })?;
    // No link-local address, no router solicitations: nobody asked the kernel to say anything.
    let _ = sysctl(&format!("net/ipv6/conf/{DEVICE}/addr_gen_mode"), "1");
    let _ = sysctl(&format!("net/ipv6/conf/{DEVICE}/router_solicitations"), "0");
    let _ = sysctl(&format!("net/ipv6/conf/{DEVICE}/accept_dad"), "0");
    // What one run learnt about the path must not help the next.
    let _ = sysctl("net/ipv4/tcp_no_metrics_save", "1");
    step("set the queue length", link.set_queue_length(QUEUE))?;
    step("set the MTU", link.set_mtu(scenario.mtu))?;
    step("set the address", link.set_ipv4(place_addr(side), Ipv4Addr::new(255, 255, 255, 0)))?;
    step("bring up the link", link.up())?;
    // A kernel without IPv6 still makes a lab for IPv4. Below 1280 IPv6 does not run (RFC 8200 §5).
    if std::path::Path::new("/proc/sys/net/ipv6").exists() && scenario.mtu >= 1280 {
        step("set the IPv6 address", link.add_ipv6(place_addr6(side), 64))?;
    }
    let set = scenario.endpoint.of(side);
    for (name, wanted) in [("tcp_sack", set.sack), ("tcp_timestamps", set.timestamps)] {
        if let Some(on) = wanted {
            let done = sysctl(&format!("net/ipv4/{name}"), if on { "1" } else { "0" });
            step(&format!("set net.ipv4.{name}"), done)?;
        }
    }
    // A talk sets it on its sockets, which needs no permission of the host.
    if let Some(cc) = set.cc.filter(|_| scenario.talk.is_none()) {
        set_congestion_control(&cc)?;
    }
    Ok(tun)
}

fn sysctl(name: &str, value: &str) -> io::Result<()> {
    std::fs::write(format!("/proc/sys/{name}"), value)
}

fn set_congestion_control(name: &str) -> Result<(), LabError> {
    let error = match sysctl("net/ipv4/tcp_congestion_control", name) {
        Ok(()) => return Ok(()),
        Err(e) => e,
    };
    let mend = match error.raw_os_error() {
        Some(libc::ENOENT) => format!("sudo modprobe tcp_{name}"),
        // A namespace may choose only among those that the host allows to everybody.
        Some(libc::EPERM) => {
            let allowed = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_allowed_congestion_control");
            let allowed = allowed.unwrap_or_default();
            format!("sudo sysctl -w net.ipv4.tcp_allowed_congestion_control=\"{} {name}\"", allowed.trim())
        }
        _ => format!("make /proc/sys writable, or leave `cc = \"{name}\"` out of the scenario"),
    };
    Err(LabError::NotAllowed {
        what: format!("set congestion control {name} in a namespace"),
        message: error.to_string(),
        mend,
    })
}

/// Packets that the kernel dropped before the link could read them, in the calling thread's namespace.
pub fn device_drops() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    let line = text.lines().find_map(|l| l.trim_start().strip_prefix(DEVICE)?.strip_prefix(':'));
    // Eight columns of receiving, then bytes, packets, errs, drop of sending.
    line.and_then(|l| l.split_whitespace().nth(11)?.parse().ok()).unwrap_or(0)
}
