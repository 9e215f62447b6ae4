//! `syncscope demo`.

use super::{CliError, ColorWhen, Outcome};

/// Arguments of `syncscope demo`.
#[derive(clap::Args, Debug)]
pub struct Args {}

/// Runs it.
pub fn run(_args: Args, _color: ColorWhen) -> Result<Outcome, CliError> {
    Err(CliError::Message("demo: not built yet".to_owned()))
}
