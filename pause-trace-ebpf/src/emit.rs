//! Reserve, stamp, submit, and count what was dropped.
//!
//! Two rings: a verdict depends on every lifecycle fact, and signals can be flooded by a hostile pod, so they never share
//! a buffer. A reservation fails only when a ring is full; the reader, which is then behind, looks at the counters after
//! it has drained the ring, so a loss is known even if no further event comes.

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

/// Records that found no room, by kind.
#[map]
static LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(Kind::ALL.len() as u32, 0);

/// How often each cgroup's signals came lately. Per CPU: BPF has no atomic read-modify-write before Linux 5.12.
#[map]
static FLOOD: LruPerCpuHashMap<FloodKey, Flood> = LruPerCpuHashMap::with_max_entries(2_048, 0);

pub(crate) fn now() -> u64 {
    // SAFETY: the helper has no preconditions (since Linux 5.8).
    unsafe { bpf_ktime_get_boot_ns() }
}

pub(crate) fn lost(kind: Kind) {
    if let Some(count) = LOST.get_ptr_mut(kind as u32) {
        // SAFETY: the pointer is to this CPU's own counter.
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

/// Room for a `T` in the ring of this kind of record, which `fill` initialises.
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
    // Flags of 0: the reader is woken only if it had caught up, so a burst costs one wake-up. Holding a wake-up back
    // (BPF_RB_NO_WAKEUP) would silence the records behind it too: the kernel compares the reader's position with theirs.
    entry.submit(0);
}

/// Writes a record. `record` is not called where the ring is full.
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

/// Writes a record that text follows. `text` gives the number of bytes that it has put into the buffer.
#[inline(always)]
pub(crate) fn emit_with_text<R: Record, const N: usize>(
    record: impl FnOnce() -> R,
    text: impl FnOnce(&mut [u8; N]) -> u32,
) {
    const { assert!(R::TEXT == N, "the text that follows has another length") };
    write::<FramedText<R, N>>(R::KIND, |entry| {
        let header = header(R::KIND);
        // SAFETY: the reservation has the size of the entry. Of the text's bytes only those that count are read.
        unsafe {
            (&raw mut (*entry).header).write(header);
            (&raw mut (*entry).record).write(record());
            (&raw mut (*entry).text.padding).write(0);
            let length = text(&mut (*entry).text.bytes);
            (&raw mut (*entry).text.len).write(length);
        }
    });
}

/// Whether one more signal is reported.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is.
    Reported,
    /// It is, and it is the last of its window on this CPU: the reader is to ask the table for what follows.
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
    // SAFETY: a map value stays valid for the program's run, and this CPU's copy is written by this CPU alone.
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
