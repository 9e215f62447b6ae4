//! What the screens show: a report, a stretch of its time, a selection. Keys and new reports change
//! it; drawing does not.

use super::evidence;
use super::keymap::{Action, Key, action};
use super::theme::Theme;
use crate::model::{FlowId, Ns, Span, Ts};
use crate::report::{Incident, Meta, Report, SCHEMA, Verdict, VerdictKind};
use crate::view::words;

/// The least time that can be in sight.
pub const MIN_VIEW: Ns = Ns(10_000);

/// Where the report comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file; it does not change.
    Stored,
    /// A run that is still going on.
    Live,
    /// A run that has ended before our eyes.
    Done,
}

/// Which page is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// Lanes and the list.
    Main,
    /// The evidence of one incident.
    Evidence,
    /// The printed report.
    Report,
}

/// What the vertical keys move on the main page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Focus {
    /// The list of incidents.
    List,
    /// The lanes.
    Lanes,
}

/// Everything that a screen depends on.
#[derive(Clone, Debug)]
pub struct State {
    report: Report,
    /// The newest report while the picture is frozen.
    held: Option<Report>,
    source: Source,
    frozen: bool,
    follow: bool,
    progress: String,
    flow: Option<FlowId>,
    view: Span,
    selected: usize,
    /// The user has selected something; before that the selection follows what is worth seeing.
    chosen: bool,
    page: Page,
    help: bool,
    scroll: usize,
    focus: Focus,
    lane: usize,
    size: (u16, u16),
    quit: bool,
    /// Colours or none.
    pub theme: Theme,
}

impl State {
    /// For a stored report.
    pub fn stored(report: Report, theme: Theme) -> State {
        State::new(report, Source::Stored, theme)
    }

    /// For a run that has only begun.
    pub fn live(theme: Theme) -> State {
        State::new(nothing_yet(), Source::Live, theme)
    }

    fn new(report: Report, source: Source, theme: Theme) -> State {
        let mut s = State {
            view: whole(report.span),
            report,
            held: None,
            source,
            frozen: false,
            follow: source == Source::Live,
            progress: String::new(),
            flow: None,
            selected: 0,
            chosen: false,
            page: Page::Main,
            help: false,
            scroll: 0,
            focus: Focus::List,
            lane: 0,
            size: (80, 24),
            quit: false,
            theme,
        };
        s.flow = words::flow_ids(&s.report).first().copied();
        s.select_worst();
        s.view = s.home();
        s
    }

    /// The report in sight.
    pub fn report(&self) -> &Report {
        &self.report
    }
    /// Where it comes from.
    pub fn source(&self) -> Source {
        self.source
    }
    /// The picture is held.
    pub fn frozen(&self) -> bool {
        self.frozen
    }
    /// How much newer the held report is than the picture.
    pub fn behind(&self) -> Ns {
        self.held.as_ref().map_or(Ns::ZERO, |h| h.span.end - self.report.span.end)
    }
    /// The newest is kept in sight.
    pub fn following(&self) -> bool {
        self.follow
    }
    /// What the run says about itself.
    pub fn progress(&self) -> &str {
        &self.progress
    }
    /// The connection in the lanes.
    pub fn flow(&self) -> Option<FlowId> {
        self.flow
    }
    /// The time in sight.
    pub fn view(&self) -> Span {
        self.view
    }
    /// Index of the selected incident; meaningless where there is none.
    pub fn selected(&self) -> usize {
        self.selected
    }
    /// The selected incident.
    pub fn incident(&self) -> Option<&Incident> {
        self.report.incidents.get(self.selected)
    }
    /// Which page is shown.
    pub fn page(&self) -> Page {
        self.page
    }
    /// The help lies over it.
    pub fn help(&self) -> bool {
        self.help
    }
    /// First line in sight of a page that scrolls.
    pub fn scroll(&self) -> usize {
        self.scroll
    }
    /// What the vertical keys move.
    pub fn focus(&self) -> Focus {
        self.focus
    }
    /// The chosen lane.
    pub fn lane(&self) -> usize {
        self.lane
    }
    /// Columns and rows of the terminal.
    pub fn size(&self) -> (u16, u16) {
        self.size
    }
    /// The user wants to leave.
    pub fn quits(&self) -> bool {
        self.quit
    }

    /// The terminal has another size.
    pub fn resize(&mut self, cols: u16, rows: u16) {
        self.size = (cols, rows);
        self.bound_scroll();
    }

    /// The run says something about itself.
    pub fn set_progress(&mut self, text: String) {
        self.progress = text;
    }

    /// A newer report. A frozen picture keeps the old one.
    pub fn update(&mut self, report: Report) {
        if self.frozen {
            self.held = Some(report);
        } else {
            self.take(report);
        }
    }

    /// The run has ended; `report` is the last.
    pub fn finish(&mut self, report: Option<Report>) {
        if let Some(r) = report {
            self.update(r);
        }
        self.source = Source::Done;
        self.progress.clear();
        if !self.chosen {
            self.select_worst();
        }
    }

