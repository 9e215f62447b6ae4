//! Two hosts with a link between them that can be cut, and what goes on there: processes, their words, and the
//! connections that the server's kernel still has.

use std::fs;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use syncscope::lab::live::{Lab, LabError};
use syncscope::lab::scenario::Scenario;
use syncscope::model::Side;
use tempfile::TempDir;

/// Where the server listens, ours and rsync's.
pub const PORT: u16 = 8730;
/// The link is cut this long after its first packet.
pub const CUT: Duration = Duration::from_millis(3000);
const SOON: Duration = Duration::from_millis(10);

/// Whether anything passes after [`CUT`], either way.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    Never,
    ForGood,
    For(Duration),
}

/// Two namespaces, a link, and a place for both trees.
pub struct World {
    lab: Lab,
    pub dir: TempDir,
}

impl World {
    /// A link of 20 Mbit/s and 20 ms.
    pub fn new(cut: Cut) -> Result<World, LabError> {
        let at = CUT.as_millis();
        let black = match cut {
            Cut::Never => String::new(),
            Cut::ForGood => format!("blackout = [{{ at = \"{at}ms\" }}]\n"),
            Cut::For(d) => format!("blackout = [{{ at = \"{at}ms\", for = \"{}ms\" }}]\n", d.as_millis()),
        };
        let way = format!("delay = \"10ms\"\nrate = \"20Mbit/s\"\n{black}");
        let text = format!("name = \"liveness\"\n[c2s]\n{way}[s2c]\n{way}");
        let lab = Lab::start(&Scenario::parse("liveness", &text).expect("a scenario"), None)?;
        Ok(World { lab, dir: tempfile::tempdir().expect("a folder") })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn server(&self) -> SocketAddr {
        SocketAddr::new(self.server_ip(), PORT)
    }

    pub fn server_ip(&self) -> IpAddr {
        self.lab.addr(Side::Server)
    }

    /// A tree to send and an empty place to receive it.
    pub fn trees(&self, mib: usize) {
        fs::create_dir(self.path("source")).expect("a folder");
        fs::create_dir(self.path("dest")).expect("a folder");
        let mut x = 1u64;
        let mut noise = || {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (x >> 33) as u8
        };
        let data: Vec<u8> = (0..mib << 20).map(|_| noise()).collect();
        fs::write(self.path("source/big"), data).expect("a file");
    }

    /// When the link was cut; the wall clock.
    pub fn cut_at(&self) -> SystemTime {
        let zero = self.lab.time_zero().expect("packets were sent");
        SystemTime::UNIX_EPOCH + Duration::from_nanos(zero.0 as u64) + CUT
    }

    /// Sleeps until this long after the cut.
    pub fn until_after_cut(&self, after: Duration) {
        while self.lab.time_zero().is_none() {
            std::thread::sleep(SOON);
        }
        if let Ok(left) = (self.cut_at() + after).duration_since(SystemTime::now()) {
            std::thread::sleep(left);
        }
    }

    /// Starts a program on one of the hosts.
    pub fn start(&self, side: Side, program: &str, args: &[&str]) -> Running {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        // Beyond loopback nobody serves without one.
        let secret = self.path("secret");
        fs::write(&secret, "thirty-two bytes that nobody has").expect("a secret");
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("a secret of one's own");
        command.env("SYNCSCOPE_SECRET_FILE", secret);
        let mut child = self.lab.spawn_command(side, command).expect("a program that starts");
        let said = Said::follow(child.stderr.take().expect("a pipe"));
        Running { child, said }
    }

    /// Runs something on one of the hosts.
    pub fn thread<T: Send + 'static>(
        &self,
        side: Side,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> std::thread::JoinHandle<T> {
        self.lab.spawn_thread(side, "case", f).expect("a thread")
    }

    /// Waits until somebody listens on the server.
    pub fn wait_for_listener(&self) {
        let listens = self.thread(Side::Server, || {
            (0..1000).any(|_| {
                std::thread::sleep(SOON);
                states().contains(&LISTEN)
            })
        });
        assert!(listens.join().expect("the thread"), "nobody listens");
    }

    /// When the server's kernel had no connection any more, watched until `until`; the wall clock.
    pub fn connections_gone(&self, until: SystemTime) -> std::thread::JoinHandle<Option<SystemTime>> {
        self.thread(Side::Server, move || {
            loop {
                let now = SystemTime::now();
                if states().iter().all(|s| matches!(*s, LISTEN | TIME_WAIT)) {
                    return Some(now);
                }
                if now >= until {
                    return None;
                }
                std::thread::sleep(SOON);
            }
        })
    }
}

const LISTEN: u8 = 10;
const TIME_WAIT: u8 = 6;

/// States of this namespace's TCP sockets that have the server's port, as the kernel numbers them.
fn states() -> Vec<u8> {
    let table = fs::read_to_string("/proc/thread-self/net/tcp").unwrap_or_default();
    let port = format!(":{PORT:04X}");
    let state = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, _, state) = (fields.next()?, fields.next()?, fields.next()?);
        local.ends_with(&port).then(|| u8::from_str_radix(state, 16).ok()).flatten()
    };
    table.lines().skip(1).filter_map(state).collect()
}

/// A program, and what it says on stderr.
pub struct Running {
    child: Child,
    said: Said,
}

impl Running {
    /// Waits until it ends, at most until `until`: when, and how.
    pub fn ended(&mut self, until: SystemTime) -> Option<(SystemTime, ExitStatus)> {
        loop {
            let status = self.child.try_wait().expect("a child");
            let now = SystemTime::now();
            if let Some(status) = status {
                return Some((now, status));
            }
            if now >= until {
                return None;
            }
            std::thread::sleep(SOON);
        }
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        nix::sys::signal::kill(pid, signal).expect("a signal");
    }

    /// All that it has said.
    pub fn said(&self) -> String {
        self.said.text()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a program ended, as a shell would show it.
pub fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

struct Said(Arc<Mutex<Vec<u8>>>);

impl Said {
    fn follow(mut from: ChildStderr) -> Said {
        let text = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&text);
        std::thread::spawn(move || {
            let mut buf = [0; 4096];
            while let Ok(n @ 1..) = from.read(&mut buf) {
                shared.lock().expect("no panic there").extend_from_slice(&buf[..n]);
            }
        });
        Said(text)
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("no panic there")).into_owned()
    }
}

/// Files of ours that a run left, anywhere below.
pub fn leftovers(root: &Path) -> Vec<String> {
    let all = walkdir::WalkDir::new(root).into_iter().filter_map(Result::ok);
    let names = all.map(|e| e.file_name().to_string_lossy().into_owned());
    names.filter(|n| n.starts_with(".syncscope") || n.starts_with(".big.")).collect()
}
