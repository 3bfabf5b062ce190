//! The agent's operations in, events out, and transcript items.
