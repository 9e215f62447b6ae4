//! `syncscope lab`: any command over an emulated link.

use super::{CliError, Outcome};
use crate::lab::fate::What;
use crate::lab::live::stats::{LabStats, WayStats};
use crate::lab::live::{self, Lab, LabError, measure};
use crate::lab::scenario::{self, Scenario};
use crate::model::{Dir, Side, units};
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Arguments of `syncscope lab`.
#[derive(clap::Args, Debug)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:
  syncscope lab --scenario captures/scenarios/loss3.toml -- sh -c 'ping -c 3 $SYNCSCOPE_SERVER_ADDR'
  syncscope lab --scenario demo --server 'iperf3 -s -1' -- sh -c 'iperf3 -c $SYNCSCOPE_SERVER_ADDR'
  syncscope lab --scenario captures/scenarios/accuracy/tail-loss.toml --record /tmp/tail-loss
  syncscope lab --measure

The command finds both ends in SYNCSCOPE_CLIENT_ADDR and SYNCSCOPE_SERVER_ADDR (IPv6: …_ADDR6).
Exit code: that of the command."
)]
pub struct Args {
    #[command(subcommand)]
    sub: Option<Sub>,
    /// What the link does: a scenario file, or `clean` or `demo`.
    #[arg(long, value_name = "FILE", required_unless_present = "measure")]
    scenario: Option<PathBuf>,
    /// Another seed than the scenario's.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Another congestion control than the scenario's, at both ends: cubic, bbr, reno, …
    #[arg(long, value_name = "NAME")]
    cc: Option<String>,
    /// Write the fate of every packet here, one JSON object a line.
    #[arg(long, value_name = "FILE")]
    truth: Option<PathBuf>,
    /// The end of the link at which the command runs.
    #[arg(long, value_name = "SIDE", default_value = "client")]
    side: SideArg,
    /// Shell command for the other end; started first, stopped when the command has ended.
    #[arg(long, value_name = "CMD", alias = "peer")]
    server: Option<String>,
    /// Play the scenario's own `[talk]` instead of a command, and leave a run record here: both captures, both
    /// applications' logs, the fate of every packet, the kernels' counters and the report.
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["truth", "server", "side", "command"])]
    record: Option<PathBuf>,
    /// Measure the link itself instead: what it adds to a delay of 20 ms, and how much it carries.
    #[arg(long, conflicts_with_all = ["scenario", "seed", "cc", "truth", "server", "record", "command"])]
    measure: bool,
    /// The command and its arguments.
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

#[derive(clap::Subcommand, Debug)]
enum Sub {
    /// Say how right a report is, against the link's log, the kernels' counters and the applications' logs.
    Score(super::score::Args),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum SideArg {
    Client,
    Server,
}

impl From<LabError> for CliError {
    fn from(e: LabError) -> CliError {
        CliError::Message(e.to_string())
    }
}

/// Reads a scenario file, or one of those that are compiled in.
pub fn load_scenario(path: &std::path::Path) -> Result<Scenario, CliError> {
    let name = path.display().to_string();
    let text = match (scenario::builtin(&name), std::fs::read_to_string(path)) {
        (_, Ok(text)) => text,
        (Some(text), Err(_)) => text.to_owned(),
        (None, Err(e)) => {
            let known = scenario::BUILTIN.join("` and `");
            return Err(CliError::Message(format!(
                "{name}: cannot read the scenario: {e}; `{known}` are built in"
            )));
        }
    };
    Scenario::parse(&name, &text).map_err(|e| CliError::Message(e.to_string()))
}

/// Runs it.
pub fn run(args: Args) -> Result<Outcome, CliError> {
    if let Some(Sub::Score(args)) = &args.sub {
        return super::score::run(args);
    }
    if args.measure {
        live::prepare()?;
        return print_measured(&measure::measure()?);
    }
    let path = args.scenario.clone().unwrap_or_default();
    let mut scenario = load_scenario(&path)?;
    if let Some(seed) = args.seed {
        scenario.seed = seed;
    }
    if let Some(cc) = &args.cc {
        scenario.endpoint.set_congestion_control(cc);
    }
    if let Some(dir) = &args.record {
        return super::talk::run(&path, &scenario, dir);
    }
    if args.command.is_empty() {
        return Err(nothing_to_do(&path, &scenario));
    }
    // Before any thread starts: a user namespace can be entered only now.
    live::prepare()?;
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, interrupted.clone())?;
    }
    let lab = Lab::start(&scenario, args.truth.as_deref())?;
    let side = match args.side {
        SideArg::Client => Side::Client,
        SideArg::Server => Side::Server,
    };
    let peer = match &args.server {
        Some(line) => {
            let mut command = Command::new("sh");
            command.arg("-c").arg(line);
            let child = lab.spawn_command(side.flip(), with_addresses(command, &lab))?;
            wait_for_listener(&lab, side.flip())?;
            Some(child)
        }
        None => None,
    };
    let mut words = args.command.iter();
    let mut command = Command::new(words.next().cloned().unwrap_or_default());
    command.args(words);
    let child = lab.spawn_command(side, with_addresses(command, &lab))?;
    let outcome = wait(child, &interrupted)?;
    if let Some(mut peer) = peer {
        stop(&mut peer);
    }
    let stats = lab.finish()?;
    print_stats(&stats);
    Ok(outcome)
}

