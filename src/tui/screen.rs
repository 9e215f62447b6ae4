//! A state as cells.

use super::state::{Page, Source, State};
use super::{evidence, help, keymap, lanes};
use crate::model::units::printable;
use crate::view::layout;
use crate::view::words::{self, Tone, owner_tone, since, verdict_tone};
use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

/// Rows that are on every page: header and footer.
pub const FRAME_ROWS: usize = 2;
/// Below this a terminal shows one line only.
pub const LEAST: (u16, u16) = (20, 6);

/// How the rows of the main page are shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Rows of the sentence under the header.
    pub sentence: u16,
    /// Rows of lanes, without the axis; 0: neither lanes nor axis.
    pub lanes: u16,
    /// Rows of the list, its heading included.
    pub list: u16,
    /// Rows under the list for what the selected incident is about.
    pub preview: u16,
}

/// Shares the rows.
pub fn plan(state: &State) -> Plan {
    let (cols, rows) = state.size();
    let sentence = if rows >= 20 { 2 } else { 1 };
    let rest = rows.saturating_sub(2 + sentence);
    if rows < 10 || cols < 30 || state.report().flows.is_empty() {
        return Plan { sentence, lanes: 0, list: rest, preview: 0 };
    }
    let wanted = u16::try_from(state.report().incidents.len()).unwrap_or(u16::MAX).max(1);
    let list = 1 + wanted.min((rows / 5).max(3)).max(if rows >= 20 { 3 } else { 1 });
    let preview = match rows {
        _ if state.incident().is_none() => 0,
        40.. => rows / 4,
        22.. => 2,
        _ => 0,
    };
    Plan { sentence, lanes: rest.saturating_sub(list + preview + 1), list, preview }
}

/// Draws the state.
pub fn draw(frame: &mut Frame, state: &State) {
    let area = frame.area();
    let buf = frame.buffer_mut();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let text = format!("{} – the terminal is too small", state.report().verdict.kind);
        lanes::put(buf, area.x, area.y, area.width, &text, Style::default());
        return;
    }
    header(state, buf, Rect { height: 1, ..area });
    footer(state, buf, Rect { y: area.bottom() - 1, height: 1, ..area });
    let body = Rect { y: area.y + 1, height: area.height - 2, ..area };
    if state.help() {
        page(buf, body, help::lines(state), state.scroll());
    } else if state.page() == Page::Evidence {
        page(buf, body, evidence::lines(state, usize::from(body.width)), state.scroll());
    } else if state.page() == Page::Report {
        page(buf, body, report_lines(state, usize::from(body.width)), state.scroll());
    } else {
        main_page(state, buf, body);
    }
}

/// The printed report, for those who want to read on without leaving.
pub fn report_lines(state: &State, width: usize) -> Vec<Line> {
    let mut out = Vec::new();
    let options =
        crate::view::TextOptions { color: false, width: width.saturating_sub(2), ..Default::default() };
    // Writing to memory cannot fail.
    let _ = crate::view::text::write(state.report(), &mut out, options);
    let text = String::from_utf8_lossy(&out);
    text.lines().map(|l| vec![(Style::default(), format!(" {l}"))]).collect()
}

/// One line of a page that scrolls: pieces with their styles.
pub type Line = Vec<(Style, String)>;

fn page(buf: &mut Buffer, area: Rect, lines: Vec<Line>, scroll: usize) {
    let rows = usize::from(area.height);
    let scroll = scroll.min(lines.len().saturating_sub(rows));
    for (i, l) in lines.iter().skip(scroll).take(rows).enumerate() {
        pieces(buf, area.x, area.y + i as u16, area.width, l);
    }
    // What lies beyond the edges shows in the last column.
    let mark = |buf: &mut Buffer, y: u16, c: &str| {
        lanes::put(buf, area.right() - 1, y, 1, c, Style::default().add_modifier(Modifier::REVERSED));
    };
    if scroll > 0 {
        mark(buf, area.y, "↑");
    }
    if lines.len() > scroll + rows {
        mark(buf, area.bottom() - 1, "↓");
    }
}

fn pieces(buf: &mut Buffer, x: u16, y: u16, room: u16, line: &[(Style, String)]) {
    let mut used = 0;
    for (style, text) in line {
        let text = layout::cut(&printable(text), usize::from(room - used));
        lanes::put(buf, x + used, y, room - used, &text, *style);
        used = (used + layout::width(&text) as u16).min(room);
    }
}

/// LIVE, FROZEN, DONE or STORED, each with a sign of its own.
fn marker(state: &State) -> (Tone, String) {
    if state.frozen() {
        let behind = state.behind();
        let late = if behind.0 > 0 { format!(" {behind} behind") } else { String::new() };
        return (Tone::Warn, format!("‖ FROZEN{late}"));
    }
    match state.source() {
        Source::Live if state.following() => (Tone::Good, "● LIVE".to_owned()),
        Source::Live => (Tone::Warn, "○ LIVE, not following".to_owned()),
        Source::Done => (Tone::Strong, "■ DONE".to_owned()),
        Source::Stored => (Tone::Dim, "□ STORED".to_owned()),
    }
}

