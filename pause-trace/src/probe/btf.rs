//! Resolves structure offsets from the running kernel's BTF.
//!
//! The eBPF program has no relocations: the offsets that it needs are resolved here from BTF by
//! name and written into its globals. Nothing depends on the kernel's version number.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use btf_rs::{Backend, Btf, BtfType, Struct, Type};
use pause_trace_common::{Config, Offsets, POISON};

#[cfg(test)]
mod fuzz;

/// The kernel's description of its types (`CONFIG_DEBUG_INFO_BTF`).
pub(crate) const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// The most structures in which a member is searched, and types that are followed to a structure.
/// `task_struct` has about ten anonymous members.
const MAX_NESTED: usize = 128;

/// Why offsets cannot be resolved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BtfError {
    #[error("{path}: {error}; this kernel does not describe its types (CONFIG_DEBUG_INFO_BTF)")]
    Unreadable { path: String, error: btf_rs::Error },
    #[error("{path}: the kernel's types have no `{what}`")]
    Missing { path: String, what: String },
}

/// The properties of the kernel that the eBPF program needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) offsets: Offsets,
    /// `upid_size`, `sigaction_size`, `subsys`, `oom_passes_task`, `syscall_arg1`, `compat_arg1`
    /// and `sock_address6` are set; the rest is the default.
    pub(crate) config: Config,
}

/// A kernel's types.
pub(crate) struct Types {
    btf: Btf,
    path: String,
    /// The structures, typedefs and enumerations that are looked up by name.
    named: HashMap<String, Vec<Type>>,
}

impl Types {
    pub(crate) fn read(path: &str) -> Result<Self, BtfError> {
        // Mapping the file (possible since Linux 6.16) avoids parsing a hundred thousand types, of
        // which forty are needed.
        let btf = Btf::from_file_with_backend(Path::new(path), Backend::Mmap)
            .or_else(|_| Btf::from_file(path))
            .map_err(|error| BtfError::Unreadable {
                path: path.to_owned(),
                error,
            })?;
        Ok(Self::of(btf, path, looked_up()))
    }

    /// Reads all types once. btf-rs searches a mapped file from its beginning for each name, which
    /// takes three times as long for all of them.
    fn of(btf: Btf, path: &str, is_wanted: impl Fn(&str) -> bool) -> Self {
        let mut named: HashMap<String, Vec<Type>> = HashMap::new();
        let (first, last) = btf.base().type_id_range();
        for id in first..=last {
            let Ok(found) = btf.resolve_type_by_id(id) else {
                continue;
            };
            let name = match &found {
                Type::Struct(found) => btf.resolve_name(found),
                Type::Typedef(found) => btf.resolve_name(found),
                Type::Enum(found) => btf.resolve_name(found),
                _ => continue,
            };
            if let Ok(name) = name
                && is_wanted(&name)
            {
                named.entry(name).or_default().push(found);
            }
        }
        Self {
            btf,
            path: path.to_owned(),
            named,
        }
    }

    fn named(&self, name: &str) -> &[Type] {
        self.named.get(name).map_or(&[], Vec::as_slice)
    }

    /// Resolves everything that the program needs. `controller` is the v1 cgroup controller whose
    /// hierarchy is watched.
    pub(crate) fn layout(&self, controller: Option<&str>) -> Result<Layout, BtfError> {
        let mut values = Vec::with_capacity(Offsets::PATHS.len());
        for path in Offsets::PATHS {
            values.push(self.offset(path)?);
        }
        let offsets = Offsets::from_slice(&values).ok_or_else(|| self.missing("all offsets"))?;
        let mut config = Config::DEFAULT;
        config.upid_size = self.size("upid")?;
        config.sigaction_size = self.size("k_sigaction")?;
        config.oom_passes_task = u32::from(self.passes_pointer("btf_trace_mark_victim", 1));
        config.syscall_arg1 = match std::env::consts::ARCH {
            "x86_64" => self.offset("pt_regs.si")?,
            // user_pt_regs is the first member of pt_regs, and starts with regs[31].
            _ => 8,
        };
        // The arguments of a 32-bit system call are in bx and cx (SC_IA32_REGS_TO_ARGS,
        // arch/x86/include/asm/syscall_wrapper.h). Other processors pass them as in a 64-bit one.
        config.compat_arg1 = match std::env::consts::ARCH {
            "x86_64" => self.offset("pt_regs.cx")?,
            _ => config.syscall_arg1,
        };
        // A kernel without IPv6 has no such address.
        config.sock_address6 = self
            .offset("sock.__sk_common.skc_v6_rcv_saddr")
            .unwrap_or(POISON);
        if let Some(controller) = controller {
            let name = format!("{controller}_cgrp_id");
            config.subsys = self
                .enumerator("cgroup_subsys_id", &name)
                .ok_or_else(|| self.missing(&name))?;
        }
        Ok(Layout { offsets, config })
    }

