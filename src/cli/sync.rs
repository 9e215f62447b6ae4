//! `syncscope sync`: one test sync against a `serve`, captured and explained.

use super::analysis::{self, RunView, SLOW_READ};
use super::live::{self, Probe};
use super::retry;
use super::view::{FailOn, OutputArgs};
use super::wishes::{self, Wishes};
use super::{CliError, ColorWhen, Format, Outcome};
use crate::drive::{DriveError, Item, Mode, RunEnd, RunRecord, Secret, SyncOptions, run_sync};
use crate::lab::units::Rate;
use crate::model::Ns;
use crate::model::units::{bits_per_second, bytes, printable};
use crate::report::RunInfo;
use crate::sync::explain::explain_delta;
use crate::sync::signature::default_block_size;
use std::io::{BufWriter, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Arguments of `syncscope sync`.
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  syncscope sync 10.0.0.2:8730:photos ./photos     pull\n  \
    syncscope sync ./photos 10.0.0.2:8730:photos     push")]
pub struct Args {
    /// HOST:PORT:PATH (pull) or a local folder (push). PATH is below the folder that is served; it may be empty.
    #[arg(value_name = "SOURCE", required_unless_present = "explain_delta")]
    source: Option<String>,
    /// A local folder (pull) or HOST:PORT:PATH (push).
    #[arg(value_name = "DESTINATION", required_unless_present = "explain_delta")]
    destination: Option<String>,
    /// Print the report in this form instead of opening the screens.
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Only show how file A is rebuilt from B, step by step; no peer is needed.
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with_all = ["source", "destination"])]
    explain_delta: Option<Vec<PathBuf>>,
    /// Block size in bytes; chosen by the size of each file otherwise. A sync takes at least 64.
    #[arg(short = 'B', long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=262_144))]
    block_size: Option<u32>,
    /// Send no faster than this, each side: `500kB/s`, `10Mbit`.
    #[arg(long, value_name = "RATE", value_parser = rate)]
    bwlimit: Option<Rate>,
    /// Give up after this long without a sign of life from the peer, on both sides; a peer that is busy is alive.
    #[arg(long, value_name = "DURATION", value_parser = analysis::timeout, default_value = "30s")]
    timeout: Ns,
    /// After a cut go on by itself, at most so often: after 1 s, 2 s, 4 s … up to 30 s. Each run before keeps its record
    /// beside, in FOLDER-cut-1 and so on.
    #[arg(long, value_name = "N", default_value_t = 0)]
    retry: u32,
    /// The secret that the server has, too: a file of mode 600. Both ends show that they have it, and what they
    /// send is encrypted.
    #[arg(long, value_name = "FILE", env = "SYNCSCOPE_SECRET_FILE")]
    secret_file: Option<PathBuf>,
    /// Whose secret it is, where the server knows users.
    #[arg(long, value_name = "NAME", requires = "secret_file")]
    user: Option<String>,
    /// With a secret, send the data plainly none the less, if the server allows it: faster, and open to whoever is
    /// on the path.
    #[arg(long, requires = "secret_file")]
    plain_data: bool,
    /// Folder for the run record; `runs/DATE` here otherwise.
    #[arg(long, value_name = "FOLDER")]
    record: Option<PathBuf>,
    /// Reads at least this slow are listed.
    #[arg(long, value_name = "DURATION", value_parser = analysis::duration, default_value = SLOW_READ, env = "SYNCSCOPE_SLOW_READ")]
    slow_read: Ns,
    /// Capture no packets: only the applications' reads and the kernel's counters.
    #[arg(long)]
    no_capture: bool,
    /// Interface to capture on; found by the address otherwise.
    #[arg(long, value_name = "INTERFACE")]
    device: Option<String>,
    /// Bytes kept of each packet.
    #[arg(long, value_name = "BYTES", default_value_t = 160, value_parser = clap::value_parser!(u32).range(128..=262_144))]
    snaplen: u32,
    /// Exit with 1 where a finding is at least this severe.
    #[arg(long, value_name = "SEVERITY", default_value = "warning")]
    fail_on: FailOn,
    #[command(flatten)]
    wishes: Wishes,
}

