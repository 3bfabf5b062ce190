//! The vector operations with x86-64 intrinsics.

pub(crate) mod avx2;
pub(crate) mod avx512;
