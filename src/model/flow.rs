//! Which conversation, which way.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::{Index, IndexMut};

/// A direction of a conversation. The client is who sent the SYN (or, without a handshake, the
/// side with the higher port).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Dir {
    /// Client to server.
    C2s,
    /// Server to client.
    S2c,
}

impl Dir {
    /// Both, client first.
    pub const BOTH: [Dir; 2] = [Dir::C2s, Dir::S2c];

    /// The other one.
    #[must_use]
    #[inline]
    pub fn flip(self) -> Dir {
        match self {
            Dir::C2s => Dir::S2c,
            Dir::S2c => Dir::C2s,
        }
    }

    /// `"c2s"` or `"s2c"`, as in the JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Dir::C2s => "c2s",
            Dir::S2c => "s2c",
        }
    }
}

impl std::fmt::Display for Dir {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// A value for each direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PerDir<T> {
    /// Client to server.
    pub c2s: T,
    /// Server to client.
    pub s2c: T,
}

impl<T> Index<Dir> for PerDir<T> {
    type Output = T;
    #[inline]
    fn index(&self, d: Dir) -> &T {
        match d {
            Dir::C2s => &self.c2s,
            Dir::S2c => &self.s2c,
        }
    }
}

impl<T> IndexMut<Dir> for PerDir<T> {
    #[inline]
    fn index_mut(&mut self, d: Dir) -> &mut T {
        match d {
            Dir::C2s => &mut self.c2s,
            Dir::S2c => &mut self.s2c,
        }
    }
}

/// One incarnation of one connection, numbered from 0 in order of first appearance in the report.
/// The same connection seen at two taps has the same number.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct FlowId(pub u32);
