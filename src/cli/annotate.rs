//! `--annotate`, `--slice`, `--redact`: the evidence as a capture of its own, to hand on.

use super::offline::Place;
use super::{CliError, output};
use crate::capture::FrameSource;
use crate::capture::file::{self, Hints};
use crate::capture::filter::Filter;
use crate::capture::writer::{PcapngWriter, Statistics};
use crate::correlate::{CaptureInput, LogInput};
use crate::decode::redact::{Mask, redact};
use crate::decode::{Decoded, decode};
use crate::model::units::printable;
use crate::model::{Frame, Span};
use crate::report::{Evidence, Finding, Quality, Report};
use crate::view::comments::{Comments, comments, origin, slice};
use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Options about evidence files.
#[derive(clap::Args, Debug)]
pub struct EvidenceArgs {
    /// Write the frames that show something to this pcapng file, with packet comments that say what: class, cause,
    /// finding. Wireshark shows them. Of two captures, one file each: OUT.a.pcapng and OUT.b.pcapng.
    #[arg(long, value_name = "OUT.pcapng")]
    annotate: Option<PathBuf>,
    /// Write all frames, not only those with a comment.
    #[arg(long, requires = "annotate", conflicts_with = "slice")]
    annotate_all: bool,
    /// Write only the frames of this finding: its code, or its number in the report (1 is the first).
    #[arg(long, value_name = "FINDING", requires = "annotate")]
    slice: Option<String>,
    /// Replace addresses and names, in the report and in what --annotate writes, and drop payload there. Equal ones
    /// stay equal, and networks keep their shape; ports, lengths and times stay.
    #[arg(long)]
    redact: bool,
    /// Replace in the same way wherever this key is given; otherwise each run has its own.
    #[arg(
        long,
        value_name = "KEY",
        requires = "redact",
        env = "SYNCSCOPE_REDACT_KEY",
        hide_env_values = true
    )]
    redact_key: Option<String>,
}

impl EvidenceArgs {
    /// Fails early where nothing can be written.
    pub fn check(&self, places: usize) -> Result<(), CliError> {
        let Some(out) = &self.annotate else { return Ok(()) };
        if out.as_os_str() == "-" {
            return Err(CliError::Message("--annotate writes a file, not standard output".to_owned()));
        }
        (0..places).try_for_each(|n| output::check(&self.name(out, n, places)))
    }

    /// Whether any of these was asked for.
    pub fn any(&self) -> bool {
        self.annotate.is_some() || self.redact
    }

    /// Whether captures are read twice.
    pub fn again(&self) -> bool {
        self.annotate.is_some()
    }

    /// What replaces addresses and names; none where they stay.
    pub fn mask(&self) -> Result<Option<Mask>, CliError> {
        if !self.redact {
            return Ok(None);
        }
        let secret = match &self.redact_key {
            Some(key) => key.as_bytes().to_vec(),
            None => {
                let mut random = vec![0; 32];
                std::fs::File::open("/dev/urandom")
                    .and_then(|mut f| f.read_exact(&mut random))
                    .map_err(|e| CliError::Message(format!("no random key for --redact: {e}")))?;
                random
            }
        };
        Ok(Some(Mask::new(&secret)))
    }

    /// Writes the evidence of each place; `read`: how many frames of each were analysed; empty: all.
    pub fn write(
        &self,
        report: &Report,
        places: &[Place],
        hints: &Hints,
        filter: &Filter,
        flows: &[Flows],
        read: &[u64],
        mut mask: Option<&mut Mask>,
    ) -> Result<(), CliError> {
        let Some(out) = &self.annotate else { return Ok(()) };
        let only = self.slice.as_deref().map(|s| chosen(report, s)).transpose()?;
        for (n, place) in places.iter().enumerate() {
            let input = u16::try_from(n).unwrap_or(u16::MAX);
            let path = self.name(out, n, places.len());
            let excerpt = Excerpt {
                report,
                input,
                comments: comments(report, input),
                all: self.annotate_all,
                only: only.as_ref(),
                flows: flows.get(n),
                upto: read.get(n).copied().unwrap_or(u64::MAX),
            };
            let mut written = 0;
            let mut failed = None;
            output::to_file(&path, |to| {
                let frames = file::open_all(place, hints).map_err(CliError::from);
                match frames.and_then(|f| excerpt.write(filter.on(f), mask.as_deref_mut(), to)) {
                    Ok(n) => written = n,
                    Err(CliError::Output(e)) => return Err(e),
                    Err(e) => failed = Some(e),
                }
                Ok(())
            })?;
            if let Some(e) = failed {
                return Err(e);
            }
            eprintln!("{}: {written} frames", printable(&path.display().to_string()));
        }
        Ok(())
    }

