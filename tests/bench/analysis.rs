//! `analyze` beside tcptrace, tshark and cat, on the same files; how time and memory grow with the file.
//!
//! `cargo bench --bench analysis -- [--rounds N] [--quick] [--check] [--only PART]`. Everybody takes turns, round by
//! round; printed are medians of the wall clock and of processor time, and ratios within a round (their median).
//! `--quick` leaves out the largest files and tshark (a minute instead of eight); `--check` fails below a mark;
//! `--only` runs one of `others`, `cat`, `growth`, `many`. `--make FILE FLOWS PACKETS LOSS SNAPLEN EACH` only writes
//! such a file (losses per 10,000; packets a connection, 0: one connection for ever).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod traffic;

use nix::sys::resource::{UsageWho, getrusage};
use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use traffic::Traffic;

const OURS: &str = env!("CARGO_BIN_EXE_syncscope");

/// One run of a program.
#[derive(Clone, Copy)]
struct Ran {
    wall: f64,
    /// Of all its threads, the kernel's share included.
    processor: f64,
    /// Highest resident set, bytes; sampled, so a little low.
    memory: u64,
}

struct Bench {
    dir: PathBuf,
    rounds: usize,
    missed: Vec<String>,
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let flag = |name: &str| args.iter().any(|a| a == name);
    if let Some(i) = args.iter().position(|a| a == "--make") {
        let number = |k: usize| args[i + k].parse::<u64>().expect("a number");
        let t = Traffic {
            flows: u32::try_from(number(2)).unwrap(),
            packets: number(3),
            loss: number(4),
            snaplen: usize::try_from(number(5)).unwrap(),
            each: number(6),
        };
        make(Path::new(&args[i + 1]), t);
        return;
    }
    let rounds =
        args.iter().position(|a| a == "--rounds").map_or(5, |i| args[i + 1].parse().expect("rounds"));
    let shm = Path::new("/dev/shm");
    let dir = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
    let dir = dir.join(format!("syncscope-analysis-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let mut b = Bench { dir, rounds, missed: Vec::new() };
    let only = args.iter().position(|a| a == "--only").map(|i| args[i + 1].as_str());
    let wanted = |part: &str| only.is_none_or(|o| o == part);
    let quick = flag("--quick");
    if wanted("others") {
        b.beside_others(quick);
    }
    if wanted("cat") {
        b.full_packets();
    }
    if wanted("growth") {
        b.growth(quick);
    }
    if wanted("many") {
        b.many_connections(quick);
    }
    fs::remove_dir_all(&b.dir).unwrap();
    println!(
        "\n{}",
        if b.missed.is_empty() {
            "every mark is met".into()
        } else {
            format!("missed: {}", b.missed.join(", "))
        }
    );
    if flag("--check") && !b.missed.is_empty() {
        std::process::exit(1);
    }
}

fn make(path: &Path, t: Traffic) {
    let mut out = BufWriter::with_capacity(1 << 20, fs::File::create(path).unwrap());
    traffic::write(t, &mut out).unwrap();
    out.flush().unwrap();
}

fn median(mut v: Vec<f64>) -> f64 {
    v.sort_by(f64::total_cmp);
    v.get(v.len() / 2).copied().unwrap_or(f64::NAN)
}

fn peak(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
}

/// Processor time of all programs that were run so far.
fn processor() -> f64 {
    let u = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    [u.user_time(), u.system_time()].iter().map(|t| t.tv_sec() as f64 + t.tv_usec() as f64 * 1e-6).sum()
}

/// None where there is no such program.
fn run(program: &str, args: &[&str]) -> Option<Ran> {
    let (began, before) = (Instant::now(), processor());
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut memory = 0;
    loop {
        memory = memory.max(peak(&child));
        if child.try_wait().unwrap().is_some() {
            return Some(Ran {
                wall: began.elapsed().as_secs_f64(),
                processor: processor() - before,
                memory,
            });
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}

impl Bench {
    fn file(&self, name: &str, t: Traffic) -> PathBuf {
        let path = self.dir.join(name);
        make(&path, t);
        path
    }

    fn judge(&mut self, what: &str, value: f64, least: Option<f64>, most: Option<f64>) {
        let met = least.is_none_or(|l| value >= l) && most.is_none_or(|m| value <= m);
        let asked = match (least, most) {
            (Some(l), _) => format!("≥ {l}"),
            (_, Some(m)) => format!("≤ {m}"),
            _ => String::new(),
        };
        println!("{what:<62} {value:>9.2}  {asked:<9} {}", if met { "yes" } else { "NO" });
        if !met {
            self.missed.push(what.to_owned());
        }
    }

    /// Runs everybody in turn; by program, by round.
    fn turns(&self, programs: &[(&str, Vec<&str>)]) -> Vec<Vec<Ran>> {
        self.rounds_of(self.rounds, programs)
    }

    fn rounds_of(&self, rounds: usize, programs: &[(&str, Vec<&str>)]) -> Vec<Vec<Ran>> {
        let mut all = vec![Vec::new(); programs.len()];
        for _ in 0..rounds {
            for (i, (program, args)) in programs.iter().enumerate() {
                all[i].extend(run(program, args));
            }
        }
        all
    }

    fn beside_others(&mut self, quick: bool) {
        println!("1,000,000 packets, 96 bytes of each, 8 connections with loss: how often as fast");
        for loss in [10, 50] {
            let t = Traffic { flows: 8, packets: 1_000_000, loss, snaplen: 96, each: 0 };
            let path = self.file("small.pcap", t);
            let f = path.to_str().unwrap();
            let all = self.turns(&[
                (OURS, vec!["analyze", "--fail-on", "never", f]),
                (OURS, vec!["analyze", "--fail-on", "never", "--jobs", "1", f]),
                ("tcptrace", vec!["-n", f]),
            ]);
            for (name, r) in ["syncscope", "syncscope --jobs 1", "tcptrace"].iter().zip(&all) {
                let wall = median(r.iter().map(|x| x.wall).collect());
                let memory = r.iter().map(|x| x.memory).max().unwrap_or(0);
                let processor = median(r.iter().map(|x| x.processor).collect());
                println!(
                    "  {name:<20} {wall:>7.3} s  {processor:>6.3} s of processors  {:>6.2} million packets/s  {:>4} MiB",
                    1.0 / wall,
                    memory >> 20
                );
            }
            let lost = format!("{} % lost", loss as f64 / 100.0);
            let than = |a: usize, b: usize| {
                median(all[b].iter().zip(&all[a]).map(|(p, o)| p.wall / o.wall).collect())
            };
            if all[2].is_empty() {
                println!("  tcptrace is not here");
            } else {
                self.judge(&format!("{lost}: beside tcptrace"), than(0, 2), Some(4.0), None);
                self.judge(&format!("{lost}: beside tcptrace, one thread"), than(1, 2), Some(2.0), None);
                let work = all[2].iter().zip(&all[1]).map(|(p, o)| p.processor / o.processor).collect();
                println!(
                    "  the same of processor time, which a busy machine leaves alone: {:.2}",
                    median(work)
                );
            }
            if !quick && loss == 50 {
                match run("tshark", &["-n", "-q", "-z", "conv,tcp", "-r", f]) {
                    Some(t) => {
                        let ours = median(all[0].iter().map(|x| x.wall).collect());
                        println!("  {:<20} {:>7.3} s  {:>38} MiB", "tshark, once", t.wall, t.memory >> 20);
                        self.judge(&format!("{lost}: beside tshark"), t.wall / ours, Some(250.0), None);
                    }
                    None => println!("  tshark is not here"),
                }
            }
            let memory = all[0].iter().map(|x| x.memory >> 20).max().unwrap_or(0);
            self.judge(&format!("{lost}: MiB of memory"), memory as f64, None, Some(64.0));
        }
    }

    fn full_packets(&mut self) {
        println!("\n200,000 whole packets, from the page cache: how often as long as cat");
        let path = self
            .file("whole.pcap", Traffic { flows: 8, packets: 200_000, loss: 10, snaplen: 65_535, each: 0 });
        let f = path.to_str().unwrap();
        let all = self.turns(&[(OURS, vec!["analyze", "--fail-on", "never", f]), ("cat", vec![f])]);
        let ratio = median(all[0].iter().zip(&all[1]).map(|(o, c)| o.wall / c.wall).collect());
        self.judge("whole packets: beside cat", ratio, None, Some(2.0));
    }

    fn growth(&mut self, quick: bool) {
        println!("\ntime a packet against the decade before (10,000 to 10,000,000 packets)");
        let decades: &[u64] = &[10_000, 100_000, 1_000_000, 10_000_000];
        let decades = if quick { &decades[..3] } else { decades };
        let mut before: Option<f64> = None;
        for &packets in decades {
            let path = self.file("grow.pcap", Traffic { flows: 8, packets, loss: 10, snaplen: 96, each: 0 });
            let f = path.to_str().unwrap();
            let rounds = if packets > 1_000_000 { self.rounds.min(3) } else { self.rounds };
            let all = self.rounds_of(rounds, &[(OURS, vec!["analyze", "--fail-on", "never", f])]);
            let each = median(all[0].iter().map(|x| x.wall).collect()) / packets as f64;
            let memory = all[0].iter().map(|x| x.memory >> 20).max().unwrap_or(0);
            println!("  {packets:>10} packets  {:>7.0} ns each  {memory:>4} MiB", each * 1e9);
            if let Some(b) = before {
                self.judge(&format!("{packets} packets: beside a tenth of them"), each / b, None, Some(1.3));
            }
            self.judge(&format!("{packets} packets: MiB of memory"), memory as f64, None, Some(64.0));
            before = Some(each);
        }
        fs::remove_file(self.dir.join("grow.pcap")).unwrap();
    }

    fn many_connections(&mut self, quick: bool) {
        let n = if quick { 100_000 } else { 1_000_000 };
        println!("\n{n} connections of 10 packets in one file");
        let t = Traffic { flows: 200, packets: n * 10, loss: 10, snaplen: 96, each: 8 };
        let path = self.file("many.pcap", t);
        let ran =
            run(OURS, &["analyze", "--fail-on", "never", "--format", "csv", path.to_str().unwrap()]).unwrap();
        println!("  {:.1} s, {} MiB", ran.wall, ran.memory >> 20);
        self.judge("memory a connection, bytes", ran.memory as f64 / n as f64, None, Some(1024.0));
    }
}
