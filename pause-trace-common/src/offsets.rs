//! Offsets of the kernel structures that the eBPF program reads, and its settings.
//!
//! eBPF in Rust has no CO-RE relocations, so the loader resolves the offsets from the kernel's BTF
//! and injects them before it loads the program. The verifier then sees constants.

/// An offset that the loader has not set. No kernel structure is this large, so a read at it fails.
pub const POISON: u32 = u32::MAX;

macro_rules! offsets {
    ($($(#[$doc:meta])* $field:ident: $path:literal,)*) => {
        /// Byte offsets into kernel structures.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Offsets { $($(#[$doc])* #[doc = concat!("`", $path, "`")] pub $field: u32,)* }

        impl Offsets {
            /// All offsets unset.
            pub const POISONED: Self = Self { $($field: POISON,)* };
            /// The `struct.member.member` path of each field.
            pub const PATHS: &[&str] = &[$($path,)*];

            /// Each offset with its path.
            pub fn named(&self) -> [(&'static str, u32); Self::PATHS.len()] {
                [$(($path, self.$field),)*]
            }

            /// The offsets in the order of [`Offsets::PATHS`].
            pub fn from_slice(values: &[u32]) -> Option<Self> {
                let mut values = values.iter().copied();
                let offsets = Self { $($field: values.next()?,)* };
                values.next().is_none().then_some(offsets)
            }
        }
    };
}

offsets! {
    task_pid: "task_struct.pid",
    task_tgid: "task_struct.tgid",
    task_comm: "task_struct.comm",
    task_start: "task_struct.start_boottime",
    task_leader: "task_struct.group_leader",
    task_parent: "task_struct.real_parent",
    task_nsproxy: "task_struct.nsproxy",
    task_cred: "task_struct.real_cred",
    task_thread_pid: "task_struct.thread_pid",
    task_signal: "task_struct.signal",
    task_exit_code: "task_struct.exit_code",
    task_cgroups: "task_struct.cgroups",
    task_exec: "task_struct.self_exec_id",
    task_flags: "task_struct.flags",
    task_sighand: "task_struct.sighand",
    task_mm: "task_struct.mm",
    mm_arg_start: "mm_struct.arg_start",
    mm_arg_end: "mm_struct.arg_end",
    mm_env_start: "mm_struct.env_start",
    mm_env_end: "mm_struct.env_end",
    sighand_action: "sighand_struct.action",
    signal_live: "signal_struct.live",
    signal_exit_code: "signal_struct.group_exit_code",
    signal_flags: "signal_struct.flags",
    nsproxy_mnt: "nsproxy.mnt_ns",
    nsproxy_uts: "nsproxy.uts_ns",
    nsproxy_ipc: "nsproxy.ipc_ns",
    nsproxy_net: "nsproxy.net_ns",
    nsproxy_pid: "nsproxy.pid_ns_for_children",
    nsproxy_cgroup: "nsproxy.cgroup_ns",
    mnt_inum: "mnt_namespace.ns.inum",
    uts_inum: "uts_namespace.ns.inum",
    ipc_inum: "ipc_namespace.ns.inum",
    net_inum: "net.ns.inum",
    net_owner: "net.user_ns",
    pid_inum: "pid_namespace.ns.inum",
    user_inum: "user_namespace.ns.inum",
    cgroup_inum: "cgroup_namespace.ns.inum",
    cred_user: "cred.user_ns",
    pid_level: "pid.level",
    pid_numbers: "pid.numbers",
    upid_nr: "upid.nr",
    upid_ns: "upid.ns",
    cgroup_kn: "cgroup.kn",
    cgroup_root: "cgroup.root",
    cgroup_parent_css: "cgroup.self.parent",
    root_hierarchy: "cgroup_root.hierarchy_id",
    kn_id: "kernfs_node.id",
    bprm_file: "linux_binprm.filename",
    siginfo_code: "kernel_siginfo.si_code",
    sigaction_handler: "k_sigaction.sa.sa_handler",
    css_set_default: "css_set.dfl_cgrp",
    css_set_subsys: "css_set.subsys",
    css_cgroup: "cgroup_subsys_state.cgroup",
    sock_family: "sock.__sk_common.skc_family",
    sock_port: "sock.__sk_common.skc_num",
    sock_address: "sock.__sk_common.skc_rcv_saddr",
    sock_net: "sock.__sk_common.skc_net.net",
    sock_protocol: "sock.sk_protocol",
}

/// Settings that the loader injects before it loads the program.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Size of `struct upid`.
    pub upid_size: u32,
    /// The id of the watched cgroup hierarchy: 0 is the unified one.
    pub hierarchy: u32,
    /// Index of that hierarchy's controller in `css_set.subsys`; [`POISON`] for the unified
    /// hierarchy.
    pub subsys: u32,
    /// 1 if `oom:mark_victim` passes the task (since Linux 6.8), 0 if it passes a pid.
    pub oom_passes_task: u32,
    /// Size of `struct k_sigaction`.
    pub sigaction_size: u32,
    /// Offset in `struct pt_regs` of a system call's second argument.
    pub syscall_arg1: u32,
    /// The same for a system call through the 32-bit entry of an x86_64 kernel.
    pub compat_arg1: u32,
    /// Offset in `struct sock` of the IPv6 address that it is bound to; [`POISON`] in a kernel
    /// without IPv6.
    pub sock_address6: u32,
    /// 1 if each pod has a limited share of the lifecycle ring, 0 if it may fill it.
    pub limits_pods: u32,
    /// How many signals of one number to one cgroup are reported per window; the others are
    /// counted.
    pub flood_limit: u32,
    /// Length of that window in ns.
    pub flood_window_ns: u64,
}

impl Config {
    /// A configuration that watches the unified hierarchy.
    pub const DEFAULT: Self = Self {
        upid_size: POISON,
        hierarchy: 0,
        subsys: POISON,
        oom_passes_task: 0,
        sigaction_size: POISON,
        syscall_arg1: POISON,
        compat_arg1: POISON,
        sock_address6: POISON,
        limits_pods: 1,
        flood_limit: 256,
        flood_window_ns: 100_000_000,
    };
}
