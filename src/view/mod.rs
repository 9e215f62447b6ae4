//! Views: each turns one [`crate::report::Report`] into bytes.
//!
//! ```text
//!            ┌ text    verdict first, for people
//!            ├ md      the same for a ticket
//!   Report ──┼ json    the whole of it, `syncscope.report/1`; its schema is in [`schema`]
//!            ├ ndjson  the same, one object a line, for other programs
//!            ├ csv     one of its lists as a table
//!            └ prom    its sums, for Prometheus
//!   Connection ─ xplot time-sequence graph of one direction
//! ```
//!
//! A view never computes a conclusion: what it says, the report says. Names in a report come from
//! files and peers, so everything that can reach a terminal goes through
//! [`crate::model::units::printable`] at the one place where it is written.

pub mod comments;
pub mod csv;
pub mod json;
pub mod layout;
pub mod md;
pub mod ndjson;
pub mod prom;
pub mod schema;
pub mod text;
pub mod words;
pub mod xplot;

pub use text::TextOptions;

use crate::report::{Report, SCHEMA};

/// Why a stored report cannot be opened. The fault lies with the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// It was written by a program that speaks another version of the contract.
    #[error(
        "it follows `{0}`, and this syncscope reads `{SCHEMA}`: open it with the syncscope that wrote it"
    )]
    Schema(String),
    /// It is no report at all.
    #[error("it is not a syncscope report ({0})")]
    NotAReport(String),
    /// It begins like a report, but one part is not as the contract says.
    #[error("line {line}: {reason}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// The stream broke off.
    #[error("it ends without the line `\"type\":\"end\"`: whoever wrote it was interrupted")]
    Cut,
}

/// Reads a stored report, JSON or NDJSON: the first line tells which.
pub fn load(text: &str) -> Result<Report, LoadError> {
    let first = text.trim_start().lines().next().unwrap_or("");
    let is_ndjson = serde_json::from_str::<serde_json::Value>(first)
        .is_ok_and(|v| v.get("type").and_then(|t| t.as_str()) == Some("meta"));
    if is_ndjson { ndjson::read(text) } else { json::read(text) }
}

/// Accepts only the version of the contract that this program was built for.
fn check_schema(schema: &str) -> Result<(), LoadError> {
    if schema == SCHEMA { Ok(()) } else { Err(LoadError::Schema(schema.to_owned())) }
}