fn header(state: &State, buf: &mut Buffer, area: Rect) {
    let t = state.theme;
    let r = state.report();
    let (tone, mark) = marker(state);
    let mark = format!(" {mark} ");
    let mark_width = (layout::width(&mark) as u16).min(area.width);
    let so_far = if state.source() == Source::Live { " so far" } else { "" };
    let verdict = format!(" {}{so_far} ", r.verdict.kind.as_str().to_uppercase());
    let mut line = vec![
        (t.style(verdict_tone(r.verdict.kind)).add_modifier(Modifier::BOLD | Modifier::REVERSED), verdict),
        (Style::default(), " ".to_owned()),
    ];
    if let Some(o) = r.verdict.owner {
        line.push((t.style(owner_tone(o)), format!("{o}  ")));
    }
    if let Some(flow) = state.flow() {
        let ids = words::flow_ids(r);
        if ids.len() > 1 {
            line.push((t.style(Tone::Strong), format!("flow {} of {}  ", flow.0, ids.len())));
        }
    }
    // The least important part is the one that is cut: the title, then the addresses.
    let fixed: usize = line.iter().map(|(_, s)| layout::width(s)).sum();
    let room = usize::from(area.width - mark_width).saturating_sub(fixed);
    let flow = state.flow().map(|f| words::flow_name(r, f)).unwrap_or_default();
    // Of a path its end says most.
    let title = printable(&r.meta.title);
    let title = match title.rsplit_once('/') {
        Some((_, name)) if title.starts_with('/') && !name.is_empty() => name.to_owned(),
        _ => title,
    };
    let both = format!("{title}  {flow}");
    let shown = if layout::width(&both) <= room || flow.is_empty() {
        both
    } else if layout::width(&flow) <= room {
        let left = room - layout::width(&flow);
        if left > 12 { format!("{}  {flow}", layout::cut(&title, left - 2)) } else { flow }
    } else {
        title
    };
    line.push((Style::default(), layout::cut(shown.trim_end(), room)));
    pieces(buf, area.x, area.y, area.width - mark_width, &line);
    lanes::put(
        buf,
        area.right() - mark_width,
        area.y,
        mark_width,
        &mark,
        t.style(tone).add_modifier(Modifier::BOLD),
    );
}

fn footer(state: &State, buf: &mut Buffer, area: Rect) {
    let t = state.theme;
    let mut x = area.x + 1;
    let opened = state.page() != Page::Main || state.help();
    for (actions, hint) in if opened { keymap::FOOTER_OPENED } else { keymap::FOOTER } {
        let keys = keymap::first_keys(actions);
        let width = (layout::width(&keys) + layout::width(hint) + 3) as u16;
        if x + width > area.right() + 2 {
            break;
        }
        lanes::put(buf, x, area.y, area.right() - x, &keys, t.style(Tone::Strong));
        let after = x + layout::width(&keys) as u16 + 1;
        lanes::put(buf, after, area.y, area.right().saturating_sub(after), hint, t.style(Tone::Dim));
        x += width;
    }
}

fn main_page(state: &State, buf: &mut Buffer, area: Rect) {
    let t = state.theme;
    let p = plan(state);
    let width = usize::from(area.width).saturating_sub(2);
    let rows = usize::from(p.sentence);
    let mut top = Vec::new();
    if !state.progress().is_empty() {
        top.push(layout::cut(&printable(state.progress()), width));
    }
    let room = rows - top.len();
    let mut sentence = layout::wrap(&printable(&state.report().verdict.sentence), width);
    if room > 0 && sentence.len() > room {
        sentence[room - 1] = layout::cut(&format!("{} …", sentence[room - 1]), width);
    }
    top.extend(sentence.into_iter().take(room));
    for (i, l) in top.iter().enumerate() {
        lanes::put(buf, area.x + 1, area.y + i as u16, area.width - 1, l, t.style(Tone::Plain));
    }
    let mut y = area.y + p.sentence;
    if p.lanes > 0 {
        lanes::draw(state, buf, Rect { y, height: p.lanes + 1, ..area });
        y += p.lanes + 1;
    }
    let height = area.bottom().saturating_sub(y + p.preview);
    list(state, buf, Rect { y, height, ..area });
    preview(state, buf, Rect { y: y + height, height: p.preview, ..area });
}

