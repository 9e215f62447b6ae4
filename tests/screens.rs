//! The screens, cell by cell, without a terminal: state + size → text.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod sample;

use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;
use syncscope::model::{Ns, Span, Ts};
use syncscope::report::Report;
use syncscope::tui::keymap::{Action, KEYS, Key};
use syncscope::tui::screen;
use syncscope::tui::state::{Focus, MIN_VIEW, Page, Source, State};
use syncscope::tui::theme::Theme;

const COLOR: Theme = Theme { color: true };
const SIZES: [(u16, u16); 3] = [(80, 24), (160, 50), (40, 12)];

fn stored(report: Report) -> State {
    State::stored(report, COLOR)
}

fn draw(state: &mut State, (cols, rows): (u16, u16)) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(cols, rows)).unwrap();
    state.resize(cols, rows);
    terminal.draw(|f| screen::draw(f, state)).unwrap();
    terminal
}

fn text(state: &mut State, size: (u16, u16)) -> String {
    draw(state, size).backend().to_string()
}

fn press(state: &mut State, keys: &str) {
    for c in keys.chars() {
        state.key(if c == '\n' { Key::Enter } else { Key::Char(c) });
    }
}

fn snapshots(name: &str, mut state: State) {
    for size in SIZES {
        insta::assert_snapshot!(format!("{name}_{}x{}", size.0, size.1), text(&mut state, size));
    }
}

#[test]
fn main_screen() {
    snapshots("main", stored(sample::report()));
}

#[test]
fn evidence_screen() {
    let mut s = stored(sample::report());
    press(&mut s, "\n");
    assert_eq!(s.page(), Page::Evidence);
    snapshots("evidence", s);
}

#[test]
fn help_screen() {
    let mut s = stored(sample::report());
    press(&mut s, "?");
    snapshots("help", s);
}

#[test]
fn report_screen() {
    let mut s = stored(sample::report());
    press(&mut s, "r");
    s.key(Key::PageDown);
    insta::assert_snapshot!(text(&mut s, (80, 24)));
    s.key(Key::End);
    assert!(text(&mut s, (80, 24)).contains("opens it again"), "it scrolls to its last line");
    s.key(Key::Esc);
    assert_eq!(s.page(), Page::Main);
}

#[test]
fn a_healthy_report_says_what_else_is_known() {
    let mut r = sample::report();
    r.incidents.clear();
    r.reads.clear();
    r.findings.truncate(1);
    r.findings[0].incidents.clear();
    r.verdict.kind = syncscope::report::VerdictKind::Healthy;
    r.verdict.owner = None;
    insta::assert_snapshot!(text(&mut stored(r), (80, 24)));
}

#[test]
fn live_screen() {
    let mut s = State::live(COLOR);
    s.set_progress("file 12 of 64, 3.2 MiB of 24.0 MiB".to_owned());
    let mut r = sample::report();
    r.meta.live = true;
    s.update(r);
    snapshots("live", s);
}

#[test]
fn before_the_first_report() {
    let mut s = State::live(COLOR);
    s.set_progress("waiting for the peer".to_owned());
    insta::assert_snapshot!(text(&mut s, (80, 24)));
}

#[test]
fn frozen_screen_says_how_far_behind_it_is() {
    let mut s = State::live(COLOR);
    let mut r = sample::report();
    s.update(r.clone());
    press(&mut s, " ");
    r.span.end += Ns::from_millis(12_300);
    s.update(r);
    insta::assert_snapshot!(text(&mut s, (80, 24)).lines().next().unwrap());
    assert_eq!(s.report().span.len(), Ns::from_millis(15_020), "the picture is held");
    press(&mut s, " ");
    assert_eq!(s.report().span.len(), Ns::from_millis(27_320), "and goes on with the newest");
}

#[test]
fn zoomed_to_one_incident() {
    let mut s = stored(sample::report());
    press(&mut s, "z");
    insta::assert_snapshot!(text(&mut s, (80, 24)));
}

