//! Reads joined to stream bytes joined to segments.