/// Under the list: the selected incident's sentence, or on tall screens the beginning of its evidence.
fn preview(state: &State, buf: &mut Buffer, area: Rect) {
    let Some(i) = state.incident() else { return };
    let t = state.theme;
    let rows = usize::from(area.height);
    let lines: Vec<Line> = if rows > 4 {
        let mut all = evidence::lines(state, usize::from(area.width));
        all[0] = Vec::new();
        all
    } else {
        let width = usize::from(area.width).saturating_sub(6);
        let mut wrapped = layout::wrap(&printable(&i.sentence), width);
        if wrapped.len() > rows && rows > 0 {
            wrapped[rows - 1] = layout::cut(&format!("{} …", wrapped[rows - 1]), width);
        }
        wrapped.into_iter().map(|l| vec![(t.style(Tone::Plain), format!("    {l}"))]).collect()
    };
    for (row, l) in lines.iter().take(rows).enumerate() {
        pieces(buf, area.x, area.y + row as u16, area.width, l);
    }
}

fn list(state: &State, buf: &mut Buffer, area: Rect) {
    if area.height == 0 {
        return;
    }
    let t = state.theme;
    let r = state.report();
    let n = r.incidents.len();
    let rows = usize::from(area.height - 1);
    let heading = match n {
        0 => " no incidents ".to_owned(),
        _ => format!(" incident {} of {n} ", state.selected() + 1),
    };
    let rule = "─".repeat(usize::from(area.width));
    lanes::put(buf, area.x, area.y, area.width, &rule, t.style(Tone::Dim));
    let mut style = t.style(Tone::Strong);
    if state.focus() == super::state::Focus::List && n > 0 {
        style = style.add_modifier(Modifier::REVERSED);
    }
    lanes::put(buf, area.x + 2, area.y, area.width.saturating_sub(2), &heading, style);
    if n == 0 {
        notes(state, buf, Rect { y: area.y + 1, height: area.height - 1, ..area });
    }
    // The selected row is kept in the middle where there are more rows than fit.
    let first = state.selected().saturating_sub(rows / 2).min(n.saturating_sub(rows));
    let several = words::flow_ids(r).len() > 1;
    for (row, (i, x)) in r.incidents.iter().enumerate().skip(first).take(rows).enumerate() {
        let chosen = i == state.selected();
        let base = if chosen { t.selected() } else { Style::default() };
        let on = |tone: Tone| t.style(tone).patch(base);
        let mut line: Line = vec![
            (on(Tone::Strong), format!("{}{:>2} ", if chosen { "▸" } else { " " }, i + 1)),
            (on(Tone::Plain), format!("{:>10}", since(r, x.span.start))),
            (on(Tone::Strong), format!("{:>9} ", effect(x))),
            (on(Tone::Plain), column(x.cause.as_str(), if area.width >= 60 { 20 } else { 15 })),
        ];
        if area.width >= 48 {
            line.push((on(owner_tone(x.owner)), column(x.owner.as_str(), 14)));
        }
        if area.width >= 70 {
            line.push((on(Tone::Dim), format!("{:<4}", x.dir)));
        }
        if several && area.width >= 70 {
            line.push((on(Tone::Dim), format!("flow {:<3}", x.flow.0)));
        }
        let used: usize = line.iter().map(|(_, s)| layout::width(s)).sum();
        if used + 12 <= usize::from(area.width) {
            line.push((on(Tone::Plain), x.sentence.clone()));
        }
        let y = area.y + 1 + row as u16;
        pieces(buf, area.x, y, area.width, &line);
    }
}

/// Where nothing happened: what else there is to say, about the transfer and about the evidence.
fn notes(state: &State, buf: &mut Buffer, area: Rect) {
    let t = state.theme;
    let r = state.report();
    let findings = r.findings.iter().map(|f| (f.severity, &f.code, &f.message));
    let quality = r.quality.iter().map(|q| (q.severity, &q.code, &q.message));
    let mut y = area.y;
    for (severity, code, message) in findings.chain(quality) {
        let lead = 4 + layout::width(&printable(code)) + 1;
        let room = usize::from(area.width).saturating_sub(lead + 1).max(20);
        for (i, l) in layout::wrap(&printable(message), room).into_iter().enumerate() {
            if y >= area.bottom() {
                return;
            }
            let head: Line = vec![
                (t.style(words::severity_tone(severity)), format!(" {} ", words::severity_letter(severity))),
                (t.style(Tone::Strong), format!("{code}  ")),
            ];
            let mut line = if i == 0 { head } else { vec![(Style::default(), " ".repeat(lead))] };
            line.push((t.style(Tone::Plain), l));
            pieces(buf, area.x, y, area.width, &line);
            y += 1;
        }
    }
}

/// `text` in exactly `width` columns, the last one blank.
fn column(text: &str, width: usize) -> String {
    layout::pad_right(&layout::cut(text, width - 1), width)
}

/// What an incident cost: the time that readers waited, else its length.
fn effect(x: &crate::report::Incident) -> String {
    if x.waited > crate::model::Ns::ZERO { x.waited.to_string() } else { x.span.len().to_string() }
}
