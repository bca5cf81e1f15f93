//! The complexity of the eBPF programs for the kernel's verifier, compared with its limit.

use super::load::Loaded;

/// The most verified instructions that a program should need: a twentieth of the verifier's limit
/// of a million (`BPF_COMPLEXITY_LIMIT_INSNS`, include/linux/bpf.h). Measured: 5,500 on Linux 6.18
/// and 31,300 on 6.1, which counts what follows the search for a watched cgroup once for each level
/// of the search. Kernels count differently; this limit reveals early a kernel that counts many
/// more.
pub(crate) const MOST_INSTRUCTIONS: u32 = 50_000;

/// A program that the kernel has loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verified {
    pub(crate) program: String,
    /// The instructions that the verifier processed, on all paths; `None` before Linux 5.16, which
    /// does not report it.
    pub(crate) instructions: Option<u32>,
}

/// Every program that has been loaded, by name.
pub(crate) fn verified(loaded: &Loaded) -> Vec<Verified> {
    let of_kernel = |(name, program): (&str, &aya::programs::Program)| {
        // A program that was not loaded has no information.
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
