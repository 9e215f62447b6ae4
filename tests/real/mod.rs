//! The real captures: a folder beside the project, not a part of it, because their licences are mixed.

#[path = "../skip/mod.rs"]
pub mod skip;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The folder, if it is at hand; otherwise a word about it, in CI too: it is data, not a machine's
/// ability.
pub fn captures(test: &str) -> Option<PathBuf> {
    let named = std::env::var_os("SYNCSCOPE_SHARED").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let folders = [named, Some(beside)].into_iter().flatten().map(|d| d.join("captures"));
    let found = folders.into_iter().find(|d| d.join("corpus.tsv").exists());
    if found.is_none() {
        skip::tell(test, "no folder with real captures; name its parent with SYNCSCOPE_SHARED");
    }
    found
}

/// Rows of the folder's table by column name.
pub fn rows(dir: &Path) -> Vec<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(dir.join("corpus.tsv")).expect("corpus.tsv");
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().expect("a head line").split('\t').collect();
    lines
        .map(|l| names.iter().map(|n| (*n).to_owned()).zip(l.split('\t').map(str::to_owned)).collect())
        .collect()
}
