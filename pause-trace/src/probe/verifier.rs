//! What the programs cost the kernel's verifier: how far they are from being refused.

use super::load::Loaded;

/// What a program may cost: a fiftieth of the million at which the verifier gives up (`BPF_COMPLEXITY_LIMIT_INSNS`,
/// include/linux/bpf.h). Measured: 1,600 on Linux 6.18 and 7,300 on 6.1. Kernels count differently, and one that counts a lot more
/// is to be heard of early.
pub(crate) const MOST_INSTRUCTIONS: u32 = 20_000;

/// A program that the kernel has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verified {
    pub(crate) program: String,
    /// How many instructions the verifier went through, on all paths; `None` before Linux 5.16, which does not keep it.
    pub(crate) instructions: Option<u32>,
}

/// Every program that has been loaded, by name.
pub(crate) fn verified(loaded: &Loaded) -> Vec<Verified> {
    let of_kernel = |(name, program): (&str, &aya::programs::Program)| {
        // One that was not loaded has no information.
        let information = program.info().ok()?;
        Some(Verified {
            program: name.to_owned(),
            instructions: information.verified_instruction_count(),
        })
    };
    let mut verified: Vec<_> = loaded.ebpf.programs().filter_map(of_kernel).collect();
    verified.sort_by(|one, other| one.program.cmp(&other.program));
    verified
}
