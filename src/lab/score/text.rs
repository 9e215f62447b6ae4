//! A score for people: one line a question, the wrong answers below.

use super::Score;
use super::tally::{Confusion, Found};
use crate::model::units::printable;
use std::io::{self, Write};

/// Wrong answers that are listed.
const LISTED: usize = 20;

/// Writes it.
pub fn write(s: &Score, out: &mut impl Write) -> io::Result<()> {
    for (name, c) in tables(s) {
        if c.total() > 0 {
            writeln!(
                out,
                "{name:<22} {:>6} of {:>6} right  {:>6.2} %  undecided {:>4}  macro-F1 {:.3}",
                c.right(),
                c.total(),
                100.0 * c.accuracy(),
                c.undecided(),
                c.macro_f1()
            )?;
        }
    }
    for (name, f) in [
        ("lost bytes", s.losses),
        ("gaps of the capture", s.gaps),
        ("needless resends", s.spurious),
        ("bounds of stalls", s.bounds),
        ("findings", s.findings),
    ] {
        if f != Found::default() {
            writeln!(
                out,
                "{name:<22} {:>6} of {:>6} found  precision {:.4}  recall {:.4}",
                f.right,
                f.truth,
                f.precision(),
                f.recall()
            )?;
        }
    }
    if s.read_ns.0 > 0 {
        let unknown = 100.0 * s.read_ns.1 as f64 / s.read_ns.0 as f64;
        writeln!(
            out,
            "budgets                {} do not add up, {unknown:.2} % of the time is unknown",
            s.budgets_off
        )?;
    }
    for c in &s.counters {
        let word = if c.kernel == c.said { "as counted" } else { "NOT as counted" };
        writeln!(out, "{:<30} kernel {:>6}  report {:>6}  {word}", c.name, c.kernel, c.said)?;
    }
    if !s.notes.is_empty() {
        writeln!(out, "wrong or undecided:")?;
    }
    for n in s.notes.iter().take(LISTED) {
        writeln!(out, "  {}", printable(n))?;
    }
    if s.notes.len() > LISTED {
        writeln!(out, "  … and {} more (--format json)", s.notes.len() - LISTED)?;
    }
    Ok(())
}

/// The confusion matrices with their names.
pub fn tables(s: &Score) -> [(&'static str, &Confusion); 7] {
    [
        ("segment classes", &s.classes),
        ("causes (sender tap)", &s.causes),
        ("causes (receiver tap)", &s.causes_behind),
        ("stall owners", &s.owners),
        ("stalls", &s.stalls),
        ("stalled milliseconds", &s.stall_ms),
        ("slow reads", &s.reads),
    ]
}

/// Writes one matrix: the truth in rows, the answers in columns.
pub fn matrix(name: &str, c: &Confusion, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{name}: truth → answer")?;
    for (truth, row) in &c.0 {
        let cells: Vec<String> = row.iter().map(|(said, n)| format!("{said} {n}")).collect();
        writeln!(out, "  {truth:<34} {}", cells.join("  "))?;
    }
    Ok(())
}