/// Runs it.
pub fn run(args: Args, color: ColorWhen) -> Result<Outcome, CliError> {
    if let Some([a, b]) = args.explain_delta.as_deref() {
        return explain(a, b, args.block_size);
    }
    args.format.map_or(Ok(()), Format::of_report)?;
    let stop = stop_on_signals()?;
    let (source, destination) = (args.source.unwrap_or_default(), args.destination.unwrap_or_default());
    let (mode, remote, local) = ends(&source, &destination)?;
    if mode == Mode::Push && !local.exists() {
        return Err(CliError::Message(format!("{}: there is no such folder to push", local.display())));
    }
    let record = match &args.record {
        Some(dir) => fresh_record(dir)?,
        None => default_record(&local),
    };
    eprintln!("run record: {}", record.display());
    let view = RunView {
        title: format!("{source} → {destination}"),
        slow_read: args.slow_read,
        live: false,
        run: Some(RunInfo { record: Some(record.display().to_string()), ..RunInfo::default() }),
        clock: None,
        client_log: None,
    };
    let secret = args.secret_file.as_deref().map(Secret::read).transpose().map_err(CliError::Message)?;
    let template = SyncOptions {
        secret,
        user: args.user.unwrap_or_default(),
        plain_data: args.plain_data,
        block: args.block_size,
        flags: args.wishes.flags(),
        rules: args.wishes.rules()?,
        itemize: args.wishes.itemize,
        bwlimit: args.bwlimit.map(Rate::bytes_per_second),
        timeout: args.timeout.to_std(),
        capture: !args.no_capture,
        device: args.device,
        snaplen: args.snaplen,
        ..SyncOptions::new(SocketAddr::from(([0; 4], 0)), mode, &remote.path, &local, &record)
    };
    let show = live::screens(args.format, color).filter(|_| !args.wishes.prints());
    let probe = Probe::new(show.is_some());
    let items = probe.clone();
    let (stop_run, mut seen) = (Arc::clone(&stop), probe.clone());
    let (retries, folder) = (args.retry, record.clone());
    let run = std::thread::Builder::new().name("sync".to_owned()).spawn(move || {
        retry::with_retries(retries, &folder, &stop_run, || {
            first_that_answers(&remote, |server| {
                run_sync(&SyncOptions { server, ..template.clone() }, &stop_run, &mut seen)
            })
        })
    })?;
    let mut ended = None;
    let report = live::watch(run, probe, &record, view.clone(), show, &stop, |result| {
        let done = result?;
        let run =
            view.run.clone().map(|r| RunInfo { sync: Some(done.stats), ended: Some(done.ended()), ..r });
        let report = analysis::report_run(&done.dir, RunView { run, clock: done.clock, ..view })?;
        ended = Some(done);
        Ok(report)
    })?;
    analysis::save(&record, &report)?;
    let Some(done) = ended else { return Ok(Outcome::Inconclusive) };
    let beside = args.format.is_some_and(|f| f != Format::Text);
    let sent = mode == Mode::Push;
    let lines = items.items().into_iter().map(|i| match i {
        Item::Changed { path, kind, change } => wishes::line(&printable(&path), kind, change, sent),
        Item::Gone { path, dir } => format!("*deleting   {}{}", printable(&path), if dir { "/" } else { "" }),
    });
    let counts = if args.wishes.stats { wishes::counts(&done.stats) } else { Vec::new() };
    for line in lines.chain(counts) {
        if beside { writeln!(std::io::stderr(), "{line}") } else { writeln!(std::io::stdout(), "{line}") }?;
    }
    tell(&done, args.wishes.is_dry());
    OutputArgs::default().print(&report, args.format, color)?;
    Ok(match done.end {
        RunEnd::Interrupted => Outcome::Interrupted,
        // It could not be done, whatever the packets say.
        RunEnd::Failed(_) => Outcome::Code(2),
        RunEnd::Done if done.stats.failed > 0 => Outcome::Code(2),
        RunEnd::Done => args.fail_on.outcome(&report),
        RunEnd::TimedOut(_) | RunEnd::Broken(_) => Outcome::Findings,
    })
}

