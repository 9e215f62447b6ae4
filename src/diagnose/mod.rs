//! Named rules over incidents.
