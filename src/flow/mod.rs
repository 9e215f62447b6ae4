//! Segments → conversations: addresses to flows, incarnations, direction of the client.
