//! The checks of the eBPF programs: what they cost the kernel's verifier, and whether every way to
//! observe setns and unshare reports the same calls.

use std::collections::BTreeMap;

use super::{missing, ok};
use crate::{
    cli::Global,
    node::cgroup::Layout,
    probe::{
        MOST_INSTRUCTIONS, NamespaceHook, Options, Verified,
        ways::{self, Call},
    },
    record::Run,
    report::wire::{Check, State},
};

/// Reports how many instructions the verifier processed for each program, and whether that is below
/// the limit.
pub(super) fn cost(verified: &[Verified]) -> Check {
    let known: BTreeMap<_, _> = verified
        .iter()
        .filter_map(|verified| Some((verified.program.clone(), verified.instructions?)))
        .collect();
    let count = verified.len();
    let Some((largest, most)) = known.iter().max_by_key(|(_, instructions)| **instructions) else {
        let detail = format!("{count} programs; kernels report their cost since 5.16");
        return ok("verifier", &detail);
    };
    let check = Check {
        numbers: known
            .iter()
            .map(|(program, instructions)| (program.clone(), u64::from(*instructions)))
            .collect(),
        ..ok(
            "verifier",
            &format!("{count} programs, at most {most} instructions ({largest})"),
        )
    };
    if *most <= MOST_INSTRUCTIONS {
        return check;
    }
    Check {
        state: State::Degraded,
        consequence: format!(
            "more than {MOST_INSTRUCTIONS}: a kernel that counts differently may refuse {largest}"
        ),
        fix: "report this kernel version to the maintainers of pause-trace".to_owned(),
        ..check
    }
}

/// Tries each way to observe setns and unshare, and compares the results. Adds to `verified` the
/// programs that are not in it yet.
pub(super) async fn ways(
    layout: &Layout,
    global: &Global,
    verified: &mut Vec<Verified>,
) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut observed: Vec<(NamespaceHook, Vec<Call>)> = Vec::new();
    for way in NamespaceHook::ALL {
        let options = Options {
            namespace_hook: Some(way),
            ..global.probe().options(layout, Run::Node)
        };
        let name = format!("by {}", way.name());
        match ways::see(&options).await {
            Ok(found) => {
                let count = found.calls.len();
                checks.push(ok(&name, &format!("{count} calls of setns and unshare")));
                let new = |verified: &[Verified], other: &Verified| {
                    verified.iter().all(|known| known.program != other.program)
                };
                for other in found.verified {
                    if new(verified, &other) {
                        verified.push(other);
                    }
                }
                observed.push((way, found.calls));
            }
            Err(error) => checks.push(Check {
                state: State::Degraded,
                consequence: "none, if another way works".to_owned(),
                fix: "nothing, or boot a kernel that allows it".to_owned(),
                ..ok(&name, &error)
            }),
        }
    }
    checks.push(agreement(&observed));
    checks
}

fn agreement(observed: &[(NamespaceHook, Vec<Call>)]) -> Check {
    const NAME: &str = "ways agree";
    let Some(((first, calls), others)) = observed.split_first() else {
        return missing(
            NAME,
            "no way works",
            "setns and unshare are not observed",
            "boot a kernel with fentry, kprobes or system call tracepoints",
            false,
        );
    };
    let differs = |(way, other): &(NamespaceHook, Vec<Call>)| {
        let difference = ways::difference(calls, other)?;
        Some(format!(
            "{} and {} differ in {difference}",
            first.name(),
            way.name()
        ))
    };
    match others.iter().find_map(differs) {
        Some(difference) => missing(
            NAME,
            &difference,
            "the reported setns and unshare calls cannot be trusted",
            "report this kernel version to the maintainers of pause-trace",
            true,
        ),
        None => {
            let names: Vec<_> = observed.iter().map(|(way, _)| way.name()).collect();
            ok(
                NAME,
                &format!("the same {} calls from {}", calls.len(), names.join(", ")),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verified(program: &str, instructions: Option<u32>) -> Verified {
        Verified {
            program: program.to_owned(),
            instructions,
        }
    }

    #[test]
    fn the_largest_program_is_named() {
        let check = cost(&[verified("fork", Some(800)), verified("exec", Some(4_000))]);
        assert_eq!(check.state, State::Ok);
        assert_eq!(check.detail, "2 programs, at most 4000 instructions (exec)");
        assert_eq!(check.numbers["fork"], 800);
    }

    #[test]
    fn a_program_near_the_kernels_limit_is_degraded() {
        let check = cost(&[verified("exec", Some(MOST_INSTRUCTIONS + 1))]);
        assert_eq!(check.state, State::Degraded);
        assert!(check.consequence.contains("may refuse exec"), "{check:?}");
    }

    #[test]
    fn an_old_kernel_reports_no_cost() {
        let check = cost(&[verified("exec", None)]);
        assert_eq!(check.state, State::Ok);
        assert!(check.numbers.is_empty() && check.detail.contains("5.16"));
    }

    #[test]
    fn no_way_at_all_is_not_agreement() {
        assert_eq!(agreement(&[]).state, State::Missing);
        let one = [(NamespaceHook::Kprobe, Vec::new())];
        assert_eq!(agreement(&one).state, State::Ok);
    }
}