/// `--explain-delta`.
fn explain(a: &Path, b: &Path, block: Option<u32>) -> Result<Outcome, CliError> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|e| CliError::Message(format!("cannot read {}: {e}", path.display())))
    };
    let (source, basis) = (read(a)?, read(b)?);
    let block = block.unwrap_or_else(|| default_block_size(basis.len() as u64));
    let mut out = BufWriter::new(std::io::stdout().lock());
    for line in explain_delta(&source, &basis, block as usize) {
        writeln!(out, "{line}")?;
    }
    out.flush()?;
    Ok(Outcome::Ok)
}

/// A flag that SIGINT and SIGTERM set. A second signal ends the process at once.
pub fn stop_on_signals() -> Result<Arc<AtomicBool>, CliError> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

/// `HOST:PORT:PATH`.
#[derive(Debug, PartialEq, Eq)]
struct Remote {
    host: String,
    port: u16,
    path: String,
}

/// A remote end, or none if it is a local path. What has a `/` before the first colon is local.
fn remote(text: &str) -> Option<Remote> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(v6) => v6.split_once("]:")?,
        None => text.split_once(':')?,
    };
    let (port, path) = rest.split_once(':').unwrap_or((rest, ""));
    let port = port.parse().ok().filter(|p| *p > 0)?;
    let is_host = !host.is_empty() && !host.contains(['/', '\\']);
    is_host.then(|| Remote { host: host.to_owned(), port, path: path.trim_matches('/').to_owned() })
}

/// `HOST:99999:PATH` is meant to be remote; its port is the mistake.
fn bad_port(text: &str) -> Option<String> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(v6) => v6.split_once("]:")?,
        None => text.split_once(':')?,
    };
    let port = rest.split(':').next().filter(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()))?;
    let meant = !host.is_empty() && !host.contains(['/', '\\']) && port.parse().is_ok_and(|p: u16| p > 0);
    let bad = !host.is_empty() && !host.contains(['/', '\\']) && !meant;
    bad.then(|| format!("`{text}`: {port} is no port; a port is a number from 1 to 65535"))
}

fn ends(source: &str, destination: &str) -> Result<(Mode, Remote, PathBuf), CliError> {
    let message = |m: &str| Err(CliError::Message(m.to_owned()));
    if let Some(m) = bad_port(source).or_else(|| bad_port(destination)) {
        return message(&m);
    }
    match (remote(source), remote(destination)) {
        (Some(r), None) => Ok((Mode::Pull, r, PathBuf::from(destination))),
        (None, Some(r)) => Ok((Mode::Push, r, PathBuf::from(source))),
        (Some(_), Some(_)) => message("both ends are remote; one of them must be a local folder"),
        (None, None) => message(
            "neither end is remote: write one of them as HOST:PORT:PATH, for example 127.0.0.1:8730:photos, \
             and start the peer there with `syncscope serve FOLDER`",
        ),
    }
}

/// Tries the host's addresses in turn.
fn first_that_answers(
    remote: &Remote,
    mut run: impl FnMut(SocketAddr) -> Result<RunRecord, DriveError>,
) -> Result<RunRecord, CliError> {
    let addresses = (remote.host.as_str(), remote.port)
        .to_socket_addrs()
        .map_err(|e| CliError::Message(format!("cannot find the host {}: {e}", remote.host)))?;
    let mut last = CliError::Message(format!("the host {} has no address", remote.host));
    for server in addresses {
        match run(server) {
            Ok(done) => return Ok(done),
            Err(e @ DriveError::Connect { .. }) => last = CliError::Message(e.to_string()),
            Err(e) => return Err(CliError::Message(e.to_string())),
        }
    }
    Err(last)
}

/// `runs/PREFIX…DATE` here, or a folder for temporary files where nothing can be written here.
pub fn record_folder(prefix: &str) -> PathBuf {
    let name = format!("{prefix}{}", chrono::Local::now().format("%Y-%m-%dT%H-%M-%S"));
    let runs = PathBuf::from("runs");
    if std::fs::create_dir_all(&runs).is_err() {
        return temporary(&name);
    }
    // Two runs in one second must not share a folder.
    let mut folder = runs.join(&name);
    let mut n = 2;
    while folder.exists() {
        folder = runs.join(format!("{name}-{n}"));
        n += 1;
    }
    folder
}

