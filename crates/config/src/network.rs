//! The area `network`: which addresses may be reached at all.

object! {
    /// Which addresses may be reached at all.
    #[derive(Default)]
    pub struct Network {
        /// Whether every connection to an address outside loopback and the configured servers is
        /// refused.
        "localOnly" => local_only: Option<bool>,
    }
}
