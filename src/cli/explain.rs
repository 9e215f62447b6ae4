//! `syncscope explain`: the long story of a finding's code.

use super::{CliError, Outcome};
use crate::diagnose;
use std::io::Write;

/// Arguments of `syncscope explain`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Code of a finding, as `loss-rto`; none: list all.
    #[arg(value_name = "CODE")]
    code: Option<String>,
}

/// Runs it.
pub fn run(args: Args) -> Result<Outcome, CliError> {
    let text = match &args.code {
        None => diagnose::list(),
        Some(code) => diagnose::explain(code).ok_or_else(|| CliError::Message(unknown(code)))?,
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(Outcome::Ok)
}

fn unknown(code: &str) -> String {
    let code = crate::model::units::printable(code);
    let near = diagnose::nearest(&code);
    if near.is_empty() {
        format!("there is no finding called `{code}`; `syncscope explain` lists all")
    } else {
        format!(
            "there is no finding called `{code}`; did you mean {}? `syncscope explain` lists all",
            near.join(", ")
        )
    }
}
