//! The lanes: what applications waited for, above what TCP did, over one time axis.

use super::axis::Axis;
use super::screen::plan;
use super::series::{amount, main_dir, over, series};
use super::state::{Focus, State};
use crate::model::tcp::{Filler, StallCause};
use crate::model::units::bits_per_second;
use crate::model::{Dir, Ns, Span};
use crate::report::{Report, SeriesKind};
use crate::view::layout;
use crate::view::words::{Tone, owner_letter, owner_tone, part_letter, part_tone, segment_letter};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

/// A lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// How long readers have been waiting; where no application is known, how long the incidents last.
    Waits,
    /// Where the incidents lie.
    Incidents,
    /// Gaps in the received bytes.
    Holes,
    /// What was sent again, and probes.
    Resent,
    /// New bytes per time.
    Bytes(Dir),
    /// Bytes in flight.
    InFlight(Dir),
    /// Round-trip times.
    Rtt(Dir),
}

impl Kind {
    /// More rows than this tell nothing more.
    fn most(self) -> u16 {
        match self {
            Kind::Waits => 14,
            Kind::Incidents => 1,
            Kind::Holes | Kind::Resent => 2,
            Kind::Bytes(_) => 8,
            Kind::InFlight(_) | Kind::Rtt(_) => 5,
        }
    }

    fn weight(self) -> u16 {
        match self {
            Kind::Waits => 6,
            Kind::Bytes(_) => 3,
            Kind::Rtt(_) | Kind::InFlight(_) => 2,
            Kind::Incidents | Kind::Holes | Kind::Resent => 1,
        }
    }

    fn least(self) -> u16 {
        match self {
            Kind::Incidents | Kind::Holes | Kind::Resent => 1,
            _ => 2,
        }
    }
}

/// The lanes in sight, from top to bottom.
pub fn shown(state: &State) -> Vec<Kind> {
    allot(state, plan(state).lanes).into_iter().map(|l| l.0).collect()
}

/// Which lanes fit into `rows`, and how high they are: all of `rows` is used where lanes can grow.
pub fn allot(state: &State, rows: u16) -> Vec<(Kind, u16)> {
    let r = state.report();
    let dir = main_dir(state);
    let has = |kind| series(state, kind, dir).is_some();
    let other = dir.flip();
    let mut wanted = vec![Kind::Waits, Kind::Incidents, Kind::Resent, Kind::Holes];
    if has(SeriesKind::Bytes) {
        wanted.push(Kind::Bytes(dir));
    }
    if has(SeriesKind::Rtt) {
        wanted.push(Kind::Rtt(dir));
    }
    if rows >= 18 && series(state, SeriesKind::Bytes, other).is_some_and(|s| s.values.iter().any(|v| *v > 0))
    {
        wanted.push(Kind::Bytes(other));
    }
    if rows >= 24 && has(SeriesKind::InFlight) {
        wanted.push(Kind::InFlight(dir));
    }
    if r.flows.is_empty() {
        wanted.truncate(2);
    }
    let mut left = rows;
    let mut lanes: Vec<(Kind, u16)> = Vec::new();
    for k in wanted {
        if left >= k.least() {
            left -= k.least();
            lanes.push((k, k.least()));
        }
    }
    lanes.sort_by_key(|(k, _)| match k {
        Kind::Waits => 0,
        Kind::Incidents => 1,
        Kind::Holes => 2,
        Kind::Resent => 3,
        Kind::Bytes(Dir::C2s) => 4,
        Kind::Bytes(Dir::S2c) => 5,
        Kind::InFlight(_) => 6,
        Kind::Rtt(_) => 7,
    });
    if state.focus() == Focus::Lanes
        && let Some((k, n)) = lanes.get_mut(state.lane())
    {
        let more = left.min(k.most().saturating_sub(*n));
        *n += more;
        left -= more;
    }
    // Readers' waits matter most. The next row goes to the lane that has least for its weight.
    while left > 0 {
        let next =
            lanes.iter_mut().filter(|(k, n)| *n < k.most()).min_by_key(|(k, n)| (n + 1) * 60 / k.weight());
        let Some((_, n)) = next else { break };
        *n += 1;
        left -= 1;
    }
    lanes
}

/// Columns left of the lanes.
pub fn gutter(cols: u16) -> u16 {
    if cols >= 60 { 13 } else { 9 }
}

