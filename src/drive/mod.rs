//! The only code that moves bytes of a sync.