#[test]
fn several_connections() {
    let mut s = stored(sample::several_flows());
    snapshots("flows", s.clone());
    let first = s.flow();
    press(&mut s, "]");
    assert_ne!(s.flow(), first);
    press(&mut s, "[");
    assert_eq!(s.flow(), first);
}

#[test]
fn an_empty_report() {
    insta::assert_snapshot!(text(&mut stored(sample::empty()), (80, 24)));
}

/// A capture without an application log: the first lane shows the incidents' length instead of reads.
#[test]
fn a_capture_alone_shows_delays() {
    let mut r = sample::report();
    r.reads.clear();
    r.series.retain(|s| s.kind != syncscope::report::SeriesKind::Read);
    for i in &mut r.incidents {
        i.reads.clear();
        i.waited = Ns::ZERO;
    }
    let t = text(&mut stored(r), (80, 24));
    assert!(t.contains("  delays ") && !t.contains("  reads "));
    insta::assert_snapshot!(t);
}

/// Without colour every cell is in the terminal's own, and the text is the same: all signs are letters.
#[test]
fn without_colour_the_same_is_said() {
    for keys in ["", "\n", "?", "r"] {
        for size in SIZES {
            let mut with = stored(sample::report());
            let mut without = State::stored(sample::report(), Theme { color: false });
            press(&mut with, keys);
            press(&mut without, keys);
            assert_eq!(text(&mut with, size), text(&mut without, size));
            let plain = draw(&mut without, size);
            assert!(
                plain.backend().buffer().content.iter().all(|c| c.fg == Color::Reset && c.bg == Color::Reset)
            );
            let colored = draw(&mut with, size);
            assert!(colored.backend().buffer().content.iter().any(|c| c.fg != Color::Reset));
        }
    }
    insta::assert_snapshot!(
        "no_color_80x24",
        text(&mut State::stored(sample::report(), Theme { color: false }), (80, 24))
    );
}

#[test]
fn slow_reads_stand_out_by_height_letter_and_colour() {
    let mut s = stored(sample::report());
    let t = draw(&mut s, (160, 50));
    let buffer = t.backend().buffer();
    let find = |symbol: &str| {
        buffer.content.iter().enumerate().find(|(i, c)| i / 160 < 16 && i % 160 >= 12 && c.symbol() == symbol)
    };
    let (at_loss, loss) = find("L").expect("a letter for loss-recovery");
    let (_, app) = find("A").expect("a letter for the peer's application");
    assert_ne!(loss.fg, app.fg);
    assert!(at_loss / 160 < 10, "the peak of a slow read stands above the quick ones");
}

#[test]
fn the_help_names_every_key() {
    let mut s = stored(sample::report());
    press(&mut s, "?");
    let shown = text(&mut s, (100, 80));
    for b in KEYS {
        assert!(shown.contains(b.help), "{} is missing", b.help);
    }
}

#[test]
fn too_small_a_terminal_gets_one_line() {
    let mut s = stored(sample::report());
    let t = text(&mut s, (19, 5));
    assert!(t.contains("degraded"), "{t}");
    for size in [(1, 1), (2, 9), (20, 6), (5, 50), (300, 1)] {
        text(&mut s, size);
    }
}

#[test]
fn hostile_names_reach_no_cell() {
    let evil = "a\x1b[2J\x1b]0;owned\x07\u{202e}b\nc\r\u{9b}31m";
    let mut r = sample::report();
    r.meta.title = evil.to_owned();
    r.verdict.sentence = evil.to_owned();
    for i in &mut r.inputs {
        i.name = evil.to_owned();
    }
    for i in &mut r.incidents {
        i.sentence = evil.to_owned();
    }
    for x in &mut r.reads {
        x.file = Some(evil.to_owned());
        for s in &mut x.steps {
            s.from = evil.to_owned();
            s.to = evil.to_owned();
        }
    }
    for f in &mut r.findings {
        f.code = evil.to_owned();
        f.message = evil.to_owned();
        f.next = evil.to_owned();
    }
    for s in &mut r.stalls {
        s.detail.busy_with = Some(evil.to_owned());
    }
    let mut s = stored(r);
    s.set_progress(evil.to_owned());
    for keys in ["", "\n", "r"] {
        press(&mut s, keys);
        for size in SIZES {
            for cell in &draw(&mut s, size).backend().buffer().content {
                assert!(
                    !cell.symbol().chars().any(|c| c.is_control() || c == '\u{202e}'),
                    "{:?}",
                    cell.symbol()
                );
            }
        }
    }
}

