//! One line a scenario and tap, all seeds together; what was derived from its captures, all scenarios together and
//! one by one where an answer is wrong; then what went wrong.

use crate::rivals::{Counts, Rivals};
use crate::run::{Row, Tap};
use crate::variant::Variant;
use std::io::stdout;
use syncscope::lab::score::tally::{Confusion, Found};
use syncscope::lab::score::{Score, text};

pub fn print(rows: &[Row]) {
    println!(
        "{:<30} {:<6} {:>5}  {:>13} {:>7}  {:>11} {:>9} {:>9} {:>9}  {:>13} {:>12} {:>12}",
        "",
        "",
        "",
        "not `new`",
        "causes",
        "lost bytes",
        "needless",
        "stalls",
        "reads",
        "tshark",
        "tcptrace",
        "tcptrace"
    );
    println!(
        "{:<30} {:<6} {:>5}  {:>13} {:>7}  {:>11} {:>9} {:>9} {:>9}  {:>13} {:>12} {:>12}",
        "scenario",
        "tap",
        "runs",
        "right",
        "right",
        "found",
        "found",
        "right",
        "right",
        "right",
        "resent",
        "late"
    );
    for group in rows.chunk_by(|a, b| (a.name(), a.tap) == (b.name(), b.tap)) {
        // Of what was derived, only what needs a look.
        if group.iter().any(|r| r.variant.is_none() || !r.good()) {
            line(&group[0].name(), &group.iter().collect::<Vec<_>>());
        }
    }
    for variant in Variant::ALL {
        for tap in [Tap::Client, Tap::Server, Tap::Both] {
            let group: Vec<&Row> =
                rows.iter().filter(|r| r.variant == Some(variant) && r.tap == tap).collect();
            if !group.is_empty() {
                line(&format!("all+{}", variant.name()), &group);
            }
        }
    }
    println!();
    let plain = || rows.iter().filter(|r| r.variant.is_none());
    for (name, taps) in [("one tap", &[Tap::Client, Tap::Server][..]), ("both taps and logs", &[Tap::Both])] {
        let sum = sum(plain().filter(|r| taps.contains(&r.tap)));
        println!("== {name}");
        for (what, table) in text::tables(&sum) {
            if table.total() > 0 {
                text::matrix(what, table, &mut stdout()).unwrap();
            }
        }
        println!();
    }
}

/// Everything added up.
pub fn sum<'a>(rows: impl Iterator<Item = &'a Row>) -> Score {
    let mut all = Score::default();
    for r in rows {
        all.merge(&r.score);
    }
    all
}

fn line(name: &str, group: &[&Row]) {
    let first = group[0];
    let s = sum(group.iter().copied());
    let rivals: Vec<&Rivals> = group.iter().filter_map(|r| r.rivals.as_ref()).collect();
    let mut ours = Confusion::default();
    let mut tshark: Option<Confusion> = None;
    let mut tcptrace: Option<Counts> = None;
    for r in rivals {
        ours.merge(&r.ours);
        if let Some(t) = &r.tshark {
            tshark.get_or_insert_default().merge(t);
        }
        if let Some(t) = r.tcptrace {
            let c = tcptrace.get_or_insert_default();
            c.resent = (c.resent.0 + t.resent.0, c.resent.1 + t.resent.1);
            c.late = (c.late.0 + t.late.0, c.late.1 + t.late.1);
        }
    }
    let of =
        |c: &Confusion| if c.total() == 0 { "-".to_owned() } else { format!("{}/{}", c.right(), c.total()) };
    let found = |f: Found| match f {
        f if f == Found::default() => "-".to_owned(),
        f if f.exact() => "exact".to_owned(),
        f => format!("{:.1}/{:.1}%", 100.0 * f.precision(), 100.0 * f.recall()),
    };
    let causes = if first.tap == Tap::Both { Confusion::default() } else { s.causes.clone() };
    println!(
        "{:<30} {:<6} {:>5}  {:>13} {:>7}  {:>11} {:>9} {:>9} {:>9}  {:>13} {:>12} {:>12}",
        name,
        first.tap.to_string(),
        group.len(),
        of(&ours),
        of(&causes),
        found(s.losses),
        found(s.spurious),
        of(&s.stalls),
        of(&s.reads),
        tshark.map_or("-".to_owned(), |c| of(&c)),
        tcptrace.map_or("-".to_owned(), |c| format!("{} of {}", c.resent.1, c.resent.0)),
        tcptrace.map_or("-".to_owned(), |c| format!("{} of {}", c.late.1, c.late.0)),
    );
    for r in group.iter().filter_map(|r| r.failed.as_ref()) {
        println!("  FAILED: {r}");
    }
}
