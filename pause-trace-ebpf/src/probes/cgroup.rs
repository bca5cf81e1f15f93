//! Cgroups: container identity with no runtime and no race.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use pause_trace_common::{Cgroup, CgroupAttach, Kind};

use crate::{
    emit, filter,
    task::{CgroupRef, Pointer, TaskRef},
};

#[inline(always)]
fn report(kind: Kind, cgroup: CgroupRef, path: *const u8) {
    emit::lifecycle::<Cgroup>(kind, |record, header| {
        // SAFETY: the reservation is as large as the record; of `path` only what `path_len` says is read.
        unsafe {
            (&raw mut (*record).header).write(header);
            (&raw mut (*record).id).write(cgroup.id());
            (&raw mut (*record).padding).write(0);
            let length = Pointer::new(path).string(&mut (*record).path);
            (&raw mut (*record).path_len).write(length);
        }
    });
}

// match-proto: cgroup_mkdir(struct cgroup *cgrp, const char *path), since 5.0 with the path
// Whoever makes a cgroup for a pod is watched: the runtime's tree, or kubelet.
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
    report(Kind::CgroupMkdir, cgroup, ctx.arg(1));
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
    report(Kind::CgroupRmdir, cgroup, ctx.arg(1));
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
    emit::lifecycle::<CgroupAttach>(Kind::CgroupAttach, |record, header| {
        let attach = CgroupAttach {
            header,
            task: task.identity(),
            id: cgroup.id(),
            namespaces: task.namespaces(),
            ns_pid: task.ns_pid(),
            padding: 0,
            comm: task.comm(),
        };
        // SAFETY: the reservation is as large as the record.
        unsafe { record.write(attach) };
    });
    0
}
