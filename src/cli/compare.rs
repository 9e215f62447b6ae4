//! `syncscope compare`: what happened between two places where the same traffic was captured.

use super::analysis::{self, SLOW_READ};
use super::logs::{self, LogArgs};
use super::view::FailOn;
use super::{CliError, ColorWhen, Format, Outcome};
use crate::correlate::{BuildInputs, CaptureInput};
use crate::diagnose::build;
use crate::model::Ns;
use crate::model::units::{count, printable};
use crate::{applog, capture};
use std::path::PathBuf;

/// Arguments of `syncscope compare`.
#[derive(clap::Args, Debug)]
#[command(after_long_help = applog::PATTERN_HELP)]
pub struct Args {
    /// A pcap or pcapng file, also compressed with gzip or zstd, or what tcpdump printed; `-` reads standard input.
    #[arg(value_name = "A")]
    a: PathBuf,
    /// The same traffic, captured at another place. Clocks, addresses and sequence numbers may differ; the order of
    /// the two does not matter.
    #[arg(value_name = "B")]
    b: PathBuf,
    #[command(flatten)]
    logs: LogArgs,
    /// How to print the report.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
    /// Reads at least this slow are listed.
    #[arg(long, value_name = "DURATION", value_parser = analysis::duration, default_value = SLOW_READ, env = "SYNCSCOPE_SLOW_READ")]
    slow_read: Ns,
    /// List every data segment, not only those that are not `new`.
    #[arg(long)]
    all_segments: bool,
    /// Exit with 1 where a finding is at least this severe.
    #[arg(long, value_name = "SEVERITY", default_value = "warning")]
    fail_on: FailOn,
}

/// Runs it.
pub fn run(args: Args, color: ColorWhen) -> Result<Outcome, CliError> {
    let opened = args.logs.open()?;
    let hints = logs::hints(&args.logs, &opened);
    let mut captures = Vec::new();
    for file in [&args.a, &args.b] {
        if file.is_dir() {
            return Err(CliError::Message(format!(
                "{0} is a folder: compare reads two capture files, of a run record {0}/client.pcapng and {0}/server.pcapng",
                file.display()
            )));
        }
        captures.push(analysis::read_capture(&mut *capture::file::open_with(file, &hints)?, None)?);
    }
    let contents: Vec<String> = captures.iter().map(contents).collect();
    let (logs, quality) = args.logs.bind(opened, &captures)?;
    let names: Vec<&str> = captures.iter().map(|c| c.name.as_str()).collect();
    let report = build(BuildInputs {
        title: names.join(" and "),
        slow_read: args.slow_read,
        all_segments: args.all_segments,
        captures,
        logs,
        quality,
        ..BuildInputs::default()
    });
    if report.comparison.as_ref().is_none_or(|c| c.paired.is_empty()) {
        return Err(CliError::Message(format!(
            "the two captures have no connection in common\n  A holds {}\n  B holds {}\ncompare needs the same traffic, \
             captured at two places; `syncscope analyze FILE` explains each alone",
            contents[0], contents[1]
        )));
    }
    super::view::print(&report, args.format, color)?;
    Ok(args.fail_on.outcome(&report))
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
    let when = c.span.map_or(String::new(), |s| {
        format!(", {} from {}", s.len(), utc(s.start.0.div_euclid(1_000_000_000)))
    });
    format!("{what}{when}  ({})", printable(&c.name))
}

/// `2026-11-21 12:38:17 UTC` (the calendar of Howard Hinnant's `civil_from_days`).
fn utc(secs: i64) -> String {
    let (days, s) = (secs.div_euclid(86_400), secs.rem_euclid(86_400));
    let z = days + 719_468;
    let (era, doe) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", s / 3600, s / 60 % 60, s % 60)
}

#[cfg(test)]
mod tests {
    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(super::utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(super::utc(951_782_399), "2000-02-28 23:59:59 UTC");
        assert_eq!(super::utc(951_868_799), "2000-02-29 23:59:59 UTC");
        assert_eq!(super::utc(1_795_264_697), "2026-11-21 12:38:17 UTC");
        assert_eq!(super::utc(-1), "1969-12-31 23:59:59 UTC");
    }
}
