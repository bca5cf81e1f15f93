//! Reads kernel memory, through small `Copy` handles of kernel pointers. No other file does.
//!
//! Every read uses `bpf_probe_read_kernel` at an offset that the loader took from the kernel's BTF.
//! A bad pointer gives zero, which userspace treats as unknown, so a hook never stops half-way.

use aya_ebpf::{
    cty::c_void,
    helpers::{
        bpf_get_current_task, bpf_probe_read_kernel_str_bytes,
        generated::{bpf_probe_read_kernel, bpf_probe_read_kernel_str},
    },
    programs::BtfTracePointContext,
};
use pause_trace_common::{COMM_LEN, Config, Namespaces, Offsets, POISON, Task, TaskInfo};

use crate::user::UserBytes;

#[unsafe(no_mangle)]
static OFFSETS: Offsets = Offsets::POISONED;

#[unsafe(no_mangle)]
static CONFIG: Config = Config::DEFAULT;

/// An offset. The read is volatile because the loader replaces the poison in the object's read-only
/// data, so the compiler must not use the value from compile time.
macro_rules! offset {
    ($field:ident) => {
        // SAFETY: a static of plain integers is always readable.
        unsafe { core::ptr::read_volatile(&raw const OFFSETS.$field) }
    };
}

/// A setting, read in the same way as [`offset`].
macro_rules! config {
    ($field:ident) => {
        // SAFETY: a static of plain integers is always readable.
        unsafe { core::ptr::read_volatile(&raw const CONFIG.$field) }
    };
}

mod socket;

pub(crate) use socket::SocketRef;

pub(crate) fn limits_pods() -> bool {
    config!(limits_pods) != 0
}

pub(crate) fn flood_limit() -> u64 {
    u64::from(config!(flood_limit))
}

pub(crate) fn flood_window_ns() -> u64 {
    config!(flood_window_ns)
}

pub(crate) fn oom_passes_task() -> bool {
    config!(oom_passes_task) != 0
}

/// Types for which all-zero bytes are a valid value, the result of a failed read.
pub(crate) trait Plain: Copy {
    const ZERO: Self;
}
impl Plain for u16 {
    const ZERO: Self = 0;
}
impl Plain for u32 {
    const ZERO: Self = 0;
}
impl Plain for i32 {
    const ZERO: Self = 0;
}
impl Plain for u64 {
    const ZERO: Self = 0;
}
impl Plain for [u8; 4] {
    const ZERO: Self = [0; 4];
}
impl Plain for [u8; 16] {
    const ZERO: Self = [0; 16];
}
impl Plain for Pointer {
    const ZERO: Self = Self(0);
}
impl Plain for Namespaces {
    // SAFETY: it consists of integers.
    const ZERO: Self = unsafe { core::mem::zeroed() };
}

/// A kernel address, which may be invalid.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Pointer(u64);

impl Pointer {
    pub(crate) fn new<T>(pointer: *const T) -> Self {
        Self(pointer as u64)
    }

    pub(crate) fn is_null(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn address(self) -> u64 {
        self.0
    }

    #[inline(always)]
    fn at(self, offset: u32) -> Self {
        Self(self.0.wrapping_add(u64::from(offset)))
    }

    /// The value at this address and offset, or zero if it cannot be read. The helper's result is
    /// not checked, because the helper fills the value with zeros if it cannot read it
    /// (`bpf_probe_read_kernel_common`, kernel/trace/bpf_trace.c, since 5.5), and with a branch at
    /// each of forty reads the verifier of Linux 6.1 rejects the program as too complex.
    #[inline(always)]
    fn read<T: Plain>(self, offset: u32) -> T {
        let mut value = T::ZERO;
        let address = self.at(offset).0 as *const c_void;
        // SAFETY: the helper checks the address and writes at most the size of `value`, for which
        // all bits are valid.
        unsafe { bpf_probe_read_kernel((&raw mut value).cast(), size_of::<T>() as u32, address) };
        value
    }

    /// Copies the NUL-terminated string at this address into `buffer` and returns its length
    /// without the NUL.
    #[inline(always)]
    pub(crate) fn string(self, buffer: &mut [u8]) -> u32 {
        // SAFETY: the helper checks the address and copies at most the size of the buffer, or
        // fails.
        match unsafe { bpf_probe_read_kernel_str_bytes(self.0 as *const u8, buffer) } {
            Ok(text) => text.len() as u32,
            Err(_) => 0,
        }
    }
}

/// A `struct task_struct *` that is an argument of a BTF tracepoint. The verifier knows its type,
/// so the program reads its members itself, without the helper: this is the way of a task that is
/// not watched, which must cost little.
#[derive(Clone, Copy)]
pub(crate) struct TaskArgument(*const u8);

impl TaskArgument {
    /// Argument `index` of a BTF tracepoint, which must be a `struct task_struct *`.
    pub(crate) fn new(ctx: &BtfTracePointContext, index: usize) -> Self {
        Self(ctx.arg(index))
    }

