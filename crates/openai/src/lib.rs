//! The OpenAI-compatible wire types of both directions, and the SSE codec.
