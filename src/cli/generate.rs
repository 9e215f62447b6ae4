//! `syncscope generate`: what is made from the program's own definitions.

use super::{CliError, Outcome, output};
use crate::drive::control::{random, to_hex};
use crate::view::schema;
use clap_complete::Shell;
use std::path::PathBuf;

/// Arguments of `syncscope generate`.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand, Debug)]
enum What {
    /// The JSON schema of reports.
    Schema {
        /// Of one line of `--format ndjson` instead of the document of `--format json`.
        #[arg(long)]
        ndjson: bool,
        /// Write to this file instead of standard output.
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Manual pages: `syncscope generate man analyze | man -l -`.
    Man {
        /// Of this subcommand; otherwise of the program.
        #[arg(value_name = "COMMAND", conflicts_with = "output")]
        command: Option<String>,
        /// Write all pages into this folder.
        #[arg(short, long, value_name = "FOLDER")]
        output: Option<PathBuf>,
    },
    /// A new secret for `serve --secret-file` and `sync --secret-file`: `(umask 077; syncscope generate secret > FILE)`.
    Secret,
    /// A settings file with every option, commented out.
    Config,
    /// Completions for a shell: `syncscope generate completions bash > /etc/bash_completion.d/syncscope`.
    Completions {
        /// Which.
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
}

/// Runs it.
pub fn run(args: Args) -> Result<Outcome, CliError> {
    match args.what {
        What::Schema { ndjson, output } => {
            let schema = if ndjson { schema::line() } else { schema::report() };
            output::to(output.as_deref(), |out| {
                serde_json::to_writer_pretty(&mut *out, &schema)?;
                out.write_all(b"\n")
            })?;
        }
        What::Man { command: None, output: Some(folder) } => pages(&folder)?,
        What::Man { command, .. } => {
            let page = page(command.as_deref())?;
            output::to(None, |mut out| page.render(&mut out))?;
        }
        What::Secret => {
            let secret = [random()?, random()?].concat();
            output::to(None, |out| writeln!(out, "{}", to_hex(&secret)))?;
        }
        What::Config => {
            let template = super::config::template(&super::command());
            output::to(None, |out| out.write_all(template.as_bytes()))?;
        }
        What::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut super::command(), "syncscope", &mut script);
            output::to(None, |out| out.write_all(&script))?;
        }
    }
    Ok(Outcome::Ok)
}

fn page(command: Option<&str>) -> Result<clap_mangen::Man, CliError> {
    let mut whole = super::command();
    whole.build();
    let Some(name) = command else { return Ok(clap_mangen::Man::new(whole)) };
    let found = whole.get_subcommands().find(|c| c.get_name() == name);
    let Some(found) = found else {
        let names: Vec<&str> = whole.get_subcommands().map(|c| c.get_name()).collect();
        return Err(CliError::Message(format!(
            "there is no command `{name}`; there are {}",
            names.join(", ")
        )));
    };
    // a page's name has no blanks
    Ok(clap_mangen::Man::new(found.clone().display_name(format!("syncscope-{name}"))))
}

fn pages(folder: &std::path::Path) -> Result<(), CliError> {
    let whole = super::command();
    let names = whole.get_subcommands().map(|c| Some(c.get_name().to_owned()));
    for name in [None].into_iter().chain(names) {
        let page = page(name.as_deref())?;
        let file = name.map_or_else(|| "syncscope.1".to_owned(), |n| format!("syncscope-{n}.1"));
        output::to_file(&folder.join(file), |mut out| page.render(&mut out))?;
    }
    Ok(())
}
