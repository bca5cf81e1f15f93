//! What the state makes of events, told event by event.

mod found;
mod pins;

use super::*;
use crate::event::{
    ContainerFact, ContainerKind, Mode, Modes, PodFact, Signal, SignalResult, Source, WaitStatus,
};

const HOST: Namespaces = Namespaces {
    mnt: 1,
    uts: 2,
    ipc: 3,
    net: 4,
    pid: 5,
    pid_children: 5,
    user: 6,
    cgroup: 7,
    net_owner: 6,
    pid_level: 0,
};
/// Cgroups: of the host, of the pod's sandbox, of its container.
const ROOT: CgroupId = 1;
const SANDBOX: CgroupId = 10;
const APP: CgroupId = 11;
const MS: Ktime = 1_000_000;

const RUNTIME: ProcessId = id(100);

const fn id(pid: u32) -> ProcessId {
    ProcessId { pid, start: 1 }
}

/// Namespaces like the host's, but for the pid namespace, which is one level down.
const fn inside(pid: u32) -> Namespaces {
    Namespaces {
        mnt: 1_000 + pid,
        pid,
        pid_children: pid,
        pid_level: 1,
        ..HOST
    }
}

struct World {
    state: State,
    now: Ktime,
    /// What was said of a process when it was last told of.
    told: HashMap<ProcessId, (CgroupId, Namespaces, u32)>,
}

impl World {
    /// A host of which nothing else is known.
    fn bare() -> Self {
        let mut world = Self {
            state: State::new(Limits::REFERENCE),
            now: 0,
            told: HashMap::new(),
        };
        world.tell(Fact::Host { namespaces: HOST });
        world
    }

    /// A host with a runtime, and a pod `p` that is declared and has nothing running.
    fn new() -> Self {
        let mut world = Self::bare();
        world.tell(Fact::Runtime { process: RUNTIME });
        world.declare_pod();
        world.declare("sandbox", ContainerKind::Sandbox, SANDBOX);
        world.declare("app", ContainerKind::App, APP);
        world
    }

    /// Something happens, a microsecond later.
    fn tell(&mut self, fact: Fact) -> Vec<Change> {
        self.now += 1_000;
        let mut changes = Vec::new();
        self.state.apply(
            &Event {
                time: self.now,
                fact,
            },
            &mut changes,
        );
        self.state.forget(&changes);
        changes
    }

    fn wait(&mut self, ns: Ktime) -> Vec<Change> {
        self.now += ns;
        self.tell(Fact::Tick)
    }

    fn declare_pod(&mut self) {
        self.tell(Fact::Pod(PodFact {
            pod: "p".into(),
            namespace: Text::new("default"),
            name: Text::new("p"),
            modes: Modes::plain(),
            source: Source::Reference,
        }));
    }

    fn declare(&mut self, container: &str, what: ContainerKind, cgroup: CgroupId) -> Vec<Change> {
        self.tell(Fact::Container(ContainerFact {
            container: container.into(),
            pod: "p".into(),
            name: Text::new(container),
            what,
            sandbox: None,
            cgroup,
            modes: Modes {
                pid: Mode::Container,
                ..Modes::plain()
            },
            stop_signal: 15,
            file: None,
            source: Source::Reference,
        }))
    }

    fn fork(
        &mut self,
        parent: ProcessId,
        pid: u32,
        cgroup: CgroupId,
        namespaces: Namespaces,
        ns_pid: u32,
    ) -> ProcessId {
        let process = ProcessId {
            pid,
            start: self.now + 1,
        };
        self.told.insert(process, (cgroup, namespaces, ns_pid));
        self.tell(Fact::Fork {
            task: TaskInfo {
                process,
                parent,
                cgroup,
                namespaces,
                ns_pid,
                comm: Comm::new("child"),
            },
        });
        process
    }

