//! Fuzzes the reader of the kernel's types.

use std::{collections::BTreeMap, fs, path::PathBuf, sync::OnceLock};

use pause_trace_fuzz::{Random, Target};

use super::*;

/// Kinds of types (include/uapi/linux/btf.h).
const INT: u32 = 1;
const PTR: u32 = 2;
const STRUCT: u32 = 4;
const ENUM: u32 = 6;
const TYPEDEF: u32 = 8;
const FUNC_PROTO: u32 = 13;

/// Makes a BTF file.
struct Builder {
    types: Vec<u8>,
    strings: Vec<u8>,
    count: u32,
}

impl Builder {
    /// With type 1, an integer.
    fn new() -> Self {
        let mut new = Self {
            types: Vec::new(),
            strings: vec![0],
            count: 0,
        };
        new.add("int", INT, 4, &[&[32]]);
        new
    }

    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let at = self.strings.len() as u32;
        self.strings.extend_from_slice(name.as_bytes());
        self.strings.push(0);
        at
    }

    /// Adds a type, and returns its id.
    fn add(&mut self, name: &str, kind: u32, size_or_type: u32, rest: &[&[u32]]) -> u32 {
        let name = self.name(name);
        let length = if kind == INT { 0 } else { rest.len() as u32 };
        let head = [name, kind << 24 | length, size_or_type];
        for word in head.iter().chain(rest.iter().copied().flatten()) {
            self.types.extend_from_slice(&word.to_le_bytes());
        }
        self.count += 1;
        self.count
    }

    /// Adds a structure with these members: name and type, each 8 bytes after the other.
    fn structure(&mut self, name: &str, members: &[(&str, u32)]) -> u32 {
        let members: Vec<[u32; 3]> = (0..)
            .zip(members)
            .map(|(at, (name, id))| [self.name(name), *id, at * 64])
            .collect();
        let members: Vec<&[u32]> = members.iter().map(|member| &member[..]).collect();
        self.add(name, STRUCT, 8 * members.len() as u32, &members)
    }

    /// A structure with members of these paths below it.
    fn tree(&mut self, name: &str, paths: &[&str]) -> u32 {
        let mut below: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for path in paths {
            let (first, rest) = path.split_once('.').unwrap_or((path, ""));
            below.entry(first).or_default().push(rest);
        }
        let mut members = Vec::new();
        for (member, mut rest) in below {
            rest.retain(|path| !path.is_empty());
            let id = if rest.is_empty() {
                1
            } else {
                self.tree("", &rest)
            };
            members.push((member, id));
        }
        self.structure(name, &members)
    }

    fn finish(self) -> Vec<u8> {
        let length = self.types.len() as u32;
        let mut file = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, length, length, self.strings.len() as u32] {
            file.extend_from_slice(&word.to_le_bytes());
        }
        [file, self.types, self.strings].concat()
    }
}

/// What [`Types::layout`] needs, and types that refer to themselves.
fn kernel(random: &mut Random) -> Vec<u8> {
    let mut builder = Builder::new();
    let mut roots: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for path in
        Offsets::PATHS
            .iter()
            .chain(&["pt_regs.si", "pt_regs.cx", "upid.nr", "k_sigaction.sa"])
    {
        let (root, below) = path.split_once('.').expect("a member");
        roots.entry(root).or_default().push(below);
    }
    for (root, paths) in roots {
        if !random.once_in(40) {
            builder.tree(root, &paths);
        }
    }
    let value = builder.name("pids_cgrp_id");
    builder.add("cgroup_subsys_id", ENUM, 4, &[&[value, 9]]);
    let proto = builder.add("", FUNC_PROTO, 0, &[&[0, 1], &[0, builder.count]]);
    let pointer = builder.add("", PTR, proto, &[]);
    builder.add("btf_trace_mark_victim", TYPEDEF, pointer, &[]);
    if random.once_in(2) {
        // An anonymous member of its own type, twice, and a typedef of itself.
        let next = builder.count + 1;
        builder.structure("signal_struct", &[("", next), ("", next), ("x", next)]);
        builder.add("own", TYPEDEF, next + 1, &[]);
        builder.add("btf_trace_mark_victim", PTR, next + 2, &[]);
    }
    builder.finish()
}

/// The file that is mapped.
fn file() -> &'static PathBuf {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| {
        std::env::temp_dir().join(format!("pause-trace-btf-{}", std::process::id()))
    })
}

fn shape(types: &Types) -> Vec<Option<u64>> {
    let layout = types.layout(Some("pids"));
    let config = layout.as_ref().ok().map(|layout| layout.config);
    let offsets = Offsets::PATHS
        .iter()
        .map(|path| types.offset(path).ok().map(u64::from));
    let more = [
        config.map(|config| u64::from(config.subsys)),
        config.map(|config| u64::from(config.oom_passes_task)),
        Some(types.has_tracepoint("mark_victim").into()),
        types.size("upid").ok().map(u64::from),
    ];
    offsets.chain(more).collect()
}

/// What holds for every input.
fn judge(input: &[u8]) -> (bool, u64, Option<u64>) {
    fs::write(file(), input).expect("the directory for temporary files is writable");
    let path = file().to_str().expect("a path of ASCII");
    let Ok(types) = Types::read(path) else {
        return (false, 0, None);
    };
    let found = shape(&types);
    let known = found.iter().flatten().count() as u64;
    let parsed = Btf::from_bytes(input);
    let parsed = parsed.map(|btf| shape(&Types::of(btf, path, looked_up())));
    (parsed.is_ok(), known, found[found.len() - 3])
}

#[test]
fn btf() {
    Target::new("btf")
        .seeds([kernel(&mut Random::new(3))])
        .generator(kernel)
        // btf-rs makes room for what the header claims, up to 16 MiB of names and of types.
        .memory(48 << 20, 512)
        .inputs(500)
        .run(judge);
    // Another target may not have one.
    let _ = fs::remove_file(file());
}

/// The kernel maps the file only since Linux 6.16.
#[test]
fn a_mapped_file_and_a_parsed_one_give_the_same_offsets() {
    let path = std::env::temp_dir().join(format!("pause-trace-btf-both-{}", std::process::id()));
    let name = path.to_str().expect("a path of ASCII");
    for seed in 0..64 {
        let bytes = kernel(&mut Random::new(seed));
        fs::write(&path, &bytes).expect("the directory for temporary files is writable");
        let mapped = Types::read(name).expect("it is valid");
        let btf = Btf::from_bytes(&bytes).expect("it is valid");
        let parsed = Types::of(btf, name, looked_up());
        assert_eq!(shape(&mapped), shape(&parsed), "seed {seed}");
    }
    fs::remove_file(path).expect("it was made");
}

#[test]
fn types_that_contain_themselves_end() {
    let mut builder = Builder::new();
    let anonymous: Vec<_> = (0..40).map(|_| ("", 2)).collect();
    builder.structure("loops", &anonymous);
    builder.structure("member", &[("of", 4)]);
    builder.add("of", TYPEDEF, 4, &[]);
    builder.add("btf_trace_x", TYPEDEF, 6, &[]);
    builder.add("", PTR, 6, &[]);
    let btf = Btf::from_bytes(&builder.finish()).expect("it is valid");
    let types = Types::of(btf, "made up", |_| true);
    assert!(types.offset("loops.x").is_err());
    assert!(types.offset("member.of.x").is_err());
    assert!(!types.passes_pointer("btf_trace_x", 1));
}
