//! A folder for files that are only needed while a run lasts, unless somebody wants to keep them.

use super::control::{random, to_hex};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// A folder; removed with its content when dropped, if it is ours.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    ours: bool,
}

impl Scratch {
    /// `keep`, or a new one that nobody else can read: captures hold what was sent.
    pub fn new(keep: Option<&Path>) -> io::Result<Scratch> {
        if let Some(path) = keep {
            std::fs::create_dir_all(path)?;
            return Ok(Scratch { path: path.to_owned(), ours: false });
        }
        Scratch::below(&std::env::temp_dir())
    }

    /// A new one in this folder.
    pub fn below(folder: &Path) -> io::Result<Scratch> {
        let path = folder.join(format!("syncscope-{}", to_hex(&random()?)));
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Scratch { path, ours: true })
    }

    /// Where.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.ours {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_goes_and_yours_stays() {
        let ours = Scratch::new(None).unwrap();
        let path = ours.path().to_owned();
        std::fs::write(path.join("a"), "b").unwrap();
        drop(ours);
        assert!(!path.exists());
        let dir = tempfile::tempdir().unwrap();
        drop(Scratch::new(Some(&dir.path().join("kept"))).unwrap());
        assert!(dir.path().join("kept").is_dir());
    }
}
