//! `--format xplot`: a graph for each direction that carried data, each in a file of its own.

use super::{CliError, output};
use crate::correlate::CaptureInput;
use crate::model::Dir;
use crate::model::units::count;
use crate::tcp::Connection;
use crate::view::xplot;
use std::path::{Path, PathBuf};

/// Nobody looks at more; the busiest connections are drawn.
const MOST: usize = 50;

/// For those who did not say where.
pub fn nowhere() -> CliError {
    let message =
        "xplot makes a file for each direction: say where, with `-o FOLDER/` or `-o BEGIN-OF-THEIR-NAMES`";
    CliError::Message(message.to_owned())
}

/// Fails early where nothing can be written.
pub fn check(at: &Path) -> Result<(), CliError> {
    if at.as_os_str() == "-" { Err(nowhere()) } else { output::check(&name(at, None, 0, Dir::C2s)) }
}

/// Writes the graphs of all captures.
pub fn write(captures: &[CaptureInput], at: &Path) -> Result<(), CliError> {
    let mut written = 0usize;
    for (n, c) in captures.iter().enumerate() {
        let place = (captures.len() > 1).then_some(n);
        let mut all: Vec<&Connection> = c.connections.iter().filter(|c| payload(c) > 0).collect();
        all.sort_by_key(|c| (std::cmp::Reverse(payload(c)), c.flow));
        if all.len() > MOST {
            eprintln!(
                "{} connections carried data, the {MOST} busiest are drawn; `--filter 'flow N'` picks one",
                count(all.len() as u64)
            );
        }
        for c in all.into_iter().take(MOST) {
            for dir in Dir::BOTH.into_iter().filter(|d| c.halves[*d].bytes > 0) {
                let path = name(at, place, c.flow.0, dir);
                output::to_file(&path, |mut out| xplot::write(c, dir, &mut out))?;
                eprintln!("{}", crate::model::units::printable(&path.display().to_string()));
                written += 1;
            }
        }
    }
    if written == 0 {
        eprintln!("no connection carried data: there is nothing to draw");
    }
    Ok(())
}

fn payload(c: &Connection) -> u64 {
    c.halves.c2s.bytes.saturating_add(c.halves.s2c.bytes)
}

/// `FOLDER/flow0-c2s.xpl` or `PREFIX-flow0-c2s.xpl`; with two captures `a-` or `b-` before `flow`.
fn name(at: &Path, place: Option<usize>, flow: u32, dir: Dir) -> PathBuf {
    let place = match place {
        None => "",
        Some(0) => "a-",
        Some(_) => "b-",
    };
    let own = format!("{place}flow{flow}-{dir}.xpl");
    let text = at.to_string_lossy();
    if at.is_dir() || text.ends_with('/') {
        return at.join(own);
    }
    let prefix = at.with_extension("");
    let prefix = if at.extension().is_some_and(|e| e == "xpl") { &prefix } else { at };
    let begin = prefix.file_name().unwrap_or_default().to_string_lossy().into_owned();
    prefix.with_file_name(format!("{begin}-{own}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn graphs_lie_in_a_folder_or_have_a_prefix() {
        let of = |at: &str, place| name(Path::new(at), place, 3, Dir::S2c).display().to_string();
        assert_eq!(of("/nowhere/x/", None), "/nowhere/x/flow3-s2c.xpl");
        assert_eq!(of("out/hang", None), "out/hang-flow3-s2c.xpl");
        assert_eq!(of("hang.xpl", Some(1)), "hang-b-flow3-s2c.xpl");
        assert_eq!(of("hang.v1", Some(0)), "hang.v1-a-flow3-s2c.xpl");
    }
}
