//! What a session asks of the file system, as values: the session itself opens nothing.
//!
//! At most one request is out at a time. All paths are relative to the tree's root, with `/`
//! between components; they come from the peer, so whoever executes them must confine them.

use super::signature::{BlockSum, Strong};
use crate::model::Phase;
use std::collections::HashSet;
use std::sync::Arc;

/// Most bytes that one request may ask to be read, hashed or written.
pub const MAX_WORK: u32 = 256 * 1024;
/// The same for a copy within the kernel, which takes a fraction of the time.
pub const MAX_RECOPY: u32 = 8 << 20;

/// One piece of work for the file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FsRequest {
    /// To be handed back with the reply.
    pub id: u64,
    /// What it is for.
    pub phase: Phase,
    /// Index into [`super::Session::file_names`].
    pub file: Option<u32>,
    /// Block number within that file.
    pub block: Option<u32>,
    /// What to do.
    pub op: FsOp,
}

/// What to do. The answer to each is named, or [`FsReply::Failed`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FsOp {
    /// Make this path the root of all later ones; empty: the given root itself. → `Done`
    Enter {
        /// Below the directory that this side exports.
        path: String,
        /// Make missing directories.
        create: bool,
        /// What of the tree counts, for all later work.
        pick: Pick,
    },
    /// The next few hundred entries of the source tree, parents before children. → `Listed`
    List,
    /// What lies there; a symlink is not followed. → `Stat`
    Stat {
        /// Where.
        path: String,
    },
    /// Make a directory. → `Done`, or `Stat` of what it was if it is there
    MakeDir {
        /// Where.
        path: String,
    },
    /// Set mode and time of a file or directory. → `Done`
    SetAttr {
        /// Where.
        path: String,
        /// Permission bits; none: they stay.
        mode: Option<u32>,
        /// Modification time; none: it stays.
        mtime: Option<Mtime>,
    },
    /// Make a file another name of one that is in place. → `Done`, `Replaced` or `Unchanged`, as for a symlink
    HardLink {
        /// Where.
        path: String,
        /// The name that is in place.
        to: String,
    },
    /// Remove what lies in a directory and is not to be kept; a bounded amount of it. → `Pruned`
    Prune {
        /// The directory; empty: the root.
        path: String,
        /// Names in it that stay.
        keep: Arc<HashSet<String>>,
    },
    /// Make a symlink. → `Done`; `Replaced` where one or a file lay there; `Unchanged` if it is the same already
    Symlink {
        /// Where.
        path: String,
        /// Pointing to.
        target: String,
    },
    /// Open a file of the source tree; closes the one before. → `Opened`
    OpenSource {
        /// Which.
        path: String,
    },
    /// Read from the open source; short only at its end. → `Data`, or `Torn`
    ReadSource {
        /// Nothing will be read after it: the answer is `Torn` if the file has changed since it was opened.
        last: bool,
        /// From.
        offset: u64,
        /// How many, at most [`MAX_WORK`].
        len: u32,
    },
    /// Open the basis of a file for its signature; closes the one before. → `Opened`
    OpenBasis {
        /// Which.
        path: String,
    },
    /// Sums of the open basis, block by block; the last one may be short. → `Sums`
    Sums {
        /// From, a multiple of the block size.
        offset: u64,
        /// How many bytes.
        len: u32,
        /// Block size.
        block_size: u32,
        /// The strong hash.
        strong: Strong,
    },
    /// Look for the part of this file that a run left which was cut. → `Part`
    FindPart {
        /// The file.
        path: String,
    },
    /// Sum the next piece of the part that was found. → `Hash`, of all pieces so far
    SumPart {
        /// How many bytes, at most [`MAX_WORK`].
        len: u32,
    },
    /// Make a temporary file beside this path. → `Done`
    OpenTemp {
        /// The file that it will replace.
        path: String,
        /// So many bytes are there already: those of the part that was summed; 0: none.
        from: u64,
        /// After a part, copies from that file will follow; if it can't be opened or read then, the failure is `Changed`.
        basis: bool,
    },
    /// Instead of that, where copies from that file will follow: as long as it is copied from its begin on, nothing
    /// needs to be written. If it can't be opened or read, then or later, the failure is `Changed`. → `Done`
    Keep {
        /// The file that may turn out to be what it should be.
        path: String,
    },
    /// After `Keep`: it is another file after all. Makes the temporary file, still without what was kept. → `Done`
    Fork,
    /// After `Fork`: a piece of the basis, hashed before, into the temporary file. → `Done`
    Recopy {
        /// How many bytes, at most [`MAX_RECOPY`].
        len: u32,
    },
    /// Append to the temporary file. → `Done`
    Write {
        /// What.
        data: Vec<u8>,
    },
    /// Append a piece of the basis to the temporary file. → `Done`
    Copy {
        /// Offset in the basis.
        from: u64,
        /// How many, at most [`MAX_WORK`].
        len: u32,
    },
    /// BLAKE3 of all that was appended. → `Hash`
    Hash,
    /// Set attributes of the temporary file and rename it to its place; after `Keep`, of the file itself. → `Done`,
    /// `Later`, or `Unchanged` if it was kept
    Commit {
        /// Permission bits.
        mode: u32,
        /// They are set even where the file had others; else only what the umask leaves, of a new file.
        perms: bool,
        /// Modification time; none: now.
        mtime: Option<Mtime>,
    },
    /// Wait until at most so many of those answered with `Later` are left. → `Settled`
    Settle {
        /// How many.
        left: usize,
    },
    /// Remove the temporary file. → `Done`
    Discard,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FsReply {
    /// It is done.
    Done,
    /// It is done, and took the place of something.
    Replaced,
    /// There was nothing to do.
    Unchanged,
    /// It is under way; how it went is asked for with [`FsOp::Settle`].
    Later,
    /// How those answered with `Later` went, in that order, since the last time.
    Settled(Vec<Result<(), FsError>>),
    /// Entries of the tree.
    Listed {
        /// In order, parents first.
        entries: Vec<Entry>,
        /// What can't be synced, with the reason.
        faults: Vec<(String, FsError)>,
        /// There are no more.
        last: bool,
    },
    /// What was removed.
    Pruned {
        /// Paths, what lay in a directory before it.
        removed: Vec<Gone>,
        /// What could not be.
        faults: Vec<(String, FsError)>,
        /// Some is left: ask again.
        more: bool,
    },
    /// What lies there, if anything.
    Stat(Option<Meta>),
    /// Bytes of the part; 0: there is none.
    Part(u64),
    /// The open file.
    Opened(Meta),
    /// Bytes read.
    Data(Vec<u8>),
    /// Bytes read, of a file that has changed since it was opened.
    Torn(Vec<u8>),
    /// Sums of blocks.
    Sums(Vec<BlockSum>),
    /// BLAKE3.
    Hash([u8; 32]),
    /// It could not be done.
    Failed(FsError),
}

