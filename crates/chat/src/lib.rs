//! How a model family talks: templates, tool-call dialects and reasoning.
