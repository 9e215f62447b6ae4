//! What a sync takes of a tree and how, in the words of rsync's flags where they mean the same.

use super::CliError;
use crate::drive::rules;
use crate::report::SyncStats;
use crate::sync::{Change, Compress, Flags, Kind};
use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches};
use std::path::PathBuf;

/// The flags that are about the tree.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "What is synced")]
pub struct Wishes {
    /// As -rlpt, which is what happens anyway; owners, groups and devices are never kept.
    #[arg(short = 'a', long)]
    archive: bool,
    /// Go into directories: on unless --no-recursive.
    #[arg(short = 'r', long, overrides_with = "no_recursive")]
    recursive: bool,
    #[arg(long, hide = true, overrides_with = "recursive")]
    no_recursive: bool,
    /// Keep symlinks, but those that lead out of the tree: on unless --no-links.
    #[arg(short = 'l', long, overrides_with = "no_links")]
    links: bool,
    #[arg(long, hide = true, overrides_with = "links")]
    no_links: bool,
    /// Keep permission bits: on unless --no-perms.
    #[arg(short = 'p', long, overrides_with = "no_perms")]
    perms: bool,
    #[arg(long, hide = true, overrides_with = "perms")]
    no_perms: bool,
    /// Keep modification times: on unless --no-times.
    #[arg(short = 't', long, overrides_with = "no_times")]
    times: bool,
    #[arg(long, hide = true, overrides_with = "times")]
    no_times: bool,
    /// Keep names of one file names of one file.
    #[arg(short = 'H', long)]
    hard_links: bool,
    /// Remove what the source does not have, once all files are in place. What the rules leave out stays, and so does
    /// what lies where the source could not be read.
    #[arg(long, conflicts_with = "no_recursive")]
    delete: bool,
    #[command(flatten)]
    rules: Rules,
    /// Keep what had arrived of a file when the connection is cut, hidden beside its place, and go on behind it the next
    /// time: on anyway.
    #[arg(long)]
    partial: bool,
    /// Compare files of equal size by their content, whatever their times.
    #[arg(short = 'c', long)]
    checksum: bool,
    /// Change nothing; tell what would be done (with --itemize: each change).
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Compress all that travels (zstd); otherwise what makes the sync faster, as it is measured meanwhile.
    #[arg(short = 'z', long, overrides_with = "no_compress")]
    compress: bool,
    /// Compress nothing.
    #[arg(long, overrides_with = "compress")]
    no_compress: bool,
    /// Send files whole, without a search for what the other side has.
    #[arg(short = 'W', long)]
    whole_file: bool,
    /// Look for old content at every byte, also where none was found for long: may find more, takes longer.
    #[arg(long)]
    full_search: bool,
    /// List each change on stdout, as rsync does (on stderr beside a report for programs).
    #[arg(short = 'i', long, visible_alias = "itemize-changes")]
    pub itemize: bool,
    /// Print counts and bytes on stdout (on stderr beside a report for programs).
    #[arg(long)]
    pub stats: bool,
}

impl Wishes {
    /// For the session.
    pub fn flags(&self) -> Flags {
        Flags {
            recurse: !self.no_recursive,
            links: !self.no_links,
            perms: !self.no_perms,
            times: !self.no_times,
            hard_links: self.hard_links,
            delete: self.delete,
            checksum: self.checksum,
            dry_run: self.dry_run,
            whole_file: self.whole_file,
            full_search: self.full_search,
            compress: match (self.compress, self.no_compress) {
                (true, _) => Compress::Always,
                (_, true) => Compress::Never,
                _ => Compress::WhereItPays,
            },
        }
    }

