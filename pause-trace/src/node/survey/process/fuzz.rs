//! Fuzzes the parsers of the files in `/proc/PID`, in which a process chooses its name, its command
//! line and its cgroups.

use std::net::IpAddr;

use pause_trace_fuzz::{Random, Target};

use super::*;
use crate::{
    event::{Outsider, Proof, Text},
    node::{network, outsider, procfs, program},
};

/// The fields of `/proc/PID/stat` after the name, as they are written below.
const FIELDS: &str = " S 41 1 1 0 -1 4194560 0 0 0 0 7 9 0 0 20 0 1 0 4242 1 2 3\n";

/// A process cannot change a field by its name.
fn judge_name(name: &[u8]) {
    let stat = [b"17 (", name, b")", FIELDS.as_bytes()].concat();
    let found = Stat::parse(&stat).expect("it is as the kernel writes it");
    assert_eq!((found.pid, found.state, found.parent), (17, b'S', 41));
    assert_eq!(found.start_ticks, 4242);
    assert_eq!(procfs::start(&stat), Some(4242));
    assert_eq!(procfs::state(&stat), Some(b'S'));
    let length = name.len().min(15);
    assert_eq!(found.comm.0[..length], name[..length]);
    // proc_task_name (fs/proc/array.c) escapes line breaks and backslashes in `status`.
    let mut escaped = Vec::new();
    for byte in name {
        match byte {
            b'\n' => escaped.extend_from_slice(b"\\n"),
            b'\\' => escaped.extend_from_slice(b"\\\\"),
            byte => escaped.push(*byte),
        }
    }
    let status = [
        b"Name:\t",
        &*escaped,
        b"\nNSpid:\t17\t3\nSigBlk:\t0000000000000001\nSigCgt:\t4002\n",
    ]
    .concat();
    assert_eq!(ns_pids(&status), Some((3, 1)));
    let text = String::from_utf8_lossy(&status);
    // A carriage return before the end of a line belongs to it, and is trimmed.
    let sets = procfs::SignalSets::read(&text).expect("both sets");
    assert!(sets.blocks(nix::sys::signal::SIGHUP) && sets.catches(nix::sys::signal::SIGTERM));
}

/// What holds for any bytes in any of the files.
fn judge(input: &[u8]) -> Vec<u64> {
    judge_name(input);
    let stat = Stat::parse(input);
    assert!(stat.is_none() || procfs::start(input) == stat.as_ref().map(|stat| stat.start_ticks));
    let text = String::from_utf8_lossy(input);
    let sets = procfs::SignalSets::read(&text);
    let memory = procfs::memory(&text, "Pss");
    let pids = ns_pids(input);
    // A level for each number but the first.
    assert!(pids.is_none_or(|(_, level)| (level as usize) < input.len()));
    let command = outsider::spaced(input[..input.len().min(Outsider::MAX_COMMAND + 1)].to_vec());
    assert!(command.len() <= Outsider::MAX_COMMAND && !command.contains(&0));
    assert!(membership(input, 0).is_none_or(|path| !path.contains(&b'\n')));
    let proof = program::container(input);
    if let Some(Proof::InContainer {
        path: Text(path), ..
    }) = &proof
    {
        assert!(
            input.windows(path.len()).any(|part| part == path),
            "{path:?} is not in the file"
        );
    }
    let network = network::fuzzed(input);
    let outer = network
        .outer_addresses()
        .filter(|address| **address != IpAddr::from([0; 4]))
        .count();
    let links = inode(input);
    vec![
        stat.is_some().into(),
        sets.is_some().into(),
        memory.is_some().into(),
        pids.map_or(0, |(_, level)| 1 + u64::from(level.min(3))),
        membership(input, 0).is_some().into(),
        proof.is_some().into(),
        links.is_some().into(),
        network.interfaces.len().min(3) as u64,
        outer.min(2) as u64,
        network.ways_out.len().min(2) as u64,
        network.listening.len().min(3) as u64,
    ]
}

fn generate(random: &mut Random) -> Vec<u8> {
    let name = random.bytes(20);
    let lines = random.below(3);
    let mut file = match random.below(3) {
        0 => [b"17 (", &*name, b")", FIELDS.as_bytes()].concat(),
        1 => [
            b"Name:\t",
            &*name,
            b"\nPss:  12 kB\nSigBlk:\t0\nSigCgt:\t1\nNSpid:\t5\t1\n",
        ]
        .concat(),
        _ => b"0::/docker/8852eac251d8a963b28d3accf45d9d1173c668558fcd8049345e9d4589599bc9\n"
            .to_vec(),
    };
    for _ in 0..lines {
        file.extend(format!("{}:pids:/{}\n", random.below(20), random.awkward()).bytes());
    }
    file
}

#[test]
fn proc() {
    Target::new("proc")
        .files_of("pause-trace/src/node/fixtures/network")
        .generator(generate)
        .dictionary(&[
            ")",
            "(",
            " R ",
            "NSpid:",
            "SigCgt:",
            "SigBlk:",
            "Pss:",
            " kB",
            "\r",
            "\n",
            ":",
            "[",
            "]",
            "0A",
            "FF",
            "00000000",
            "/32 host LOCAL",
            "|-- 10.0.0.1",
            "lo",
            "010000E0",
        ])
        .memory(128 << 10, 128)
        .inputs(4_000)
        .run(judge);
}
