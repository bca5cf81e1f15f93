//! Cgroup hooks. They identify a container without a query to the runtime, and so without a race.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use pause_trace_common::{CGROUP_PATH_LEN, CgroupAttach, CgroupMkdir, CgroupRmdir, Kind, Task};

use crate::{
    emit,
    filter::{self, Place},
    task::{CgroupRef, Pointer, TaskRef},
};

/// Whether the current process may have one more record about this cgroup. What a container does to
/// cgroups of its own is limited, and what its runtime does to them is not.
#[inline(always)]
fn is_admitted(cgroup: Place, kind: Kind) -> bool {
    !is_own(cgroup) || emit::admits(cgroup.account, kind, false)
}

/// Whether the current process is in the same container as this cgroup.
#[inline(always)]
fn is_own(cgroup: Place) -> bool {
    cgroup.is_watched() && filter::place(TaskRef::current().cgroup()).account == cgroup.account
}

// match-proto: cgroup_mkdir(struct cgroup *cgrp, const char *path), since 5.0 with the path
// A process that creates a cgroup for a pod is watched: it is the runtime, its child, or the
// kubelet.
#[btf_tracepoint(function = "cgroup_mkdir")]
fn cgroup_mkdir(ctx: BtfTracePointContext) -> i32 {
    let cgroup = CgroupRef::new(ctx.arg::<*const u8>(0));
    if !cgroup.is_watched_hierarchy() {
        return 0;
    }
    let parent = filter::place(cgroup.parent());
    if !filter::is_current_watched() && !parent.is_watched() {
        return 0;
    }
    if !is_own(parent) {
        filter::watch_cgroup(cgroup.id());
    } else if !emit::admits(parent.account, Kind::CgroupMkdir, false) {
        // It is not watched, so its processes count as processes of the parent.
        return 0;
    } else if !filter::watch_nested(cgroup.id(), parent.account) {
        emit::refused(parent.account, Kind::CgroupMkdir);
        return 0;
    }
    let path = Pointer::new(ctx.arg::<*const u8>(1));
    emit::emit_with_text(
        || CgroupMkdir { id: cgroup.id() },
        |text: &mut [u8; CGROUP_PATH_LEN]| path.string(text),
    );
    0
}

// match-proto: cgroup_rmdir(struct cgroup *cgrp, const char *path), since 5.0 with the path
#[btf_tracepoint(function = "cgroup_rmdir")]
fn cgroup_rmdir(ctx: BtfTracePointContext) -> i32 {
    let cgroup = CgroupRef::new(ctx.arg::<*const u8>(0));
    if !cgroup.is_watched_hierarchy() {
        return 0;
    }
    let place = filter::place(cgroup);
    if !filter::forget_cgroup(cgroup.id()) || !is_admitted(place, Kind::CgroupRmdir) {
        return 0;
    }
    let path = Pointer::new(ctx.arg::<*const u8>(1));
    emit::emit_with_text(
        || CgroupRmdir { id: cgroup.id() },
        |text: &mut [u8; CGROUP_PATH_LEN]| path.string(text),
    );
    0
}

// match-proto: cgroup_attach_task(struct cgroup *dst_cgrp, const char *path, struct task_struct *task, bool threadgroup),
// since 5.0 with the path
#[btf_tracepoint(function = "cgroup_attach_task")]
fn cgroup_attach(ctx: BtfTracePointContext) -> i32 {
    let cgroup = CgroupRef::new(ctx.arg::<*const u8>(0));
    let task = TaskRef::new(ctx.arg::<*const u8>(2));
    if !cgroup.is_watched_hierarchy() {
        return 0;
    }
    let tgid = task.tgid();
    let place = filter::place(cgroup);
    if !filter::is_watched(tgid) {
        if !place.is_watched() {
            return 0;
        }
        filter::watch(&task.identity());
    }
    if !is_admitted(place, Kind::CgroupAttach) {
        return 0;
    }
    emit::emit(|| CgroupAttach {
        task: task.info(
            task.identity(),
            Task::default(),
            place.cgroup,
            task.namespaces(),
        ),
    });
    0
}