    /// What is left out, line by line.
    pub fn rules(&self) -> Result<Vec<String>, CliError> {
        let mut lines = Vec::new();
        for rule in &self.rules.0 {
            match rule {
                // A `!` or `#` at the begin of a pattern is meant as it stands.
                Rule::Exclude(p) if p.starts_with(['!', '#']) => lines.push(format!("\\{p}")),
                Rule::Exclude(p) => lines.push(p.clone()),
                Rule::Include(p) => lines.push(format!("!{p}")),
                Rule::File(path) => {
                    let text = std::fs::read_to_string(path).map_err(|e| {
                        CliError::Message(format!("cannot read the rules in {}: {e}", path.display()))
                    })?;
                    lines.extend(text.lines().map(str::to_owned));
                }
            }
        }
        // Better here than from the other side, once it is connected.
        rules::Rules::new(&lines).map_err(CliError::Message)?;
        let bytes: usize = lines.iter().map(|l| l.len() + 1).sum();
        if bytes > crate::sync::wire::MAX_RULES {
            let most = crate::sync::wire::MAX_RULES;
            return Err(CliError::Message(format!(
                "the rules are {bytes} bytes long, at most {most} are taken"
            )));
        }
        Ok(lines)
    }

    /// Something is to be printed beside the report, so no screens are opened.
    pub fn prints(&self) -> bool {
        self.itemize || self.stats || self.dry_run
    }

    /// Only a rehearsal.
    pub fn is_dry(&self) -> bool {
        self.dry_run
    }
}

/// `--exclude`, `--include` and `--from-file` in the order in which they were given: it decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rules(Vec<Rule>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    Exclude(String),
    Include(String),
    File(PathBuf),
}

impl FromArgMatches for Rules {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Rules, clap::Error> {
        let mut rules = Rules::default();
        rules.update_from_arg_matches(matches)?;
        Ok(rules)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        let mut found: Vec<(usize, Rule)> = Vec::new();
        let texts = |id: &'static str| {
            let values = matches.get_many::<String>(id).into_iter().flatten().cloned();
            matches.indices_of(id).into_iter().flatten().zip(values)
        };
        found.extend(texts("exclude").map(|(at, p)| (at, Rule::Exclude(p))));
        found.extend(texts("include").map(|(at, p)| (at, Rule::Include(p))));
        found.extend(texts("from_file").map(|(at, p)| (at, Rule::File(p.into()))));
        found.sort_by_key(|f| f.0);
        self.0 = found.into_iter().map(|f| f.1).collect();
        Ok(())
    }
}

impl clap::Args for Rules {
    fn augment_args(command: Command) -> Command {
        let arg = |id: &'static str, long: &'static str, value: &'static str, help: &'static str| {
            Arg::new(id).long(long).value_name(value).action(ArgAction::Append).help(help)
        };
        command
            .arg(arg(
                "exclude",
                "exclude",
                "PATTERN",
                "Leave out what matches, in the syntax of .gitignore; later rules count more",
            ))
            .arg(arg("include", "include", "PATTERN", "Take it after all, where a rule before left it out"))
            .arg(
                arg("from_file", "from-file", "FILE", "Rules from a file, as they stand in a .gitignore")
                    .visible_alias("exclude-from"),
            )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Rules::augment_args(command)
    }
}

/// One change as rsync's `%i` writes it: `>f.st...... name`.
pub fn line(path: &str, kind: Kind, change: Change, sent: bool) -> String {
    let what = match kind {
        Kind::Dir => 'd',
        Kind::Symlink => 'L',
        Kind::File | Kind::Other => 'f',
    };
    let how = match change {
        Change { link: true, .. } => 'h',
        Change { content: true, .. } if kind == Kind::File => {
            if sent {
                '<'
            } else {
                '>'
            }
        }
        Change { new: true, .. } | Change { content: true, .. } => 'c',
        _ => '.',
    };
    let details = if change.new {
        "+++++++++".to_owned()
    } else {
        let letter = |on: bool, c: char| if on { c } else { '.' };
        let Change { content, size, time, perms, .. } = change;
        let same_size = content && !size && !time;
        format!(
            "{}{}{}{}.....",
            letter(same_size, 'c'),
            letter(size, 's'),
            letter(time, 't'),
            letter(perms, 'p')
        )
    };
    format!("{how}{what}{details} {path}")
}