#[test]
fn zoom_and_pan_stay_within_the_report() {
    let mut s = stored(sample::report());
    let all = s.report().span;
    press(&mut s, "----");
    assert_eq!(s.view(), all);
    press(&mut s, "+");
    assert_eq!(s.view().len().0, all.len().0 / 2);
    press(&mut s, "hhhhhhhhhhhhhhhhhhhhhhhhh");
    assert_eq!(s.view().start, all.start);
    press(&mut s, "lllllllllllllllllllllllll");
    assert_eq!(s.view().end, all.end);
    press(&mut s, &"+".repeat(60));
    assert_eq!(s.view().len(), MIN_VIEW);
    press(&mut s, "0");
    assert_eq!(s.view(), all);
}

#[test]
fn next_and_previous_bring_the_incident_into_sight() {
    let mut s = stored(sample::report());
    assert_eq!(s.selected(), 2, "the worst one is selected first");
    press(&mut s, "pp");
    press(&mut s, "z");
    for _ in 0..3 {
        press(&mut s, "n");
        let span = s.incident().unwrap().span;
        assert!(s.view().start <= span.start && span.end <= s.view().end);
    }
    press(&mut s, "n");
    assert_eq!(s.selected(), 3, "the last one stays");
}

#[test]
fn enter_opens_and_escape_closes_the_last_thing_opened() {
    let mut s = stored(sample::report());
    press(&mut s, "\n?");
    assert!(s.help());
    s.key(Key::Esc);
    assert!(!s.help());
    assert_eq!(s.page(), Page::Evidence);
    s.key(Key::Esc);
    assert_eq!(s.page(), Page::Main);
    s.key(Key::Esc);
    assert!(!s.quits(), "escape never leaves the program");
    press(&mut s, "q");
    assert!(s.quits());
}

/// The hang itself: the read has not returned, so no report lists it; the open stall shows it.
#[test]
fn a_wait_that_has_not_ended_stands_at_the_right_edge() {
    let mut r = sample::report();
    let mut open = r.stalls[2].clone();
    open.start = sample::at(14_000);
    open.end = None;
    r.stalls.push(open);
    let t = draw(&mut stored(r.clone()), (80, 24));
    let last = |row: u16| t.backend().buffer().cell((79, row)).unwrap().symbol().to_owned();
    assert!((3..8).any(|row| last(row) == "!"), "{}", t.backend());
    r.stalls.last_mut().unwrap().cause = syncscope::model::tcp::StallCause::Idle;
    let t = draw(&mut stored(r), (80, 24));
    assert!(
        !(3..8).any(|row| t.backend().buffer().cell((79, row)).unwrap().symbol() == "!"),
        "idle is no wait"
    );
}

#[test]
fn tab_moves_between_list_and_lanes_and_the_chosen_lane_grows() {
    let mut s = stored(sample::report());
    text(&mut s, (80, 24));
    let rows = |s: &State, n: usize| syncscope::tui::lanes::allot(s, 12)[n].1;
    let before = rows(&s, 4);
    s.key(Key::Tab);
    assert_eq!(s.focus(), Focus::Lanes);
    for _ in 0..4 {
        s.key(Key::Down);
    }
    assert!(rows(&s, 4) > before);
    let selected = s.selected();
    s.key(Key::Tab);
    s.key(Key::Up);
    assert_eq!(s.selected(), selected - 1);
}

