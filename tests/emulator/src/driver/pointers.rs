//! The pointers of the C interface, as types whose methods are safe to call.
//!
//! CUDA's contract is that a pointer argument is either null, where the function allows it, or valid for what the
//! function's documentation says it reads or writes. Only a C caller makes such pointers, by calling an exported function,
//! and that caller vouches for the contract; `from_address` is for the pointers inside what such a caller passed. Each method checks for null.

use std::ffi::{CStr, c_char, c_void};

use super::status::{Outcome, Status};

/// A pointer through which a function returns a `T`, or an array of them.
#[repr(transparent)]
pub(super) struct Out<T>(*mut T);

impl<T: Copy> Out<T> {
    pub fn is_null(&self) -> bool {
        self.0.is_null()
    }

    /// Writes one value; a null pointer is an error.
    pub fn set(&self, value: T) -> Outcome {
        self.set_at(0, value)
    }

    /// Writes one value unless the pointer is null.
    pub fn set_if_wanted(&self, value: T) {
        if !self.is_null() {
            // SAFETY: a non-null pointer is valid for writing a T by the contract above.
            unsafe { self.0.write_unaligned(value) }
        }
    }

    /// Writes element `index` of an array that the caller made long enough.
    pub fn set_at(&self, index: usize, value: T) -> Outcome {
        if self.is_null() {
            return Err(Status::INVALID_VALUE);
        }
        // SAFETY: a non-null pointer is valid for writing as many elements as the function documents.
        unsafe { self.0.add(index).write_unaligned(value) };
        Ok(())
    }

    /// Reads the value that an in-out argument holds on entry.
    pub fn get(&self) -> Outcome<T> {
        self.at(0)
    }

    /// Reads what element `index` of an in-out array holds on entry.
    pub fn at(&self, index: usize) -> Outcome<T> {
        if self.is_null() {
            return Err(Status::INVALID_VALUE);
        }
        // SAFETY: used only for arguments documented as read before they are written, and long enough.
        Ok(unsafe { self.0.add(index).read_unaligned() })
    }
}

/// A pointer to a `T`, or an array of them, that a function reads.
#[repr(transparent)]
pub(super) struct In<T>(*const T);

impl<T: Copy> In<T> {
    /// A pointer found inside a structure or list that a C caller passed.
    pub fn from_address(address: u64) -> In<T> {
        In(address as *const T)
    }

    pub fn is_null(&self) -> bool {
        self.0.is_null()
    }

    pub fn get(&self) -> Outcome<T> {
        self.at(0)
    }

    /// Reads element `index` of an array that the caller made long enough.
    pub fn at(&self, index: usize) -> Outcome<T> {
        if self.is_null() {
            return Err(Status::INVALID_VALUE);
        }
        // SAFETY: a non-null pointer is valid for reading as many elements as the function documents.
        Ok(unsafe { self.0.add(index).read_unaligned() })
    }
}

/// A string that ends in a zero byte.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(super) struct Text(*const c_char);

impl Text {
    /// The string; null or text that is not UTF-8 is an invalid value.
    pub fn read(&self) -> Outcome<&'static str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Status::INVALID_VALUE)
    }

    /// The bytes before the terminating zero. Valid until the call that received them returns.
    pub fn bytes(&self) -> Outcome<&'static [u8]> {
        if self.0.is_null() {
            return Err(Status::INVALID_VALUE);
        }
        // SAFETY: a non-null string ends in a zero byte and stays unchanged during the call; no caller keeps the slice longer.
        Ok(unsafe { CStr::from_ptr(self.0) }.to_bytes())
    }
}

/// Host memory of any type that a copy reads.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(super) struct HostSource(*const c_void);

/// Host memory of any type that a copy writes.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(super) struct HostTarget(*mut c_void);