/// The counts of `--stats`, in rsync's order.
pub fn counts(s: &SyncStats) -> Vec<String> {
    let moved = s.wire_c2s + s.wire_s2c;
    let speedup = s.bytes as f64 / moved.max(1) as f64;
    vec![
        format!("Number of files: {}", s.files),
        format!("Number of created entries: {}", s.created),
        format!("Number of deleted entries: {}", s.deleted),
        format!("Number of files transferred: {}", s.changed),
        format!("Total file size: {} bytes", s.bytes),
        format!("Literal data: {} bytes", s.literal),
        format!("Matched data: {} bytes", s.matched),
        format!("Total bytes sent: {}", s.wire_c2s),
        format!("Total bytes received: {}", s.wire_s2c),
        format!("speedup is {speedup:.2}"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        wishes: Wishes,
    }

    fn wishes(args: &[&str]) -> Result<Wishes, clap::Error> {
        Line::try_parse_from([&["x"], args].concat()).map(|l| l.wishes)
    }

    #[test]
    fn rules_count_in_the_order_in_which_they_were_given() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("rules");
        std::fs::write(&file, "# a remark\n*.tmp\n").unwrap();
        let w = wishes(&[
            "--include",
            "a",
            "--exclude",
            "*.o",
            "--from-file",
            file.to_str().unwrap(),
            "--include=keep.o",
            "--exclude",
            "!x",
        ]);
        assert_eq!(w.unwrap().rules().unwrap(), ["!a", "*.o", "# a remark", "*.tmp", "!keep.o", "\\!x"]);
        let said = wishes(&["--exclude", "a{b"]).unwrap().rules().unwrap_err().to_string();
        assert!(said.contains("the rule `a{b` makes no sense"), "{said}");
        let said = wishes(&["--from-file", "/nowhere"]).unwrap().rules().unwrap_err().to_string();
        assert!(said.contains("cannot read the rules in /nowhere"), "{said}");
        let long = "x".repeat(40_000);
        assert!(
            wishes(&["--exclude", &long]).unwrap().rules().unwrap_err().to_string().contains("at most 32768")
        );
    }

    #[test]
    fn rsyncs_letters_are_taken_and_what_is_on_can_be_turned_off() {
        assert_eq!(wishes(&["-rtpl"]).unwrap().flags(), Flags::default());
        assert_eq!(wishes(&["-a"]).unwrap().flags(), Flags::default());
        let f = wishes(&["-nHcWi", "--delete", "--no-perms", "--no-times", "--no-links"]).unwrap().flags();
        assert!(f.dry_run && f.hard_links && f.checksum && f.whole_file && f.delete && f.recurse);
        assert!(!f.perms && !f.times && !f.links);
        assert!(!wishes(&["--no-times", "-t", "--no-times"]).unwrap().flags().times);
        assert!(wishes(&["--delete", "--no-recursive"]).is_err());
    }

    #[test]
    fn changes_are_written_as_rsync_writes_them() {
        let c = Change::default();
        let new = Change { new: true, content: true, ..c };
        assert_eq!(line("a b", Kind::File, new, true), "<f+++++++++ a b");
        assert_eq!(line("a", Kind::File, new, false), ">f+++++++++ a");
        assert_eq!(line("d", Kind::Dir, Change { new: true, ..c }, false), "cd+++++++++ d");
        assert_eq!(line("l", Kind::Symlink, Change { content: true, ..c }, true), "cLc........ l");
        assert_eq!(
            line("f", Kind::File, Change { content: true, size: true, time: true, ..c }, false),
            ">f.st...... f"
        );
        assert_eq!(line("f", Kind::File, Change { perms: true, ..c }, false), ".f...p..... f");
        assert_eq!(line("f", Kind::File, Change { new: true, link: true, ..c }, false), "hf+++++++++ f");
    }
}
