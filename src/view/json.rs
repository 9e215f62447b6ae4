//! The whole report as one JSON document on one line.
//!
//! One line, because the series would make an indented one tens of thousands of lines long;
//! `jq .` indents it.

use super::{LoadError, check_schema};
use crate::report::Report;
use std::io::{self, Write};

/// Writes the report and a line feed.
pub fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, report)?;
    out.write_all(b"\n")
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
