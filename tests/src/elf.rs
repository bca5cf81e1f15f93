//! Checks how an ELF file is loaded.

use std::path::Path;

const PT_INTERP: u32 = 3;
const PT_GNU_STACK: u32 = 0x6474_e551;
const EXECUTE: u32 = 1;
const WRITE: u32 = 2;

/// Asserts that the file of a 64-bit little-endian program has at most `most` bytes, is static, and
/// has no segment that is both writable and executable.
///
/// # Panics
/// When the assertion fails.
pub fn assert_small_static_and_without_writable_code(program: &Path, most: usize) {
    let file = std::fs::read(program).expect("failed to read the program");
    assert!(file.len() <= most, "{} bytes", file.len());

    let u16_at = |at: usize| usize::from(u16::from_le_bytes([file[at], file[at + 1]]));
    let u32_at = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| file[at + byte]));
    // Elf64_Ehdr: e_phoff, e_phentsize, e_phnum; Elf64_Phdr: p_type, p_flags.
    let (start, size, count) = (u32_at(0x20) as usize, u16_at(0x36), u16_at(0x38));
    let segments: Vec<(u32, u32)> = (0..count)
        .map(|index| start + index * size)
        .map(|at| (u32_at(at), u32_at(at + 4)))
        .collect();
    let both = EXECUTE | WRITE;
    let has = |wanted: u32| segments.iter().any(|(kind, _)| *kind == wanted);
    assert!(
        segments.iter().all(|(_, flags)| flags & both != both),
        "{segments:x?}"
    );
    assert!(!has(PT_INTERP), "{segments:x?}");
    assert!(has(PT_GNU_STACK), "{segments:x?}");
}