/// Draws the lanes and, under them, the axis.
pub fn draw(state: &State, buf: &mut Buffer, area: Rect) {
    let left = gutter(area.width);
    if area.height < 2 || area.width <= left + 4 {
        return;
    }
    let axis = Axis::new(state.view(), area.width - left);
    let mut y = area.y;
    for (i, (kind, rows)) in allot(state, area.height - 1).into_iter().enumerate() {
        let lane = Lane {
            state,
            axis,
            x: area.x + left,
            y,
            rows,
            gutter: left,
            chosen: state.focus() == Focus::Lanes && i == state.lane(),
        };
        match kind {
            Kind::Waits => lane.waits(buf),
            Kind::Incidents => lane.incidents(buf),
            Kind::Holes => lane.holes(buf),
            Kind::Resent => lane.resent(buf),
            Kind::Bytes(d) => lane.bytes(buf, d),
            Kind::InFlight(d) => lane.in_flight(buf, d),
            Kind::Rtt(d) => lane.rtt(buf, d),
        }
        y += rows;
    }
    draw_axis(state, &axis, buf, area.x + left, area.bottom() - 1);
}

fn draw_axis(state: &State, axis: &Axis, buf: &mut Buffer, x: u16, y: u16) {
    let style = state.theme.style(Tone::Dim);
    for (col, text) in axis.ticks(state.report().span.start, 14) {
        let room = axis.cols.saturating_sub(col);
        if usize::from(room) > layout::width(&text) {
            put(buf, x + col, y, room, &format!("╵{text}"), style);
        }
    }
}

/// Writes text into at most `room` columns.
pub(super) fn put(buf: &mut Buffer, x: u16, y: u16, room: u16, text: &str, style: Style) {
    let area = buf.area;
    if y < area.bottom() && x < area.right() {
        let room = usize::from(room.min(area.right() - x));
        buf.set_stringn(x, y, crate::model::units::printable(text), room, style);
    }
}

struct Lane<'a> {
    state: &'a State,
    axis: Axis,
    x: u16,
    y: u16,
    rows: u16,
    gutter: u16,
    chosen: bool,
}

/// The letter of a wait that the report does not see the end of.
pub const STILL_OPEN: char = '!';

/// One wait: when, its letter and tone.
struct Wait {
    span: Span,
    letter: char,
    tone: Tone,
}