    fn exec(&mut self, process: ProcessId) -> Vec<Change> {
        let (cgroup, namespaces, ns_pid) = self.told[&process];
        let parent = self
            .state
            .processes
            .get(process)
            .map_or(RUNTIME, |process| process.parent);
        let (comm, file) = (Comm::new("app"), Text::new("/app"));
        self.tell(Fact::Exec {
            task: TaskInfo {
                process,
                parent,
                cgroup,
                namespaces,
                ns_pid,
                comm,
            },
            file,
        })
    }

    fn exit(&mut self, process: ProcessId, parent: ProcessId) -> Vec<Change> {
        let (cgroup, namespaces, ns_pid) = self.told[&process];
        let (status, comm) = (WaitStatus::exited(0), Comm::new("app"));
        self.tell(Fact::Exit {
            task: TaskInfo {
                process,
                parent,
                cgroup,
                namespaces,
                ns_pid,
                comm,
            },
            status,
        })
    }

    fn reap(&mut self, process: ProcessId) -> Vec<Change> {
        self.tell(Fact::Reaped { process })
    }

    /// The container's entrypoint, pid 1 of pid namespace 50.
    fn app(&mut self) -> ProcessId {
        let app = self.fork(RUNTIME, 200, APP, inside(50), 1);
        self.exec(app);
        app
    }

    /// A child inside the container.
    fn child(&mut self, parent: ProcessId, pid: u32) -> ProcessId {
        self.fork(parent, pid, APP, inside(50), pid)
    }

    fn get(&self, process: ProcessId) -> &Process {
        self.state
            .processes
            .get(process)
            .expect("the process is known")
    }

    fn parent(&self, process: ProcessId) -> ProcessId {
        self.get(process).parent
    }

    fn container(&self, container: &str) -> &Container {
        &self.state.containers[container]
    }

    fn pod(&self) -> &Pod {
        &self.state.pods["p"]
    }
}

mod roles {
    use super::*;

    #[test]
    fn the_first_exec_in_a_cgroup_is_the_entrypoints_and_the_next_from_outside_a_session() {
        let mut world = World::new();
        let pause = world.fork(RUNTIME, 150, SANDBOX, inside(49), 1);
        assert_eq!(world.get(pause).role, Role::Runtime);
        assert_eq!(world.exec(pause), [Change::Executed(pause)]);
        let app = world.app();
        let child = world.child(app, 201);
        let session = world.fork(RUNTIME, 202, APP, inside(50), 9);
        world.exec(session);
        let helper = world.child(session, 203);
        let grandchild = world.child(helper, 204);
        let of = |process| (world.get(process).role, world.get(process).session);
        assert_eq!(of(pause), (Role::Pause, None));
        assert_eq!(of(app), (Role::Init, None));
        assert_eq!(of(child), (Role::Member, None));
        assert_eq!(of(session), (Role::Session, Some(session)));
        assert_eq!(of(helper), (Role::Member, Some(session)));
        assert_eq!(of(grandchild), (Role::Member, Some(session)));
        assert_eq!(world.container("app").init, Some(app));
        assert_eq!(world.container("sandbox").init, Some(pause));
        assert_eq!(world.container("app").alive, 5);
    }

    #[test]
    fn a_setup_process_inside_the_cgroup_stays_the_runtimes() {
        let mut world = World::new();
        let setup = world.fork(RUNTIME, 199, APP, HOST, 199);
        world.app();
        assert_eq!(world.get(setup).role, Role::Runtime);
    }

    #[test]
    fn an_entrypoint_or_member_that_executes_again_keeps_its_role() {
        let mut world = World::new();
        let app = world.app();
        let child = world.child(app, 201);
        world.exec(app);
        world.exec(child);
        assert_eq!((world.get(app).role, world.get(app).execs), (Role::Init, 2));
        assert_eq!(
            (world.get(child).role, world.get(child).execs),
            (Role::Member, 1)
        );
        assert_eq!(world.container("app").init, Some(app));
    }

