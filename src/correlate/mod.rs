//! Several witnesses, one story: clocks laid on top of each other, connections of two captures and
//! the applications' logs joined, every slow read tied to the bytes it waited for.
//!
//! ```text
//!  captures ─┐            ┌ budget   one read → parts that add up
//!  logs ─────┼ align ─────┼ join     read → stream bytes → segments at both taps
//!  clock ────┘  (World)   └ incident losses, holes, stalls and reads that belong together
//! ```

pub mod agree;
mod align;
pub mod budget;
pub mod clock;
pub mod compare;
mod crossing;
mod hull;
pub mod incident;
mod input;
pub mod join;
pub mod late;
pub mod peer;
mod place;
pub mod reconcile;
pub mod repair;
mod same;
pub mod series;
mod shift;
mod sight;
pub mod stream;
pub mod thin;
mod timeline;

pub use align::{Flow, LogView, TapView, World, align, dir_of, sender};
pub use input::{BuildInputs, CaptureInput, LogInput};
pub use sight::reader;
