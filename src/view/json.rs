//! The whole report as one JSON document on one line.
//!
//! One line, because the series would make an indented one tens of thousands of lines long;
//! `jq .` indents it.

use super::{LoadError, check_schema};
use crate::model::units::acts_on_terminal;
use crate::report::Report;
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;
use std::io::{self, Write};

/// Writes the report and a line feed.
pub fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    value(report, out)?;
    out.write_all(b"\n")
}

/// Writes any value so that nothing in it acts on a terminal; what is read back is the same.
pub(super) fn value(value: &impl Serialize, out: &mut impl Write) -> io::Result<()> {
    value.serialize(&mut Serializer::with_formatter(out, Escaping))?;
    Ok(())
}

/// JSON demands escapes below U+0020 only; terminals obey others, too (U+009B begins a command).
struct Escaping;

impl Formatter for Escaping {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut from = 0;
        for (at, c) in fragment.char_indices().filter(|(_, c)| acts_on_terminal(*c)) {
            out.write_all(&fragment.as_bytes()[from..at])?;
            // all of them have four digits
            write!(out, "\\u{:04x}", u32::from(c))?;
            from = at + c.len_utf8();
        }
        out.write_all(&fragment.as_bytes()[from..])
    }
}

/// Reads what [`write`] wrote. The version is judged before the shape, so that a report from a
/// later version is called that and not broken.
pub fn read(text: &str) -> Result<Report, LoadError> {
    #[derive(serde::Deserialize)]
    struct Probe {
        meta: ProbeMeta,
    }
    #[derive(serde::Deserialize)]
    struct ProbeMeta {
        schema: String,
    }
    let probe: Probe = serde_json::from_str(text).map_err(|e| LoadError::NotAReport(e.to_string()))?;
    check_schema(&probe.meta.schema)?;
    serde_json::from_str(text).map_err(|e| LoadError::NotAReport(e.to_string()))
}