    #[test]
    fn a_container_told_of_twice_keeps_what_was_seen_of_it() {
        let mut world = World::new();
        let app = world.app();
        world.declare("app", ContainerKind::App, 0);
        let container = world.container("app");
        assert_eq!(
            (container.init, container.alive, container.cgroup),
            (Some(app), 1, APP)
        );
        assert_eq!(world.pod().containers.len(), 1);
    }

    #[test]
    fn a_container_whose_cgroup_is_not_known_has_no_processes() {
        let mut world = World::new();
        world.declare("early", ContainerKind::App, 0);
        let stranger = world.fork(id(7), 8, 0, HOST, 8);
        assert_eq!(world.get(stranger).container, None);
    }

    #[test]
    fn processes_that_came_before_their_container_was_known_get_their_roles() {
        const LATE: CgroupId = 12;
        let mut world = World::new();
        let setup = world.fork(RUNTIME, 299, LATE, HOST, 299);
        let init = world.fork(RUNTIME, 300, LATE, inside(60), 1);
        assert_eq!(world.exec(init), []);
        let child = world.fork(init, 301, LATE, inside(60), 2);
        let worker = world.fork(child, 302, LATE, inside(60), 3);
        world.exec(worker);
        world.exit(child, init);
        world.reap(child);
        let session = world.fork(RUNTIME, 303, LATE, inside(60), 4);
        world.exec(session);
        let zombie = world.fork(session, 304, LATE, inside(60), 5);
        world.exit(zombie, session);
        let changes = world.declare("late", ContainerKind::App, LATE);
        let of = |process| (world.get(process).role, world.get(process).session);
        assert_eq!(of(setup), (Role::Runtime, None));
        assert_eq!(of(init), (Role::Init, None));
        assert_eq!(of(worker), (Role::Member, None));
        assert_eq!(of(session), (Role::Session, Some(session)));
        assert_eq!(of(zombie), (Role::Member, Some(session)));
        let executed = [init, worker, session].map(Change::Executed);
        assert_eq!(
            changes,
            [&[Change::ContainerDeclared("late".into())], &executed[..]].concat()
        );
        assert_eq!(
            (world.container("late").init, world.container("late").alive),
            (Some(init), 4)
        );
        assert_eq!(world.pod().zombies, 1);
        world.reap(zombie);
        assert_eq!(world.pod().zombies, 0);
    }

    #[test]
    fn who_ended_before_its_container_was_known_is_known_to_have_ended() {
        let mut world = World::new();
        let init = world.fork(RUNTIME, 300, 12, inside(60), 1);
        world.exec(init);
        world.exit(init, RUNTIME);
        world.declare("late", ContainerKind::App, 12);
        assert_eq!(world.container("late").ended, world.get(init).ended);
        assert_eq!(world.container("late").alive, 0);
    }
}

mod reparenting {
    use super::*;

    #[test]
    fn an_orphan_falls_to_pid_1_of_its_parents_namespace() {
        let mut world = World::new();
        let app = world.app();
        let child = world.child(app, 201);
        let living = world.child(child, 202);
        let zombie = world.child(child, 203);
        world.exit(zombie, child);
        world.exit(child, app);
        assert_eq!((world.parent(living), world.parent(zombie)), (app, app));
        assert_eq!(
            world.get(zombie).ended.map(|ended| ended.parent),
            Some(child)
        );
        assert_eq!(world.get(living).born_of, child);
    }

    #[test]
    fn pid_1_of_a_nested_namespace_falls_to_the_outer_one_and_not_to_itself() {
        let mut world = World::new();
        let app = world.app();
        let unsharer = world.child(app, 201);
        let nested = world.fork(
            unsharer,
            202,
            APP,
            Namespaces {
                pid_level: 2,
                ..inside(51)
            },
            1,
        );
        world.exit(unsharer, app);
        assert_eq!(world.parent(nested), app);
    }