fn temporary(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("syncscope-{name}-{}", std::process::id()))
}

/// A folder that the user named, unless it holds a record already: a run is never thrown away unasked.
pub fn fresh_record(dir: &Path) -> Result<PathBuf, CliError> {
    if RunRecord::is_in(dir) {
        return Err(CliError::Message(format!(
            "{} holds a run record already: name another folder with --record, or remove that one first",
            dir.display()
        )));
    }
    Ok(dir.to_owned())
}

/// As [`record_folder`], and never inside the tree that is synced.
fn default_record(local: &Path) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    if local.canonicalize().is_ok_and(|l| here.starts_with(l)) {
        return temporary("sync");
    }
    record_folder("")
}

/// What a person should know besides the report.
fn tell(done: &RunRecord, dry_run: bool) {
    let s = &done.stats;
    eprintln!(
        "{} files, {} {}, {} matched, {} literal, {} in {} ({})",
        s.files,
        s.changed,
        if dry_run { "would change" } else { "changed" },
        bytes(s.matched),
        bytes(s.literal),
        bytes(s.wire_c2s + s.wire_s2c),
        s.duration,
        bits_per_second(s.wire_c2s + s.wire_s2c, s.duration.0),
    );
    for (who, capture) in [("client", &done.client_capture), ("server", &done.server_capture)] {
        if let Some(problem) = capture.as_ref().and_then(|c| c.problem.as_ref()) {
            eprintln!("no packets of the {who}: {problem}");
        }
    }
    for e in &done.errors {
        eprintln!("{}", printable(e));
    }
    if done.end == RunEnd::Done && s.files == 0 {
        eprintln!("the source has no files: is it the right folder, and does no rule leave them out?");
    }
    if done.end != RunEnd::Done {
        eprintln!("the sync did not finish: {}", done.end.sentence());
    }
}

fn rate(text: &str) -> Result<Rate, String> {
    Rate::parse(text)
        .filter(|r| r.bytes_per_second() > 0)
        .ok_or_else(|| format!("`{text}` is no rate; write 500kB/s or 10Mbit"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_apart() {
        let r = |host: &str, port, path: &str| {
            Some(Remote { host: host.to_owned(), port, path: path.to_owned() })
        };
        assert_eq!(remote("10.0.0.2:8730:a/b"), r("10.0.0.2", 8730, "a/b"));
        assert_eq!(remote("host:8730:"), r("host", 8730, ""));
        assert_eq!(remote("host:8730"), r("host", 8730, ""));
        assert_eq!(remote("[fd00::1]:8730:/x/"), r("fd00::1", 8730, "x"));
        for local in ["./a:1:b", "/a:1:b", "photos", "a:b", "", ":1:", "c:photos", "host:0:x"] {
            assert_eq!(remote(local), None, "{local}");
        }
        assert!(ends("a", "b").is_err() && ends("h:1:", "h:2:").is_err());
        assert_eq!(ends("./x", "h:1:y").map(|e| e.0).ok(), Some(Mode::Push));
    }

    #[test]
    fn a_port_that_is_none_is_named() {
        let said = |a: &str, b: &str| ends(a, b).map(|_| ()).unwrap_err().to_string();
        assert!(said("h:99999:x", "./x").contains("99999 is no port"));
        assert!(said("./x", "[fd00::1]:0:").contains("0 is no port"));
        assert!(!said("./a:1:b", "x").contains("no port"));
    }

    #[test]
    fn an_existing_record_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        assert!(fresh_record(dir.path()).is_ok() && fresh_record(&dir.path().join("new")).is_ok());
        std::fs::write(dir.path().join("client.pcapng"), b"x").unwrap();
        let said = fresh_record(dir.path()).unwrap_err().to_string();
        assert!(said.contains("holds a run record already"), "{said}");
        assert!(dir.path().join("client.pcapng").exists());
    }

    #[test]
    fn a_record_never_lies_in_the_tree_that_is_synced() {
        assert!(default_record(Path::new(".")).starts_with(std::env::temp_dir()));
    }
}
