//! `syncscope explain`.

use super::{CliError, Outcome};

/// Arguments of `syncscope explain`.
#[derive(clap::Args, Debug)]
pub struct Args {}

/// Runs it.
pub fn run(_args: Args) -> Result<Outcome, CliError> {
    Err(CliError::Message("explain: not built yet".to_owned()))
}
