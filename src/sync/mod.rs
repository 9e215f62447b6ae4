//! The delta engine, sans-IO.
