//! Walking the workspace: what Git ignores is left out, links are not followed.

use std::path::Path;

use ignore::{DirEntry, WalkBuilder};

/// The files below `root` in the order of their names, hidden ones included, `.git` not.
pub(super) fn walk(root: &Path) -> impl Iterator<Item = DirEntry> + use<> {
    WalkBuilder::new(root)
        .hidden(false)
        .require_git(false)
        .git_global(false)
        .follow_links(false)
        .sort_by_file_name(std::cmp::Ord::cmp)
        .filter_entry(|entry| entry.file_name() != ".git")
        .build()
        // What cannot be read cannot be searched; a walk goes on.
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_some_and(|kind| kind.is_file()))
}
