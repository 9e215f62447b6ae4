//! Views: each turns one [`crate::report::Report`] into bytes.
