//! `syncscope serve`: the other end of a test sync.

use super::analysis;
use super::sync::stop_on_signals;
use super::{CliError, Outcome, modules};
use crate::drive::gate::{Access, network};
use crate::drive::sandbox::confine;
use crate::drive::scratch::Scratch;
use crate::drive::{Secret, ServeOptions, Server, Share};
use crate::lab::units::Size;
use crate::model::Ns;
use crate::model::units::printable;
use crate::sync::Limits;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Arguments of `syncscope serve`.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  syncscope serve ./photos                         for this host only\n  \
    (umask 077; syncscope generate secret > secret)  the same file on both hosts\n  \
    syncscope serve --listen 0.0.0.0:8730 --secret-file secret ./photos"
)]
pub struct Args {
    /// The folder that clients may pull from and push to.
    #[arg(value_name = "FOLDER", required_unless_present = "modules")]
    root: Option<PathBuf>,
    /// Where to listen. Beyond loopback only with a secret.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8730", env = "SYNCSCOPE_LISTEN")]
    listen: SocketAddr,
    /// The secret that clients must have, too: a file of mode 600 (`syncscope generate secret`).
    #[arg(long, value_name = "FILE", env = "SYNCSCOPE_SECRET_FILE")]
    secret_file: Option<PathBuf>,
    /// Also serve clients that have the secret and want their data plain: whoever is on the path can read and
    /// change it then.
    #[arg(long)]
    plain_data: bool,
    /// Serve the modules of this TOML file (users, read-only, allow, deny, limits) instead of a folder.
    #[arg(long, value_name = "FILE", conflicts_with = "root")]
    modules: Option<PathBuf>,
    /// Take no files, only give them.
    #[arg(long, conflicts_with = "modules")]
    read_only: bool,
    /// Only these networks may connect: `10.0.0.0/8,fd00::/8`, or one address.
    #[arg(long, value_name = "NETWORKS", value_delimiter = ',', value_parser = network)]
    allow: Vec<ipnet::IpNet>,
    /// These may not.
    #[arg(long, value_name = "NETWORKS", value_delimiter = ',', value_parser = network)]
    deny: Vec<ipnet::IpNet>,
    /// Do not capture packets when a client asks for it.
    #[arg(long)]
    no_capture: bool,
    /// Interface to capture on; found by the address otherwise.
    #[arg(long, value_name = "INTERFACE")]
    device: Option<String>,
    /// Give up a run after this long without a sign of life from its client; a client may ask for less.
    #[arg(long, value_name = "DURATION", value_parser = analysis::timeout, default_value = "30s")]
    timeout: Ns,
    /// Connections at once; a run takes two.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(2..=1024))]
    max_connections: u16,
    /// Connections at once from one address (IPv6: one /64); otherwise as many as from all.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=1024))]
    max_per_address: Option<u16>,
    /// Connections a minute from one address. A wrong secret counts as twenty.
    #[arg(long, value_name = "N", default_value_t = 600, value_parser = clap::value_parser!(u32).range(2..))]
    max_rate: u32,
    /// Entries that one push or pull may list, folders included.
    #[arg(long, value_name = "N", default_value_t = Limits::default().entries)]
    max_files: usize,
    /// Larger files are not taken: `4GiB`.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_file_size: Option<Size>,
    /// Bytes of all files that one push may list.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_size: Option<Size>,
    /// Paths with more components are not taken.
    #[arg(long, value_name = "N")]
    max_depth: Option<usize>,
}

/// Runs it.
pub fn run(args: Args) -> Result<Outcome, CliError> {
    let message = |e: &dyn std::fmt::Display| CliError::Message(e.to_string());
    let stop = stop_on_signals()?;
    let limits = Limits {
        entries: args.max_files,
        file: args.max_file_size.map_or(u64::MAX, |s| s.0),
        bytes: args.max_size.map_or(u64::MAX, |s| s.0),
        depth: args.max_depth.unwrap_or(usize::MAX),
    };
    let (mut secrets, shares) = match (&args.modules, &args.root) {
        (Some(file), _) => modules::read(file, limits)?,
        (None, Some(root)) => {
            (Vec::new(), vec![Share { limits, read_only: args.read_only, ..Share::whole(root) }])
        }
        (None, None) => return Err(CliError::Message("name a folder, or --modules FILE".to_owned())),
    };
    if let Some(file) = &args.secret_file {
        secrets.push((String::new(), Secret::read(file).map_err(CliError::Message)?));
    }
    if secrets.is_empty() && !args.listen.ip().to_canonical().is_loopback() {
        return Err(CliError::Message(format!(
            "{} can be reached from other hosts, and there is no secret: whoever connects could read and write what \
             is served\n  make one:  (umask 077; syncscope generate secret > secret)\n  use it:    syncscope serve \
             --listen {} --secret-file secret …, and the same file with `syncscope sync --secret-file`",
            args.listen, args.listen
        )));
    }
    let secured = !secrets.is_empty();
    // What a run leaves here lies in one folder: all else can then be taken away.
    let scratch = Scratch::new(None).map_err(|e| {
        CliError::Message(format!(
            "cannot make a folder for captures in {}: {e}",
            std::env::temp_dir().display()
        ))
    })?;
    let max_connections = usize::from(args.max_connections);
    let options = ServeOptions {
        max_connections,
        timeout: args.timeout.to_std(),
        max_per_address: args.max_per_address.map_or(max_connections, usize::from),
        max_rate: args.max_rate,
        access: Access { allow: args.allow, deny: args.deny },
        secrets,
        plain_data: args.plain_data,
        capture: !args.no_capture,
        device: args.device,
        scratch: Some(scratch.path().to_owned()),
        notice: Arc::new(|line| eprintln!("{}", printable(line))),
        ..ServeOptions::default()
    };
    let named: Vec<String> = shares.iter().map(|s| s.path.display().to_string()).collect();
    let named = printable(&named.join(", "));
    let (read, written): (Vec<_>, Vec<_>) =
        shares.iter().map(|s| (s.read_only, s.path.clone())).partition(|s| s.0);
    let options = ServeOptions { modules: shares, ..options };
    let server = Server::bind(args.listen, Path::new("."), options).map_err(|e| message(&e))?;
    let addr = server.addr();
    let how = if secured { "to whoever has the secret" } else { "to everybody on this host" };
    eprintln!("serving {named} on {addr} {how}; stop with Ctrl-C");
    // This thread keeps what it takes to clear up; all others come from one that is confined.
    let served = std::thread::scope(|scope| {
        let serving = scope.spawn(|| {
            let written = written.iter().map(|s| s.1.as_path()).chain([scratch.path()]);
            let confined = confine(written, read.iter().map(|s| s.1.as_path()), !args.no_capture);
            eprintln!("{}", confined.map_err(|e| CliError::Message(format!("Landlock: {e}")))?.in_words());
            server.run(&stop).map_err(|e| message(&e))
        });
        serving.join()
    });
    served.unwrap_or_else(|_| {
        Err(CliError::Message("internal error: the server broke down; please report it".into()))
    })?;
    eprintln!("stopped");
    Ok(Outcome::Ok)
}

fn size(text: &str) -> Result<Size, String> {
    Size::parse(text).ok_or_else(|| format!("`{text}` is no size; write 500MB or 4GiB"))
}