    /// The handle for everything else.
    pub(crate) fn task(self) -> TaskRef {
        TaskRef::new(self.0)
    }

    pub(crate) fn tgid(self) -> u32 {
        let offset = offset!(task_tgid) as usize;
        // SAFETY: the kernel passes a valid task, and the offset is that of this member, or the
        // verifier refuses the program.
        unsafe { core::ptr::read_volatile(self.0.add(offset).cast()) }
    }
}

/// A `struct task_struct *`.
#[derive(Clone, Copy)]
pub(crate) struct TaskRef(Pointer);

impl TaskRef {
    pub(crate) fn new<T>(pointer: *const T) -> Self {
        Self(Pointer::new(pointer))
    }

    pub(crate) fn current() -> Self {
        // SAFETY: the helper has no preconditions.
        Self(Pointer(unsafe { bpf_get_current_task() }))
    }

    pub(crate) fn tid(self) -> u32 {
        self.0.read(offset!(task_pid))
    }

    pub(crate) fn tgid(self) -> u32 {
        self.0.read(offset!(task_tgid))
    }

    /// Whether this is the first thread of its process.
    pub(crate) fn is_leader(self) -> bool {
        self.tid() == self.tgid()
    }

    pub(crate) fn parent(self) -> Self {
        Self(self.0.read(offset!(task_parent)))
    }

    /// The first thread of its process. The kernel frees it after all others.
    #[inline(always)]
    pub(crate) fn leader(self) -> Self {
        Self(self.0.read(offset!(task_leader)))
    }

    #[inline(always)]
    pub(crate) fn identity(self) -> Task {
        Task {
            start_ns: self.leader().0.read(offset!(task_start)),
            tgid: self.tgid(),
            padding: 0,
        }
    }

    /// The description of the task. The caller passes the parts that it has read already, because
    /// each read costs time. Name and pid are those of the process: a thread may have a name of its
    /// own, and has a pid of its own.
    #[inline(always)]
    pub(crate) fn info(
        self,
        task: Task,
        parent: Task,
        cgroup: u64,
        namespaces: Namespaces,
    ) -> TaskInfo {
        let leader = self.leader();
        TaskInfo {
            task,
            parent,
            cgroup,
            namespaces,
            ns_pid: leader.ns_pid(),
            padding: 0,
            comm: leader.comm(),
        }
    }

    /// The task's name, padded with zeros: before Linux 5.17 `__set_task_comm` (fs/exec.c) left the
    /// rest of a longer earlier name behind the NUL.
    #[inline(always)]
    pub(crate) fn comm(self) -> [u8; COMM_LEN] {
        let mut comm = [0; COMM_LEN];
        let address = self.0.at(offset!(task_comm)).0 as *const c_void;
        // SAFETY: the helper checks the address and writes at most the size of `comm`, up to the
        // first NUL. Its result is not checked, for the reason that `Pointer::read` gives.
        unsafe {
            bpf_probe_read_kernel_str(comm.as_mut_ptr().cast(), COMM_LEN as u32, address);
        }
        comm
    }

