//! Which frames of a capture count: libpcap's filter expressions on files of any link type, and two words of our own.
//!
//! ```text
//! tcp port 873 and host 10.0.0.2 and time +2s..+5s and flow 3
//! └──────────── libpcap ───────┘     └─ per frame ┘     └─ once connections are known
//! ```

use super::kept::Kept;
use super::{CaptureError, FrameSource, Position, Remark, SourceNotes};
use crate::model::units::{count, printable};
use crate::model::{Frame, FrameNo, LinkType, Ns, Ts};
use pcap::{BpfProgram, Capture, Linktype};
use std::collections::HashMap;

/// What a wrong expression is about, with the place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("filter: {message}\n  {}\n  {}^", printable(.expression), " ".repeat(column(.expression, *.at)))]
pub struct FilterError {
    /// What is wrong, and what would be right.
    pub message: String,
    /// The whole expression.
    pub expression: String,
    /// Byte at which it goes wrong.
    pub at: usize,
}

/// Characters before a byte.
fn column(expression: &str, at: usize) -> usize {
    expression.get(..at).unwrap_or(expression).chars().count()
}

/// A moment, as a filter names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// `+2s`: after the first frame of the capture.
    After(Ns),
    /// `2026-11-21T12:38:17Z`.
    At(Ts),
}

impl Moment {
    fn from(self, first: Ts) -> Ts {
        match self {
            Moment::After(d) => first + d,
            Moment::At(t) => t,
        }
    }
}

/// A filter expression that makes sense.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    expression: String,
    /// libpcap's part; empty: everything.
    bpf: String,
    from: Option<Moment>,
    to: Option<Moment>,
    flows: Option<Vec<u32>>,
}

/// A word of an expression and where it begins.
type Word<'a> = (usize, &'a str);

impl Filter {
    /// Reads an expression.
    pub fn parse(expression: &str) -> Result<Filter, FilterError> {
        let mut f = Filter { expression: expression.to_owned(), ..Filter::default() };
        let mut bpf: Vec<Word> = Vec::new();
        let terms = terms(expression);
        for (n, (joint, words)) in terms.iter().enumerate() {
            let own = words.iter().find(|w| matches!(w.1, "flow" | "time"));
            let Some(&(at, word)) = own else {
                // the first that stays needs no joint before it
                let first = bpf.is_empty();
                bpf.extend(joint.iter().filter(|_| !first));
                bpf.extend(words);
                continue;
            };
            let ands = terms[n.max(1)..].iter().all(|t| t.0.is_none_or(|j| matches!(j.1, "and" | "&&")));
            let [_, (value_at, value)] = words[..] else {
                let message = match word {
                    "flow" => "`flow` stands alone with a number, joined to the rest by `and`: `flow 3`",
                    _ => "`time` stands alone with a range, joined to the rest by `and`: `time +2s..+5s`",
                };
                return Err(f.wrong(message, at));
            };
            if !ands {
                let message = format!("`{word}` can be joined to the rest only by `and`");
                return Err(f.wrong(&message, at));
            }
            match word {
                "flow" => f.flow(value, value_at)?,
                _ => f.time(value, value_at)?,
            }
        }
        let text = |words: &[Word]| words.iter().map(|w| w.1).collect::<Vec<_>>().join(" ");
        f.bpf = text(&bpf);
        if let Err(message) = compiles(&f.bpf) {
            // the first word that no longer fits what stands before it
            let good = (1..bpf.len()).rev().find(|n| compiles(&text(&bpf[..*n])).is_ok());
            let at = good.map_or(0, |n| bpf[n].0);
            let at = if good.is_none() { bpf.first().map_or(0, |w| w.0) } else { at };
            return Err(f.wrong(&format!("libpcap does not understand it here: {message}"), at));
        }
        Ok(f)
    }

    /// Numbers of the connections that count; none: all.
    pub fn flows(&self) -> Option<&[u32]> {
        self.flows.as_deref()
    }

    /// The frames of `source` that count. They keep their numbers.
    pub fn on(&self, source: Box<dyn FrameSource>) -> Box<dyn FrameSource> {
        if self.bpf.is_empty() && self.from.is_none() && self.to.is_none() {
            return source;
        }
        Box::new(Filtered {
            name: source.notes().name,
            source,
            filter: self.clone(),
            programs: HashMap::new(),
            kept: Kept::default(),
            first: None,
            seen: 0,
            passed: 0,
        })
    }

