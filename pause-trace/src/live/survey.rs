//! The survey of what runs: at the start, and after a loss of records.

use std::{collections::HashSet, io::Read as _, rc::Rc};

use super::{Kernel, Live, NO_ROOM};
use crate::{
    event::{CgroupId, Comm, Fact, Kind, ProcessId, Text},
    node::procfs,
    pipeline::Core,
};

impl Live {
    /// Watches the node's runtimes by their names, the cgroups that `walk` finds, and all processes
    /// in them. From now on [`Live::arrivals`] reports containers' cgroups.
    ///
    /// The hooks are attached already: they report what starts from now on, and the iterator finds
    /// what started before.
    pub(crate) fn follow(
        &self,
        names: &[Comm],
        walk: impl Fn() -> anyhow::Result<Vec<(CgroupId, Text)>>,
    ) -> anyhow::Result<()> {
        let mut kernel = self.kernel.borrow_mut();
        self.pipeline.observe(Box::new(Rc::clone(&self.arrivals)));
        self.pipeline.follow();
        let raw: Vec<_> = names.iter().map(|name| name.0).collect();
        kernel.loaded.watch_names(&raw)?;
        let names = names.to_vec();
        kernel.process_event(Some(Fact::ProofRequired), &self.pipeline)?;
        kernel.process_event(Some(Fact::RuntimeNames { names }), &self.pipeline)?;
        self.find(&mut kernel, walk)
    }

    /// The number of records that say what runs and were lost.
    pub(crate) fn lost(&self) -> u64 {
        self.read(|core| core.records.unseen_lifecycle())
    }

    /// Resolves when more than `known` records that say what runs are lost.
    pub(crate) async fn has_lost(&self, known: u64) {
        let lost = |core: &Core| (core.records.unseen_lifecycle() > known).then_some(());
        self.until(lost).await;
    }

    /// Finds out after a loss what runs and what has ended. `walk` finds all cgroups, `is_of_pods`
    /// tells those of containers. What is known stays as it is: the state takes no process that it
    /// knows for one that was found.
    pub(crate) fn survey_again(
        &self,
        walk: impl Fn() -> anyhow::Result<Vec<(CgroupId, Text)>>,
        is_of_pods: impl Fn(&[u8]) -> bool,
    ) -> anyhow::Result<()> {
        let mut kernel = self.kernel.borrow_mut();
        kernel.process_event(None, &self.pipeline)?;
        // A cgroup that is created during the walk is not missing.
        let known: Vec<_> = self.read(|core| core.state.cgroups().collect());
        let there: HashSet<_> = walk()?.into_iter().map(|(cgroup, _)| cgroup).collect();
        kernel.process_event(None, &self.pipeline)?;
        let mut removed: Vec<_> = known.into_iter().filter(|id| !there.contains(id)).collect();
        removed.sort_unstable();
        for cgroup in removed {
            // The kernel may have reported the removal meanwhile.
            let path = self.read(|core| core.state.cgroup_path(cgroup).cloned());
            if let Some(path) = path {
                let fact = Fact::CgroupRemoved { cgroup, path };
                kernel.process_event(Some(fact), &self.pipeline)?;
            }
        }
        kernel.loaded.set_survey(true)?;
        let read = kernel.find_processes(&self.pipeline);
        kernel.loaded.set_survey(false)?;
        read?;
        self.find(&mut kernel, || {
            let mut cgroups = walk()?;
            cgroups.retain(|(_, path)| is_of_pods(&path.0));
            Ok(cgroups)
        })?;
        self.reap_missing(&mut kernel)?;
        drop(kernel);
        self.changed.notify_waiters();
        Ok(())
    }

    /// Finds what runs in the cgroups that `walk` finds.
    fn find(
        &self,
        kernel: &mut Kernel,
        walk: impl Fn() -> anyhow::Result<Vec<(CgroupId, Text)>>,
    ) -> anyhow::Result<()> {
        /// The iterator visits processes by pid, so a child whose pid is lower than its parent's is
        /// found only by the next reading. No runtime has a chain of more than a few such children,
        /// each between two wraps of the pids.
        const MAX_READINGS: u32 = 4;
        let count = |core: &Core| core.records.by_kind.get(&Kind::Found).copied().unwrap_or(0);
        let mut found = self.read(count);
        for _ in 0..MAX_READINGS {
            // A runtime's cgroups are reported once the runtime is found. The next walk finds those
            // that it created since the last walk.
            for (cgroup, path) in walk()? {
                if self.read(|core| core.state.cgroup_path(cgroup).is_none()) {
                    if !kernel.loaded.watch_cgroup(cgroup)? {
                        kernel.process_event(Some(NO_ROOM), &self.pipeline)?;
                    }
                    kernel
                        .process_event(Some(Fact::CgroupMade { cgroup, path }), &self.pipeline)?;
                }
            }
            kernel.find_processes(&self.pipeline)?;
            let now_found = self.read(count);
            if now_found == found {
                break;
            }
            found = now_found;
        }
        self.read(|core| self.arrivals.borrow_mut().settle(&core.state));
        Ok(())
    }

    /// Takes those processes for reaped that are known and no longer in `/proc`: the records of
    /// their ends were lost. The next process in a namespace with a reused inode number would be
    /// taken for a companion of theirs.
    fn reap_missing(&self, kernel: &mut Kernel) -> anyhow::Result<()> {
        let known = |core: &Core| -> Vec<ProcessId> {
            let there = core
                .state
                .processes
                .iter()
                .filter(|process| process.is_there());
            // A process that only was named has no start time.
            let mut known: Vec<_> = there
                .map(|process| process.id)
                .filter(|id| id.start > 0)
                .collect();
            known.sort_unstable();
            known
        };
        let mut gone = self.read(known);
        gone.retain(|process| procfs::is_gone(*process));
        // The record of the end of one that has just ended is in the rings.
        kernel.process_event(None, &self.pipeline)?;
        for process in gone {
            if self.read(|core| {
                let known = core.state.processes.get(process);
                known.is_some_and(|known| known.is_there())
            }) {
                kernel.process_event(Some(Fact::Reaped { process }), &self.pipeline)?;
            }
        }
        Ok(())
    }
}

impl Kernel {
    /// Takes in the processes that the task iterator reports.
    fn find_processes(&mut self, pipeline: &crate::pipeline::Pipeline) -> anyhow::Result<()> {
        self.loaded.iterator()?.read_to_end(&mut Vec::new())?;
        self.process_event(None, pipeline)
    }
}
