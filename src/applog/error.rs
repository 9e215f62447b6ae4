//! What can be wrong with a log, with its pattern, or with what is known about it.

/// Comparable, so that tests can name them; the file's name is added by who opened it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppLogError {
    /// Nothing in it.
    #[error("the file is empty")]
    Empty,
    /// Binary data.
    #[error("line {line}: not text (a NUL byte)")]
    NotText {
        /// Where.
        line: u64,
    },
    /// JSON, and not ours.
    #[error(
        "JSON, and not an events file of a run record: {0}\n  for a program's own log, say how its lines look with \
         --app-log-pattern FILE.toml"
    )]
    NotEvents(String),
    /// No known kind.
    #[error(
        "neither an events file of a run record nor strace's output; its first line is `{line}`\n  for a \
         program's own log, say how its lines look with --app-log-pattern FILE.toml"
    )]
    Unknown {
        /// The first line.
        line: String,
    },
    /// The pattern file is wrong.
    #[error("{0}")]
    Pattern(String),
    /// One line cannot be what it looks like.
    #[error("line {line}: {message}")]
    Line {
        /// Where.
        line: u64,
        /// What is wrong.
        message: String,
    },
    /// The pattern fits nothing.
    #[error("no line fits the pattern; the first one that does not is line {line}: `{text}`")]
    NothingMatches {
        /// Where.
        line: u64,
        /// The line.
        text: String,
    },
    /// Nothing to analyse in it.
    #[error("{0}")]
    NothingInIt(String),
    /// Which connection it is about stays open.
    #[error("{message}")]
    WhichFlow {
        /// The question, the candidates, and how to choose.
        message: String,
    },
}
