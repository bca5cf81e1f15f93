//! The seccomp filters.
//!
//! They are lists of what is refused, not of what is allowed: which calls the C library, the event
//! loop and the allocator make differs between versions and processors, and a call that is missing
//! in a list of the allowed ones would end a verification on a node that nobody tried. What an
//! attacker wants instead is known. A call with a number that is unknown here does not exist for
//! the process, so a list of refusals does not age.

use std::{collections::BTreeMap, env::consts::ARCH, os::fd::RawFd};

use nix::libc::{self, c_long};
use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    sock_filter,
};

/// The newest system call that the lists below take into account: mseal, of Linux 6.10. From 424 on
/// all processors have the same numbers. The numbers of the x32 calls of x86_64 are greater, too.
const LAST: u32 = 462;

/// fchmodat2, which libc does not name for every processor.
const FCHMODAT2: c_long = 452;

/// The commands of bpf(2) that read and change maps, and read the task iterator again after a loss
/// of records (`enum bpf_cmd`, include/uapi/linux/bpf.h).
const BPF: [u64; 6] = [
    1,  // BPF_MAP_LOOKUP_ELEM
    2,  // BPF_MAP_UPDATE_ELEM
    3,  // BPF_MAP_DELETE_ELEM
    4,  // BPF_MAP_GET_NEXT_KEY
    28, // BPF_LINK_CREATE, of a program that is loaded
    33, // BPF_ITER_CREATE
];

/// Calls that are refused whatever their arguments.
const REFUSED: &[c_long] = &[
    // Other programs, and other processes' memory.
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    // Signals to others; kill and tgkill are below.
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_send_signal,
    // Namespaces and mounts.
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    // Files behind mounts. CAP_DAC_READ_SEARCH allows it.
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    // The machine.
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_syslog,
    // Parts of the kernel that attacks on it begin with. io_uring also opens files and sockets
    // without the calls that a filter sees.
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_personality,
    // Waiting for connections; accept4 is below.
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
];

#[cfg(target_arch = "x86_64")]
const REFUSED_OLD: &[c_long] = &[
    libc::SYS_fork,
    libc::SYS_vfork,
    libc::SYS_uselib,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_OLD: &[c_long] = &[];

/// Calls that change files without opening them.
const CHANGES: &[c_long] = &[
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_unlinkat,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_truncate,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    FCHMODAT2,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    libc::SYS_utimensat,
];

#[cfg(target_arch = "x86_64")]
const CHANGES_OLD: &[c_long] = &[
    libc::SYS_creat,
    libc::SYS_rename,
    libc::SYS_link,
    libc::SYS_symlink,
    libc::SYS_unlink,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_mknod,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
];
#[cfg(not(target_arch = "x86_64"))]
const CHANGES_OLD: &[c_long] = &[];

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;
type Condition = Result<SeccompCondition, seccompiler::BackendError>;

/// Whether the kernel has seccomp filters.
pub(crate) fn are_there() -> bool {
    let action: u32 = libc::SECCOMP_RET_ERRNO;
    // SAFETY: the kernel reads the four bytes of `action`.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_GET_ACTION_AVAIL,
            0,
            &raw const action,
        )
    };
    answer == 0
}

/// Refuses, in all threads of this process and for ever, what pause-trace never does once its hooks
/// are attached. `listeners`: the sockets at which it accepts connections.
pub(super) fn for_all_threads(listeners: &[RawFd]) -> Result<(), String> {
    let program = general(listeners).map_err(|error| error.to_string())?;
    seccompiler::apply_filter_all_threads(&program).map_err(|error| error.to_string())
}

/// Refuses also to open files for writing and to change them, in this thread and in those that it
/// starts.
pub(super) fn for_readers() -> Result<(), String> {
    let program = reading().map_err(|error| error.to_string())?;
    seccompiler::apply_filter(&program).map_err(|error| error.to_string())
}

