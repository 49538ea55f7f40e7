//! The results of driver calls: `CUresult` codes with their names and descriptions.

/// A `CUresult`. Zero is success.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Status(pub u32);

/// What a driver call comes to before it is flattened into one [`Status`].
pub(super) type Outcome<T = ()> = Result<T, Status>;

/// Defines the named codes once, for the constants and for [`Status::name`].
macro_rules! statuses {
    ($($name:ident = $code:literal, $text:literal;)*) => {
        #[allow(missing_docs)] // named and numbered as in CUDA's documentation of CUresult
        impl Status {
            $(pub const $name: Status = Status($code);)*
        }

        /// Code, C name and description, the last two ending in a zero byte.
        const TABLE: &[(u32, &str, &str)] = &[
            (0, "CUDA_SUCCESS\0", "no error\0"),
            $(($code, concat!("CUDA_ERROR_", stringify!($name), "\0"), concat!($text, "\0")),)*
        ];
    };
}

statuses! {
    INVALID_VALUE = 1, "invalid argument";
    OUT_OF_MEMORY = 2, "out of memory";
    NOT_INITIALIZED = 3, "the driver is not initialized: cuInit was not called";
    DEINITIALIZED = 4, "the driver is shutting down";
    STUB_LIBRARY = 34, "the library found is a stub, not a driver";
    NO_DEVICE = 100, "no CUDA-capable device was found";
    INVALID_DEVICE = 101, "invalid device ordinal";
    INVALID_IMAGE = 200, "the module's image is invalid";
    INVALID_CONTEXT = 201, "invalid device context";
    NO_BINARY_FOR_GPU = 209, "the module holds no code for this device";
    UNSUPPORTED_LIMIT = 215, "this limit is not supported by the device";
    INVALID_PTX = 218, "the PTX could not be compiled";
    UNSUPPORTED_PTX_VERSION = 222, "the PTX is of a newer version than the driver's";
    INVALID_SOURCE = 300, "the source is invalid";
    FILE_NOT_FOUND = 301, "file not found";
    INVALID_HANDLE = 400, "invalid resource handle";
    ILLEGAL_STATE = 401, "the resource is not in a state that allows this operation";
    NOT_FOUND = 500, "named symbol not found";
    NOT_READY = 600, "not yet finished";
    ILLEGAL_ADDRESS = 700, "a kernel accessed an illegal address";
    LAUNCH_OUT_OF_RESOURCES = 701, "too many resources requested for a launch";
    LAUNCH_TIMEOUT = 702, "a launch timed out and was terminated";
    PEER_ACCESS_ALREADY_ENABLED = 704, "peer access is already enabled";
    PEER_ACCESS_NOT_ENABLED = 705, "peer access is not enabled";
    PRIMARY_CONTEXT_ACTIVE = 708, "the primary context is already active";
    CONTEXT_IS_DESTROYED = 709, "the context is destroyed";
    ASSERT = 710, "a device-side assertion failed";
    ILLEGAL_INSTRUCTION = 715, "a kernel met an illegal instruction";
    MISALIGNED_ADDRESS = 716, "a kernel accessed a misaligned address";
    INVALID_ADDRESS_SPACE = 717, "a kernel accessed the wrong address space";
    LAUNCH_FAILED = 719, "a kernel failed while it ran";
    COOPERATIVE_LAUNCH_TOO_LARGE = 720, "a cooperative launch has more blocks than can be resident";
    NOT_PERMITTED = 800, "operation not permitted";
    NOT_SUPPORTED = 801, "operation not supported";
    STREAM_CAPTURE_UNSUPPORTED = 900, "operation not permitted while a stream is capturing";
    STREAM_CAPTURE_INVALIDATED = 901, "the capture failed because of an earlier error";
    STREAM_CAPTURE_MERGE = 902, "the operation would merge two captures";
    STREAM_CAPTURE_UNMATCHED = 903, "the capture was not begun on this stream";
    STREAM_CAPTURE_UNJOINED = 904, "the capture has work on a stream that was not joined to the one it began on";
    STREAM_CAPTURE_ISOLATION = 905, "captured work would depend on work outside the capture";
    STREAM_CAPTURE_IMPLICIT = 906, "the operation would order captured work after the legacy stream";
    CAPTURED_EVENT = 907, "the event was last recorded in a capture";
    STREAM_CAPTURE_WRONG_THREAD = 908, "the capture was begun by another thread";
    INVALID_CLUSTER_SIZE = 912, "invalid cluster size";
    UNKNOWN = 999, "unknown error";
}

impl Status {
    /// `CUDA_SUCCESS`.
    pub const SUCCESS: Status = Status(0);

    /// The status's C name, such as `CUDA_ERROR_OUT_OF_MEMORY`, or `None` for a code that the emulator never returns.
    pub fn name(self) -> Option<&'static str> {
        self.entry().map(|(_, name, _)| name.trim_end_matches('\0'))
    }

    /// The name and the description with their terminating zero bytes.
    pub(super) fn entry(self) -> Option<&'static (u32, &'static str, &'static str)> {
        TABLE.iter().find(|(code, ..)| *code == self.0)
    }
}

impl From<Outcome> for Status {
    fn from(outcome: Outcome) -> Status {
        outcome.err().unwrap_or(Status::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_their_documented_names() {
        assert_eq!(Status(0).name(), Some("CUDA_SUCCESS"));
        assert_eq!(Status(2).name(), Some("CUDA_ERROR_OUT_OF_MEMORY"));
        assert_eq!(
            Status(720).name(),
            Some("CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE")
        );
        assert_eq!(Status(12345).name(), None);
    }
}
