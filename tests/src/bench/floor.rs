//! The floor: programs that return at once, on the hooks that pause-trace uses on this kernel. No
//! tracer on these hooks can cost less.

use std::{
    collections::BTreeMap,
    fs, io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    thread,
};

use aya::Btf;
use aya_obj::btf::BtfKind;
use nix::{
    libc,
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use super::tracers::program as counts;

/// A hook of pause-trace, as `pause-trace doctor` names it, and how many programs it has there.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Hook {
    /// A BTF tracepoint.
    Tracepoint(String, usize),
    /// setns and unshare by the tracepoints of system calls.
    Calls,
    /// setns and unshare by fentry and fexit.
    Functions,
}

/// The hooks in the output of `pause-trace doctor --format json`.
///
/// A kprobe of setns is left out: it costs nothing but setns itself.
fn hooks(doctor: &str) -> Vec<Hook> {
    let lines = doctor.lines().map(serde_json::from_str);
    let hook = |line: serde_json::Value| {
        let (name, detail) = (line["name"].as_str()?, line["detail"].as_str()?);
        match (name, detail) {
            ("setns, unshare", way) if way.contains("tracepoint") => Some(Hook::Calls),
            ("setns, unshare", way) if way.contains("fentry") => Some(Hook::Functions),
            // `load.rs` attaches a second program to what can be interrupted.
            ("sched_process_fork" | "sched_process_exec" | "sched_process_exit", "tp_btf") => {
                Some(Hook::Tracepoint(name.into(), 2))
            }
            (_, "tp_btf") => Some(Hook::Tracepoint(name.into(), 1)),
            _ => None,
        }
    };
    lines.filter_map(Result::ok).filter_map(hook).collect()
}

/// Attached empty programs. Dropping it detaches them.
#[derive(Debug)]
pub(super) struct Floor {
    programs: Vec<OwnedFd>,
    _links: Vec<OwnedFd>,
}

const TRACEPOINT: u32 = 5;
const TRACING: u32 = 26;
const RAW_TP: u32 = 23;
const FENTRY: u32 = 24;
const FEXIT: u32 = 25;

impl Floor {
    /// What the kernel counted for its programs: the id, the nanoseconds and the runs.
    pub(super) fn programs(&self) -> BTreeMap<u32, (u64, u64)> {
        let info = |program: &OwnedFd| {
            let file = format!("/proc/self/fdinfo/{}", program.as_raw_fd());
            counts(&fs::read_to_string(file).ok()?)
        };
        self.programs.iter().filter_map(info).collect()
    }

    /// Attaches them to the hooks in the output of `doctor`.
    pub(super) fn attach(doctor: &str) -> io::Result<Self> {
        let btf = Btf::from_sys_fs().map_err(io::Error::other)?;
        let (mut all, mut links) = (Vec::new(), Vec::new());
        let mut add = |program: OwnedFd| {
            links.push(attach(&program)?);
            all.push(program);
            io::Result::Ok(())
        };
        let mut calls = Vec::new();
        for hook in hooks(doctor) {
            match hook {
                Hook::Tracepoint(name, programs) => {
                    let id = id(&btf, &format!("btf_trace_{name}"), BtfKind::Typedef)?;
                    for _ in 0..programs {
                        add(load(&name, TRACING, RAW_TP, id)?)?;
                    }
                }
                Hook::Calls => {
                    let attached = thread::scope(|scope| scope.spawn(attach_to_calls).join());
                    let attached = attached.map_err(|_| io::Error::other("a thread panicked"))?;
                    calls = attached?;
                }
                Hook::Functions => {
                    for name in ["__x64_sys_setns", "__arm64_sys_setns", "ksys_unshare"] {
                        let Ok(id) = id(&btf, name, BtfKind::Func) else {
                            continue;
                        };
                        for kind in [FEXIT, FEXIT, FENTRY] {
                            add(load(name, TRACING, kind, id)?)?;
                        }
                    }
                }
            }
        }
        for (program, event) in calls {
            all.push(program);
            links.push(event);
        }
        Ok(Self {
            programs: all,
            _links: links,
        })
    }
}

fn id(btf: &Btf, name: &str, kind: BtfKind) -> io::Result<u32> {
    btf.id_by_type_name_kind(name, kind)
        .map_err(io::Error::other)
}