    /// The innermost pid namespace and the task's pid in it (`task_active_pid_ns`, kernel/pid.c).
    #[inline(always)]
    fn innermost(self) -> (Pointer, u32, u32) {
        let pid: Pointer = self.0.read(offset!(task_thread_pid));
        if pid.is_null() {
            return (Pointer::ZERO, 0, 0);
        }
        let level: u32 = pid.read(offset!(pid_level));
        // MAX_PID_NS_LEVEL is 32 (include/linux/pid_namespace.h): with a higher level this is not a
        // pid.
        if level > 32 {
            return (Pointer::ZERO, 0, 0);
        }
        let upid = pid.at(offset!(pid_numbers)).at(level * config!(upid_size));
        (
            upid.read(offset!(upid_ns)),
            upid.read(offset!(upid_nr)),
            level,
        )
    }

    /// Where the arguments of a process are, and their length.
    #[inline(always)]
    pub(crate) fn arguments(self) -> UserBytes {
        let mm: Pointer = self.0.read(offset!(task_mm));
        UserBytes::between(mm.read(offset!(mm_arg_start)), mm.read(offset!(mm_arg_end)))
    }

    /// Where the environment of a process is, and its length.
    #[inline(always)]
    pub(crate) fn environment(self) -> UserBytes {
        let mm: Pointer = self.0.read(offset!(task_mm));
        UserBytes::between(mm.read(offset!(mm_env_start)), mm.read(offset!(mm_env_end)))
    }

    pub(crate) fn ns_pid(self) -> u32 {
        self.innermost().1
    }

    #[inline(always)]
    pub(crate) fn namespaces(self) -> Namespaces {
        let cred: Pointer = self.0.read(offset!(task_cred));
        let user: Pointer = cred.read(offset!(cred_user));
        let (pid, _, level) = self.innermost();
        let mut namespaces = Namespaces {
            pid: if pid.is_null() {
                0
            } else {
                pid.read(offset!(pid_inum))
            },
            pid_level: level,
            user: user.read(offset!(user_inum)),
            ..Namespaces::default()
        };
        let proxy: Pointer = self.0.read(offset!(task_nsproxy));
        if proxy.is_null() {
            return namespaces;
        }
        let through = |member: u32, inum: u32| proxy.read::<Pointer>(member).read::<u32>(inum);
        namespaces.mnt = through(offset!(nsproxy_mnt), offset!(mnt_inum));
        namespaces.uts = through(offset!(nsproxy_uts), offset!(uts_inum));
        namespaces.ipc = through(offset!(nsproxy_ipc), offset!(ipc_inum));
        namespaces.pid_children = through(offset!(nsproxy_pid), offset!(pid_inum));
        namespaces.cgroup = through(offset!(nsproxy_cgroup), offset!(cgroup_inum));
        let net: Pointer = proxy.read(offset!(nsproxy_net));
        namespaces.net = net.read(offset!(net_inum));
        let owner: Pointer = net.read(offset!(net_owner));
        namespaces.net_owner = owner.read(offset!(user_inum));
        namespaces
    }

    /// Those of its namespaces that decide whether it is in a pod; the others are 0.
    #[inline(always)]
    pub(crate) fn deciding_namespaces(self) -> Namespaces {
        let proxy = self.nsproxy();
        let through = |member: u32, inum: u32| proxy.read::<Pointer>(member).read::<u32>(inum);
        Namespaces {
            mnt: through(offset!(nsproxy_mnt), offset!(mnt_inum)),
            ipc: through(offset!(nsproxy_ipc), offset!(ipc_inum)),
            pid_children: through(offset!(nsproxy_pid), offset!(pid_inum)),
            net: through(offset!(nsproxy_net), offset!(net_inum)),
            ..Namespaces::default()
        }
    }