impl Lane<'_> {
    fn style(&self, tone: Tone) -> Style {
        self.state.theme.style(tone)
    }

    fn report(&self) -> &Report {
        self.state.report()
    }

    /// The lane's name on its first row, and what its rows mean below.
    fn labels(&self, buf: &mut Buffer, name: &str, scale: &[(u16, String)]) {
        let room = usize::from(self.gutter - 1);
        let x = self.x - self.gutter;
        let mut style = self.style(Tone::Strong);
        if self.chosen {
            style = style.add_modifier(Modifier::REVERSED);
        }
        let name = layout::cut(name, room);
        let lead = (room - layout::width(&name)) as u16;
        put(buf, x + lead, self.y, self.gutter, &name, style);
        for (row, text) in scale {
            if *row > 0 && *row < self.rows {
                let text = layout::pad_left(&layout::cut(text, room), room);
                put(buf, x, self.y + row, self.gutter, &text, self.style(Tone::Dim));
            }
        }
    }

    fn set(&self, buf: &mut Buffer, col: u16, row: u16, c: char, style: Style) {
        if let Some(cell) = buf.cell_mut((self.x + col, self.y + row)) {
            cell.set_char(c).set_style(style);
        }
    }

    /// A bar of `eighths` eighths of a row, from the lane's ground.
    fn bar(&self, buf: &mut Buffer, col: u16, eighths: u32, style: Style) {
        const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let mut left = eighths.min(u32::from(self.rows) * 8);
        let mut row = self.rows;
        while left > 0 && row > 0 {
            row -= 1;
            let here = left.min(8);
            self.set(buf, col, row, BLOCKS[here as usize - 1], style);
            left -= here;
        }
    }

    /// Dim lines where the selected incident begins and ends, behind everything else.
    fn frame(&self, buf: &mut Buffer) {
        let Some(i) = self.state.incident() else { return };
        if Some(i.flow) != self.state.flow() {
            return;
        }
        let style = self.style(Tone::Dim);
        let (first, last) = (self.axis.column(i.span.start), self.axis.column(i.span.end));
        for col in [first, last] {
            if (0..i64::from(self.axis.cols)).contains(&col) {
                for row in 0..self.rows {
                    self.set(buf, col as u16, row, '┊', style);
                }
            }
        }
    }

    /// What readers waited for; without readers, the incidents.
    fn items(&self) -> (&'static str, Vec<Wait>) {
        let r = self.report();
        let flow = self.state.flow();
        let of_app = r.reads.iter().any(|x| Some(x.flow) == flow)
            || r.series.iter().any(|s| s.kind == SeriesKind::Read && Some(s.flow) == flow);
        if of_app {
            let reads = r.reads.iter().filter(|x| Some(x.flow) == flow).map(|x| {
                let part = x.budget.largest().0;
                Wait { span: Span::new(x.start, x.end), letter: part_letter(part), tone: part_tone(part) }
            });
            // A read that has not returned is in no report; the stall under it is.
            let open = r.stalls.iter().filter(|s| {
                let owed = !matches!(s.cause, StallCause::Idle | StallCause::WaitingForPeer);
                s.end.is_none() && Some(s.flow) == flow && owed
            });
            let open = open.map(|s| Wait {
                span: Span::new(s.start, r.span.end),
                letter: STILL_OPEN,
                tone: owner_tone(s.owner),
            });
            return ("reads", reads.chain(open).collect());
        }
        let delays = r.incidents.iter().filter(|i| Some(i.flow) == flow).map(|i| Wait {
            span: i.span,
            letter: owner_letter(i.owner),
            tone: owner_tone(i.owner),
        });
        ("delays", delays.collect())
    }

    /// The height is the time that the reader has been waiting so far. The lowest row (of two: half of
    /// it) holds what is not slow; what rises above is slow, on a logarithmic scale. The peak carries
    /// the letter of what took most of the time.
    fn waits(&self, buf: &mut Buffer) {
        self.frame(buf);
        let (name, items) = self.items();
        let slow = self.report().meta.slow_read.max(Ns(1)).0 as f64;
        let most = items.iter().map(|w| w.span.len().0).max().unwrap_or(0) as f64;
        let most = most.max(slow * 2.0);
        let full = f64::from(self.rows) * 8.0;
        let ground = if self.rows >= 3 { 8.0 } else { 4.0 };
        let height = |ns: f64| -> u32 {
            if ns <= 0.0 {
                0
            } else if ns <= slow {
                (ns / slow * ground).ceil().max(1.0) as u32
            } else {
                // Never level with what is not slow.
                (ground + 1.0 + (full - ground - 1.0) * (ns / slow).ln() / (most / slow).ln()).round() as u32
            }
        };
        for col in 0..self.axis.cols {
            let span = self.axis.of_column(col);
            let quick = [Dir::C2s, Dir::S2c]
                .iter()
                .filter_map(|&d| over(series(self.state, SeriesKind::Read, d)?, span, i64::max))
                .max();
            if let Some(v) = quick {
                self.bar(buf, col, height((v as f64).min(slow)), self.style(Tone::Data));
            }
        }
        let mut best = vec![0u32; usize::from(self.axis.cols)];
        for w in &items {
            let Some((first, last)) = self.axis.columns(w.span.start, w.span.end) else { continue };
            for col in first..=last {
                let until = self.axis.of_column(col).end.min(w.span.end);
                let h = height(until.since(w.span.start).0 as f64);
                if h >= best[usize::from(col)] {
                    best[usize::from(col)] = h;
                    self.bar(buf, col, h, self.style(w.tone));
                }
            }
            let until = self.axis.of_column(last).end.min(w.span.end);
            let peak = height(until.since(w.span.start).0 as f64);
            if best[usize::from(last)] == peak && peak > 0 {
                let row = self.rows - (peak.div_ceil(8) as u16).clamp(1, self.rows);
                let style = self.style(w.tone).add_modifier(Modifier::BOLD | Modifier::REVERSED);
                self.set(buf, last, row, w.letter, style);
            }
        }
        let mut scale = vec![(1, Ns(most as i64).to_string())];
        if self.rows >= 3 {
            scale.push((self.rows - 1, format!("<{}", self.report().meta.slow_read)));
        }
        self.labels(buf, name, &scale);
    }

    fn incidents(&self, buf: &mut Buffer) {
        let r = self.report();
        let all = r.incidents.iter().enumerate().filter(|(_, i)| Some(i.flow) == self.state.flow());
        // The selected one last, so that it is never hidden.
        let mut order: Vec<usize> = all.map(|(n, _)| n).collect();
        order.sort_by_key(|&n| n == self.state.selected());
        for n in order {
            let i = &r.incidents[n];
            let Some((first, last)) = self.axis.columns(i.span.start, i.span.end) else { continue };
            let chosen = n == self.state.selected();
            let mut style = self.style(owner_tone(i.owner));
            if chosen {
                style = style.add_modifier(Modifier::REVERSED | Modifier::BOLD);
            }
            let number = (n + 1).to_string();
            let cols = usize::from(last - first) + 1;
            if cols <= number.len() + 1 {
                let text = if number.len() <= cols || chosen { number } else { "•".to_owned() };
                let room = self.axis.cols - first;
                put(buf, self.x + first, self.y, room, &text, style);
                continue;
            }
            for col in first..=last {
                let c = if col == first {
                    '├'
                } else if col == last {
                    '┤'
                } else {
                    '─'
                };
                self.set(buf, col, 0, c, style);
            }
            let at = first + ((cols - number.len()) / 2) as u16;
            put(buf, self.x + at, self.y, last - at, &number, style);
        }
        self.labels(buf, if self.gutter > 10 { "incidents" } else { "incid." }, &[]);
    }

    /// How many holes are open at once. Shaded where only the order was wrong.
    fn holes(&self, buf: &mut Buffer) {
        self.frame(buf);
        let r = self.report();
        let cols = usize::from(self.axis.cols);
        // Two captures see the same hole: each counts for itself, the higher count shows.
        let inputs = r.inputs.len().max(1);
        let mut open = vec![vec![0u32; inputs]; cols];
        let mut lost = vec![false; cols];
        for h in r.holes.iter().filter(|h| Some(h.flow) == self.state.flow()) {
            let Some((first, last)) = self.axis.columns(h.birth, h.death.unwrap_or(r.span.end)) else {
                continue;
            };
            for col in first..=last {
                let col = usize::from(col);
                if let Some(n) = open[col].get_mut(usize::from(h.input)) {
                    *n += 1;
                }
                lost[col] |= h.filler != Some(Filler::Reordered);
            }
        }
        let count = |col: usize| open[col].iter().copied().max().unwrap_or(0);
        let most = (0..cols).map(count).max().unwrap_or(0);
        let full = u32::from(self.rows) * 8;
        for (col, lost) in lost.into_iter().enumerate() {
            let n = count(col);
            if n == 0 {
                continue;
            }
            if lost {
                self.bar(buf, col as u16, (n * full).div_ceil(most.max(4)), self.style(Tone::Net));
            } else {
                self.set(buf, col as u16, self.rows - 1, '░', self.style(Tone::Warn));
            }
        }
        let scale = if most > 1 { vec![(1, format!("≤{most}"))] } else { Vec::new() };
        self.labels(buf, "holes", &scale);
    }

    /// The weightiest letter in each column; on a second row how many there are.
    fn resent(&self, buf: &mut Buffer) {
        self.frame(buf);
        let r = self.report();
        let cols = usize::from(self.axis.cols);
        let mut letters: Vec<Option<(char, u8)>> = vec![None; cols];
        let inputs = r.inputs.len().max(1);
        let mut counts = vec![vec![0u32; inputs]; cols];
        for s in r.segments.iter().filter(|s| Some(s.flow) == self.state.flow()) {
            let Some(letter) = segment_letter(s) else { continue };
            let col = self.axis.column(s.ts);
            if !(0..cols as i64).contains(&col) {
                continue;
            }
            let col = col as usize;
            if letters[col].is_none_or(|l| l.1 < letter.1) {
                letters[col] = Some(letter);
            }
            if let Some(n) = counts[col].get_mut(usize::from(s.input)) {
                *n += 1;
            }
        }
        let mut counted = false;
        for col in 0..cols {
            let Some((letter, weight)) = letters[col] else { continue };
            let tone = if weight >= 8 {
                Tone::Bad
            } else if weight >= 5 {
                Tone::Net
            } else {
                Tone::Warn
            };
            self.set(buf, col as u16, 0, letter, self.style(tone));
            let n = counts[col].iter().copied().max().unwrap_or(0);
            if self.rows > 1 && n > 1 {
                counted = true;
                let digit = char::from_digit(n, 10).unwrap_or('+');
                self.set(buf, col as u16, 1, digit, self.style(Tone::Dim));
            }
        }
        let scale = if counted { vec![(1, "count".to_owned())] } else { Vec::new() };
        self.labels(buf, "resent", &scale);
    }

    fn bytes(&self, buf: &mut Buffer, dir: Dir) {
        self.frame(buf);
        let Some(s) = series(self.state, SeriesKind::Bytes, dir) else { return };
        let rate = |col: u16| {
            let span = self.axis.of_column(col);
            amount(s, span) / span.len().as_secs_f64().max(1e-9)
        };
        let rates: Vec<f64> = (0..self.axis.cols).map(rate).collect();
        let most = rates.iter().copied().fold(0.0, f64::max);
        self.bars(buf, &rates, most, Tone::Data);
        let scale = vec![(1, bits_per_second(most as u64, 1_000_000_000))];
        self.labels(buf, dir.as_str(), &scale);
    }

    fn in_flight(&self, buf: &mut Buffer, dir: Dir) {
        self.frame(buf);
        let Some(s) = series(self.state, SeriesKind::InFlight, dir) else { return };
        let values: Vec<f64> = (0..self.axis.cols)
            .map(|c| over(s, self.axis.of_column(c), i64::max).unwrap_or(0).max(0) as f64)
            .collect();
        let most = values.iter().copied().fold(0.0, f64::max);
        self.bars(buf, &values, most, Tone::Data);
        self.labels(buf, "in flight", &[(1, crate::model::units::bytes(most as u64))]);
    }

    fn bars(&self, buf: &mut Buffer, values: &[f64], most: f64, tone: Tone) {
        if most <= 0.0 {
            return;
        }
        let full = f64::from(self.rows) * 8.0;
        for (col, v) in values.iter().enumerate() {
            if *v > 0.0 {
                let eighths = (v / most * full).round().max(1.0) as u32;
                self.bar(buf, col as u16, eighths, self.style(tone));
            }
        }
    }

    /// A line of Braille dots, two by four in a cell.
    fn rtt(&self, buf: &mut Buffer, dir: Dir) {
        self.frame(buf);
        let Some(s) = series(self.state, SeriesKind::Rtt, dir) else { return };
        let n = usize::from(self.axis.cols) * 2;
        let values: Vec<Option<i64>> =
            (0..n).map(|i| over(s, self.axis.part(i, n), i64::max).filter(|v| *v >= 0)).collect();
        let most = values.iter().flatten().copied().max().unwrap_or(0);
        if most > 0 {
            let levels = i128::from(self.rows) * 4;
            let level = |v: i64| (i128::from(v) * (levels - 1) / i128::from(most)) as u16;
            let mut cells = vec![0u8; usize::from(self.axis.cols) * usize::from(self.rows)];
            let mut before: Option<u16> = None;
            for (i, v) in values.iter().enumerate() {
                let here = v.map(level);
                if let Some(h) = here {
                    // Joined to the dot before it, so that a jump is a line and not a gap.
                    let from = before.map_or(h, |b| if b < h { b + 1 } else { h });
                    let to = before.map_or(h, |b| if b > h { b - 1 } else { h });
                    for l in from.min(h)..=to.max(h) {
                        let up = self.rows * 4 - 1 - l;
                        let cell = usize::from(up / 4) * usize::from(self.axis.cols) + i / 2;
                        cells[cell] |= DOTS[i % 2][usize::from(up % 4)];
                    }
                }
                before = here;
            }
            for (i, dots) in cells.iter().enumerate().filter(|(_, d)| **d != 0) {
                let (row, col) = (i / usize::from(self.axis.cols), i % usize::from(self.axis.cols));
                let c = char::from_u32(0x2800 + u32::from(*dots)).unwrap_or('·');
                self.set(buf, col as u16, row as u16, c, self.style(Tone::Plain));
            }
        }
        self.labels(buf, &format!("RTT {dir}"), &[(1, Ns(most).to_string())]);
    }
}

/// Braille bits by column and row, from the top.
const DOTS: [[u8; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];