    #[test]
    fn on_the_host_the_heir_is_not_known_until_a_record_tells() {
        let mut world = World::new();
        world.fork(ProcessId::default(), 1, ROOT, HOST, 1);
        let shim = world.fork(RUNTIME, 150, ROOT, HOST, 150);
        let runc = world.fork(shim, 151, ROOT, HOST, 151);
        let init = world.fork(runc, 200, APP, inside(50), 1);
        world.exit(runc, shim);
        assert_eq!(world.parent(init), ProcessId::default());
        world.exit(init, shim);
        assert_eq!(world.parent(init), shim);
    }

    #[test]
    fn children_of_pid_1_stay_with_it() {
        let mut world = World::new();
        let app = world.app();
        let child = world.child(app, 201);
        world.exit(app, RUNTIME);
        assert_eq!(world.parent(child), app);
    }

    #[test]
    fn a_record_that_still_names_a_parent_that_has_ended_is_corrected() {
        let mut world = World::new();
        let app = world.app();
        let child = world.child(app, 201);
        let grandchild = world.child(child, 202);
        world.exit(child, app);
        world.exit(grandchild, child);
        assert_eq!(world.parent(grandchild), app);
        assert_eq!(
            world.get(grandchild).ended.map(|ended| ended.parent),
            Some(child)
        );
    }

    #[test]
    fn a_subreaper_is_learnt_from_the_childs_end() {
        let mut world = World::new();
        let app = world.app();
        let supervisor = world.child(app, 201);
        let child = world.child(supervisor, 202);
        let grandchild = world.child(child, 203);
        world.exit(child, supervisor);
        assert_eq!(world.parent(grandchild), app);
        world.exit(grandchild, supervisor);
        assert_eq!(world.parent(grandchild), supervisor);
    }

    #[test]
    fn the_end_that_was_not_seen_hands_children_over_at_the_reaping() {
        let mut world = World::new();
        let app = world.app();
        let child = world.child(app, 201);
        let grandchild = world.child(child, 202);
        world.reap(child);
        assert_eq!(world.parent(grandchild), app);
    }
}

mod ends {
    use super::*;

    #[test]
    fn two_threads_that_were_both_the_last_are_one_end() {
        let mut world = World::new();
        let app = world.app();
        let child = world.child(app, 201);
        assert_eq!(world.exit(child, app), [Change::Ended(child)]);
        let first = world.get(child).ended;
        assert_eq!(world.exit(child, app), []);
        assert_eq!(world.get(child).ended, first);
        assert_eq!((world.container("app").alive, world.pod().zombies), (1, 1));
    }

    #[test]
    fn a_reaping_is_counted_once_with_its_latency() {
        let mut world = World::new();
        let app = world.app();
        let child = world.child(app, 201);
        world.exit(child, app);
        world.wait(5 * MS);
        assert_eq!(world.reap(child), [Change::Reaped(child)]);
        assert_eq!(world.reap(child), []);
        let reaps = Reaps {
            count: 1,
            slowest: 5 * MS + 2_000,
        };
        assert_eq!(
            (
                world.container("app").reaps,
                world.container("app").session_reaps
            ),
            (reaps, Reaps::default())
        );
        assert_eq!(
            (
                world.pod().reaped,
                world.pod().zombies,
                world.pod().most_zombies
            ),
            (1, 0, 1)
        );
        assert!(world.state.processes.get(child).is_none());
    }

    #[test]
    fn a_sessions_orphan_is_counted_apart() {
        let mut world = World::new();
        let app = world.app();
        let session = world.fork(RUNTIME, 202, APP, inside(50), 9);
        world.exec(session);
        let own = world.child(session, 203);
        let orphan = world.child(session, 204);
        world.exit(own, session);
        world.reap(own);
        world.exit(session, RUNTIME);
        world.reap(session);
        world.exit(orphan, app);
        world.reap(orphan);
        assert_eq!(
            (
                world.container("app").reaps.count,
                world.container("app").session_reaps.count
            ),
            (1, 1)
        );
        assert_eq!(world.container("app").adopted, 1);
    }