    /// The `CLONE_NEW*` flags of the namespaces that the clone of a child may have created: none of
    /// those in the `nsproxy` if parent and child share it (`copy_namespaces`, kernel/nsproxy.c),
    /// and no user namespace if both are in the same. Which of them differ is left to the reader: a
    /// second read of all namespaces would multiply the paths that the kernel's verifier follows.
    #[inline(always)]
    pub(crate) fn made_for(self, child: Self) -> u64 {
        // NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWPID and NEWNET; NEWUSER
        // (include/uapi/linux/sched.h).
        const OF_PROXY: u64 = 0x6e02_0000;
        const USER: u64 = 0x1000_0000;
        // All bits if they differ, else none. A comparison would become a branch.
        let differ = |one: Pointer, other: Pointer| {
            let bits = one.address() ^ other.address();
            ((bits | bits.wrapping_neg()) >> 63).wrapping_neg()
        };
        (differ(self.nsproxy(), child.nsproxy()) & OF_PROXY)
            | (differ(self.user_ns(), child.user_ns()) & USER)
    }

    fn nsproxy(self) -> Pointer {
        self.0.read(offset!(task_nsproxy))
    }

    fn user_ns(self) -> Pointer {
        let cred: Pointer = self.0.read(offset!(task_cred));
        cred.read(offset!(cred_user))
    }

    /// Whether the thread is exiting or has exited.
    pub(crate) fn is_exiting(self) -> bool {
        // PF_EXITING (include/linux/sched.h, since 2.6.12).
        const EXITING: u32 = 0x4;
        self.0.read::<u32>(offset!(task_flags)) & EXITING != 0
    }

    /// The `css_set`: two tasks with the same pointer are in the same cgroups in every hierarchy.
    pub(crate) fn css_set(self) -> Pointer {
        self.0.read(offset!(task_cgroups))
    }

    /// The task's cgroup in the watched hierarchy.
    #[inline(always)]
    pub(crate) fn cgroup(self) -> CgroupRef {
        let set = self.css_set();
        let subsys = config!(subsys);
        if subsys == POISON {
            return CgroupRef(set.read(offset!(css_set_default)));
        }
        let css: Pointer = set.at(offset!(css_set_subsys)).read(subsys * 8);
        CgroupRef(css.read(offset!(css_cgroup)))
    }

    /// Whether no thread of the process is left. `do_exit` decrements the count before it reports
    /// the exit (kernel/exit.c), so if two threads exit at the same time, this can be true for
    /// both; userspace uses the first record.
    pub(crate) fn is_last_thread(self) -> bool {
        let signal: Pointer = self.0.read(offset!(task_signal));
        signal.read::<i32>(offset!(signal_live)) <= 0
    }

    /// The lower half of `self_exec_id`, which counts the execs of the task and of the tasks that
    /// it was forked from.
    #[inline(always)]
    pub(crate) fn exec_id(self) -> u32 {
        self.0.read(offset!(task_exec))
    }

    /// The status that wait(2) will return, computed as in `wait_task_zombie` (kernel/exit.c).
    #[inline(always)]
    pub(crate) fn wait_status(self) -> u32 {
        const SIGNAL_GROUP_EXIT: u32 = 0x4;
        let signal: Pointer = self.0.read(offset!(task_signal));
        if signal.read::<u32>(offset!(signal_flags)) & SIGNAL_GROUP_EXIT != 0 {
            return signal.read(offset!(signal_exit_code));
        }
        self.leader().0.read(offset!(task_exit_code))
    }