    fn wrong(&self, message: &str, at: usize) -> FilterError {
        FilterError { message: message.to_owned(), expression: self.expression.clone(), at }
    }

    fn flow(&mut self, value: &str, at: usize) -> Result<(), FilterError> {
        let numbers: Result<Vec<u32>, _> = value.split(',').map(str::parse).collect();
        let numbers = numbers
            .map_err(|_| self.wrong("a connection's number as in the report: `flow 3`, `flow 3,7`", at))?;
        self.flows.get_or_insert_default().extend(numbers);
        Ok(())
    }

    fn time(&mut self, value: &str, at: usize) -> Result<(), FilterError> {
        let Some((from, to)) = value.split_once("..") else {
            return Err(self.wrong("a time range: `time +2s..+5s`, `time 2026-11-21T12:38:17Z..`", at));
        };
        let moment = |text: &str, at: usize| match text {
            "" => Ok(None),
            _ => moment(text).map(Some).ok_or_else(|| {
                self.wrong(
                    "no moment; `+2.5s` is after the first frame, `2026-11-21T12:38:17Z` on the clock",
                    at,
                )
            }),
        };
        (self.from, self.to) = (moment(from, at)?, moment(to, at + from.len() + 2)?);
        Ok(())
    }
}

/// What stands between `and` and `or` outside of brackets, each with the joint before it.
fn terms(expression: &str) -> Vec<(Option<Word<'_>>, Vec<Word<'_>>)> {
    let mut out: Vec<(Option<Word<'_>>, Vec<Word<'_>>)> = vec![(None, Vec::new())];
    let mut depth = 0i64;
    for word in words(expression) {
        depth += word.1.matches('(').count() as i64 - word.1.matches(')').count() as i64;
        if depth == 0 && matches!(word.1, "and" | "&&" | "or" | "||") {
            out.push((Some(word), Vec::new()));
        } else if let Some(last) = out.last_mut() {
            last.1.push(word);
        }
    }
    out
}

/// Words and brackets with their places.
fn words(expression: &str) -> Vec<Word<'_>> {
    let mut out = Vec::new();
    let mut from = None;
    for (i, c) in expression.char_indices().chain([(expression.len(), ' ')]) {
        let bracket = matches!(c, '(' | ')');
        if c.is_whitespace() || bracket {
            if let Some(from) = from.take() {
                out.push((from, &expression[from..i]));
            }
            if bracket {
                out.push((i, &expression[i..=i]));
            }
        } else {
            from.get_or_insert(i);
        }
    }
    out
}

