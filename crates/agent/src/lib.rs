//! The agent: one loop, prompt assembly, policy and the tool seam.