    /// `OUT.pcapng`; of two places `OUT.a.pcapng` and `OUT.b.pcapng`.
    fn name(&self, out: &Path, n: usize, places: usize) -> PathBuf {
        if places < 2 {
            return out.to_owned();
        }
        let letter = if n == 0 { "a" } else { "b" };
        let end = out.extension().map_or_else(|| "pcapng".to_owned(), |e| e.to_string_lossy().into_owned());
        out.with_extension(format!("{letter}.{end}"))
    }
}

/// The frames of the findings that were asked for.
fn chosen(report: &Report, what: &str) -> Result<BTreeSet<Evidence>, CliError> {
    let number = what.parse::<usize>().ok().and_then(|n| n.checked_sub(1));
    let is = |(n, f): &(usize, &Finding)| f.code == what || number == Some(*n);
    let found: Vec<&Finding> = report.findings.iter().enumerate().filter(is).map(|(_, f)| f).collect();
    if found.is_empty() {
        let codes: Vec<&str> = report.findings.iter().map(|f| f.code.as_str()).collect();
        let have = if codes.is_empty() {
            "there are none".to_owned()
        } else {
            format!("there are {}", codes.join(", "))
        };
        return Err(CliError::Message(format!("no finding `{what}` to cut out: {have}")));
    }
    Ok(found.into_iter().flat_map(|f| slice(report, f)).collect())
}

/// What to write of one input.
struct Excerpt<'a> {
    report: &'a Report,
    input: u16,
    comments: Comments,
    all: bool,
    only: Option<&'a BTreeSet<Evidence>>,
    /// Connections that a filter left; none: it names none.
    flows: Option<&'a Flows>,
    /// Frames that were analysed: its end says what the capture dropped, and is read only where it was before.
    upto: u64,
}

/// Connections as they are in the capture.
#[derive(Debug, Default)]
pub struct Flows(Vec<(SocketAddr, SocketAddr, Span)>);

impl Flows {
    /// Those of a capture.
    pub fn of(c: &CaptureInput) -> Flows {
        Flows(c.connections.iter().map(|x| (x.client, x.server, x.span)).collect())
    }

    fn has(&self, frame: &Frame<'_>) -> bool {
        let Decoded::Tcp(s) = decode(frame) else { return false };
        let is = |(c, v, span): &(SocketAddr, SocketAddr, Span)| {
            let ends = (s.src, s.dst) == (*c, *v) || (s.src, s.dst) == (*v, *c);
            ends && span.start <= s.ts && s.ts <= span.end
        };
        self.0.iter().any(is)
    }
}