    fn take(&mut self, report: Report) {
        let chosen = self.incident().map(|i| (i.flow, i.dir, i.span.start));
        let all_seen = self.view == self.home();
        let first = self.report.flows.is_empty();
        self.report = report;
        if self.flow.is_none() || !self.report.flows.iter().any(|f| Some(f.flow) == self.flow) {
            self.flow = words::flow_ids(&self.report).first().copied();
        }
        // The selection is held by identity: later reports may put an incident before it.
        let same = chosen
            .and_then(|c| self.report.incidents.iter().position(|i| (i.flow, i.dir, i.span.start) == c));
        match same {
            _ if !self.chosen => self.selected = self.report.incidents.len().saturating_sub(1),
            Some(i) => self.selected = i,
            None => self.selected = self.selected.min(self.report.incidents.len().saturating_sub(1)),
        }
        if first || all_seen {
            self.view = self.home();
        } else if self.follow {
            let width = self.view.len();
            let end = whole(self.report.span).end;
            self.set_view(end - width, width);
        } else {
            self.set_view(self.view.start, self.view.len());
        }
        self.bound_scroll();
    }

    /// What is in sight at first: of one connection everything, of several the chosen one's time.
    fn home(&self) -> Span {
        let all = whole(self.report.span);
        if words::flow_ids(&self.report).len() < 2 {
            return all;
        }
        let seen = self.report.flows.iter().filter(|f| Some(f.flow) == self.flow).map(|f| f.span);
        let flow = seen.reduce(|a, b| Span::new(a.start.min(b.start), a.end.max(b.end)));
        flow.and_then(|f| all.intersect(f)).filter(|f| f.len() >= MIN_VIEW).unwrap_or(all)
    }

    fn select_worst(&mut self) {
        let worst = (0..self.report.incidents.len()).max_by_key(|&i| {
            let x = &self.report.incidents[i];
            (x.waited, x.span.len(), std::cmp::Reverse(i))
        });
        self.selected = worst.unwrap_or(0);
        if let Some(flow) = self.incident().map(|i| i.flow) {
            self.flow = Some(flow);
        }
    }

    /// A key was pressed.
    pub fn key(&mut self, key: Key) {
        if let Some(a) = action(key) {
            self.act(a);
        }
    }

    /// Does one thing.
    pub fn act(&mut self, a: Action) {
        match a {
            Action::Quit => self.quit = true,
            Action::Help => {
                self.help = !self.help;
                self.scroll = 0;
            }
            Action::Back if self.help => self.act(Action::Help),
            Action::Back => self.open(Page::Main),
            Action::Open if self.help => self.act(Action::Help),
            Action::Open if self.page != Page::Main => self.open(Page::Main),
            Action::Open if self.incident().is_some() => {
                self.chosen = true;
                self.open(Page::Evidence);
            }
            Action::Open => {}
            Action::Report => {
                self.help = false;
                self.open(if self.page == Page::Report { Page::Main } else { Page::Report });
            }
            Action::Next => self.select(self.selected.saturating_add(1)),
            Action::Previous => self.select(self.selected.saturating_sub(1)),
            Action::Down => self.vertical(1),
            Action::Up => self.vertical(-1),
            Action::PageDown => self.vertical(self.page_rows()),
            Action::PageUp => self.vertical(-self.page_rows()),
            Action::First => self.vertical(isize::MIN / 2),
            Action::Last => self.vertical(isize::MAX / 2),
            Action::Focus => {
                self.focus = if self.focus == Focus::List { Focus::Lanes } else { Focus::List };
            }
            Action::ZoomIn => self.zoom(self.view.len().0 / 2),
            Action::ZoomOut => self.zoom(self.view.len().0.saturating_mul(2)),
            Action::ZoomAll => {
                let home = self.home();
                self.view = if self.view == home { whole(self.report.span) } else { home };
            }
            Action::ZoomTo => self.zoom_to_selected(),
            Action::PanLeft => self.pan(-1),
            Action::PanRight => self.pan(1),
            Action::Follow => {
                self.follow = !self.follow;
                if self.follow {
                    let width = self.view.len();
                    self.set_view(whole(self.report.span).end - width, width);
                }
            }
            Action::Freeze => {
                self.frozen = !self.frozen;
                if !self.frozen
                    && let Some(r) = self.held.take()
                {
                    self.take(r);
                }
            }
            Action::NextFlow => self.step_flow(1),
            Action::PreviousFlow => self.step_flow(-1),
            // The edge's business: no screen depends on it.
            Action::Suspend => {}
        }
    }

    fn open(&mut self, page: Page) {
        self.page = page;
        self.scroll = 0;
    }

    fn page_rows(&self) -> isize {
        (self.size.1 as isize / 2).max(1)
    }