    #[test]
    fn an_end_that_was_lost_leaves_no_trace_in_the_counts() {
        let mut world = World::new();
        let app = world.app();
        let zombie = world.child(app, 201);
        world.exit(zombie, app);
        let unseen = world.child(app, 202);
        world.reap(unseen);
        assert_eq!(
            (
                world.container("app").alive,
                world.pod().zombies,
                world.pod().reaped
            ),
            (1, 1, 0)
        );
        assert_eq!(world.state.members_of(50), 2);
    }

    #[test]
    fn an_entrypoint_whose_end_was_lost_is_not_alive() {
        let mut world = World::new();
        let app = world.app();
        world.reap(app);
        assert!(!world.get(app).is_alive() && !world.get(app).is_zombie());
    }

    #[test]
    fn a_reused_pid_is_another_process() {
        let mut world = World::new();
        let app = world.app();
        let first = world.child(app, 201);
        world.exit(first, app);
        world.reap(first);
        let second = world.child(app, 201);
        assert_ne!(first, second);
        assert!(world.get(second).is_alive());
        assert_eq!(world.reap(first), []);
        assert_eq!(
            world.state.processes.by_pid(201).map(|process| process.id),
            Some(second)
        );
    }

    #[test]
    fn a_pid_that_is_given_anew_ends_who_was_not_seen_to_go() {
        let mut world = World::new();
        let app = world.app();
        let living = world.child(app, 201);
        let zombie = world.child(app, 202);
        world.exit(zombie, app);
        world.wait(1_000 * MS);
        assert_eq!((world.pod().zombies, world.pod().overdue), (1, 1));
        let anew = [world.child(app, 201), world.child(app, 202)];
        assert!(
            world.state.processes.get(living).is_none()
                && world.state.processes.get(zombie).is_none()
        );
        assert_eq!(
            (
                world.pod().zombies,
                world.pod().overdue,
                world.container("app").alive
            ),
            (0, 0, 3)
        );
        assert_eq!(world.state.members_of(50), 3);
        assert!(
            anew.into_iter()
                .all(|process| world.get(process).is_alive())
        );
    }

    #[test]
    fn the_oom_killers_victim_is_the_living_process_of_that_pid() {
        let mut world = World::new();
        let app = world.app();
        assert_eq!(
            world.tell(Fact::OomVictim { pid: 200 }),
            [Change::OomKilled(app)]
        );
        world.exit(app, RUNTIME);
        world.reap(app);
        assert_eq!(world.tell(Fact::OomVictim { pid: 200 }), []);
    }

    #[test]
    fn a_namespaces_members_are_counted_until_they_are_reaped() {
        let mut world = World::new();
        let app = world.app();
        let child = world.child(app, 201);
        world.exit(child, app);
        assert_eq!(world.state.members_of(50), 2);
        assert_eq!(world.state.init_of(50).map(|init| init.id), Some(app));
        world.reap(child);
        world.exit(app, RUNTIME);
        world.reap(app);
        assert_eq!(world.state.members_of(50), 0);
        assert!(world.state.init_of(50).is_none());
    }

    #[test]
    fn a_runtime_that_was_only_named_is_counted_when_it_is_seen() {
        let mut world = World::new();
        let other = world.fork(RUNTIME, 101, ROOT, HOST, 101);
        world.told.insert(RUNTIME, (ROOT, HOST, 100));
        world.exec(RUNTIME);
        assert_eq!(world.state.members_of(HOST.pid), 2);
        world.exit(RUNTIME, ProcessId::default());
        world.reap(RUNTIME);
        assert_eq!(world.state.members_of(HOST.pid), 1);
        assert!(world.get(other).is_alive());
    }
}

mod deadlines {
    use super::*;

    const LIMITS: Limits = Limits::REFERENCE;