/// `BPF_PROG_LOAD` with the two instructions `r0 = 0; exit`, and the beginning of a name.
fn load(name: &str, kind: u32, expected: u32, btf_id: u32) -> io::Result<OwnedFd> {
    /// The beginning of this member of `union bpf_attr` (include/uapi/linux/bpf.h).
    #[repr(C)]
    #[derive(Default)]
    struct Attributes {
        kind: u32,
        instructions: u32,
        code: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
        kernel: u32,
        flags: u32,
        name: [u8; 16],
        interface: u32,
        expected: u32,
        btf: u32,
        function_size: u32,
        functions: u64,
        function_count: u32,
        line_size: u32,
        lines: u64,
        line_count: u32,
        attach_to: u32,
    }
    const LOAD: libc::c_int = 5;
    let mut short = [0; 16];
    let length = name.len().min(short.len() - 1);
    short[..length].copy_from_slice(&name.as_bytes()[..length]);
    let code: [u64; 2] = [0xb7, 0x95];
    let attributes = Attributes {
        kind,
        instructions: code.len() as u32,
        code: code.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        name: short,
        expected,
        attach_to: btf_id,
        ..Attributes::default()
    };
    bpf(LOAD, &attributes)
}

/// `BPF_RAW_TRACEPOINT_OPEN`, which also attaches fentry and fexit programs.
fn attach(program: &OwnedFd) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        name: u64,
        program: u32,
        padding: u32,
    }
    const OPEN: libc::c_int = 17;
    let attributes = Attributes {
        name: 0,
        program: program.as_raw_fd().cast_unsigned(),
        padding: 0,
    };
    bpf(OPEN, &attributes)
}

fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: both callers pass the attributes of their command, whose pointers live as long as
    // the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<T>(),
        )
    };
    new_file(result)
}

fn new_file(result: libc::c_long) -> io::Result<OwnedFd> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the system call has just made this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(result as libc::c_int) })
}

/// Gives the calling thread a mount namespace of its own with tracefs. It makes system calls only,
/// so that a forked child can call it.
pub(super) fn mount_tracefs() -> io::Result<()> {
    let none = None::<&str>;
    unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS)?;
    mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none)?;
    let tracefs = Some("tracefs");
    Ok(mount(
        tracefs,
        "/sys/kernel/tracing",
        tracefs,
        MsFlags::empty(),
        none,
    )?)
}

/// Attaches one program to each of the four tracepoints of system calls.
fn attach_to_calls() -> io::Result<Vec<(OwnedFd, OwnedFd)>> {
    mount_tracefs()?;
    let mut files = Vec::new();
    for call in ["exit_setns", "enter_setns", "exit_unshare", "enter_unshare"] {
        let file = format!("/sys/kernel/tracing/events/syscalls/sys_{call}/id");
        let id = fs::read_to_string(file)?;
        let id: u64 = id.trim().parse().map_err(io::Error::other)?;
        let (program, event) = (load(call, TRACEPOINT, 0, 0)?, open_event(id)?);
        const SET_BPF: libc::c_ulong = 0x4004_2408;
        const ENABLE: libc::c_ulong = 0x2400;
        let event_fd = event.as_raw_fd();
        // SAFETY: both requests of a perf event take an integer.
        let results = unsafe {
            [
                libc::ioctl(event_fd, SET_BPF as _, program.as_raw_fd()),
                libc::ioctl(event_fd, ENABLE as _, 0),
            ]
        };
        if results.iter().any(|result| *result < 0) {
            return Err(io::Error::last_os_error());
        }
        files.push((program, event));
    }
    Ok(files)
}

/// A perf event of a tracepoint. A program that is set on it runs on every processor.
fn open_event(tracepoint: u64) -> io::Result<OwnedFd> {
    /// The first version of `struct perf_event_attr` (include/uapi/linux/perf_event.h).
    #[repr(C)]
    #[derive(Default)]
    struct Attributes {
        kind: u32,
        size: u32,
        config: u64,
        rest: [u64; 6],
    }
    let attributes = Attributes {
        kind: 2,
        size: size_of::<Attributes>() as u32,
        config: tracepoint,
        ..Attributes::default()
    };
    // SAFETY: the attributes have the size that they name.
    let result = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            &raw const attributes,
            -1,
            0,
            -1,
            8_u64,
        )
    };
    new_file(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hooks_are_those_of_doctor() {
        let doctor = r#"{"name":"BTF","detail":"ok"}
{"name":"sched_process_fork","detail":"tp_btf"}
{"name":"mark_victim","detail":"tp_btf"}
{"name":"cgroup_mkdir","detail":"this kernel has no such tracepoint"}
{"name":"setns, unshare","detail":"system call tracepoints"}
{"name":"task iterator","detail":"iter"}"#;
        let tracepoint = |name: &str, programs| Hook::Tracepoint(name.into(), programs);
        assert_eq!(
            hooks(doctor),
            [
                tracepoint("sched_process_fork", 2),
                tracepoint("mark_victim", 1),
                Hook::Calls
            ]
        );
        let fentry = r#"{"name":"setns, unshare","detail":"fentry"}"#;
        assert_eq!(hooks(fentry), [Hook::Functions]);
        let kprobe = r#"{"name":"setns, unshare","detail":"kprobe"}"#;
        assert_eq!(hooks(kprobe), []);
    }
}
