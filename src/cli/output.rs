//! Where output goes: standard output, or a file that appears whole or not at all.

use super::CliError;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Writes to a file, or to standard output where there is none (or it is `-`).
pub fn to(path: Option<&Path>, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), CliError> {
    match path.filter(|p| p.as_os_str() != "-") {
        Some(path) => to_file(path, write),
        None => {
            let mut out = BufWriter::new(io::stdout().lock());
            write(&mut out)?;
            Ok(out.flush()?)
        }
    }
}

/// Writes to a file beside the wanted one, which then takes its name: whoever reads there sees the old file or
/// the new one. A pipe or a device is written to as it is.
pub fn to_file(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), CliError> {
    let failed =
        |e: io::Error| CliError::Message(format!("cannot write {}: {}", path.display(), reason(path, &e)));
    // a link stays one: what it leads to is replaced
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match target.metadata() {
        Ok(m) if m.is_dir() => return Err(failed(io::ErrorKind::IsADirectory.into())),
        Ok(m) if !m.is_file() => {
            let mut out = BufWriter::new(File::options().write(true).open(&target).map_err(failed)?);
            return match write(&mut out).and_then(|()| out.flush()) {
                // whoever reads there has seen enough
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                other => other.map_err(failed),
            };
        }
        _ => {}
    }
    let part = Part::new(&target).map_err(failed)?;
    let mut out = BufWriter::new(&part.file);
    write(&mut out).and_then(|()| out.flush()).map_err(failed)?;
    drop(out);
    part.becomes(&target).map_err(failed)
}

/// Fails early where nothing can be written: before hours are spent on reading.
pub fn check(path: &Path) -> Result<(), CliError> {
    let special = path.metadata().is_ok_and(|m| !m.is_file() && !m.is_dir());
    if path.as_os_str() == "-" || special {
        return Ok(());
    }
    let failed =
        |e: io::Error| CliError::Message(format!("cannot write {}: {}", path.display(), reason(path, &e)));
    if path.is_dir() {
        return Err(failed(io::ErrorKind::IsADirectory.into()));
    }
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    Part::new(&target).map(drop).map_err(failed)
}

fn reason(path: &Path, e: &io::Error) -> String {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    match (e.kind(), folder) {
        (io::ErrorKind::NotFound, Some(dir)) if !dir.exists() => {
            format!("there is no folder {0}; make it with `mkdir -p {0}`", dir.display())
        }
        (io::ErrorKind::IsADirectory, _) => "it is a folder; name a file in it".to_owned(),
        _ => e.to_string(),
    }
}

/// A file that is not finished, gone with this value unless it becomes what was wanted.
struct Part {
    file: File,
    path: PathBuf,
    kept: bool,
}

impl Part {
    /// Beside `target`, for only within one file system a name can be taken over. Hidden, and with an ending of its
    /// own, so that no collector (`*.prom`, `*.json`) takes it for finished.
    fn new(target: &Path) -> io::Result<Part> {
        let name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
        for n in 0..100 {
            let path = target.with_file_name(format!(".{name}.{}-{n}.part", std::process::id()));
            match File::options().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(Part { file, path, kept: false }),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    fn becomes(mut self, target: &Path) -> io::Result<()> {
        if let Ok(before) = target.metadata() {
            self.file.set_permissions(before.permissions())?;
        }
        fs::rename(&self.path, target)?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(&self.path);
        }
    }
}
