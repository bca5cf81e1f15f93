//! Writes records to the ring buffers and counts the records that were dropped.
//!
//! There are two rings: a verdict depends on every lifecycle record, and a hostile pod can flood
//! signals, so the two never share a buffer. A reservation fails only if a ring is full. The reader
//! is then behind and reads the counters after it has drained the ring, so a loss becomes known
//! without a further event.
//!
//! Pods share the lifecycle ring. While the reader is behind, each container therefore has a
//! limited rate of records: see [`admits`].

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, BPF_RB_AVAIL_DATA},
    helpers::{bpf_get_smp_processor_id, bpf_ktime_get_boot_ns},
    macros::map,
    maps::{Array, LruPerCpuHashMap, RingBuf},
};
use pause_trace_common::{
    Account, COUNTERS, Flood, FloodKey, Framed, FramedText, Header, Kind, LIFECYCLE_LEN, Record,
    SIGNALS_LEN, SUPPRESSED, SUPPRESSED_SIGNALS,
};

use crate::task;

/// Forks, execs, exits, reaps, namespaces and cgroups.
#[map]
static LIFECYCLE: RingBuf = RingBuf::with_byte_size(LIFECYCLE_LEN, 0);

/// Signals.
#[map]
static SIGNALS: RingBuf = RingBuf::with_byte_size(SIGNALS_LEN, 0);

/// Records that were dropped because the ring was full, by kind, and then those that were not
/// admitted: lifecycle records and signals. The counters of each processor follow those of the one
/// before, and the reader maps them all: it looks at them after each round, which would cost a
/// system call for each counter of a `PerCpuArray`. The loader sets the number of entries.
#[map]
static LOST: Array<u64> = Array::with_max_entries(COUNTERS, BPF_F_MMAPABLE);

/// Lifecycle records of containers, since the ring has been filling up.
#[map]
static ACCOUNTS: LruPerCpuHashMap<Account, Flood> = LruPerCpuHashMap::with_max_entries(2_048, 0);

/// Recent signal counts per cgroup. Per CPU: BPF has no atomic read-modify-write before Linux 5.12.
#[map]
static FLOOD: LruPerCpuHashMap<FloodKey, Flood> = LruPerCpuHashMap::with_max_entries(2_048, 0);

pub(crate) fn now() -> u64 {
    // SAFETY: the helper has no preconditions (since Linux 5.8).
    unsafe { bpf_ktime_get_boot_ns() }
}

pub(crate) fn lost(kind: Kind) {
    count(kind as u32);
}

#[inline(always)]
fn count(counter: u32) {
    // SAFETY: the helper has no preconditions.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    if let Some(count) = LOST.get_ptr_mut(cpu * COUNTERS + counter) {
        // SAFETY: the pointer refers to this CPU's own counter.
        unsafe { *count += 1 };
    }
}

#[inline(always)]
fn header(kind: Kind) -> Header {
    // SAFETY: the helper has no preconditions.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    Header {
        ktime_ns: now(),
        kind: kind as u32,
        cpu,
    }
}

/// Reserves space for a `T` in the ring for this kind of record, lets `fill` initialise it, and
/// submits it.
#[inline(always)]
fn write<T: 'static>(kind: Kind, fill: impl FnOnce(*mut T)) {
    let ring = if kind.is_signal() {
        &SIGNALS
    } else {
        &LIFECYCLE
    };
    let Some(mut entry) = ring.reserve::<T>(0) else {
        lost(kind);
        return;
    };
    fill(entry.as_mut_ptr());
    // Flags 0: the kernel wakes the reader only if it had read everything, so a burst costs one
    // wake-up. BPF_RB_NO_WAKEUP would also suppress the wake-ups of later records: the kernel
    // compares the reader's position with that of the record.
    entry.submit(0);
}

/// Writes a record. `record` is not called if the ring is full.
#[inline(always)]
pub(crate) fn emit<R: Record>(record: impl FnOnce() -> R) {
    const { assert!(R::TEXT == 0, "text follows this record") };
    write::<Framed<R>>(R::KIND, |entry| {
        let header = header(R::KIND);
        // SAFETY: the reservation has the size of the entry.
        unsafe {
            (&raw mut (*entry).header).write(header);
            (&raw mut (*entry).record).write(record());
        }
    });
}

/// Writes a record that is followed by text. `text` returns the number of bytes that it wrote to
/// the buffer.
#[inline(always)]
pub(crate) fn emit_with_text<R: Record, const N: usize>(
    record: impl FnOnce() -> R,
    text: impl FnOnce(&mut [u8; N]) -> u32,
) {
    const {
        assert!(
            N <= R::TEXT,
            "the text that follows is longer than the reader expects"
        )
    };
    write::<FramedText<R, N>>(R::KIND, |entry| {
        let header = header(R::KIND);
        // SAFETY: the reservation has the size of the entry. The reader reads only the first `len`
        // bytes of the text.
        unsafe {
            (&raw mut (*entry).header).write(header);
            (&raw mut (*entry).record).write(record());
            (&raw mut (*entry).text.padding).write(0);
            let length = text(&mut (*entry).text.bytes);
            (&raw mut (*entry).text.len).write(length);
        }
    });
}

/// How one more signal is handled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is reported.
    Reported,
    /// It is reported as the last one of its window on this CPU: the reader has to read the count
    /// of those that follow from the table.
    Last,
    /// It is only counted.
    Counted,
}

/// How far the reader is behind.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Backlog {
    None,
    /// More than is read at once on an idle machine.
    Some,
    /// So much that the cause must hardly add to it.
    Much,
}