#[test]
fn a_live_run_is_followed_and_the_selection_kept_by_identity() {
    let mut s = State::live(COLOR);
    let whole = sample::report();
    let mut part = whole.clone();
    part.incidents.truncate(3);
    part.span = Span::new(part.span.start, sample::at(12_200));
    s.update(part.clone());
    assert_eq!(s.view(), part.span);
    assert_eq!(s.selected(), 2, "the newest one, as long as the user has not chosen");
    press(&mut s, "p");
    let chosen = s.incident().unwrap().span;
    let mut later = whole.clone();
    let first = later.incidents[0].clone();
    later.incidents.insert(0, first);
    later.incidents[0].span.start = sample::at(10);
    s.update(later);
    assert_eq!(s.incident().unwrap().span, chosen);
    assert_eq!(s.view(), whole.span, "all was in sight, all still is");
    press(&mut s, "f");
    press(&mut s, "++");
    s.key(Key::Char('f'));
    let width = s.view().len();
    let mut more = whole.clone();
    more.span.end += Ns::from_secs(5);
    s.update(more.clone());
    assert_eq!((s.view().end, s.view().len()), (more.span.end, width));
    s.finish(None);
    assert_eq!(s.source(), Source::Done);
}

fn any_key() -> impl Strategy<Value = Key> {
    let all: Vec<Key> = KEYS
        .iter()
        .filter(|b| b.action != Action::Quit)
        .flat_map(|b| b.keys)
        .copied()
        .chain([Key::Char('x'), Key::Ctrl('x')])
        .collect();
    proptest::sample::select(all)
}

#[derive(Clone, Debug)]
enum Step {
    Press(Key),
    Size(u16, u16),
    Update(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => any_key().prop_map(Step::Press),
        2 => (1u16..200, 1u16..60).prop_map(|(c, r)| Step::Size(c, r)),
        1 => (0usize..4).prop_map(Step::Update),
    ]
}

/// A report whose times and indices make no sense, as a hostile file may bring.
fn absurd() -> Report {
    let mut r = sample::report();
    r.span = Span { start: Ts::MIN, end: Ts::MAX };
    r.reads[0].start = Ts::MIN;
    r.reads[0].end = Ts::MAX;
    r.reads[1].end = r.reads[1].start - Ns(5);
    r.reads[2].hole = Some(u32::MAX);
    r.incidents[0].reads = vec![u32::MAX];
    r.incidents[1].span = Span { start: Ts::MAX, end: Ts::MIN };
    r.incidents[2].stalls = vec![77];
    r.holes[0].birth = Ts::MAX;
    r.holes[0].input = u16::MAX;
    r.segments[0].input = u16::MAX;
    r.meta.slow_read = Ns(i64::MIN);
    r.series[0].step = Ns(0);
    r.series[1].step = Ns(1);
    r.series[1].values = vec![i64::MAX; 50];
    r.series[2].values = vec![i64::MAX, i64::MIN, -1, 0, 5];
    r.series[3].start = Ts::MAX;
    r.findings[0].incidents = vec![u32::MAX];
    r.findings[1].confidence = f64::NAN;
    r
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_keys_sizes_or_reports_bring_it_down(
        live in any::<bool>(),
        steps in proptest::collection::vec(any_step(), 1..60),
    ) {
        let reports = [sample::report(), sample::several_flows(), sample::empty(), absurd()];
        let mut s = if live { State::live(COLOR) } else { stored(reports[0].clone()) };
        let mut size = (80, 24);
        for step in steps {
            match step {
                Step::Press(k) => s.key(k),
                Step::Size(c, r) => size = (c, r),
                Step::Update(n) => s.update(reports[n].clone()),
            }
            text(&mut s, size);
            let all = s.report().span;
            prop_assert!(s.view().len() >= MIN_VIEW);
            if all.len() >= MIN_VIEW {
                prop_assert!(s.view().start >= all.start && s.view().end <= all.end);
            }
        }
    }
}

/// Text of the same absurd report, for the printed view's sake.
#[test]
fn an_absurd_report_is_printed_without_a_panic() {
    let mut out = Vec::new();
    syncscope::view::text::write(&absurd(), &mut out, syncscope::view::TextOptions::default()).unwrap();
    assert!(!out.is_empty());
}
