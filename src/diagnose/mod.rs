//! Named rules over incidents: findings with evidence, owner, a plain sentence and a next step; and
//! the verdict. [`build()`] is the one entry: evidence in, [`crate::report::Report`] out.

mod build;
mod explain;
mod findings;
mod flows;
mod pace;
mod rules;
mod sentence;
mod verdict;

pub use crate::correlate::{BuildInputs, CaptureInput, LogInput};
pub use build::build;
pub use explain::{explain, list, nearest};
pub use rules::{RULES, Rule, rule};