/// The backlog in a ring of which these numbers of bytes are some and much.
#[inline(always)]
fn backlog(ring: &RingBuf, some: u32, much: u32) -> Backlog {
    let used = ring.query(u64::from(BPF_RB_AVAIL_DATA));
    if used < u64::from(some) {
        Backlog::None
    } else if used < u64::from(much) {
        Backlog::Some
    } else {
        Backlog::Much
    }
}

/// Counts a signal against its cgroup's rate. The rate is lower while the reader is behind, which
/// reserves the rest of the ring for other cgroups and signals.
#[inline(always)]
pub(crate) fn admit(cgroup: u64, signal: i32) -> Admission {
    let key = FloodKey {
        cgroup,
        signal: signal as u32,
        padding: 0,
    };
    let now = now();
    let Some(flood) = FLOOD.get_ptr_mut(key) else {
        let _ = FLOOD.insert(key, first(now), 0);
        return Admission::Reported;
    };
    // SAFETY: a map value stays valid for the program's run, and only this CPU writes its copy.
    unsafe {
        let (in_window, limit) = (count_in_window(flood, now), task::flood_limit());
        let lowered = match backlog(&SIGNALS, SIGNALS_LEN / 4, SIGNALS_LEN / 2) {
            Backlog::None => limit,
            Backlog::Some => 16,
            Backlog::Much => 1,
        };
        if in_window == limit && lowered == limit {
            return Admission::Last;
        }
        if in_window <= lowered {
            return Admission::Reported;
        }
        suppress(flood, now);
        if lowered < limit {
            count(SUPPRESSED_SIGNALS);
        }
    }
    Admission::Counted
}

/// The counts of a window that begins now with one.
#[inline(always)]
fn first(now: u64) -> Flood {
    Flood {
        window_ns: now,
        count: 1,
        suppressed: 0,
        first_ns: 0,
        last_ns: 0,
        total: 1,
    }
}

/// Counts one more in the current window, and returns how many they are.
///
/// # Safety
///
/// This CPU's copy of a map value.
#[inline(always)]
unsafe fn count_in_window(flood: *mut Flood, now: u64) -> u64 {
    // SAFETY: as the caller guarantees.
    unsafe {
        if now.wrapping_sub((*flood).window_ns) > task::flood_window_ns() {
            (*flood).window_ns = now;
            (*flood).count = 0;
        }
        (*flood).total += 1;
        (*flood).count += 1;
        (*flood).count
    }
}

/// Counts one that is not reported.
///
/// # Safety
///
/// As for [`count_in_window`].
#[inline(always)]
unsafe fn suppress(flood: *mut Flood, now: u64) {
    // SAFETY: as the caller guarantees.
    unsafe {
        if (*flood).suppressed == 0 {
            (*flood).first_ns = now;
        }
        (*flood).suppressed += 1;
        (*flood).last_ns = now;
    }
}

/// So many records of a kind, on each CPU, have the setup and the start of a container at most.
const SETUP: u64 = 8;

/// Whether one more lifecycle record of this kind may be written for an account (`Place::account`).
/// The loader reads how many were refused.
///
/// There is no limit as long as the reader keeps up. Then an account has a limited number per
/// window and CPU, and hardly any if a quarter of the ring is in use. That reserves the rest of the
/// ring for the other pods and for the runtime, and what they do is soon read. The first [`SETUP`]
/// of an account are always written: a container that begins meanwhile is a burst of a few. The
/// pods of the reference check have no limit: they hide nobody, and their verdicts depend on all
/// that they do.
///
/// The second of two programs for one event (see `probes`) asks `again`, which counts nothing.
#[inline(always)]
pub(crate) fn admits(account: u64, kind: Kind, again: bool) -> bool {
    let limit = match backlog(&LIFECYCLE, LIFECYCLE_LEN / 16, LIFECYCLE_LEN / 4) {
        Backlog::None => return true,
        Backlog::Some => 32,
        // The setup of a container is a burst of setns calls in its cgroup, and one that is not
        // recorded is a loss for all.
        Backlog::Much if matches!(kind, Kind::Namespace) => 16,
        Backlog::Much => 1,
    };
    if account == 0 || !task::limits_pods() {
        return true;
    }
    let now = now();
    let Some(flood) = flood_of(account, kind, now) else {
        return true;
    };
    // SAFETY: a map value stays valid for the program's run, and only this CPU writes its copy.
    unsafe {
        if again {
            return (*flood).count <= limit || (*flood).total <= SETUP;
        }
        if count_in_window(flood, now) <= limit || (*flood).total <= SETUP {
            return true;
        }
        suppress(flood, now);
    }
    count(SUPPRESSED);
    false
}

/// Counts a record that is not written although the ring has space for it.
#[inline(always)]
pub(crate) fn refused(account: u64, kind: Kind) {
    let now = now();
    let _ = flood_of(account, kind, now);
    if let Some(flood) = flood_of(account, kind, now) {
        // SAFETY: as in `admits`.
        unsafe { suppress(flood, now) };
    }
    count(SUPPRESSED);
}

/// The counts of an account on this CPU. If there are none yet, the first one is counted.
#[inline(always)]
fn flood_of(account: u64, kind: Kind, now: u64) -> Option<*mut Flood> {
    let key = Account {
        cgroup: account,
        kind: kind as u32,
        padding: 0,
    };
    let flood = ACCOUNTS.get_ptr_mut(key);
    if flood.is_none() {
        let _ = ACCOUNTS.insert(key, first(now), 0);
    }
    flood
}
