//! What tcpdump prints, as a capture: people paste listings where a file was never kept.
//!
//! ```text
//! 15:18:45.703607 IP 10.0.0.2.6300 > 10.0.0.1.57619: Flags [P.], seq 546:567, ack 170, win 114, options […], length 21
//! text ──► row ──► number (relative, absolute or omitted → one numbering) ──► packet (headers, no payload) ──► frames
//! ```
//!
//! Only what is listed is carried. What a listing lacks is said in [`SourceNotes::remarks`], since
//! every conclusion that rests on it is out of reach: IP identifications, TTLs, checksums, payload.

mod names;
mod number;
mod packet;
mod row;

use super::input::Input;
use super::{CaptureError, Hints};
use crate::capture::{FrameSource, Remark, SourceNotes};
use crate::model::calendar::{DAY, SECOND};
use crate::model::{Frame, FrameNo, LinkType, Ts};
use row::{Head, Row, Stamp, parse};
use std::borrow::Cow;

/// True for text that tcpdump may have printed; `head` is its begin.
pub(super) fn recognise(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head);
    let binary = text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'));
    !binary && text.lines().any(row::looks_like)
}

/// A listing, read and numbered; its packets are made one by one.
pub(super) struct Listing {
    rows: Vec<Row>,
    next: usize,
    bytes: Vec<u8>,
    notes: SourceNotes,
}

/// What the lines came to.
#[derive(Default)]
struct Seen {
    packets: u64,
    not_tcp: u64,
    other: u64,
    garbled: u64,
    first_garbled: Option<(u64, String)>,
}

impl Listing {
    /// Reads the listing to its end.
    pub fn read(input: &mut Input, format: String, hints: &Hints) -> Result<Listing, CaptureError> {
        let name = input.name().to_owned();
        let mut len = 1 << 16;
        while input.want(len)? {
            len = input.head().len() + 1;
        }
        let mut seen = Seen::default();
        let mut names = names::Names::new(&hints.names);
        let mut rows = lines(input.head(), &mut seen, &mut names);
        if let Some(message) = names.unknown() {
            return Err(CaptureError::Listing { name, line: names.first_line(), message });
        }
        let Some(first) = rows.first() else {
            let (line, message) = seen.first_garbled.unwrap_or((1, "no TCP packet is listed".to_owned()));
            return Err(CaptureError::Listing { name, line, message });
        };
        if first.at == Stamp::Missing {
            let message = "the listing has no time stamps (-t); list with `tcpdump -tt -n -v`".to_owned();
            return Err(CaptureError::Listing { name, line: first.line, message });
        }
        let mut notes = SourceNotes { name, format, ..SourceNotes::default() };
        times(&mut rows, hints, &mut notes.remarks);
        let numbering = number::number(&mut rows);
        describe(&rows, &seen, &numbering, &mut notes.remarks);
        Ok(Listing { rows, next: 0, bytes: Vec::new(), notes })
    }
}

/// Takes the lines apart; a line with `-v`'s IP header waits for the one with its TCP header.
fn lines(text: &[u8], seen: &mut Seen, names: &mut names::Names) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut waiting: Option<Head> = None;
    for (i, line) in text.split(|b| *b == b'\n').enumerate() {
        let no = i as u64 + 1;
        let line: Cow<'_, str> = String::from_utf8_lossy(line);
        let line = line.trim_end();
        if line.is_empty() {
            continue;
        }
        let begins = row::looks_like(line);
        if begins || row::continues(line) {
            let head = if begins { row::head(line) } else { waiting.take() };
            if begins {
                seen.packets += 1;
                seen.not_tcp += u64::from(waiting.take().is_some());
            }
            if line.contains("Flags [") {
                let head = head.ok_or_else(|| "a packet without its first line".to_owned());
                match head.and_then(|h| parse(line, h)).and_then(|r| same_clock(&rows, r)) {
                    Ok(mut r) => {
                        (r.line, r.frame) = (no, seen.packets);
                        names.resolve(&mut r, no);
                        rows.push(r);
                    }
                    Err(why) => {
                        seen.garbled += 1;
                        seen.first_garbled.get_or_insert((no, format!("{why}: `{}`", row::shown(line))));
                    }
                }
            } else if begins && line.ends_with(')') {
                waiting = head;
            } else if head.is_some() {
                seen.not_tcp += 1;
            } else {
                seen.other += 1;
            }
        } else {
            seen.other += 1;
        }
    }
    seen.not_tcp += u64::from(waiting.is_some());
    rows
}

/// Refuses a row whose time is of another kind than the first one's.
fn same_clock(rows: &[Row], r: Row) -> Result<Row, String> {
    let kind = |s: &Stamp| std::mem::discriminant(s);
    match rows.first() {
        Some(first) if kind(&first.at) != kind(&r.at) => Err("its time is of another format".to_owned()),
        _ => Ok(r),
    }
}

