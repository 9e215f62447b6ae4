//! `syncscope serve`: the other end of a test sync.

use super::analysis;
use super::sync::stop_on_signals;
use super::{CliError, Outcome};
use crate::drive::{ServeOptions, Server};
use crate::model::Ns;
use crate::model::units::printable;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// Arguments of `syncscope serve`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The folder that clients may pull from and push to.
    #[arg(value_name = "FOLDER")]
    root: PathBuf,
    /// Where to listen. Beyond loopback whoever reaches this address can read and write the folder:
    /// there is no authentication.
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8730", env = "SYNCSCOPE_LISTEN")]
    listen: SocketAddr,
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
}

/// Runs it.
pub fn run(args: Args) -> Result<Outcome, CliError> {
    let stop = stop_on_signals()?;
    let options = ServeOptions {
        max_connections: usize::from(args.max_connections),
        timeout: args.timeout.to_std(),
        capture: !args.no_capture,
        device: args.device,
        notice: Arc::new(|line| eprintln!("{}", printable(line))),
        ..ServeOptions::default()
    };
    let server =
        Server::bind(args.listen, &args.root, options).map_err(|e| CliError::Message(e.to_string()))?;
    let addr = server.addr();
    if !addr.ip().is_loopback() {
        eprintln!(
            "warning: {addr} can be reached from other hosts, and there is no authentication: whoever connects can \
             read and write {}",
            args.root.display()
        );
    }
    eprintln!("serving {} on {addr}; stop with Ctrl-C", args.root.display());
    server.run(&stop).map_err(|e| CliError::Message(e.to_string()))?;
    eprintln!("stopped");
    Ok(Outcome::Ok)
}
