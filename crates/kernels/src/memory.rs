//! Aligned, zeroed, lazily backed memory for weights and KV blocks.

use std::alloc::Layout;
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;
use std::sync::Arc;

use crate::Error;

/// Alignment in bytes of every buffer: one cache line and one 512-bit vector.
pub const ALIGN: usize = 64;

/// Size of the pages asked for behind large buffers.
#[cfg(target_os = "linux")]
const HUGE_PAGE: usize = 2 << 20;

/// Zeroed bytes on a 64-byte boundary.
///
/// On Linux, buffers of 2 MiB and more are anonymous mappings on a 2 MiB boundary with
/// `MADV_HUGEPAGE`: pages are backed when they are first written, so a large KV cache costs
/// address space only until it is used.
#[derive(Debug)]
pub struct AlignedBytes {
    ptr: NonNull<u8>,
    len: usize,
    source: Source,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    Heap(Layout),
    #[cfg(target_os = "linux")]
    Map {
        base: NonNull<u8>,
        len: usize,
    },
}

// SAFETY: the buffer is owned memory without interior pointers or thread affinity.
unsafe impl Send for AlignedBytes {}
// SAFETY: shared access gives `&[u8]` only.
unsafe impl Sync for AlignedBytes {}

impl AlignedBytes {
    /// Allocates `len` zeroed bytes.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when the system refuses.
    pub fn zeroed(len: usize) -> Result<Self, Error> {
        #[cfg(target_os = "linux")]
        if len >= HUGE_PAGE {
            return Self::map(len);
        }
        let layout =
            Layout::from_size_align(len.max(ALIGN), ALIGN).map_err(|_| Error::OutOfMemory { bytes: len })?;
        // SAFETY: the layout has a size of at least ALIGN.
        let ptr = unsafe { std::alloc::alloc_zeroed(layout) };
        let ptr = NonNull::new(ptr).ok_or(Error::OutOfMemory { bytes: len })?;
        Ok(Self { ptr, len, source: Source::Heap(layout) })
    }

    #[cfg(target_os = "linux")]
    fn map(len: usize) -> Result<Self, Error> {
        let full = len
            .checked_next_multiple_of(HUGE_PAGE)
            .and_then(|n| n.checked_add(HUGE_PAGE))
            .ok_or(Error::OutOfMemory { bytes: len })?;
        // SAFETY: an anonymous private mapping at an address of the kernel's choice.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                full,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(Error::OutOfMemory { bytes: len });
        }
        let base = base.cast::<u8>();
        let skip = base.align_offset(HUGE_PAGE);
        // SAFETY: `skip` is below HUGE_PAGE and the mapping is at least HUGE_PAGE longer than `len`.
        let start = unsafe { base.add(skip) };
        // SAFETY: the range lies in the mapping. A refusal costs speed only, so the result is unused.
        unsafe { libc::madvise(start.cast(), full - skip, libc::MADV_HUGEPAGE) };
        match (NonNull::new(start), NonNull::new(base)) {
            (Some(ptr), Some(base)) => Ok(Self { ptr, len, source: Source::Map { base, len: full } }),
            _ => Err(Error::OutOfMemory { bytes: len }),
        }
    }

    pub(crate) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.ptr.as_ptr()
    }
}

impl Drop for AlignedBytes {
    fn drop(&mut self) {
        match self.source {
            // SAFETY: allocated in `zeroed` with this layout.
            Source::Heap(layout) => unsafe { std::alloc::dealloc(self.ptr.as_ptr(), layout) },
            #[cfg(target_os = "linux")]
            Source::Map { base, len } => {
                // SAFETY: mapped in `map` with this base and length; nothing borrows it any more.
                unsafe { libc::munmap(base.as_ptr().cast(), len) };
            }
        }
    }
}

impl Deref for AlignedBytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: `ptr` is valid for `len` initialised (zeroed) bytes.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }
}

impl DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len) }
    }
}

/// A grow-only scratch buffer of aligned 32-bit words.
#[derive(Debug, Default)]
pub(crate) struct Words {
    bytes: Option<AlignedBytes>,
}

impl Words {
    /// Makes room for `words` and returns the start. What was there before is not kept.
    pub(crate) fn reserve(&mut self, words: usize) -> Result<*mut u32, Error> {
        let bytes = words.checked_mul(4).ok_or(Error::OutOfMemory { bytes: usize::MAX })?;
        if self.bytes.as_ref().is_none_or(|b| b.len() < bytes) {
            self.bytes = None;
            self.bytes = Some(AlignedBytes::zeroed(bytes.max(ALIGN))?);
        }
        Ok(self.bytes.as_mut().map_or(std::ptr::null_mut(), |b| b.as_mut_ptr().cast()))
    }

    pub(crate) fn as_ptr(&self) -> *const u32 {
        self.bytes.as_ref().map_or(std::ptr::null(), |b| b.as_ptr().cast())
    }
}

/// The bytes of a [`crate::Matrix`]: owned, or a part of something shared such as a mapped file.
#[derive(Clone)]
pub struct SharedBytes {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
}

impl SharedBytes {
    /// The bytes `range` of `owner`. The owner must return the same memory on every call, as a
    /// mapped file or an `AlignedBytes` does.
    ///
    /// # Errors
    /// [`Error::Bytes`] when the range is not inside, or does not start on a 64-byte boundary.
    pub fn new(owner: Arc<dyn AsRef<[u8]> + Send + Sync>, range: Range<usize>) -> Result<Self, Error> {
        let all = (*owner).as_ref();
        let part = all.get(range.clone()).ok_or_else(|| Error::Bytes {
            what: format!("range {range:?} of a buffer"),
            expected: format!("a range within {} bytes", all.len()),
        })?;
        if part.as_ptr().align_offset(ALIGN) != 0 {
            return Err(Error::Bytes {
                what: format!("range {range:?} of a buffer"),
                expected: format!("a start on a {ALIGN}-byte boundary"),
            });
        }
        Ok(Self { owner, range })
    }
}

impl std::fmt::Debug for SharedBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedBytes").field("range", &self.range).finish_non_exhaustive()
    }
}

impl Deref for SharedBytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &(*self.owner).as_ref()[self.range.clone()]
    }
}

impl AsRef<[u8]> for AlignedBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_zeroed() {
        for len in [0, 1, 100, 1 << 20, (2 << 20) + 1] {
            let mut b = AlignedBytes::zeroed(len).unwrap();
            assert_eq!(b.len(), len);
            assert_eq!(b.as_ptr().align_offset(ALIGN), 0);
            assert!(b.iter().all(|&x| x == 0));
            b.fill(1);
        }
    }

    #[test]
    fn impossible_sizes_are_refused() {
        assert!(AlignedBytes::zeroed(usize::MAX).is_err());
        assert!(AlignedBytes::zeroed(1 << 60).is_err());
    }

    #[test]
    fn shared_bytes_check_range_and_alignment() {
        let owner = Arc::new(AlignedBytes::zeroed(256).unwrap());
        assert!(SharedBytes::new(owner.clone(), 64..256).is_ok());
        assert!(SharedBytes::new(owner.clone(), 64..257).is_err());
        assert!(SharedBytes::new(owner, 32..64).is_err());
    }
}
