//! The area `sandbox`: what commands see.

use crate::text::PathText;

object! {
    /// The sandbox in which commands run.
    #[derive(Default)]
    pub struct Sandbox {
        /// Files and folders outside the workspace that commands can read. Without it `~/.cargo`,
        /// `~/.rustup`, `~/.local`, `~/.npm`, `~/.nvm`, `~/.pyenv` and `~/.gitconfig`; the rest of
        /// the home folder is hidden. Secrets in them stay hidden.
        "visible" => visible: Option<Vec<PathText>>,
    }
}
