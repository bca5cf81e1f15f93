//! What this process uses, under the names that all exporters use.

use std::{
    fs,
    sync::atomic::{AtomicU64, Ordering},
};

use nix::{
    sys::{
        resource::{UsageWho, getrusage},
        time::TimeValLike as _,
    },
    unistd::{SysconfVar, sysconf},
};
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Unit,
};

use super::{catalog::Catalog, signed};

/// What this process uses.
pub(super) struct Own {
    cpu: Counter<f64, AtomicU64>,
    resident: Gauge,
    open: Gauge,
}

impl Own {
    pub(super) fn register(catalog: &mut Catalog, started: i64) -> Self {
        let cpu = Counter::<f64, AtomicU64>::default();
        let help = "CPU time of pause-trace itself, of the user and of the system";
        catalog.add_own("process_cpu", Some(Unit::Seconds), help, cpu.clone());
        let resident = Gauge::default();
        let help = "Memory of pause-trace itself";
        catalog.add_own(
            "process_resident_memory",
            Some(Unit::Bytes),
            help,
            resident.clone(),
        );
        let open = Gauge::default();
        let help = "Open file descriptors of pause-trace itself";
        catalog.add_own("process_open_fds", None, help, open.clone());
        let since = Gauge::<f64, AtomicU64>::default();
        since.set(started as f64 / 1e9);
        let help = "Start of pause-trace, since 1970";
        catalog.add_own("process_start_time", Some(Unit::Seconds), help, since);
        let own = Self {
            cpu,
            resident,
            open,
        };
        own.refresh();
        own
    }

    /// Reads it. What cannot be read keeps its value.
    pub(super) fn refresh(&self) {
        if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
            let spent = usage.user_time() + usage.system_time();
            let seconds = spent.num_microseconds() as f64 / 1e6;
            self.cpu.inner().store(seconds.to_bits(), Ordering::Relaxed);
        }
        if let Some(bytes) = resident() {
            self.resident.set(signed(bytes));
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            // Without the one of this listing.
            self.open.set(signed(open.count().saturating_sub(1) as u64));
        }
    }
}

/// The second field of statm, which is in pages.
fn resident() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    let page = sysconf(SysconfVar::PAGE_SIZE).ok()??;
    pages.checked_mul(u64::try_from(page).ok()?)
}
