//! The long story of a code, for `syncscope explain`.

use super::rules::{RULES, Rule};

/// The story of a code; none: there is no such code.
pub fn explain(code: &str) -> Option<String> {
    RULES.iter().find(|r| r.code.as_str() == code).map(story)
}

/// All codes, one a line, with their owners and titles.
pub fn list() -> String {
    let width = RULES.iter().map(|r| r.code.as_str().len()).max().unwrap_or(0);
    RULES.iter().map(|r| format!("{:width$}  {:14}  {}\n", r.code, r.owner, r.title)).collect()
}

/// Codes that are spelt like `code`, nearest first.
pub fn nearest(code: &str) -> Vec<&'static str> {
    let code = code.to_lowercase();
    let mut all: Vec<(usize, &str)> = RULES
        .iter()
        .map(|r| {
            let name = r.code.as_str();
            let inside = !code.is_empty() && (name.contains(&code) || code.contains(name));
            (if inside { 1 } else { distance(&code, name) }, name)
        })
        .collect();
    all.sort();
    let near = (code.chars().count() / 2).clamp(2, 8);
    all.into_iter().filter(|(d, _)| *d <= near).take(3).map(|(_, n)| n).collect()
}

fn story(r: &Rule) -> String {
    let mut out = format!("{} · {}\nowner: {}\n", r.code, r.title, r.owner);
    for (head, text) in [
        ("What it is", r.what),
        ("How we know", r.how),
        ("What to check", r.check),
        ("How to prove it", r.prove),
        ("What to do next", r.next),
    ] {
        out.push_str(&format!("\n{head}\n"));
        wrap(text, 88, &mut out);
    }
    out
}

/// Fills lines up to `width`, indented by two.
fn wrap(text: &str, width: usize, out: &mut String) {
    let mut column = 0;
    for word in text.split_whitespace() {
        let len = word.chars().count();
        if column == 0 || column + 1 + len > width {
            if column > 0 {
                out.push('\n');
            }
            out.push_str("  ");
            column = 2 + len;
        } else {
            out.push(' ');
            column += 1 + len;
        }
        out.push_str(word);
    }
    out.push('\n');
}

/// Edits between two words (insert, delete, replace).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().take(64).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let replace = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tcp::StallCause;

    #[test]
    fn every_cause_has_exactly_one_complete_rule() {
        for c in StallCause::ALL {
            let rules: Vec<_> = RULES.iter().filter(|r| r.code == *c).collect();
            assert_eq!(rules.len(), 1, "{c}");
            let r = rules[0];
            for text in [r.title, r.what, r.how, r.check, r.prove, r.next] {
                assert!(!text.is_empty(), "{c}");
            }
            assert!(r.next.ends_with('.') && r.what.len() > 100, "{c}");
        }
        assert_eq!(RULES[RULES.len() - 1].code, StallCause::Unknown);
    }

    #[test]
    fn a_misspelt_code_finds_its_neighbours() {
        assert_eq!(nearest("loss-fats").first(), Some(&"loss-fast"));
        assert_eq!(nearest("zerowindow").first(), Some(&"zero-window"));
        assert_eq!(nearest("mtu").first(), Some(&"mtu-black-hole"));
        assert!(nearest("xxxxxxxxxxxxxxxxxxxx").is_empty());
        assert!(explain("loss-fats").is_none());
    }

    #[test]
    fn stories_fit_a_terminal() {
        for r in &RULES {
            let s = story(r);
            let wide = s.lines().filter(|l| l.chars().count() > 90).count();
            assert_eq!(wide, 0, "{}", r.code);
        }
    }
}