    #[test]
    fn a_zombie_is_due_once_and_only_while_it_is_one() {
        let mut world = World::new();
        let app = world.app();
        let [reaped, zombie] = [201, 202].map(|pid| world.child(app, pid));
        world.exit(reaped, app);
        world.exit(zombie, app);
        assert_eq!(
            world.state.next_deadline(),
            Some(world.now - 1_000 + LIMITS.zombie)
        );
        world.reap(reaped);
        assert_eq!(
            world.state.next_deadline(),
            Some(world.now - 1_000 + LIMITS.zombie)
        );
        assert_eq!(world.wait(LIMITS.zombie - 2_001), []);
        assert_eq!(world.pod().overdue, 0);
        assert_eq!(world.wait(0), [], "its parent has reaped another since");
        assert_eq!(world.wait(0), [Change::ZombieDue(zombie)]);
        assert_eq!(world.pod().overdue, 1);
        assert_eq!(world.wait(LIMITS.zombie), []);
        world.reap(zombie);
        assert_eq!((world.pod().overdue, world.pod().zombies), (0, 0));
        assert_eq!(world.state.next_deadline(), None);
    }

    #[test]
    fn a_parent_that_reaps_all_others_is_not_busy_for_ever() {
        let mut world = World::new();
        let app = world.app();
        let zombie = world.child(app, 202);
        world.exit(zombie, app);
        let ended = world.now;
        let mut due = None;
        for pid in 300..330 {
            let other = world.child(app, pid);
            world.exit(other, app);
            world.reap(other);
            if world
                .wait(LIMITS.zombie / 2)
                .contains(&Change::ZombieDue(zombie))
            {
                due.get_or_insert(world.now);
            }
        }
        let waited = due.map(|due| (due - ended) / LIMITS.zombie);
        assert_eq!(waited, Some(10));
    }

    #[test]
    fn an_entrypoint_that_is_kept_after_its_reaping_is_no_zombie() {
        let mut world = World::new();
        let app = world.app();
        world.exit(app, RUNTIME);
        world.reap(app);
        assert_eq!(world.state.next_deadline(), None);
        assert_eq!(world.wait(10 * LIMITS.zombie), []);
    }

    #[test]
    fn a_deadline_comes_due_with_whatever_event_is_next() {
        let mut world = World::new();
        let app = world.app();
        let child = world.child(app, 201);
        world.exit(child, app);
        world.now += LIMITS.zombie;
        let changes = world.tell(Fact::CgroupMade {
            cgroup: 99,
            path: Text::new("/x"),
        });
        assert_eq!(changes, [Change::ZombieDue(child)]);
    }

    #[test]
    fn a_reaping_in_the_very_event_that_is_late_still_counts() {
        let mut world = World::new();
        let app = world.app();
        let child = world.child(app, 201);
        world.exit(child, app);
        world.now += LIMITS.zombie;
        assert_eq!(world.reap(child), [Change::Reaped(child)]);
    }

    #[test]
    fn a_stop_is_moot_once_its_target_has_ended() {
        let mut world = World::new();
        let app = world.app();
        let stop = |target| {
            Fact::Signal(Signal {
                sender: RUNTIME,
                sender_comm: Comm::new("shim"),
                target,
                target_comm: Comm::new("app"),
                cgroup: APP,
                signal: 15,
                code: 0,
                result: SignalResult::Delivered,
            })
        };
        world.tell(stop(app));
        let sent = world.now;
        assert_eq!(world.state.next_deadline(), Some(sent + LIMITS.stop));
        assert_eq!(
            world.wait(LIMITS.stop),
            [Change::StopDue {
                process: app,
                signal: 15,
                sent
            }]
        );
        world.tell(stop(app));
        world.exit(app, RUNTIME);
        world.reap(app);
        assert_eq!(world.state.next_deadline(), None);
    }