    /// The signals that the process has handlers for, and those of them whose handlers it did not
    /// inherit: exec resets all handlers, and fork copies them. A child that has not executed may
    /// have replaced a handler by one at another address.
    ///
    /// There is no branch on what is read: with one for each of 64 signals, the verifiers of Linux
    /// 5.10 and 6.1 look at a million instructions and give up.
    #[inline(always)]
    pub(crate) fn handlers(self) -> (u64, u64) {
        // The bit of PF_FORKNOEXEC (include/linux/sched.h, since 2.6.12): forked, and has not
        // executed.
        const FORKED: u32 = 6;
        let flags: u32 = self.leader().0.read(offset!(task_flags));
        let executed = u64::from(!(flags >> FORKED) & 1);
        let table = |task: Pointer| {
            let table: Pointer = task.read(offset!(task_sighand));
            table
                .at(offset!(sighand_action))
                .at(offset!(sigaction_handler))
        };
        let (its, parents) = (table(self.0), table(self.parent().0));
        let size = config!(sigaction_size);
        let (mut caught, mut own) = (0, 0);
        let mut number = 0;
        while number < 64 {
            let handler: u64 = its.read(number * size);
            let inherited: u64 = parents.read(number * size);
            // SIG_DFL is 0 and SIG_IGN is 1.
            let is_caught = is_some(handler & !1);
            caught |= is_caught << number;
            own |= (is_caught & (executed | is_some(handler ^ inherited))) << number;
            number += 1;
        }
        (caught, own)
    }
}

/// 1 for an address of a process, whose highest bit is 0, and 0 for 0. A comparison would become a
/// branch.
#[inline(always)]
fn is_some(address: u64) -> u64 {
    0_u64.wrapping_sub(address) >> 63
}

/// A `struct cgroup *`.
#[derive(Clone, Copy)]
pub(crate) struct CgroupRef(Pointer);

impl CgroupRef {
    pub(crate) fn new<T>(pointer: *const T) -> Self {
        Self(Pointer::new(pointer))
    }

    pub(crate) fn id(self) -> u64 {
        let node: Pointer = self.0.read(offset!(cgroup_kn));
        node.read(offset!(kn_id))
    }

    /// Its parent cgroup; a null pointer for the root.
    #[inline(always)]
    pub(crate) fn parent(self) -> Self {
        let css: Pointer = self.0.read(offset!(cgroup_parent_css));
        match css.is_null() {
            true => Self(css),
            false => Self(css.read(offset!(css_cgroup))),
        }
    }

    pub(crate) fn is_null(self) -> bool {
        self.0.is_null()
    }

    /// Whether it belongs to the watched hierarchy: a v1 layout reports every change once per
    /// hierarchy.
    pub(crate) fn is_watched_hierarchy(self) -> bool {
        let root: Pointer = self.0.read(offset!(cgroup_root));
        root.read::<u32>(offset!(root_hierarchy)) == config!(hierarchy)
    }
}

/// The name of the file that a `struct linux_binprm *` executes.
pub(crate) fn executed_file<T>(bprm: *const T, buffer: &mut [u8]) -> u32 {
    Pointer::new(bprm)
        .read::<Pointer>(offset!(bprm_file))
        .string(buffer)
}

/// `si_code` of a `struct kernel_siginfo *`. Instead of a pointer it can be one of two small
/// numbers (`SEND_SIG_NOINFO`, `SEND_SIG_PRIV`: include/linux/sched/signal.h).
pub(crate) fn signal_code<T>(info: *const T) -> i32 {
    const SI_USER: i32 = 0;
    const SI_KERNEL: i32 = 0x80;
    match Pointer::new(info).address() {
        0 => SI_USER,
        1 => SI_KERNEL,
        _ => Pointer::new(info).read(offset!(siginfo_code)),
    }
}

/// The handler in a `struct k_sigaction *`: 0 is default, 1 is ignore, any other value is an
/// address.
pub(crate) fn signal_handler<T>(action: *const T) -> u64 {
    Pointer::new(action).read(offset!(sigaction_handler))
}

/// The namespaces in a map, or zeros if there is no value. The helper takes the null pointer
/// without a branch, see [`Pointer::read`].
#[inline(always)]
pub(crate) fn namespaces_at(value: Option<*const Namespaces>) -> Namespaces {
    Pointer::new(value.unwrap_or(core::ptr::null())).read(0)
}

/// The second argument of a system call through the 32-bit entry. See [`second_argument`].
#[inline(always)]
pub(crate) fn second_compat_argument<T>(registers: *const T) -> u64 {
    Pointer::new(registers).read(config!(compat_arg1))
}

/// The second argument of a system call, from the saved registers that are the argument of the
/// system call's wrapper.
#[inline(always)]
pub(crate) fn second_argument<T>(registers: *const T) -> u64 {
    Pointer::new(registers).read(config!(syscall_arg1))
}
