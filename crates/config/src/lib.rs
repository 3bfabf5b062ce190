//! The configuration file: types, JSON5 loading and comment-keeping edits.