    #[test]
    fn a_setup_is_due_until_it_executes_or_ends() {
        let mut world = World::new();
        let attach = |process| Fact::CgroupAttached {
            task: TaskInfo {
                process,
                parent: ProcessId::default(),
                cgroup: APP,
                namespaces: HOST,
                ns_pid: process.pid,
                comm: Comm::new("runc"),
            },
        };
        let stuck = world.fork(RUNTIME, 150, ROOT, HOST, 150);
        world.tell(attach(stuck));
        let due = Change::InitDue {
            process: stuck,
            container: "app".into(),
        };
        assert!(world.state.next_deadline().is_some());
        assert_eq!(world.wait(LIMITS.init), [due]);
        let quick = world.fork(RUNTIME, 151, ROOT, HOST, 151);
        world.tell(attach(quick));
        world.told.insert(quick, (APP, inside(50), 1));
        world.exec(quick);
        assert_eq!(world.state.next_deadline(), None);
    }

    #[test]
    fn a_teardown_is_due_while_somebody_besides_pid_1_remains() {
        let mut world = World::new();
        let app = world.app();
        let child = world.child(app, 201);
        world.exit(app, RUNTIME);
        let due = Change::TeardownDue {
            pid_namespace: 50,
            init: app,
        };
        assert!(world.wait(LIMITS.teardown).contains(&due));
        world.exit(child, app);
        world.reap(child);

        let mut world = World::new();
        let app = world.app();
        let child = world.child(app, 201);
        world.exit(app, RUNTIME);
        world.exit(child, app);
        world.reap(child);
        let changes = world.wait(LIMITS.teardown);
        assert_eq!(
            changes,
            [Change::ZombieDue(app)],
            "pid 1 alone is a zombie, and no teardown"
        );
    }

    #[test]
    fn who_a_teardown_would_accuse_is_asked_for_before_it_comes_due() {
        let mut world = World::new();
        let app = world.app();
        let child = world.child(app, 201);
        let ended = world.now;
        world.exit(app, RUNTIME);
        // Killed with its init, and so later: it is not overdue itself yet. Nobody reports its reaping.
        world.exit(child, app);
        let due = ended + LIMITS.teardown;
        let asked = |world: &World, at| world.state.in_question(at);
        assert_eq!(asked(&world, world.now), None);
        let (first, processes) = asked(&world, due + LIMITS.teardown).expect("it is due");
        assert!(
            first > world.now && processes.contains(&child),
            "{first} {processes:?}"
        );

        world.now = first - 1;
        world.reap(child);
        let changes = world.wait(LIMITS.teardown);
        let is_teardown = |change: &Change| matches!(change, Change::TeardownDue { .. });
        assert!(!changes.iter().any(is_teardown), "{changes:?}");
    }

    #[test]
    fn who_is_left_of_a_removed_pod_is_asked_for_before_it_comes_due() {
        let mut world = World::new();
        let app = world.app();
        world.tell(Fact::PodRemoved { pod: "p".into() });
        let (_, processes) = world
            .state
            .in_question(world.now + LIMITS.removal)
            .expect("it is due");
        assert!(processes.contains(&app), "{processes:?}");
    }

    #[test]
    fn a_reused_namespace_number_is_another_namespace() {
        let mut world = World::new();
        let app = world.app();
        let child = world.child(app, 201);
        world.exit(app, RUNTIME);
        world.exit(child, app);
        world.reap(child);
        world.reap(app);
        let next = world.fork(RUNTIME, 300, APP, inside(50), 1);
        world.exec(next);
        world.child(next, 301);
        assert_eq!(world.wait(LIMITS.teardown), []);
    }

    #[test]
    fn a_removal_is_due_unless_the_pod_came_back() {
        let mut world = World::new();
        let removed = Fact::PodRemoved { pod: "p".into() };
        assert_eq!(
            world.tell(removed.clone()),
            [Change::PodRemoved("p".into())]
        );
        world.declare_pod();
        assert_eq!(world.state.next_deadline(), None);
        world.tell(removed.clone());
        world.wait(LIMITS.removal / 2);
        world.tell(removed);
        assert_eq!(
            world.wait(LIMITS.removal / 2),
            [],
            "the last removal counts"
        );
        assert_eq!(
            world.wait(LIMITS.removal / 2),
            [Change::RemovalDue("p".into())]
        );
        assert_eq!(world.wait(LIMITS.removal), []);
    }

