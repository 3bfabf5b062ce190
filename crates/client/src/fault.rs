//! What an error means for the exit status.

/// Class of an error, for the exit status of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitClass {
    /// The task failed: 1.
    Failed,
    /// Usage or configuration: 2.
    Usage,
    /// No usable server, model or key: 3.
    Unusable,
    /// Interrupted: 130.
    Interrupted,
}

impl ExitClass {
    /// The exit status.
    pub fn code(self) -> u8 {
        match self {
            ExitClass::Failed => 1,
            ExitClass::Usage => 2,
            ExitClass::Unusable => 3,
            ExitClass::Interrupted => 130,
        }
    }
}