/// Gives every row its time, and says what had to be assumed.
fn times(rows: &mut [Row], hints: &Hints, remarks: &mut Vec<Remark>) {
    let Some(first) = rows.first().map(|r| r.at) else { return };
    let east = hints.zone.unwrap_or(0).saturating_mul(SECOND);
    let mut day = 0;
    if let Stamp::OfDay(ns) = first {
        day = match (hints.day, hints.near) {
            (Some(day), _) => day.saturating_mul(DAY),
            (None, Some(near)) => {
                remarks.push(Remark::info(
                    "listing-no-date",
                    1,
                    "the listing has no date: the log's is taken (--date tells)",
                ));
                let rest = near.0.saturating_sub(ns).saturating_add(east);
                rest.saturating_add(DAY / 2).div_euclid(DAY).saturating_mul(DAY)
            }
            (None, None) => {
                let message = "the listing has no date: 1970-01-01 is taken (--date tells)";
                remarks.push(Remark::info("listing-no-date", 1, message));
                0
            }
        };
    }
    if matches!(first, Stamp::OfDay(_) | Stamp::Local(_)) && hints.zone.is_none() {
        let message = "the listing names no time zone: its times are taken as UTC (--time-zone tells)";
        remarks.push(Remark::info("listing-no-zone", 1, message));
    }
    // -ttt counts from the line before, -ttttt from the first one: only the latter never goes back
    let since = |r: &Row| if let Stamp::Since(ns) = r.at { ns } else { 0 };
    let rising = rows.len() > 2 && rows.windows(2).all(|w| since(&w[0]) <= since(&w[1]));
    if let Stamp::Since(_) = first {
        let kind = if rising { "first packet (-ttttt)" } else { "line before (-ttt)" };
        let message =
            format!("times count from the {kind}: they are no time of day, and begin at 1970-01-01");
        remarks.push(Remark::info("listing-no-date", 1, &message));
    }
    let (mut before, mut sum) = (None, 0i64);
    for r in rows {
        r.ts = Ts(match r.at {
            Stamp::Epoch(ns) => ns,
            Stamp::Local(ns) => ns.saturating_sub(east),
            Stamp::OfDay(ns) => {
                if before.is_some_and(|b: i64| b.saturating_sub(ns) > DAY / 2) {
                    day = day.saturating_add(DAY);
                }
                before = Some(ns);
                ns.saturating_add(day).saturating_sub(east)
            }
            Stamp::Since(ns) if rising => ns,
            Stamp::Since(ns) => {
                sum = sum.saturating_add(ns);
                sum
            }
            Stamp::Missing => sum,
        });
    }
}

/// Says what is missing.
fn describe(rows: &[Row], seen: &Seen, n: &number::Numbering, remarks: &mut Vec<Remark>) {
    let mut lacks = Vec::new();
    if rows.iter().all(|r| r.ip.is_none()) {
        lacks.push("IP identifications and TTLs (list with -v)");
    }
    lacks.push("payload and checksums");
    if n.relative {
        lacks.push("absolute sequence numbers (list with -S)");
    }
    if n.omitted > 0 {
        lacks.push("the sequence numbers of segments without data");
    }
    if !rows.iter().any(|r| r.flags & 2 != 0) {
        lacks.push("the handshake, and with it the window scale");
    }
    let message = format!("what tcpdump printed, not a capture file: it lacks {}", lacks.join("; "));
    remarks.push(Remark::info("listing", rows.len() as u64, &message));
    if seen.not_tcp > 0 {
        remarks.push(Remark::info(
            "listing-not-tcp",
            seen.not_tcp,
            "packets of other protocols are left out",
        ));
    }
    if seen.other > 0 {
        let message = "lines that begin no packet (headers, dumps of payload, remarks) are left out";
        remarks.push(Remark::info("listing-other-lines", seen.other, message));
    }
    if let Some((line, why)) = &seen.first_garbled {
        let more = if seen.garbled > 1 { format!(" (and {} more)", seen.garbled - 1) } else { String::new() };
        let message = format!("line {line}{more} cannot be read and is left out: {why}");
        remarks.push(Remark { severe: true, ..Remark::info("listing-garbled", seen.garbled, &message) });
    }
}

impl FrameSource for Listing {
    fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        let Some(r) = self.rows.get(self.next) else { return Ok(None) };
        self.next += 1;
        let orig_len = packet::write(r, &mut self.bytes);
        self.notes.last_ts = Some(r.ts);
        Ok(Some(Frame {
            no: FrameNo(r.frame),
            ts: r.ts,
            link: LinkType::RAW,
            interface: 0,
            orig_len,
            data: &self.bytes,
        }))
    }

    fn notes(&self) -> SourceNotes {
        self.notes.clone()
    }
}
