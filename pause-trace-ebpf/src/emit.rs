//! Writes records to the ring buffers and counts the records that were dropped.
//!
//! There are two rings: a verdict depends on every lifecycle record, and a hostile pod can flood
//! signals, so the two never share a buffer. A reservation fails only if a ring is full. The reader
//! is then behind and reads the counters after it has drained the ring, so a loss becomes known
//! without a further event.

use aya_ebpf::{
    helpers::{bpf_get_smp_processor_id, bpf_ktime_get_boot_ns},
    macros::map,
    maps::{LruPerCpuHashMap, PerCpuArray, RingBuf},
};
use pause_trace_common::{Flood, FloodKey, Framed, FramedText, Header, Kind, Record};

use crate::task;

/// Forks, execs, exits, reaps, namespaces and cgroups.
#[map]
static LIFECYCLE: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// Signals.
#[map]
static SIGNALS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// Records that were dropped because the ring was full, by kind.
#[map]
static LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(Kind::ALL.len() as u32, 0);

/// Recent signal counts per cgroup. Per CPU: BPF has no atomic read-modify-write before Linux 5.12.
#[map]
static FLOOD: LruPerCpuHashMap<FloodKey, Flood> = LruPerCpuHashMap::with_max_entries(2_048, 0);

pub(crate) fn now() -> u64 {
    // SAFETY: the helper has no preconditions (since Linux 5.8).
    unsafe { bpf_ktime_get_boot_ns() }
}

pub(crate) fn lost(kind: Kind) {
    if let Some(count) = LOST.get_ptr_mut(kind as u32) {
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
    const { assert!(R::TEXT == N, "the text that follows has another length") };
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

/// Counts a signal against its cgroup's rate.
#[inline(always)]
pub(crate) fn admit(cgroup: u64, signal: i32) -> Admission {
    let key = FloodKey {
        cgroup,
        signal: signal as u32,
        padding: 0,
    };
    let now = now();
    let Some(flood) = FLOOD.get_ptr_mut(key) else {
        let first = Flood {
            window_ns: now,
            count: 1,
            suppressed: 0,
            first_ns: 0,
            last_ns: 0,
        };
        let _ = FLOOD.insert(key, first, 0);
        return Admission::Reported;
    };
    // SAFETY: a map value stays valid for the program's run, and only this CPU writes its copy.
    unsafe {
        if now.wrapping_sub((*flood).window_ns) > task::flood_window_ns() {
            (*flood).window_ns = now;
            (*flood).count = 0;
        }
        (*flood).count += 1;
        let (count, limit) = ((*flood).count, task::flood_limit());
        if count < limit {
            return Admission::Reported;
        }
        if count == limit {
            return Admission::Last;
        }
        if (*flood).suppressed == 0 {
            (*flood).first_ns = now;
        }
        (*flood).suppressed += 1;
        (*flood).last_ns = now;
        Admission::Counted
    }
}