impl Excerpt<'_> {
    /// Reads the captures again; returns how many frames were written.
    fn write(
        &self,
        mut source: Box<dyn FrameSource>,
        mut mask: Option<&mut Mask>,
        to: &mut dyn Write,
    ) -> Result<u64, CliError> {
        let v = &self.report.verdict;
        let head = printable(&format!("{}: {}", v.kind.as_str().to_uppercase(), v.sentence));
        let mut out = PcapngWriter::new(to, &head)?;
        let (mut written, mut seen) = (0, 0);
        let mut kept = Vec::new();
        // what was analysed is what is read: a fault ends both
        while seen < self.upto
            && let Ok(Some(frame)) = source.next_frame()
        {
            seen += 1;
            let e = Evidence { input: self.input, frame: frame.no };
            let said = self.comments.get(&frame.no).map_or(&[][..], Vec::as_slice);
            let wanted = match self.only {
                Some(only) => only.contains(&e),
                None => !said.is_empty() || (self.all && self.flows.is_none_or(|f| f.has(&frame))),
            };
            if !wanted {
                continue;
            }
            // an excerpt has other numbers than the sentences name
            let from = (!self.all).then(|| printable(&origin(self.report, e)));
            let lines: Vec<&str> = from.iter().chain(said).map(String::as_str).collect();
            match mask.as_deref_mut() {
                Some(mask) => {
                    redact(&frame, mask, &mut kept);
                    let orig_len = frame.orig_len.max(u32::try_from(frame.data.len()).unwrap_or(u32::MAX));
                    out.write_with_comments(&Frame { data: &kept, orig_len, ..frame }, &lines)?;
                }
                None => out.write_with_comments(&frame, &lines)?,
            }
            written += 1;
        }
        // what the original missed, this one misses too
        let notes = source.notes();
        if let (Some(dropped), true) = (notes.dropped, written > 0) {
            let counted = Statistics { received: dropped.saturating_add(seen), dropped, delivered: seen };
            out.statistics(0, notes.last_ts.unwrap_or_default(), counted)?;
        }
        out.flush()?;
        Ok(written)
    }
}

/// Replaces addresses and names in what a report is made of.
pub fn hide(mask: &mut Mask, captures: &mut [CaptureInput], logs: &mut [LogInput], quality: &mut [Quality]) {
    let mut names: Vec<(String, String)> = Vec::new();
    for c in captures.iter_mut() {
        for f in &mut c.files {
            rename(mask, "capture", &mut f.name, &mut names);
        }
        rename(mask, "capture", &mut c.name, &mut names);
        for conn in &mut c.connections {
            (conn.client, conn.server) = (mask.socket(conn.client), mask.socket(conn.server));
        }
    }
    for l in logs.iter_mut() {
        rename(mask, "log", &mut l.name, &mut names);
        (l.log.local, l.log.peer) = (mask.socket(l.log.local), mask.socket(l.log.peer));
        l.log.files.iter_mut().for_each(|f| rename(mask, "file", f, &mut names));
    }
    // the longest first: a folder's name begins the names of its files
    names.sort_by_key(|(old, _)| std::cmp::Reverse(old.len()));
    for q in captures.iter_mut().flat_map(|c| &mut c.quality).chain(quality) {
        if q.code == "passed-over" {
            q.message = "no captures, and passed over".to_owned();
        }
        for (old, new) in names.iter().filter(|(old, _)| !old.is_empty()) {
            q.message = q.message.replace(old.as_str(), new);
        }
    }
}

fn rename(mask: &Mask, kind: &str, name: &mut String, names: &mut Vec<(String, String)>) {
    let new = mask.name(kind, name);
    names.push((std::mem::replace(name, new.clone()), new));
}

/// Keeps what cannot be read twice (standard input, pipes) in a file that has no name and goes with this value.
pub struct Spool {
    _file: std::fs::File,
}

impl Spool {
    /// Reads it to its end. The second value is a path under which it can be read again and again.
    pub fn new(from: &Path, hints: &Hints) -> io::Result<(Spool, PathBuf)> {
        use std::os::fd::AsRawFd;
        use std::os::unix::fs::OpenOptionsExt;
        let name = format!(".syncscope-{}-{}", std::process::id(), from.to_string_lossy().len());
        let path = std::env::temp_dir().join(name);
        let mut file =
            std::fs::File::options().write(true).read(true).create_new(true).mode(0o600).open(&path)?;
        std::fs::remove_file(&path)?;
        io::copy(&mut file::bytes_of(from, hints)?, &mut file)?;
        let again = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        Ok((Spool { _file: file }, again))
    }
}
