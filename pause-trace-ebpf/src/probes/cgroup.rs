//! Cgroup hooks. They identify a container without a query to the runtime, and so without a race.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use pause_trace_common::{CGROUP_PATH_LEN, CgroupAttach, CgroupMkdir, CgroupRmdir, Task};

use crate::{
    emit, filter,
    task::{CgroupRef, Pointer, TaskRef},
};

// match-proto: cgroup_mkdir(struct cgroup *cgrp, const char *path), since 5.0 with the path
// A process that creates a cgroup for a pod is watched: it is the runtime, its child, or the
// kubelet.
#[btf_tracepoint(function = "cgroup_mkdir")]
fn cgroup_mkdir(ctx: BtfTracePointContext) -> i32 {
    let cgroup = CgroupRef::new(ctx.arg::<*const u8>(0));
    if !cgroup.is_watched_hierarchy() {
        return 0;
    }
    if !filter::is_current_watched() && !filter::is_watched_cgroup(cgroup.parent_id()) {
        return 0;
    }
    filter::watch_cgroup(cgroup.id());
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
    if !cgroup.is_watched_hierarchy() || !filter::is_watched_cgroup(cgroup.id()) {
        return 0;
    }
    filter::forget_cgroup(cgroup.id());
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
    if !filter::is_watched(tgid) {
        if !filter::is_watched_cgroup(cgroup.id()) {
            return 0;
        }
        filter::watch(&task.identity());
    }
    emit::emit(|| CgroupAttach {
        task: task.info(
            task.identity(),
            Task::default(),
            cgroup.id(),
            task.namespaces(),
        ),
    });
    0
}
