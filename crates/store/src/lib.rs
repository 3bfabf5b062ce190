//! Sessions, memory and undo in SQLite.
