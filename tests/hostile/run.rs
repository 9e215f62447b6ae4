//! One case through the whole pipeline, with every panic caught and every byte of output looked at.

use std::cell::RefCell;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use syncscope::capture::{CaptureError, FrameSource, SourceNotes, file};
use syncscope::cli::reading::{Reading, read_capture};
use syncscope::correlate::{BuildInputs, CaptureInput, LogInput};
use syncscope::decode::{Decoded, Segment};
use syncscope::diagnose::build;
use syncscope::flow::Table;
use syncscope::model::{AppLog, Frame, FrameNo, LinkType, Ns, Span, Ts};
use syncscope::report::Report;
use syncscope::view::{self, TextOptions};

/// A frame that owns its bytes.
#[derive(Clone, Debug)]
pub struct Packet {
    pub ts: Ts,
    pub link: LinkType,
    pub interface: u32,
    pub orig_len: u32,
    pub data: Vec<u8>,
}

/// What is analysed.
pub enum Case {
    File(Vec<u8>),
    Frames(Vec<Vec<Packet>>, Vec<AppLog>),
    Segments(Vec<Segment>),
}

struct Memory {
    packets: Vec<Packet>,
    at: usize,
}

impl FrameSource for Memory {
    fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        let Some(p) = self.packets.get(self.at) else { return Ok(None) };
        self.at += 1;
        Ok(Some(Frame {
            no: FrameNo(self.at as u64),
            ts: p.ts,
            link: p.link,
            interface: p.interface,
            orig_len: p.orig_len,
            data: &p.data,
        }))
    }

    fn notes(&self) -> SourceNotes {
        SourceNotes { name: "evil\x1b]0;owned\x07\u{202e}gnp.pcap".to_owned(), ..SourceNotes::default() }
    }
}

pub fn read(packets: Vec<Packet>) -> Result<CaptureInput, CaptureError> {
    read_capture(&mut Memory { packets, at: 0 }, None, Reading::everything())
}

/// As [`read_capture`] makes it of a capture with these segments.
pub fn capture(segments: Vec<Segment>) -> CaptureInput {
    let tcp = segments.len() as u64;
    let span = segments.iter().map(|s| s.ts).min().zip(segments.iter().map(|s| s.ts).max());
    let span = span.map(|(a, b)| Span::new(a, b));
    let mut table = Table::new();
    segments.into_iter().for_each(|s| table.push(Decoded::Tcp(s)));
    let end = span.map_or(Ts::MAX, |s| s.end);
    let connections = table.finish().iter().map(|i| syncscope::tcp::analyze(i, end)).collect();
    CaptureInput { name: "made".to_owned(), frames: tcp, tcp, span, connections, ..CaptureInput::default() }
}

pub fn report(captures: Vec<CaptureInput>, logs: Vec<AppLog>) -> Report {
    let logs = logs
        .into_iter()
        .map(|log| LogInput { name: "log\x1b[2J\u{2066}".to_owned(), log, whole: None })
        .collect();
    build(BuildInputs {
        title: "title\x1b[31m\r\n\u{202e}".to_owned(),
        slow_read: Ns::from_millis(100),
        captures,
        logs,
        ..BuildInputs::default()
    })
}

/// Writes the report in every format; an error says what a terminal would have got raw.
pub fn shown(r: &Report) -> Result<(), String> {
    let mut text = Vec::new();
    view::text::write(r, &mut text, TextOptions { color: false, ..TextOptions::default() }).unwrap();
    let text = String::from_utf8(text).map_err(|_| "text that is not UTF-8".to_owned())?;
    if let Some(c) = text.chars().find(|&c| acts_on_terminal(c)) {
        return Err(format!("{c:?} reached the text"));
    }
    let (mut others, mut csv) = (Vec::new(), Vec::new());
    view::md::write(r, &mut others).unwrap();
    view::prom::write(r, &mut others).unwrap();
    for rows in view::csv::Rows::ALL {
        view::csv::write(r, *rows, &mut csv).unwrap();
    }
    let lines =
        String::from_utf8(csv).map_err(|_| "a table that is not UTF-8".to_owned())?.replace("\r\n", "\n");
    let others = String::from_utf8(others).map_err(|_| "a view that is not UTF-8".to_owned())?;
    if let Some(c) = others.chars().chain(lines.chars()).find(|&c| acts_on_terminal(c)) {
        return Err(format!("{c:?} reached another view"));
    }
    let (mut json, mut ndjson) = (Vec::new(), Vec::new());
    view::json::write(r, &mut json).unwrap();
    view::ndjson::write(r, &mut ndjson).unwrap();
    for stored in [json, ndjson] {
        let stored = String::from_utf8(stored).map_err(|_| "JSON that is not UTF-8".to_owned())?;
        if let Some(c) = stored.chars().find(|&c| acts_on_terminal(c)) {
            return Err(format!("{c:?} reached the JSON"));
        }
        let again = view::load(&stored).map_err(|e| format!("its own report cannot be loaded: {e}"))?;
        if again.flows != r.flows || again.verdict != r.verdict {
            return Err("the loaded report differs".to_owned());
        }
    }
    Ok(())
}

fn acts_on_terminal(c: char) -> bool {
    let bidi =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c != '\n' && (c.is_control() || bidi)
}

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    static QUIET: RefCell<bool> = const { RefCell::new(false) };
}

/// Runs a case; an error says where it broke.
pub fn survives(case: Case) -> Result<(), String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if QUIET.with(|q| *q.borrow()) {
                PANIC.with(|p| *p.borrow_mut() = Some(info.to_string().replace('\n', " ")));
            } else {
                usual(info);
            }
        }));
    });
    QUIET.with(|q| *q.borrow_mut() = true);
    let ran = catch_unwind(AssertUnwindSafe(|| analyse(case)));
    QUIET.with(|q| *q.borrow_mut() = false);
    ran.unwrap_or_else(|_| Err(PANIC.with(|p| p.borrow_mut().take()).unwrap_or_default()))
}

fn analyse(case: Case) -> Result<(), String> {
    let (captures, logs) = match case {
        Case::File(bytes) => {
            let opened = file::open_reader("evil\x1b[2J", Cursor::new(bytes));
            match opened.and_then(|mut s| read_capture(&mut *s, None, Reading::everything())) {
                Ok(input) => (vec![input], Vec::new()),
                Err(e) => return if e.to_string().is_empty() { Err("no words".to_owned()) } else { Ok(()) },
            }
        }
        Case::Frames(captures, logs) => (captures.into_iter().filter_map(|c| read(c).ok()).collect(), logs),
        Case::Segments(segments) => (vec![capture(segments)], Vec::new()),
    };
    shown(&report(captures, logs))
}
