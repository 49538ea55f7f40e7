//! Whether AMX can be used here.

use std::arch::asm;

/// Whether the processor has AMX tiles for bf16, and the system lets this process use them (which
/// this asks for).
pub(super) fn available() -> bool {
    static AVAILABLE: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *AVAILABLE.get_or_init(|| has_instructions() && permitted())
}

fn has_instructions() -> bool {
    use std::arch::x86_64::__cpuid_count;
    const OSXSAVE: u32 = 1 << 27;
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    // Tile configuration and tile data.
    const STATE: u64 = 0b11 << 17;
    #[allow(unused_unsafe, reason = "the call was unsafe in older Rust versions")]
    // SAFETY: every x86-64 processor has the instruction.
    let cpuid = |leaf| unsafe { __cpuid_count(leaf, 0) };
    if cpuid(0).eax < 0x1d || cpuid(1).ecx & OSXSAVE == 0 {
        return false;
    }
    let features = cpuid(7).edx;
    if features & AMX_BF16 == 0 || features & AMX_TILE == 0 {
        return false;
    }
    let (low, high): (u32, u32);
    // SAFETY: OSXSAVE says that the instruction can be used.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high,
            options(nomem, nostack, preserves_flags));
    }
    (u64::from(high) << 32 | u64::from(low)) & STATE == STATE
}

/// Asks Linux for the large register state (5.16 and later grant it per process).
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_ulong = 18;
    // SAFETY: the call takes two numbers and touches no memory of ours.
    unsafe {
        libc::syscall(
            libc::SYS_arch_prctl,
            ARCH_REQ_XCOMP_PERM,
            XFEATURE_XTILEDATA,
        ) == 0
    }
}

/// Other systems need not be asked; those that hide the state from XCR0 have been ruled out.
#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    true
}