    fn missing(&self, what: &str) -> BtfError {
        BtfError::Missing {
            path: self.path.clone(),
            what: what.to_owned(),
        }
    }

    /// The byte offset of `struct.member.member`.
    fn offset(&self, path: &str) -> Result<u32, BtfError> {
        let mut names = path.split('.');
        let mut current = names
            .next()
            .and_then(|name| self.structure(name).cloned())
            .ok_or_else(|| self.missing(path))?;
        let mut bits = 0_u32;
        let mut names = names.peekable();
        while let Some(name) = names.next() {
            let (at, member) = self
                .member(&current, name, &mut 0)
                .ok_or_else(|| self.missing(path))?;
            bits = bits.checked_add(at).ok_or_else(|| self.missing(path))?;
            if names.peek().is_some() {
                current = member
                    .and_then(|id| self.strip(id))
                    .ok_or_else(|| self.missing(path))?;
            }
        }
        if !bits.is_multiple_of(8) {
            return Err(self.missing(path));
        }
        Ok(bits / 8)
    }

    /// The size of a structure in bytes.
    fn size(&self, name: &str) -> Result<u32, BtfError> {
        let structure = self.structure(name).ok_or_else(|| self.missing(name))?;
        Ok(structure.size() as u32)
    }

    fn structure(&self, name: &str) -> Option<&Struct> {
        self.named(name).iter().find_map(|found| match found {
            Type::Struct(found) => Some(found),
            _ => None,
        })
    }

    /// A member's offset in bits and its type. Anonymous structs and unions are searched too;
    /// `searched` counts the structures, because one that contains itself would have no end.
    fn member(
        &self,
        structure: &Struct,
        name: &str,
        searched: &mut usize,
    ) -> Option<(u32, Option<u32>)> {
        *searched += 1;
        if *searched > MAX_NESTED {
            return None;
        }
        for member in &structure.members {
            let found = self.btf.resolve_name(member).ok()?;
            if found == name {
                return Some((member.bit_offset(), member.get_type_id()));
            }
            if found.is_empty()
                && let Some(inner) = member.get_type_id().and_then(|id| self.strip(id))
                && let Some((offset, id)) = self.member(&inner, name, searched)
            {
                return Some((member.bit_offset().checked_add(offset)?, id));
            }
        }
        None
    }

    /// The struct or union behind typedefs and qualifiers.
    fn strip(&self, mut id: u32) -> Option<Struct> {
        for _ in 0..MAX_NESTED {
            match self.btf.resolve_type_by_id(id).ok()? {
                Type::Struct(found) | Type::Union(found) => return Some(found),
                other => id = other.as_btf_type()?.get_type_id()?,
            }
        }
        None
    }

    /// Whether an argument of a tracepoint is a pointer. Argument 0 is the program's context.
    fn passes_pointer(&self, typedef: &str, argument: usize) -> bool {
        self.named(typedef).iter().any(|found| {
            let Type::Typedef(found) = found else {
                return false;
            };
            let mut current = self.btf.resolve_chained_type(found).ok();
            for _ in 0..MAX_NESTED {
                let Some(Type::Ptr(pointer)) = &current else {
                    break;
                };
                current = self.btf.resolve_chained_type(pointer).ok();
            }
            let Some(Type::FuncProto(proto)) = current else {
                return false;
            };
            proto.parameters.get(argument).is_some_and(|parameter| {
                matches!(self.btf.resolve_chained_type(parameter), Ok(Type::Ptr(_)))
            })
        })
    }

    /// An enumerator's value.
    fn enumerator(&self, name: &str, enumerator: &str) -> Option<u32> {
        self.named(name).iter().find_map(|found| {
            let Type::Enum(found) = found else {
                return None;
            };
            let member = found.members.iter().find(|member| {
                self.btf
                    .resolve_name(*member)
                    .is_ok_and(|name| name == enumerator)
            });
            member.map(btf_rs::EnumMember::val)
        })
    }

    /// Whether the kernel has a tracepoint that BTF programs can attach to.
    pub(crate) fn has_tracepoint(&self, name: &str) -> bool {
        !self.named(&format!("{TRACEPOINT}{name}")).is_empty()
    }
}

/// What the name of a tracepoint's type begins with.
const TRACEPOINT: &str = "btf_trace_";

/// Whether a name is looked up.
fn looked_up() -> impl Fn(&str) -> bool {
    let roots = Offsets::PATHS
        .iter()
        .filter_map(|path| path.split('.').next());
    let names: HashSet<_> = roots
        .chain(["upid", "k_sigaction", "pt_regs", "cgroup_subsys_id"])
        .collect();
    move |name| name.starts_with(TRACEPOINT) || names.contains(name)
}