    #[test]
    fn an_identity_is_due_unless_the_container_becomes_known() {
        let mut world = World::new();
        for cgroup in [12, 13] {
            let path = Text::new("/somewhere");
            world.tell(Fact::CgroupMade { cgroup, path });
        }
        let unknown = world.fork(RUNTIME, 300, 12, inside(60), 1);
        world.exec(unknown);
        let due = Change::IdentityDue {
            process: unknown,
            cgroup: 12,
        };
        assert_eq!(world.wait(LIMITS.identity), [due]);
        let late = world.fork(RUNTIME, 301, 13, inside(61), 1);
        world.exec(late);
        world.declare("late", ContainerKind::App, 13);
        assert_eq!(world.state.next_deadline(), None);
        let strangers = world.fork(id(7), 302, 12, inside(62), 1);
        world.exec(strangers);
        assert_eq!(world.state.next_deadline(), None);
    }
}

mod memory {
    use super::*;

    #[test]
    fn only_entrypoints_are_kept_until_their_pod_is_gone() {
        let mut world = World::new();
        let app = world.app();
        let child = world.child(app, 201);
        world.exit(child, app);
        world.reap(child);
        world.exit(app, RUNTIME);
        world.reap(app);
        assert!(world.state.processes.get(child).is_none());
        assert!(world.state.processes.get(app).is_some());
        world.tell(Fact::PodRemoved { pod: "p".into() });
        world.wait(Limits::REFERENCE.removal);
        assert!(world.state.pods.is_empty() && world.state.containers.is_empty());
        assert_eq!(
            world
                .state
                .processes
                .iter()
                .map(|process| process.id)
                .collect::<Vec<_>>(),
            [RUNTIME]
        );
        assert!(world.state.pid_namespaces.is_empty());
    }

    #[test]
    fn who_survives_its_pod_is_known_until_it_is_reaped() {
        let mut world = World::new();
        let app = world.app();
        world.tell(Fact::PodRemoved { pod: "p".into() });
        world.wait(Limits::REFERENCE.removal);
        assert!(world.get(app).is_alive());
        assert_eq!(world.state.members_of(50), 1);
        world.exit(app, RUNTIME);
        assert_eq!(world.wait(Limits::REFERENCE.zombie), []);
        world.reap(app);
        assert!(world.state.processes.get(app).is_none());
        assert_eq!(world.state.members_of(50), 0);
    }

    #[test]
    fn a_cgroup_is_no_containers_any_more_once_its_pod_is_gone() {
        let mut world = World::new();
        world.tell(Fact::PodRemoved { pod: "p".into() });
        world.wait(Limits::REFERENCE.removal);
        let later = world.fork(RUNTIME, 300, APP, inside(60), 1);
        assert_eq!(world.exec(later), []);
        assert_eq!(world.get(later).container, None);
    }

    #[test]
    fn a_gap_reaches_from_before_the_loss_to_after_it_is_told() {
        let mut world = World::new();
        let before = world.now;
        world.tell(Fact::Lost {
            kind: Kind::Free,
            count: 2,
        });
        let kinds = [Kind::Exit, Kind::Free];
        assert_eq!(
            world.state.gap(&kinds, before).as_deref(),
            Some("Free records were lost")
        );
        assert_eq!(world.state.gap(&kinds, world.now + 1), None);
        assert_eq!(world.state.gap(&[Kind::Exit], before), None);
        world.tell(Fact::HookMissing {
            kind: Kind::Exit,
            reason: Text::new("none"),
        });
        assert_eq!(
            world.state.gap(&kinds, Ktime::MAX).as_deref(),
            Some("the kernel has no hook for Exit records")
        );
    }
}
