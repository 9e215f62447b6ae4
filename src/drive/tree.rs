//! Generated trees for test runs: the same seed gives the same files, byte for byte.
//!
//! ```text
//! SOURCE/                         BASIS/
//! ├── big/database.bin   24 MiB   ├── big/database.bin   the same but for 1 % of its pages
//! ├── docs/…  photos/…            └── (nothing else)
//! └── …   some hundred files of 0 B to 1 MiB
//! ```

use super::random::Random;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where the big file lies in the tree.
pub const BIG: &str = "big/database.bin";
const PAGE: usize = 4096;
/// Modification times begin here, so that they too are the same in each run (2024-01-01).
const EPOCH: u64 = 1_704_067_200;

/// What to generate.
#[derive(Clone, Debug, PartialEq)]
pub struct TreeSpec {
    /// Seed of everything random in it.
    pub seed: u64,
    /// Number of files that the destination does not have.
    pub files: u32,
    /// Their bytes together.
    pub bytes: u64,
    /// Size of the one file that the destination has an older version of; 0: none.
    pub big: u64,
    /// Share of its 4 KiB pages that differ, 0 to 1.
    pub changed_pages: f64,
}

impl Default for TreeSpec {
    fn default() -> Self {
        TreeSpec { seed: 1, files: 300, bytes: 11 << 20, big: 24 << 20, changed_pages: 0.01 }
    }
}

/// Makes the source tree in `source` and the older version of the big file in `basis`. Both
/// directories are made; what is in them already is overwritten where names meet.
pub fn make_tree(spec: &TreeSpec, source: &Path, basis: &Path) -> io::Result<()> {
    let mut random = Random::new(spec.seed);
    fs::create_dir_all(source)?;
    fs::create_dir_all(basis)?;
    for (i, (name, size)) in plan(spec, &mut random).into_iter().enumerate() {
        let path = source.join(name);
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let mut data = vec![0; size as usize];
        // Half of the files look like text, half like compressed data.
        if random.below(2) == 0 {
            text(&mut random, &mut data)
        } else {
            random.fill(&mut data)
        }
        write(&path, &data, EPOCH + 60 * i as u64)?;
    }
    if spec.big > 0 {
        let mut data = vec![0; usize::try_from(spec.big).map_err(io::Error::other)?];
        random.fill(&mut data);
        for (root, time) in [(basis, EPOCH - 86_400), (source, EPOCH)] {
            if root == source {
                change_pages(&mut data, spec.changed_pages, &mut random);
            }
            let path = root.join(BIG);
            if let Some(dir) = path.parent() {
                fs::create_dir_all(dir)?;
            }
            write(&path, &data, time)?;
        }
    }
    Ok(())
}

/// Names and sizes: most small, few large, as on people's disks.
fn plan(spec: &TreeSpec, random: &mut Random) -> Vec<(PathBuf, u64)> {
    const DIRS: [&str; 12] = [
        "",
        "docs",
        "docs/reports/2024",
        "docs/Jahresberichte – Entwürfe",
        "photos/summer holiday",
        "photos/東京",
        "src",
        "src/engine/core",
        "src/engine/tests/data",
        "mail/archive",
        "logs",
        "backup/old stuff/very old",
    ];
    const NAMES: [(&str, &str); 8] = [
        ("report", "txt"),
        ("IMG", "jpg"),
        ("module", "rs"),
        ("notes", "md"),
        ("table", "csv"),
        ("Übersicht Quartal", "ods"),
        ("message", "eml"),
        ("trace", "log"),
    ];
    let weights: Vec<u64> = (0..spec.files)
        .map(|i| if i % 60 == 59 { 0 } else { 1 << (random.below(11) + random.below(3)) })
        .collect();
    let total: u64 = weights.iter().sum::<u64>().max(1);
    let mut left = spec.bytes;
    let last = weights.iter().rposition(|&w| w > 0);
    weights
        .iter()
        .enumerate()
        .map(|(i, &w)| {
            let share = u128::from(spec.bytes) * u128::from(w) / u128::from(total);
            let size = if Some(i) == last { left } else { (share as u64).min(left) };
            left -= size;
            let (stem, ext) = NAMES[random.below(NAMES.len() as u64) as usize];
            let dir = DIRS[random.below(DIRS.len() as u64) as usize];
            (Path::new(dir).join(format!("{stem} {i:04}.{ext}")), size)
        })
        .collect()
}