fn general(listeners: &[RawFd]) -> Result<Vec<sock_filter>, seccompiler::BackendError> {
    let own = u64::from(std::process::id());
    let mut rules = always(&[REFUSED, REFUSED_OLD]);
    let other_bpf = BPF.iter().map(|command| not(0, *command));
    rules.insert(libc::SYS_bpf, vec![all(other_bpf)?]);
    rules.insert(libc::SYS_socket, vec![all([not(0, libc::AF_UNIX as u64)])?]);
    // Nobody can make another descriptor listen, and dup(2) does not help: the number is compared.
    let accept = match listeners {
        [] => Vec::new(),
        _ => vec![all(listeners.iter().map(|fd| not(0, *fd as u64)))?],
    };
    rules.insert(libc::SYS_accept4, accept);
    // abort(3) sends a signal to the process itself.
    for call in [libc::SYS_kill, libc::SYS_tgkill] {
        rules.insert(call, vec![all([not(0, own)])?]);
    }
    rules.insert(libc::SYS_prlimit64, vec![all([not(0, 0), not(0, own)])?]);
    // Typing into a terminal.
    let typing = [libc::TIOCSTI, libc::TIOCLINUX];
    let typing = typing.into_iter().map(|request| all([is(1, request)]));
    rules.insert(libc::SYS_ioctl, typing.collect::<Result<_, _>>()?);
    // Threads only, and in no namespace of their own.
    let thread = libc::CLONE_THREAD as u64;
    let mut clones = vec![all([bits(0, thread, 0)])?];
    for kind in [
        libc::CLONE_NEWNS,
        libc::CLONE_NEWCGROUP,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
    ] {
        let kind = kind as u64;
        clones.push(all([bits(0, kind, kind)])?);
    }
    rules.insert(libc::SYS_clone, clones);
    let mut program = unknown();
    program.extend(compile(rules)?);
    Ok(program)
}

fn reading() -> Result<Vec<sock_filter>, seccompiler::BackendError> {
    let mut rules = always(&[CHANGES, CHANGES_OLD]);
    let writing = |argument| {
        let flags = [libc::O_WRONLY, libc::O_RDWR, libc::O_CREAT, libc::O_TRUNC];
        let rules = flags.into_iter().map(move |flag| {
            let flag = flag as u64;
            all([bits(argument, flag, flag)])
        });
        rules.collect::<Result<Vec<_>, _>>()
    };
    rules.insert(libc::SYS_openat, writing(2)?);
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_open, writing(1)?);
    compile(rules)
}

fn always(lists: &[&[c_long]]) -> Rules {
    let calls = lists.iter().copied().flatten();
    calls.map(|call| (*call, Vec::new())).collect()
}

/// Compiled for this processor. The program ends the process at a call through another entry of
/// the kernel, such as the 32-bit one.
fn compile(rules: Rules) -> Result<Vec<sock_filter>, seccompiler::BackendError> {
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    SeccompFilter::new(rules, SeccompAction::Allow, refuse, ARCH.try_into()?)?.try_into()
}

/// Calls that do not exist for the process: those with numbers that are unknown here, and two whose
/// flags are in memory, where a filter does not see them. The C library then makes the older calls,
/// clone and openat.
fn unknown() -> Vec<sock_filter> {
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let (greater, equal) = (libc::BPF_JGT, libc::BPF_JEQ);
    let answer = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
    let op = |code: u32, jt, jf, k| sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let jump = |kind, jt, jf, k| op(libc::BPF_JMP | kind | libc::BPF_K, jt, jf, k);
    vec![
        // The number is the first field of struct seccomp_data.
        op(load, 0, 0, 0),
        jump(greater, 2, 0, LAST),
        jump(equal, 1, 0, libc::SYS_clone3 as u32),
        jump(equal, 0, 1, libc::SYS_openat2 as u32),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, answer),
    ]
}

/// Met when all of these are.
fn all(
    conditions: impl IntoIterator<Item = Condition>,
) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(conditions.into_iter().collect::<Result<_, _>>()?)
}

fn condition(argument: u8, operation: SeccompCmpOp, value: u64) -> Condition {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operation, value)
}

fn is(argument: u8, value: u64) -> Condition {
    condition(argument, SeccompCmpOp::Eq, value)
}

fn not(argument: u8, value: u64) -> Condition {
    condition(argument, SeccompCmpOp::Ne, value)
}

/// Whether the bits of `mask` are those of `value`.
fn bits(argument: u8, mask: u64, value: u64) -> Condition {
    condition(argument, SeccompCmpOp::MaskedEq(mask), value)
}

#[cfg(test)]
mod tests;
