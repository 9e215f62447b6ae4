//! Report + keys → screens.
//!
//! ```text
//!  DEGRADED  network  demo: sync over …  10.77.0.1:40112 → 10.77.0.2:8730   ● LIVE   header
//!  4 reads waited 5.84 s of 15.0 s, …                                                 the answer
//!      reads                         L                                               how long readers
//!     4.10 s                     ▂▅▇█                                                waited, and for
//!     200 ms  ▁▂▁▁▃▁█▁▁▁▂▁▅█▁▁▁▁▆████▁▂▁▁                                             what (letter)
//!  incidents        1      ├2┤   ├─3─┤      4
//!      holes        ▂             ████                                               one time axis
//!     resent        F             RR R R    T                                        for all lanes
//!        c2s  ▇▆▇▇▆▇ ▆▇▇▆    ▇▆▇     ▆▇▇▆▇▇
//!        RTT  ⠒⠒⠤⠤⠒⠒⠒⠤⠒⠒⠤⠤⠒⠒⠒    ⠒⠤⠤⠒⠒
//!            +0 s      +5 s       +10 s
//!  incidents 3 of 4                                                                   the list; Enter
//!  ▸ 3  +8.000 s  4.10 s  loss-rto  network  nothing came through for 3.9 s; …        shows the evidence
//!  ? help  ⏎ evidence  n/p incident  +/- zoom  ←/→ pan  space freeze  q quit          from the keymap
//! ```
//!
//! Everything but [`run`] is pure: [`state::State`] takes keys and reports, [`screen::draw`] turns a
//! state into cells. Only [`run`] knows a terminal.

pub mod axis;
pub mod evidence;
pub mod help;
pub mod keymap;
pub mod lanes;
pub mod run;
pub mod screen;
mod series;
pub mod state;
pub mod theme;

pub use run::{Exit, LiveUpdate};
