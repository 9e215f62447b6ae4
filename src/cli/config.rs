//! Settings from a file: flag > `SYNCSCOPE_*` variable > this file > default.
//!
//! ```toml
//! color = "never"          # for every command that has the option
//!
//! [analyze]                # for one
//! slow-read = "50ms"
//! ```
//!
//! The keys are the options themselves, so there is no second list of them: what the file says becomes the default
//! of an option before the command line is read.

use super::CliError;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command};
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use toml::{Table, Value};

/// Where settings are, if nobody says it.
const NAME: &str = "syncscope/config.toml";
/// Options that make no sense in a file.
const NOT_HERE: [&str; 5] = ["help", "version", "config", "no-config", "output"];

/// The command line's definition with the defaults of the settings file.
pub fn apply(command: Command, args: &[OsString]) -> Result<Command, CliError> {
    let Some((path, named)) = file(args) else { return Ok(command) };
    let text = match std::fs::read_to_string(&path) {
        Ok(t) => t,
        // Nobody asked for it; and a service or `su` may run with the home of somebody else.
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) && !named => {
            return Ok(command);
        }
        Err(e) => return Err(CliError::Message(format!("settings {}: {e}", path.display()))),
    };
    presets(command, &text).map_err(|what| CliError::Message(format!("settings {}: {what}", path.display())))
}

/// The command line's definition with the defaults that a settings file's text names; or what is wrong with it.
pub fn presets(command: Command, text: &str) -> Result<Command, String> {
    let table: Table = text.parse().map_err(|e: toml::de::Error| e.to_string())?;
    with(command, &table)
}

/// The file, and whether it was named: then it must be there.
fn file(args: &[OsString]) -> Option<(PathBuf, bool)> {
    let mut args = args.iter().skip(1).map(|a| a.to_string_lossy()).take_while(|a| a != "--");
    let mut named = None;
    while let Some(a) = args.next() {
        match a.as_ref() {
            "--no-config" => return None,
            "--config" => named = args.next().map(|a| PathBuf::from(a.as_ref())),
            a => named = a.strip_prefix("--config=").map(PathBuf::from).or(named),
        }
    }
    let variable = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(path) = named.or_else(|| variable("SYNCSCOPE_CONFIG")) {
        return Some((path, true));
    }
    let base = variable("XDG_CONFIG_HOME").or_else(|| variable("HOME").map(|h| h.join(".config")))?;
    Some((base.join(NAME), false))
}

fn with(mut command: Command, table: &Table) -> Result<Command, String> {
    let names: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    for (key, value) in table {
        match value {
            Value::Table(own) => {
                if !names.contains(key) {
                    return Err(format!("there is no command `{key}`; there are {}", names.join(", ")));
                }
                for (key2, value) in own {
                    let inside = command.find_subcommand(key).and_then(|c| option(c, key2));
                    let inside = inside.ok_or_else(|| unknown(command.find_subcommand(key), key2))?;
                    let default = Preset::of(&command, Some(key), inside, value)
                        .map_err(|e| format!("{key}.{key2}: {e}"))?;
                    let id = inside.get_id().to_string();
                    command = command.mut_subcommand(key, |c| c.mut_arg(id, |a| default.set(a)));
                }
            }
            value => {
                if let Some(arg) = option(&command, key) {
                    let default =
                        Preset::of(&command, None, arg, value).map_err(|e| format!("{key}: {e}"))?;
                    let id = arg.get_id().to_string();
                    command = command.mut_arg(id, |a| default.set(a));
                    continue;
                }
                let mut known = false;
                for name in &names {
                    let Some(arg) = command.find_subcommand(name).and_then(|c| option(c, key)) else {
                        continue;
                    };
                    known = true;
                    let default =
                        Preset::of(&command, Some(name), arg, value).map_err(|e| format!("{key}: {e}"))?;
                    let id = arg.get_id().to_string();
                    command = command.mut_subcommand(name, |c| c.mut_arg(id, |a| default.set(a)));
                }
                if !known {
                    return Err(unknown(None, key));
                }
            }
        }
    }
    Ok(command)
}

fn option<'a>(command: &'a Command, key: &str) -> Option<&'a Arg> {
    command.get_arguments().find(|a| a.get_long() == Some(key) && settable(a))
}

