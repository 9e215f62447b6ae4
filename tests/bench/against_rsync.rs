//! Whole pushes over loopback: `syncscope sync` to `syncscope serve` beside rsync to its daemon, in turn.
//!
//! `cargo bench --bench against_rsync -- [--mib N] [--files N] [--rounds N] [--check]`. Both read and write in
//! memory (/dev/shm). Timed is a whole program by the clock, from its start to its end; of ours also the time of
//! the sync alone, which leaves out the comparison of clocks, the server's half of the record and the report, and
//! the most memory that its two ends held. Neither captures packets. `--check` fails below a mark.
//!
//! In the end both push 1,000 small files over the emulated link, 100 ms there and back: without loss, where time
//! counts round trips, and with 1 % loss (`--link` does only that).

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "long_link.rs"]
mod long_link;
#[path = "noise.rs"]
mod noise;

use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

/// A running server, ended with its owner.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn start(mut command: Command, port: u16) -> Served {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let served = Served(child);
    let until = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < until, "nobody listens on {port}");
        std::thread::sleep(Duration::from_millis(20));
    }
    served
}

/// What one run came to.
struct Ran {
    seconds: f64,
    /// Most memory that it held, MiB.
    memory: f64,
    stderr: String,
}

#[allow(clippy::zombie_processes)] // `wait` does it, and asks what the child used
fn run(command: &mut Command) -> Ran {
    let began = Instant::now();
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    let (code, memory) = wait(&child);
    let seconds = began.elapsed().as_secs_f64();
    assert!(matches!(code, 0 | 1 | 3), "{command:?}: {code}: {stderr}");
    Ran { seconds, memory, stderr }
}

/// Exit code and most memory in MiB of a child, which is gone then.
#[allow(unsafe_code)]
fn wait(child: &Child) -> (i32, f64) {
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: both pointers are to live, writable values; a zeroed rusage is one.
    let usage = unsafe {
        assert_eq!(libc::wait4(child.id() as i32, &mut status, 0, usage.as_mut_ptr()), child.id() as i32);
        usage.assume_init()
    };
    (libc::WEXITSTATUS(status), usage.ru_maxrss as f64 / 1024.0)
}

/// Most memory that a process has held since it was asked for the last time, MiB.
fn peak(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kib =
        status.lines().find_map(|l| l.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse::<f64>().ok());
    fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
    kib.unwrap() / 1024.0
}

struct World {
    dir: PathBuf,
    ours: u16,
    theirs: u16,
    served: [Served; 2],
}

impl World {
    fn new() -> World {
        let dir = PathBuf::from("/dev/shm").join(format!("syncscope-bench-{}", std::process::id()));
        let (ours, theirs) = (free_port(), free_port());
        fs::create_dir_all(dir.join("dest")).unwrap();
        let config = dir.join("rsyncd.conf");
        let text = format!(
            "address = 127.0.0.1\nport = {theirs}\nuse chroot = no\n[m]\npath = {}\nread only = no\nuid = {}\ngid = {}\n",
            dir.join("dest").display(),
            nix::unistd::getuid(),
            nix::unistd::getgid(),
        );
        fs::write(&config, text).unwrap();
        let mut rsync = Command::new("rsync");
        rsync.args(["--daemon", "--no-detach", "--config"]).arg(&config);
        let mut serve = Command::new(env!("CARGO_BIN_EXE_syncscope"));
        serve.args(["serve", "--no-capture", "--listen", &format!("127.0.0.1:{ours}")]).arg(dir.join("dest"));
        let served = [start(rsync, theirs), start(serve, ours)];
        World { dir, ours, theirs, served }
    }

    /// Seconds of the program and of the sync alone, and memory of both ends.
    fn sync(&self, source: &str) -> (f64, f64, [f64; 2]) {
        let record = self.dir.join("record");
        let _ = fs::remove_dir_all(&record);
        let mut c = Command::new(env!("CARGO_BIN_EXE_syncscope"));
        c.args(["sync", "--no-capture", "--fail-on", "never", "--format", "json", "--record"]).arg(&record);
        c.arg(self.dir.join(source)).arg(format!("127.0.0.1:{}:", self.ours));
        let server = self.served[1].0.id();
        peak(server);
        // What this program has held until now would count as the client's.
        peak(std::process::id());
        let Ran { seconds: all, memory, stderr: said } = run(&mut c);
        let memory = [memory, peak(server)];
        // "… in 1.2 MiB in 93.4 ms (…)": the time of the sync alone.
        let alone =
            said.lines().find_map(|l| l.split(" in ").nth(1).and_then(|t| seconds(t.split(" (").next()?)));
        (all, alone.unwrap_or_else(|| panic!("no duration in {said:?}")), memory)
    }

    fn rsync(&self, source: &str, delta: bool) -> f64 {
        let mut c = Command::new("rsync");
        c.arg("-a");
        if delta {
            c.args(["-I", "--no-whole-file"]);
        }
        c.arg(format!("{}/", self.dir.join(source).display()))
            .arg(format!("rsync://127.0.0.1:{}/m/", self.theirs));
        run(&mut c).seconds
    }

