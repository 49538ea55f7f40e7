//! The tile instructions themselves, on a processor that lacks them: each raises an
//! invalid-opcode exception, the handler decodes the bytes at the instruction pointer and does to the
//! [`Model`] what the instruction says. So the code that ships is run: its encodings, registers,
//! addresses and strides.

use std::cell::RefCell;
use std::sync::Once;

use super::super::Config;
use super::model::Model;

thread_local! {
    static TILES: RefCell<Model> = const { RefCell::new(Model::new()) };
}

/// From here on, tile instructions of this process go to a model of the thread that meets them.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: an all-zero `sigaction` is a valid one.
        let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
        action.sa_sigaction = handle as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        // SAFETY: `handle` has the signature that SA_SIGINFO asks for.
        let result = unsafe { libc::sigaction(libc::SIGILL, &action, std::ptr::null_mut()) };
        assert_eq!(result, 0);
    });
}

/// Gemm of tiles that this thread has met.
pub fn multiplied() -> usize {
    TILES.with_borrow(|tiles| tiles.multiplied)
}

/// A panic here ends the process, as an unknown instruction should.
extern "C" fn handle(
    _signal: libc::c_int,
    _info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: the system passes the interrupted thread's state, and waits for it to be returned.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    let registers = &mut context.uc_mcontext.gregs;
    // SAFETY: the instruction pointer is at an instruction; the longest one here has ten bytes, and
    // code follows each.
    let bytes =
        unsafe { std::slice::from_raw_parts(registers[libc::REG_RIP as usize] as *const u8, 10) };
    let length = TILES.with_borrow_mut(|tiles| {
        execute(tiles, bytes, &|number| {
            registers[GENERAL[number] as usize] as usize
        })
    });
    registers[libc::REG_RIP as usize] += length as i64;
}

/// Where the system saves the general registers, by their numbers in instructions.
const GENERAL: [libc::c_int; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

/// The operand in memory: its address without the index register, and the index.
struct Address {
    start: usize,
    index: Option<usize>,
    length: usize,
}

/// Executes the instruction at `bytes`; returns its length.
fn execute(tiles: &mut Model, bytes: &[u8], register: &dyn Fn(usize) -> usize) -> usize {
    // VEX with three bytes, map 0F38, W 0, 128 bits. R, X, B and the third register are inverted.
    let unknown = || -> ! { panic!("no tile instruction: {bytes:02x?}") };
    if bytes[0] != 0xc4 || bytes[1] & 0x1f != 2 || bytes[2] & 0x84 != 0 {
        unknown();
    }
    let (x, b) = (bytes[1] & 0x40 == 0, bytes[1] & 0x20 == 0);
    let third = !(bytes[2] >> 3) & 0xf;
    let modrm = bytes[4];
    let (direct, reg, rm) = (modrm >> 6 == 3, modrm >> 3 & 7, modrm & 7);
    let in_memory = || address(&bytes[4..], x, b, register);
    let sib = || {
        let address = in_memory();
        match address.index {
            Some(stride) if rm == 4 => (address.start, stride, 4 + address.length),
            _ => unknown(),
        }
    };
    // The prefix, the opcode, whether all operands are registers.
    match (bytes[2] & 3, bytes[3], direct) {
        (0, 0x49, true) if (reg, rm) == (0, 0) => {
            tiles.release();
            5
        }
        (0, 0x49, false) if reg == 0 => {
            let address = in_memory();
            let start = address.start + address.index.unwrap_or(0);
            // SAFETY: the instruction names a configuration.
            tiles.configure(unsafe { &*(start as *const Config) });
            4 + address.length
        }
        (3, 0x4b, false) => {
            let (start, stride, length) = sib();
            // SAFETY: the instruction names the rows of a tile.
            unsafe { tiles.load(reg, start as *const u8, stride) };
            length
        }
        (2, 0x4b, false) => {
            let (start, stride, length) = sib();
            // SAFETY: as above.
            unsafe { tiles.store(reg, start as *mut u8, stride) };
            length
        }
        (2, 0x5c, true) => {
            tiles.multiply(reg, rm, third);
            5
        }
        _ => unknown(),
    }
}

/// Decodes a memory operand from its ModRM byte on.
fn address(bytes: &[u8], x: bool, b: bool, register: &dyn Fn(usize) -> usize) -> Address {
    let (mode, rm) = (bytes[0] >> 6, bytes[0] & 7);
    let extended = |low: u8, high: bool| usize::from(low) + if high { 8 } else { 0 };
    let (base, index, mut length) = if rm == 4 {
        let (scale, index, base) = (bytes[1] >> 6, bytes[1] >> 3 & 7, bytes[1] & 7);
        let index = extended(index, x);
        // The number of the stack pointer means none.
        let index = (index != 4).then(|| register(index) << scale);
        (base, index, 2)
    } else {
        (rm, None, 1)
    };
    assert!(mode != 0 || base != 5, "an address without a base register");
    let displacement = match mode {
        0 => 0,
        1 => {
            let byte = bytes[length] as i8;
            length += 1;
            isize::from(byte)
        }
        _ => {
            let mut word = [0; 4];
            word.copy_from_slice(&bytes[length..][..4]);
            length += 4;
            i32::from_le_bytes(word) as isize
        }
    };
    Address {
        start: register(extended(base, b)).wrapping_add_signed(displacement),
        index,
        length,
    }
}
