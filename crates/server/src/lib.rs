//! The OpenAI-compatible server: router, request validation and the backend seam.
