//! The image of pause-trace itself, for a pod that observes its node.

use serde_json::json;

use super::{Name, pack};

/// Offsets in the header of a 64-bit ELF file, and the type of the program header that names a
/// loader (elf(5)).
const E_MACHINE: usize = 18;
const E_PHOFF: usize = 32;
const E_PHENTSIZE: usize = 54;
const E_PHNUM: usize = 56;
const PT_INTERP: u32 = 3;

/// A 64-bit ELF file of a little-endian machine.
const MAGIC: &[u8] = b"\x7fELF\x02\x01";

/// Why a file cannot be the program of an image.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum NotAProgram {
    #[error("it is not a 64-bit ELF executable")]
    NotElf,
    #[error("it is for another processor than x86_64 and aarch64 (ELF machine {0})")]
    Machine(u16),
    #[error(
        "it needs a loader and a C library, which the image does not have; build it statically, as `cargo xtask dist` does"
    )]
    Dynamic,
}

/// The archive of an image whose only file is this executable: no shell, no C library, no other
/// user than root.
pub(crate) fn program(name: &Name, executable: &[u8]) -> anyhow::Result<Vec<u8>> {
    let config = json!({
        "Entrypoint": ["/pause-trace"],
        "Cmd": ["watch"],
        "WorkingDir": "/",
        // The kernel reports what belongs to root, and reading it needs root's capabilities.
        "User": "0:0",
        "Labels": {
            "org.opencontainers.image.title": env!("CARGO_PKG_NAME"),
            "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
            "org.opencontainers.image.licenses": env!("CARGO_PKG_LICENSE"),
        },
    });
    let architecture = architecture_of(executable)?;
    let files = [("pause-trace", executable)];
    Ok(pack(name, architecture, &files, &config)?)
}

/// The architecture of a static executable, in OCI terms.
fn architecture_of(elf: &[u8]) -> Result<&'static str, NotAProgram> {
    let bytes = |at: usize, length: usize| {
        let end = at.checked_add(length).ok_or(NotAProgram::NotElf)?;
        elf.get(at..end).ok_or(NotAProgram::NotElf)
    };
    let number = |at, length| {
        let bytes = bytes(at, length)?.iter().rev();
        Ok(bytes.fold(0_u64, |number, byte| number << 8 | u64::from(*byte)))
    };
    if !elf.starts_with(MAGIC) {
        return Err(NotAProgram::NotElf);
    }
    let size = |number: u64| usize::try_from(number).map_err(|_| NotAProgram::NotElf);
    let first = size(number(E_PHOFF, 8)?)?;
    let length = size(number(E_PHENTSIZE, 2)?)?;
    for header in 0..size(number(E_PHNUM, 2)?)? {
        let at = header
            .checked_mul(length)
            .and_then(|at| at.checked_add(first));
        let kind = number(at.ok_or(NotAProgram::NotElf)?, 4)?;
        if kind == u64::from(PT_INTERP) {
            return Err(NotAProgram::Dynamic);
        }
    }
    match number(E_MACHINE, 2)? {
        62 => Ok("amd64"),
        183 => Ok("arm64"),
        other => Err(NotAProgram::Machine(
            u16::try_from(other).unwrap_or_default(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with one program header behind it.
    fn elf(machine: u8, kind: u8) -> Vec<u8> {
        let mut elf = vec![0; 64 + 56];
        elf[..6].copy_from_slice(MAGIC);
        elf[E_MACHINE] = machine;
        elf[E_PHOFF] = 64;
        elf[E_PHENTSIZE] = 56;
        elf[E_PHNUM] = 1;
        elf[64] = kind;
        elf
    }

    #[test]
    fn the_architecture_is_that_of_the_executable() {
        assert_eq!(architecture_of(&elf(62, 1)), Ok("amd64"));
        assert_eq!(architecture_of(&elf(183, 1)), Ok("arm64"));
        assert_eq!(architecture_of(&elf(8, 1)), Err(NotAProgram::Machine(8)));
        let built_in = architecture_of(super::super::pause_binary());
        assert_eq!(built_in, Ok(super::super::architecture()));
    }

    #[test]
    fn what_cannot_run_alone_in_an_image_is_refused() {
        assert_eq!(architecture_of(&elf(62, 3)), Err(NotAProgram::Dynamic));
        assert_eq!(architecture_of(b"#!/bin/sh\n"), Err(NotAProgram::NotElf));
        let mut cut = elf(62, 1);
        cut.truncate(66);
        assert_eq!(architecture_of(&cut), Err(NotAProgram::NotElf));
        let mut far = elf(62, 1);
        far[E_PHOFF..E_PHOFF + 8].fill(0xff);
        assert_eq!(architecture_of(&far), Err(NotAProgram::NotElf));
    }

    #[test]
    fn the_image_has_one_file_and_the_architecture_of_its_program() {
        let name: Name = "localhost/a:1".parse().expect("a name");
        let executable = elf(183, 1);
        let image = program(&name, &executable).expect("it is static");
        let text = String::from_utf8_lossy(&image);
        assert!(text.contains("\"architecture\":\"arm64\""), "{text}");
        assert!(text.contains("\"Entrypoint\":[\"/pause-trace\"]"), "{text}");
        assert!(!text.contains("workload"), "{text}");
    }
}
