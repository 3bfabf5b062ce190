/// What can go wrong before a kernel runs. Kernels themselves do not fail.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system gave no memory.
    #[error("no memory for {bytes} bytes; use a smaller model, context or cache")]
    OutOfMemory {
        /// What was asked for.
        bytes: usize,
    },
    /// A worker could not be started or bound.
    #[error("worker threads: {reason}")]
    Threads {
        /// The system's words.
        reason: String,
    },
    /// Bytes or dimensions that do not belong together.
    #[error("got {what}, expected {expected}")]
    Bytes {
        /// What was given.
        what: String,
        /// What would fit.
        expected: String,
    },
    /// No repacking leads from this encoding to this format.
    #[error("{raw:?} weights cannot be held as {format:?}; ask for {native:?} or a plain format")]
    Conversion {
        /// Encoding in the file.
        raw: crate::RawType,
        /// Format asked for.
        format: crate::Format,
        /// The format that holds the encoding without loss.
        native: crate::Format,
    },
    /// This CPU lacks the instructions.
    #[error("this CPU has no {isa} instructions; the best it has is {best}")]
    Isa {
        /// What was asked for.
        isa: crate::Isa,
        /// What detection found.
        best: crate::Isa,
    },
    /// A name that is no instruction set.
    #[error("unknown instruction set {name:?}; known: generic, avx2, avx512, avx512vnni, avx512bf16")]
    IsaName {
        /// What was given.
        name: String,
    },
}
