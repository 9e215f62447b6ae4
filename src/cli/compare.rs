//! `syncscope compare`: what happened between two places where the same traffic was captured.

use super::offline::OfflineArgs;
use super::{CliError, ColorWhen, Outcome};
use crate::applog;
use crate::correlate::CaptureInput;
use crate::model::Ts;
use crate::model::units::{count, printable};
use chrono::DateTime;
use std::path::PathBuf;

/// Arguments of `syncscope compare`.
#[derive(clap::Args, Debug)]
#[command(after_long_help = applog::PATTERN_HELP)]
pub struct Args {
    /// A pcap or pcapng file, also compressed with gzip or zstd, or what tcpdump printed; a folder
    /// stands for the captures in it, as one; `-` reads standard input.
    #[arg(value_name = "A")]
    a: PathBuf,
    /// The same traffic, captured at another place. Clocks, addresses and sequence numbers may differ; the order of
    /// the two does not matter.
    #[arg(value_name = "B")]
    b: PathBuf,
    #[command(flatten)]
    offline: OfflineArgs,
}

/// Runs it.
pub fn run(args: Args, color: ColorWhen) -> Result<Outcome, CliError> {
    let evidence = args.offline.read(&[vec![args.a], vec![args.b]])?;
    let contents: Vec<String> = evidence.captures.iter().map(contents).collect();
    let (report, again) = args.offline.report(evidence)?;
    if report.comparison.as_ref().is_none_or(|c| c.paired.is_empty()) {
        return Err(CliError::Message(format!(
            "the two captures have no connection in common\n  A holds {}\n  B holds {}\ncompare needs the same traffic, \
             captured at two places; `syncscope analyze FILE` explains each alone",
            contents[0], contents[1]
        )));
    }
    args.offline.print(&report, again, color)
}

/// What a capture is about, for somebody who took the wrong one.
fn contents(c: &CaptureInput) -> String {
    let mut busiest: Vec<_> = c.connections.iter().collect();
    busiest.sort_by_key(|x| std::cmp::Reverse(x.packets.c2s.len() + x.packets.s2c.len()));
    let named: Vec<String> = busiest.iter().take(2).map(|x| format!("{} → {}", x.client, x.server)).collect();
    let more = if busiest.len() > named.len() { ", …" } else { "" };
    let what = match busiest.len() as u64 {
        0 => format!("no TCP connection ({} frames)", count(c.frames)),
        1 => format!("1 connection: {}", named.join("")),
        n => format!("{} connections: {}{more}", count(n), named.join(", ")),
    };
    let when = c.span.map_or(String::new(), |s| format!(", {} from {}", s.len(), utc(s.start)));
    format!("{what}{when}  ({})", printable(&c.name))
}

/// `2026-11-21 12:38:17 UTC`.
fn utc(ts: Ts) -> String {
    DateTime::from_timestamp_nanos(ts.0).format("%Y-%m-%d %H:%M:%S UTC").to_string()
}