    /// The destination as it is before a run.
    fn reset(&self, basis: Option<&str>) {
        let dest = self.dir.join("dest");
        for entry in fs::read_dir(&dest).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
        }
        if let Some(basis) = basis {
            let to = dest.join("file");
            fs::copy(self.dir.join(basis).join("file"), &to).unwrap();
            let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
            fs::File::options().write(true).open(&to).unwrap().set_modified(old).unwrap();
        }
    }

    fn put(&self, name: &str, data: &[u8]) {
        fs::create_dir_all(self.dir.join(name)).unwrap();
        fs::write(self.dir.join(name).join("file"), data).unwrap();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// `93.4 ms`, `1.25 s`, `250 µs`.
fn seconds(text: &str) -> Option<f64> {
    let (number, unit) = text.trim().split_once(' ')?;
    let scale = match unit {
        "s" => 1.0,
        "ms" => 1e-3,
        "µs" => 1e-6,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * scale)
}

fn median(mut v: Vec<f64>) -> f64 {
    v.sort_by(f64::total_cmp);
    v[v.len() / 2]
}

/// Small files, most of them smaller still, in folders of 100.
fn tree(root: &Path, files: usize) -> u64 {
    let mut x = 7u64;
    let mut bytes = 0;
    for i in 0..files {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let len = (512.0 * 64f64.powf((x >> 40) as f64 / f64::from(1 << 24))) as usize;
        let dir = root.join(format!("{}", i / 100));
        if i % 100 == 0 {
            fs::create_dir_all(&dir).unwrap();
        }
        fs::write(dir.join(format!("{i}.dat")), noise::noise(x, len)).unwrap();
        bytes += len as u64;
    }
    bytes
}

/// Name, source, mark, and what is done before each run.
type Case<'a> = (&'a str, &'a str, Option<f64>, &'a dyn Fn(&World));

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let number = |flag: &str, or: usize| {
        let value = args.iter().position(|a| a == flag).and_then(|i| args.get(i + 1));
        value.map_or(or, |v| v.parse().unwrap_or_else(|_| panic!("{flag} takes a number, not {v}")))
    };
    let there = Command::new("rsync").arg("--version").output().is_ok_and(|o| o.status.success());
    if !there || !Path::new("/dev/shm").is_dir() {
        println!("SKIPPED: needs rsync (make peers) and /dev/shm");
        return;
    }
    let (mib, files, rounds) = (number("--mib", 256), number("--files", 20_000), number("--rounds", 5));
    if args.iter().any(|a| a == "--link") {
        long_link::run(number("--rounds", 3));
        return;
    }
    let world = World::new();
    let base = noise::noise(1, mib << 20);
    world.put("base", &base);
    world.put("pages", &noise::pages(&base, 0.01, 2));
    world.put("other", &noise::noise(99, mib << 20));
    drop(base);
    let bytes = tree(&world.dir.join("tree"), files);
    println!(
        "{mib} MiB; a tree of {files} files, {:.0} MB; {rounds} rounds in turn; seconds by the clock",
        bytes as f64 / 1e6
    );
    println!(
        "{:<26} {:>8} {:>8} {:>8}  {:>7} {:<7} met  alone/rsync  MiB: client server",
        "push", "rsync", "ours", "alone", "ratio", "mark"
    );
    let mut missed = 0;
    let big = |basis| move |w: &World| w.reset(basis);
    let none = |_: &World| {};
    let cases: [Case<'_>; 6] = [
        ("identical, touched", "base", None, &big(Some("base"))),
        ("1 % of pages", "pages", Some(0.6), &big(Some("base"))),
        ("all different", "other", Some(0.25), &big(Some("base"))),
        ("no basis", "base", Some(1.0), &big(None)),
        ("tree, initial", "tree", Some(0.6), &big(None)),
        ("tree, nothing to do", "tree", Some(0.6), &none),
    ];
    for (name, source, mark, prepare) in cases {
        let (mut theirs, mut ours, mut alone) = (Vec::new(), Vec::new(), Vec::new());
        let mut most = [0.0f64; 2];
        for _ in 0..rounds {
            prepare(&world);
            theirs.push(world.rsync(source, source != "tree"));
            prepare(&world);
            let (all, sync, memory) = world.sync(source);
            most = [most[0].max(memory[0]), most[1].max(memory[1])];
            ours.push(all);
            alone.push(sync);
        }
        let (theirs, ours, alone) = (median(theirs), median(ours), median(alone));
        let ratio = ours / theirs;
        let met = mark.map(|m| ratio <= m);
        missed += usize::from(met == Some(false));
        println!(
            "{name:<26} {theirs:>8.3} {ours:>8.3} {alone:>8.3}  {ratio:>7.3} {:<7} {:<4} {:<12.3} {:>6.1} {:>6.1}",
            mark.map_or(String::new(), |m| format!("≤ {m}")),
            met.map_or("", |m| if m { "yes" } else { "NO" }),
            alone / theirs,
            most[0],
            most[1],
        );
    }
    drop(world);
    long_link::run(rounds.min(3));
    println!(
        "{}",
        if missed == 0 { "all marks are met".to_owned() } else { format!("{missed} marks are missed") }
    );
    if missed > 0 && args.iter().any(|a| a == "--check") {
        std::process::exit(1);
    }
}