/// Seconds and nanoseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mtime {
    /// Seconds, negative before 1970.
    pub secs: i64,
    /// 0 to 999 999 999.
    pub nanos: u32,
}

/// What kind of thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A socket, a device, …; never synced.
    Other,
}

/// What a quick check compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// What it is.
    pub kind: Kind,
    /// Bytes.
    pub size: u64,
    /// Permission bits (`0o777`).
    pub mode: u32,
    /// Modification time.
    pub mtime: Mtime,
}

/// One line of the file list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Relative to the root.
    pub path: String,
    /// Its attributes.
    pub meta: Meta,
    /// For a symlink: where it points to; else empty.
    pub target: String,
    /// Of a file with several names, where that is asked for: what all of them have in common.
    pub inode: Option<(u64, u64)>,
}

/// What of a tree counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pick {
    /// What lies below directories, too.
    pub recurse: bool,
    /// Symlinks, too.
    pub links: bool,
    /// Tell which names are one file.
    pub hard_links: bool,
    /// Change nothing; answer as if it were changed.
    pub dry_run: bool,
    /// What is left out, in the syntax of `.gitignore`; later lines count more, `!` takes back.
    pub rules: Vec<String>,
    /// Most entries of a list; a tree with more is not listed.
    pub entries: usize,
}

impl Default for Pick {
    fn default() -> Pick {
        Pick {
            recurse: true,
            links: true,
            hard_links: false,
            dry_run: false,
            rules: Vec::new(),
            entries: usize::MAX,
        }
    }
}

/// Something that was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// Where it was.
    pub path: String,
    /// It was a directory.
    pub dir: bool,
}

/// Why the file system could not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FsError {
    /// The sort.
    pub kind: FsErrorKind,
    /// In words.
    pub message: String,
}

impl FsError {
    /// One with these words.
    pub fn new(kind: FsErrorKind, message: impl Into<String>) -> FsError {
        FsError { kind, message: message.into() }
    }
}

/// Sorts of file system trouble, as far as a session or its user acts on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FsErrorKind {
    /// It is not there (any more).
    NotFound,
    /// Permissions.
    Denied,
    /// The disk or quota is full.
    NoSpace,
    /// It changed under our hands; doing it again may help.
    Changed,
    /// The name would lead out of the tree.
    Unsafe,
    /// Something of another kind is there.
    InTheWay,
    /// Not a kind of thing that is synced.
    Unsupported,
    /// Anything else.
    Other,
}