/// New contents for this share of the pages, at least one if the share is not 0.
fn change_pages(data: &mut [u8], share: f64, random: &mut Random) {
    let pages = data.len().div_ceil(PAGE);
    let want = (pages as f64 * share.clamp(0.0, 1.0)).ceil() as usize;
    let mut order: Vec<usize> = (0..pages).collect();
    for k in 0..want.min(pages) {
        let other = k + random.below((pages - k) as u64) as usize;
        order.swap(k, other);
        let from = order[k] * PAGE;
        let to = (from + PAGE).min(data.len());
        random.fill(&mut data[from..to]);
    }
}

fn write(path: &Path, data: &[u8], mtime: u64) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(data)?;
    let time: SystemTime = UNIX_EPOCH + Duration::from_secs(mtime);
    file.set_modified(time)
}

/// Words that compress as prose does.
fn text(random: &mut Random, data: &mut [u8]) {
    const WORDS: [&[u8]; 16] = [
        b"the ", b"file ", b"of ", b"a ", b"block ", b"and ", b"then ", b"is ", b"sent ", b"over ", b"link ",
        b"slow ", b"again ", b"when ", b"lost.\n", b"read ",
    ];
    let mut rest = data;
    while !rest.is_empty() {
        let word = WORDS[random.below(16) as usize];
        let n = word.len().min(rest.len());
        rest[..n].copy_from_slice(&word[..n]);
        rest = &mut rest[n..];
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn contents(root: &Path) -> Vec<(PathBuf, Vec<u8>, SystemTime)> {
        walkdir::WalkDir::new(root)
            .sort_by_file_name()
            .into_iter()
            .map(|e| e.unwrap())
            .filter(|e| e.file_type().is_file())
            .map(|e| {
                let time = e.metadata().unwrap().modified().unwrap();
                (e.path().strip_prefix(root).unwrap().to_owned(), fs::read(e.path()).unwrap(), time)
            })
            .collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_tree_and_another_seed_another() {
        let dir = tempfile::tempdir().unwrap();
        let spec = TreeSpec { files: 60, bytes: 300_000, big: 400 * 4096 + 7, ..TreeSpec::default() };
        let make = |name: &str, spec: &TreeSpec| {
            let (s, b) = (dir.path().join(name).join("s"), dir.path().join(name).join("b"));
            make_tree(spec, &s, &b).unwrap();
            (contents(&s), contents(&b))
        };
        let (source, basis) = make("one", &spec);
        assert_eq!((source.clone(), basis.clone()), make("two", &spec));
        assert_ne!(source, make("three", &TreeSpec { seed: 2, ..spec.clone() }).0);

        assert_eq!(source.len(), 61);
        assert_eq!(source.iter().map(|f| f.1.len() as u64).sum::<u64>(), spec.bytes + spec.big);
        assert!(source.iter().any(|f| f.1.is_empty()), "an empty file");
        assert!(source.iter().any(|f| f.0.to_str().unwrap().contains(' ')), "a name with a space");
        assert!(source.iter().any(|f| !f.0.to_str().unwrap().is_ascii()), "a name beyond ASCII");
        assert!(source.iter().any(|f| f.0.components().count() == 4), "a nested folder");

        assert_eq!(basis.len(), 1);
        let big = &source.iter().find(|f| f.0 == Path::new(BIG)).unwrap().1;
        let differ = big.chunks(PAGE).zip(basis[0].1.chunks(PAGE)).filter(|(a, b)| a != b).count();
        assert_eq!((big.len(), basis[0].1.len()), (spec.big as usize, spec.big as usize));
        assert_eq!(differ, 5); // 1 % of 401 pages, rounded up
    }
}
