//! What is left out of a tree, in the syntax of `.gitignore` (gitignore(5)).

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use std::path::Path;

/// What is left out of a tree.
#[derive(Debug, Default)]
pub struct Rules(Option<Gitignore>);

impl Rules {
    /// From lines in the syntax of `.gitignore`; in words which one makes no sense, else.
    pub fn new(lines: &[String]) -> Result<Rules, String> {
        if lines.is_empty() {
            return Ok(Rules(None));
        }
        let mut builder = GitignoreBuilder::new("");
        for line in lines {
            builder.add_line(None, line).map_err(|e| format!("the rule `{line}` makes no sense: {e}"))?;
        }
        builder.build().map(|rules| Rules(Some(rules))).map_err(|e| format!("the rules make no sense: {e}"))
    }

    /// Whether this path below the root is left out; what lies in a directory that is left out is not asked for.
    pub fn leave_out(&self, path: &Path, dir: bool) -> bool {
        self.0.as_ref().is_some_and(|rules| rules.matched(path, dir).is_ignore())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_rules_count_more_and_a_bad_one_is_named() {
        let rules = |lines: &[&str]| Rules::new(&lines.iter().map(|l| (*l).to_owned()).collect::<Vec<_>>());
        let r = rules(&["*.o", "!keep.o", "/build/", "# a remark", "logs/**/old"]).unwrap();
        let out = |path: &str, dir| r.leave_out(Path::new(path), dir);
        assert!(
            out("a.o", false) && out("deep/b.o", false) && out("build", true) && out("logs/x/y/old", false)
        );
        assert!(
            !out("keep.o", false) && !out("deep/build", true) && !out("build", false) && !out("a.c", false)
        );
        assert!(rules(&["a{b"]).unwrap_err().contains("the rule `a{b` makes no sense"));
        assert!(!rules(&[]).unwrap().leave_out(Path::new("x"), false));
    }
}
