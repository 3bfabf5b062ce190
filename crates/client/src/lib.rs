//! The client half: catalog, discovery, limits and the streaming model client.