fn settable(a: &Arg) -> bool {
    a.get_long().is_some_and(|l| !NOT_HERE.contains(&l)) && !a.is_positional() && !a.is_required_set()
}

fn unknown(command: Option<&Command>, key: &str) -> String {
    match command {
        Some(c) => {
            let keys: Vec<&str> =
                c.get_arguments().filter(|a| settable(a)).filter_map(Arg::get_long).collect();
            format!("`{}` has no option `{key}`; it has {}", c.get_name(), keys.join(", "))
        }
        None => format!("no command has an option `{key}`; `syncscope generate config` lists them all"),
    }
}

/// What a file says of one option.
struct Preset(Vec<String>);

impl Preset {
    /// As words of the command line, which must take them.
    fn of(command: &Command, of: Option<&str>, arg: &Arg, value: &Value) -> Result<Preset, String> {
        let word = |v: &Value| match v {
            Value::String(s) => Ok(s.clone()),
            Value::Integer(n) => Ok(n.to_string()),
            Value::Float(n) => Ok(n.to_string()),
            Value::Datetime(d) => Ok(d.to_string()),
            other => Err(format!("`{other}` is no value for it")),
        };
        let flag = matches!(arg.get_action(), ArgAction::SetTrue | ArgAction::SetFalse);
        let words = match (value, flag) {
            (Value::Boolean(b), true) => vec![b.to_string()],
            (other, true) => return Err(format!("it is on or off: `true` or `false`, not `{other}`")),
            (Value::Array(all), false) => all.iter().map(word).collect::<Result<_, _>>()?,
            (one, false) => vec![word(one)?],
        };
        let option = format!("--{}", arg.get_long().unwrap_or_default());
        let line = |word: &String| ["syncscope", of.unwrap_or_default(), &option, word].map(str::to_owned);
        for word in words.iter().filter(|_| !flag) {
            let tried =
                command.clone().try_get_matches_from(line(word).into_iter().filter(|w| !w.is_empty()));
            // what else is missing on this line does not matter
            if let Err(e) = tried
                && matches!(e.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation)
            {
                let said = e.to_string();
                return Err(said.lines().next().unwrap_or_default().replacen("error: ", "", 1));
            }
        }
        Ok(Preset(words))
    }

    /// The words live as long as the process does, as those of the options themselves.
    fn set(self, arg: Arg) -> Arg {
        let words: Vec<&'static str> = self.0.into_iter().map(|w| &*Box::leak(w.into_boxed_str())).collect();
        arg.default_values(words)
    }
}

/// A file with every option, commented out.
pub fn template(command: &Command) -> String {
    let mut out = String::from(
        "# Settings of syncscope. What stands here is the default; a variable SYNCSCOPE_* wins over it, a flag over both.\n\
         # Looked for at ~/.config/syncscope/config.toml; --config FILE names another, --no-config none.\n\
         # A key before the first [command] is for every command that has the option.\n",
    );
    list(&mut out, command);
    for c in command.get_subcommands().filter(|c| c.get_arguments().any(settable)) {
        out.push_str(&format!("\n[{}]\n", c.get_name()));
        list(&mut out, c);
    }
    out
}

fn list(out: &mut String, command: &Command) {
    for a in command.get_arguments().filter(|a| settable(a)) {
        let help = a.get_help().map(|h| h.to_string()).unwrap_or_default();
        let name = a.get_long().unwrap_or_default();
        let words: Vec<String> = a.get_possible_values().iter().map(|v| v.get_name().to_owned()).collect();
        let flag = matches!(a.get_action(), ArgAction::SetTrue | ArgAction::SetFalse);
        let among = if words.is_empty() || flag { String::new() } else { format!(" ({})", words.join(", ")) };
        let default = a.get_default_values().first().map(|d| d.to_string_lossy().into_owned());
        let shown = match (flag, default) {
            (true, _) => "false".to_owned(),
            (false, d) => format!("\"{}\"", d.as_deref().unwrap_or("…")),
        };
        out.push_str(&format!("# {}{among}\n#{name} = {shown}\n", help.replace('\n', " ")));
    }
}