fn moment(text: &str) -> Option<Moment> {
    if let Some(after) = text.strip_prefix('+') {
        let unit = after.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        let scale = match unit {
            "us" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        let n: f64 = after[..after.len() - unit.len()].parse().ok()?;
        return Some(Moment::After(Ns((n * scale) as i64)));
    }
    let at = chrono::DateTime::parse_from_rfc3339(text).ok()?;
    at.timestamp_nanos_opt().map(|ns| Moment::At(Ts(ns)))
}

/// Whether libpcap takes it for any link; its words otherwise.
fn compiles(bpf: &str) -> Result<(), String> {
    if bpf.is_empty() {
        return Ok(());
    }
    let ethernet = program(bpf, LinkType::ETHERNET);
    match ethernet {
        Ok(_) => Ok(()),
        Err(e) => program(bpf, LinkType::SLL2).map(drop).map_err(|_| e),
    }
}

fn program(bpf: &str, link: LinkType) -> Result<BpfProgram, String> {
    let said = |e: pcap::Error| match e {
        pcap::Error::PcapError(e) => printable(&e.replace("syntax error in filter expression: ", "")),
        other => printable(&other.to_string()),
    };
    // a NUL would end the expression early
    if bpf.contains('\0') {
        return Err("a NUL".to_owned());
    }
    let dead = Capture::dead(Linktype(i32::from(dlt(link)))).map_err(said)?;
    dead.compile(bpf, true).map_err(said)
}

/// The number that libpcap's compiler has for a link type of a file; they differ for raw IP.
fn dlt(link: LinkType) -> u16 {
    match link {
        LinkType(101) => 12,
        LinkType(228 | 229) => 12,
        LinkType(n) => n,
    }
}

struct Filtered {
    name: String,
    source: Box<dyn FrameSource>,
    filter: Filter,
    /// One per link type; none where everything passes.
    programs: HashMap<LinkType, Option<BpfProgram>>,
    kept: Kept,
    first: Option<Ts>,
    seen: u64,
    passed: u64,
}

impl FrameSource for Filtered {
    fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        loop {
            let Some(frame) = self.source.next_frame()? else { return Ok(None) };
            self.seen += 1;
            let first = *self.first.get_or_insert(frame.ts);
            let f = &self.filter;
            let early = f.from.is_some_and(|m| frame.ts < m.from(first));
            let late = f.to.is_some_and(|m| frame.ts > m.from(first));
            if early || late {
                continue;
            }
            let program = match self.programs.entry(frame.link) {
                std::collections::hash_map::Entry::Occupied(e) => e.into_mut(),
                std::collections::hash_map::Entry::Vacant(e) => {
                    let made = match f.bpf.as_str() {
                        "" => None,
                        bpf => match program(bpf, frame.link) {
                            Ok(p) => Some(p),
                            Err(why) => {
                                let name = self.name.clone();
                                let message =
                                    format!("the filter does not work on link type {}: {why}", frame.link.0);
                                return Err(CaptureError::Filter { name, message });
                            }
                        },
                    };
                    e.insert(made)
                }
            };
            if program.as_ref().is_none_or(|p| p.filter(frame.data)) {
                let no: FrameNo = frame.no;
                self.kept.keep(&frame);
                self.passed += 1;
                return Ok(Some(self.kept.frame(no)));
            }
        }
    }

    fn position(&self) -> Position {
        self.source.position()
    }

    fn notes(&self) -> SourceNotes {
        let mut notes = self.source.notes();
        let message = format!(
            "{} of {} frames pass the filter `{}`; the others count as if they were not there",
            count(self.passed),
            count(self.seen),
            printable(&self.filter.expression)
        );
        notes.remarks.push(Remark::info("filtered", 1, &message));
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_words_are_taken_out_and_the_rest_is_libpcaps() {
        let f = Filter::parse("time +2s..+5s and tcp port 80 or udp and flow 3,4").unwrap_err();
        assert_eq!(f.at, 0, "{f}");
        let f = Filter::parse("tcp port 80 or udp and flow 3,4 and time +2.5s..").unwrap();
        assert_eq!(f.bpf, "tcp port 80 or udp");
        assert_eq!(f.flows(), Some(&[3, 4][..]));
        assert_eq!((f.from, f.to), (Some(Moment::After(Ns(2_500_000_000))), None));
        let f = Filter::parse("flow 1 and (host 10.0.0.1 or host 10.0.0.2)").unwrap();
        assert_eq!(f.bpf, "( host 10.0.0.1 or host 10.0.0.2 )");
        let f = Filter::parse("time 2026-11-21T12:38:17Z..2026-11-21T12:38:18.5Z").unwrap();
        assert_eq!(f.from, Some(Moment::At(Ts(1_795_264_697_000_000_000))));
        assert_eq!(Filter::parse("").unwrap(), Filter::default());
    }

    #[test]
    fn errors_point_at_the_word() {
        let at = |e: &str| Filter::parse(e).unwrap_err().at;
        assert_eq!(at("tcp port 80 andd host 10.0.0.1"), 12);
        assert_eq!(at("blah"), 0);
        assert_eq!(at("tcp and flow x"), 13);
        assert_eq!(at("not flow 3"), 4);
        assert_eq!(at("tcp or flow 3"), 7);
        assert_eq!(at("time +2s..5"), 10);
        assert_eq!(at("time 3"), 5);
        let shown = Filter::parse("tcp and flow \u{1b}x").unwrap_err().to_string();
        assert!(!shown.contains('\u{1b}') && shown.ends_with(&format!("\n  {}^", " ".repeat(13))), "{shown}");
    }
}