    fn vertical(&mut self, by: isize) {
        let moved = |from: usize, n: usize| {
            (from as isize).saturating_add(by).clamp(0, n.saturating_sub(1) as isize) as usize
        };
        if self.help || self.page != Page::Main {
            self.scroll = (self.scroll as isize).saturating_add(by).max(0) as usize;
            self.bound_scroll();
        } else if self.focus == Focus::List {
            self.select(moved(self.selected, self.report.incidents.len()));
        } else {
            self.lane = moved(self.lane, super::lanes::shown(self).len());
        }
    }

    /// A page never scrolls past its last line.
    fn bound_scroll(&mut self) {
        let width = usize::from(self.size.0);
        let lines = match self.page {
            _ if self.help => super::help::lines(self).len(),
            Page::Evidence => evidence::lines(self, width).len(),
            Page::Report => super::screen::report_lines(self, width).len(),
            Page::Main => 0,
        };
        let rows = usize::from(self.size.1).saturating_sub(super::screen::FRAME_ROWS);
        self.scroll = self.scroll.min(lines.saturating_sub(rows));
    }

    fn select(&mut self, i: usize) {
        let n = self.report.incidents.len();
        if n == 0 {
            return;
        }
        let i = i.min(n - 1);
        self.chosen = true;
        if i != self.selected {
            self.scroll = 0;
        }
        self.selected = i;
        let span = self.report.incidents[i].span;
        self.choose_flow(self.report.incidents[i].flow);
        // Brought into sight, unless it is there.
        if span.start < self.view.start || span.end > self.view.end {
            self.follow = false;
            let width = self.view.len().max(Ns(span.len().0.saturating_mul(2)));
            let middle = span.start + Ns(span.len().0 / 2);
            self.set_view(middle - Ns(width.0 / 2), width);
        }
    }

    fn zoom_to_selected(&mut self) {
        if let Some(span) = self.incident().map(|i| i.span) {
            let margin = Ns((span.len().0 / 3).max(MIN_VIEW.0));
            self.follow = false;
            self.set_view(span.start - margin, Ns(span.len().0.saturating_add(margin.0.saturating_mul(2))));
        }
    }

    /// Around the selected incident where it is in sight, else around the middle; at the end while following.
    fn zoom(&mut self, width: i64) {
        let width = Ns(width.max(MIN_VIEW.0));
        let old = self.view;
        let inside = |t: Ts| t >= old.start && t < old.end;
        let anchor = match self.incident() {
            _ if self.follow => old.end,
            Some(i) if inside(i.span.start + Ns(i.span.len().0 / 2)) => i.span.start + Ns(i.span.len().0 / 2),
            _ => old.start + Ns(old.len().0 / 2),
        };
        let share = (anchor - old.start).0 as f64 / old.len().0.max(1) as f64;
        self.set_view(anchor - Ns((width.0 as f64 * share) as i64), width);
    }

    fn pan(&mut self, by: i64) {
        let step = (self.view.len().0 / 8).max(1);
        self.follow = false;
        self.set_view(self.view.start + Ns(step.saturating_mul(by)), self.view.len());
    }

    /// Sets the time in sight, kept within the report.
    fn set_view(&mut self, start: Ts, width: Ns) {
        let all = whole(self.report.span);
        let width = width.max(MIN_VIEW).min(all.len());
        let start = start.min(all.end - width).max(all.start);
        self.view = Span::new(start, start + width);
    }

    fn choose_flow(&mut self, flow: FlowId) {
        if self.flow != Some(flow) {
            self.flow = Some(flow);
            self.view = self.home();
        }
    }

    fn step_flow(&mut self, by: isize) {
        let ids = words::flow_ids(&self.report);
        if ids.is_empty() {
            return;
        }
        let at = ids.iter().position(|f| Some(*f) == self.flow).unwrap_or(0) as isize;
        let flow = ids[(at + by).rem_euclid(ids.len() as isize) as usize];
        self.choose_flow(flow);
        if let Some(i) = self.report.incidents.iter().position(|i| i.flow == flow) {
            self.select(i);
        }
    }
}

/// A span that can be drawn: never shorter than the closest zoom.
fn whole(span: Span) -> Span {
    if span.len() >= MIN_VIEW {
        return span;
    }
    let start = span.start.min(Ts::MAX - MIN_VIEW);
    Span::new(start, start + MIN_VIEW)
}

/// What is shown before a run has given its first report.
fn nothing_yet() -> Report {
    Report {
        meta: Meta {
            schema: SCHEMA.to_owned(),
            tool: String::new(),
            title: "starting".to_owned(),
            slow_read: Ns::from_millis(200),
            live: true,
        },
        inputs: Vec::new(),
        span: Span::default(),
        quality: Vec::new(),
        flows: Vec::new(),
        segments: Vec::new(),
        losses: Vec::new(),
        holes: Vec::new(),
        stalls: Vec::new(),
        reads: Vec::new(),
        incidents: Vec::new(),
        findings: Vec::new(),
        verdict: Verdict {
            kind: VerdictKind::Inconclusive,
            owner: None,
            sentence: "nothing measured yet".to_owned(),
        },
        series: Vec::new(),
        run: None,
        comparison: None,
    }
}
