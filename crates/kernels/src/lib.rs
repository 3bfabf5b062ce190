//! CPU kernels of the inference engine.
