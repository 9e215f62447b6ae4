//! Report + keys → screens.