fn nothing_to_do(path: &std::path::Path, scenario: &Scenario) -> CliError {
    let talk = match &scenario.talk {
        Some(_) => "its own [talk] with `--record FOLDER`",
        None => "add a [talk] to it and play that with `--record FOLDER`",
    };
    CliError::Message(format!("{}: nothing to run: give a command after `--`, or {talk}", path.display()))
}

fn with_addresses(mut command: Command, lab: &Lab) -> Command {
    for (side, name) in [(Side::Client, "CLIENT"), (Side::Server, "SERVER")] {
        command.env(format!("SYNCSCOPE_{name}_ADDR"), lab.addr(side).to_string());
        command.env(format!("SYNCSCOPE_{name}_ADDR6"), lab.addr6(side).to_string());
    }
    command
}

/// Waits until somebody listens in the namespace, a second at most: a server that needs no TCP has then had its time.
fn wait_for_listener(lab: &Lab, side: Side) -> Result<(), CliError> {
    let look = || {
        let deadline = Instant::now() + Duration::from_secs(1);
        while Instant::now() < deadline {
            for table in ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"] {
                let text = std::fs::read_to_string(table).unwrap_or_default();
                // The fourth column is the state; 0A is LISTEN.
                if text.lines().any(|l| l.split_whitespace().nth(3) == Some("0A")) {
                    return;
                }
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let _ = lab.spawn_thread(side, "lab-listener", look)?.join();
    Ok(())
}

/// The command's own answer. A terminal's interrupt reaches the command too; it has two seconds to obey.
fn wait(mut child: Child, interrupted: &AtomicBool) -> Result<Outcome, CliError> {
    use std::os::unix::process::ExitStatusExt;
    let mut patience: Option<Instant> = None;
    loop {
        if let Some(status) = child.try_wait()? {
            let signal = status.signal().map(|s| 128 + s);
            let code = status.code().or(signal).unwrap_or(2);
            return Ok(if interrupted.load(Ordering::Acquire) {
                Outcome::Interrupted
            } else {
                Outcome::Code(u8::try_from(code).unwrap_or(2))
            });
        }
        if interrupted.load(Ordering::Acquire) {
            let until = *patience.get_or_insert_with(|| Instant::now() + Duration::from_secs(2));
            if Instant::now() > until {
                stop(&mut child);
                return Ok(Outcome::Interrupted);
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn stop(child: &mut Child) {
    // It may have ended by itself; either way it is gone after this.
    let _ = child.kill();
    let _ = child.wait();
}

/// What the link did, for people.
pub fn print_stats(stats: &LabStats) {
    for dir in Dir::BOTH {
        eprintln!("link {dir}: {}", way(&stats.link.ways[dir]));
    }
    if stats.unread != (0, 0) {
        eprintln!(
            "link: the kernel dropped packets before the link could read them (client {}, server {}); the truth log does not know of these",
            stats.unread.0, stats.unread.1
        );
    }
}

fn way(w: &WayStats) -> String {
    let mut text = format!("{} packets entered, {} arrived", w.entered, w.arrived);
    for ((what, cause), n) in &w.fates {
        if *what != What::Passed {
            let what = format!("{what:?}").to_lowercase();
            text.push_str(&format!(", {n} {what} ({cause})"));
        }
    }
    text
}

fn print_measured(m: &measure::Measured) -> Result<Outcome, CliError> {
    let mut out = std::io::stdout().lock();
    let met = |ok: bool| if ok { "met" } else { "missed" };
    writeln!(
        out,
        "delay of 20 ms, added by the link ({} of {} UDP probes arrived):",
        m.probes.1, m.probes.0
    )?;
    for (name, l) in [("send to recv", &m.end_to_end), ("link alone", &m.link)] {
        writeln!(
            out,
            "  {name:<14} p50 {:>8}  p90 {:>8}  p99 {:>8}  max {:>8}",
            l.quantile(0.5).to_string(),
            l.quantile(0.9).to_string(),
            l.quantile(0.99).to_string(),
            l.max().to_string()
        )?;
    }
    let late = m.end_to_end.quantile(0.99);
    writeln!(out, "  mark: p99 below {}: {}", measure::MARK_LATE, met(late < measure::MARK_LATE))?;
    let (bytes, time) = m.carried;
    let rate = units::bits_per_second(bytes, i64::try_from(time.as_nanos()).unwrap_or(i64::MAX));
    writeln!(
        out,
        "TCP payload at MTU 1500, one connection: {rate} ({} in {:.1} s)",
        units::bytes(bytes),
        time.as_secs_f64()
    )?;
    writeln!(out, "  mark: at least 1.00 Gbit/s: {}", met(m.bits_per_second() >= measure::MARK_RATE))?;
    writeln!(out, "packets that the kernel dropped before the link could read them: {}", m.unread)?;
    Ok(if m.good() { Outcome::Ok } else { Outcome::Findings })
}
