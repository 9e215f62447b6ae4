//! An emulated link.