// SAFETY: the addresses are kept in graphs, which any thread may launch; CUDA's contract makes the owner keep the memory
// valid, and unaccessed by others, while a launch of the graph runs.
unsafe impl Send for HostSource {}
// SAFETY: as for HostSource.
unsafe impl Send for HostTarget {}
// SAFETY: a shared address is only copied; what lies behind it is reached under the contract above.
unsafe impl Sync for HostSource {}
// SAFETY: as for HostSource.
unsafe impl Sync for HostTarget {}

impl HostSource {
    /// The same address seen as an untyped number, as unified addressing allows.
    pub fn from_address(address: u64) -> HostSource {
        HostSource(address as *const c_void)
    }

    pub fn is_null(&self) -> bool {
        self.0.is_null()
    }

    pub fn read(&self, bytes: usize) -> Outcome<Vec<u8>> {
        if bytes == 0 {
            return Ok(Vec::new());
        }
        if self.is_null() {
            return Err(Status::INVALID_VALUE);
        }
        let mut copy = Vec::with_capacity(bytes);
        // SAFETY: the source is valid for `bytes` by contract, the copy has room for them, and all are written before set_len.
        unsafe {
            std::ptr::copy_nonoverlapping(self.0.cast::<u8>(), copy.as_mut_ptr(), bytes);
            copy.set_len(bytes);
        }
        Ok(copy)
    }

    /// The text of an image that ends in a zero byte.
    pub fn text(&self) -> Text {
        Text(self.0.cast())
    }

    /// The first `bytes` bytes, which every image is long enough for.
    pub fn starts_with(&self, magic: &[u8]) -> bool {
        // SAFETY: an image is valid for at least the length of its magic number; reading stops at the first difference, so
        // a shorter text is never read beyond its terminating zero.
        !self.is_null()
            && magic
                .iter()
                .enumerate()
                .all(|(i, byte)| unsafe { self.0.cast::<u8>().add(i).read() } == *byte)
    }
}

impl HostTarget {
    pub fn from_address(address: u64) -> HostTarget {
        HostTarget(address as *mut c_void)
    }

    pub fn is_null(&self) -> bool {
        self.0.is_null()
    }

    pub fn address(&self) -> u64 {
        self.0 as u64
    }

    pub fn write(&self, bytes: &[u8]) -> Outcome {
        if bytes.is_empty() {
            return Ok(());
        }
        if self.is_null() {
            return Err(Status::INVALID_VALUE);
        }
        // SAFETY: the target is valid for the bytes the call asked for by contract; a fresh Vec never overlaps it.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.0.cast::<u8>(), bytes.len()) };
        Ok(())
    }
}

/// A function that the host wants to be called in stream order, with its argument.
#[derive(Clone, Copy)]
pub(super) struct HostCall {
    pub function: Option<unsafe extern "C" fn(*mut c_void)>,
    pub argument: HostTarget,
}

impl HostCall {
    pub fn run(&self) {
        if let Some(function) = self.function {
            // SAFETY: the caller of cuLaunchHostFunc promises that the function may be called with this argument.
            unsafe { function(self.argument.0) }
        }
    }
}

/// A callback of cuStreamAddCallback.
pub(super) type StreamCallback = Option<unsafe extern "C" fn(*mut c_void, Status, *mut c_void)>;

pub(super) fn run_callback(callback: StreamCallback, stream: u64, argument: HostTarget) {
    if let Some(callback) = callback {
        // SAFETY: the caller of cuStreamAddCallback promises that the callback may be called with this argument.
        unsafe { callback(stream as *mut c_void, Status::SUCCESS, argument.0) }
    }
}

/// The answer of a CUoccupancyB2DSize callback: dynamic shared memory, in bytes, for a block size.
pub(super) type BlockToShared = Option<unsafe extern "C" fn(i32) -> usize>;

pub(super) fn shared_for_block(callback: BlockToShared, block: u32, otherwise: usize) -> usize {
    match callback {
        // SAFETY: the caller of the occupancy query promises that the callback may be called with any block size.
        Some(callback) => unsafe { callback(block as i32) },
        None => otherwise,
    }
}
