//! What must hold. A mark that is missed is printed with its number, and fails the run.

use crate::run::{Row, Tap};
use crate::table::sum;
use crate::variant::Variant;

/// Prints each mark; true where all are reached. `runs`: how many were planned.
pub fn judge(rows: &[Row], runs: usize) -> bool {
    let plain = || rows.iter().filter(|r| r.variant.is_none());
    let one = sum(plain().filter(|r| r.tap != Tap::Both));
    let both = sum(plain().filter(|r| r.tap == Tap::Both));
    let failed = rows.iter().filter(|r| r.failed.is_some()).count();
    let mut good = true;
    let mut mark = |name: &str, ok: bool, is: String| {
        println!("{} {name:<64} {is}", if ok { "  ok  " } else { "MISSED" });
        good &= ok;
    };
    let percent = |x: f64| format!("{:.2} %", 100.0 * x);
    mark("every scenario ran", failed == 0, format!("{failed} of {runs} failed"));
    mark("segment classes: 100 % right", one.classes.wrong() == 0, percent(one.classes.decided_accuracy()));
    let part = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
    let undecided = part(one.classes.undecided(), one.classes.total());
    mark("segment classes: undecided under 2 %", undecided < 0.02, percent(undecided));
    let odd = one.counters.iter().filter(|c| c.kernel != c.said).count();
    mark("counts equal the kernel's", odd == 0, format!("{odd} of {} differ", one.counters.len()));
    let f1 = one.causes.macro_f1();
    mark("causes at the sender's tap: macro-F1 at least 0.95", f1 >= 0.95, format!("{f1:.3}"));
    let f1 = both.causes.macro_f1();
    mark("causes with both taps: macro-F1 at least 0.98", f1 >= 0.98, format!("{f1:.3}"));
    for (name, s) in [("one tap", &one), ("both taps", &both)] {
        let f = s.losses;
        let is = format!("precision {:.4}, recall {:.4}", f.precision(), f.recall());
        mark(&format!("lost bytes, {name}: exact"), f.exact() && s.misplaced == 0, is);
        let f = s.spurious;
        let is = format!("precision {:.4}, recall {:.4}", f.precision(), f.recall());
        mark(&format!("needless resends, {name}: all, and none else"), f.exact(), is);
        let all = s.owners.wrong() == 0;
        mark(&format!("stalls, {name}: owner right in all"), all, percent(s.owners.accuracy()));
        let right = s.stalls.accuracy();
        mark(&format!("stalls, {name}: cause right in 98 %"), right >= 0.98, percent(right));
        let ms = s.stall_ms.accuracy();
        mark(&format!("stalls, {name}: 95 % of the time has its right cause"), ms >= 0.95, percent(ms));
        let inside = s.bounds.precision();
        mark(&format!("stalls, {name}: begin and end within 1 ms"), s.bounds.exact(), percent(inside));
    }
    let right = both.reads.accuracy();
    mark("slow reads: cause right in 98 %", right >= 0.98, percent(right));
    let unknown = part(both.read_ns.1, both.read_ns.0);
    mark("slow reads: unknown under 1 % of the time", unknown < 0.01, percent(unknown));
    mark("slow reads: budgets add up", both.budgets_off == 0, format!("{} do not", both.budgets_off));
    let f = both.findings;
    let is = format!("precision {:.3}, recall {:.3}", f.precision(), f.recall());
    mark("findings: those that were planned, and none else", f.exact(), is);
    for variant in Variant::ALL.into_iter().filter(|v| rows.iter().any(|r| r.variant == Some(*v))) {
        let rows = || rows.iter().filter(move |r| r.variant == Some(variant));
        let s = sum(rows());
        let name = variant.name();
        let right = s.classes.decided_accuracy();
        mark(
            &format!("{name}: segment classes: 99 % of what is decided right"),
            right >= 0.99,
            percent(right),
        );
        let undecided = part(s.classes.undecided(), s.classes.total());
        mark(&format!("{name}: segment classes: undecided under 2 %"), undecided < 0.02, percent(undecided));
        if variant.says_the_same() {
            let differ: u64 = rows().map(|r| r.differ).sum();
            mark(&format!("{name}: every answer as ever"), differ == 0, format!("{differ} differ"));
        }
        if variant.loses() {
            let invented = s.losses.said - s.losses.right;
            let is = format!("{invented} bytes");
            mark(&format!("{name}: nothing is called lost that only the capture lacks"), invented == 0, is);
            let is = format!("{} pieces", s.misplaced);
            mark(&format!("{name}: nothing that the network lost is the capture's"), s.misplaced == 0, is);
        }
        if variant == Variant::Gaps {
            let f = s.gaps;
            let is = format!("precision {:.4}, recall {:.4}", f.precision(), f.recall());
            let good = f.precision() >= 1.0 && f.recall() >= 0.95;
            mark(&format!("{name}: 95 % of what only the capture lacks is told"), good, is);
        }
    }
    // Without IP IDs and time stamps a copy that the network made looks like a late original.
    let told = rows.iter().filter(|r| r.variant != Some(Variant::Bare));
    let (silent, others): (Vec<&Row>, Vec<&Row>) = told.partition(|r| r.scenario == "clean");
    let invented = |rows: &[&Row]| rows.iter().map(|r| r.score.false_findings).sum::<u64>();
    let clean = silent.iter().map(|r| r.seed).collect::<std::collections::BTreeSet<_>>().len();
    let n = invented(&silent);
    mark("no finding on a clean link", n == 0, format!("{n} in {clean} runs"));
    let n = invented(&others);
    mark("no finding where nothing was planned", n == 0, n.to_string());
    good
}
