//! What the soak does, from a seed: which pods it makes, what they do, which of them get a fault,
//! and what disturbs the watch. Pure: the same seed is the same plan.

use std::{fmt, time::Duration};

use pause_trace_fuzz::Random;

use super::plants::Plant;

/// One pod of this many gets a fault.
const PLANTED: u64 = 3;

/// The most containers of a pod.
const CONTAINERS: usize = 3;

/// Who makes a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Runtime {
    /// containerd over CRI, as a kubelet does.
    Containerd,
    /// The command line of Podman.
    Podman,
}

/// A pod and its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodPlan {
    /// The name that the output and the pod itself have.
    pub name: String,
    /// Who makes it.
    pub runtime: Runtime,
    /// Whether its containers share a pid namespace.
    pub shares_pids: bool,
    /// Whether it is in the network of the node.
    pub host_network: bool,
    /// Its containers, which a pod with a fault has only some of.
    pub containers: Vec<ContainerPlan>,
    /// How long it runs when all containers have been started.
    pub linger: Duration,
    /// What is wrong with it.
    pub plant: Option<Plant>,
}

/// A container and its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerPlan {
    /// What it runs.
    pub life: Life,
    /// How many exec sessions run in it.
    pub execs: usize,
    /// How many orphans an exec session leaves, which end at once.
    pub orphans: usize,
    /// How often it is started again.
    pub restarts: u32,
    /// Whether an exec session runs right before its stop, as a preStop hook does.
    pub pre_stop: bool,
}

/// What a container runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// A server, which ends on SIGTERM.
    Serves,
    /// An init that runs a server and forwards its signals.
    Wraps,
    /// A shell with a child, which ends on SIGTERM.
    Shell,
    /// It ends by itself, with this code.
    Ends(u8),
    /// It crashes by itself.
    Crashes,
}

/// Something that makes the work of the watch harder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The watch is stopped with SIGSTOP for this long.
    HeldUp(Duration),
    /// A container forks this many children as fast as it can.
    ForkStorm(u32),
    /// A container executes this many programs, and gets exec sessions meanwhile.
    ExecStorm(u32),
    /// containerd is killed and started again.
    RuntimeKilled,
}

/// A disturbance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disturbance {
    /// How long after the one before, or after the start.
    pub after: Duration,
    /// What happens.
    pub what: Trouble,
}

impl PodPlan {
    /// The pod of this number.
    #[must_use]
    pub fn new(seed: u64, runtime: Runtime, index: u64) -> Self {
        let mut random = random(seed, runtime as u64, index);
        let plant = planted(seed, runtime, index);
        let shares_pids = match plant {
            // A pause that dies takes all processes of a shared pid namespace with it.
            Some(plant) => plant.shares_pids(),
            None => random.once_in(3),
        };
        let host_network = plant.is_none() && !shares_pids && random.once_in(8);
        let count = 1 + random.below(CONTAINERS);
        let containers = (0..count)
            .map(|_| ContainerPlan::new(&mut random, runtime))
            .collect();
        let what = plant.map_or("healthy", Plant::name);
        let runtime_name = match runtime {
            Runtime::Containerd => "c",
            Runtime::Podman => "p",
        };
        Self {
            name: format!("{runtime_name}{index}-{what}"),
            runtime,
            shares_pids,
            host_network,
            containers,
            linger: Duration::from_millis(random.below(4000) as u64),
            plant,
        }
    }
}

impl ContainerPlan {
    fn new(random: &mut Random, runtime: Runtime) -> Self {
        let life = match random.below(8) {
            0 => Life::Ends(*random.one_of(&[0, 0, 1, 3])),
            // What Podman says of a crash is no different.
            1 if runtime == Runtime::Containerd => Life::Crashes,
            2 | 3 => Life::Wraps,
            4 => Life::Shell,
            _ => Life::Serves,
        };
        let lives = !matches!(life, Life::Ends(_) | Life::Crashes);
        // Each session of Podman takes a third of a second.
        let most = match runtime {
            Runtime::Containerd => 12,
            Runtime::Podman => 4,
        };
        let restarts = if random.once_in(4) {
            1 + random.below(2)
        } else {
            0
        };
        Self {
            life,
            execs: if lives { random.below(most) } else { 0 },
            orphans: if life == Life::Serves && random.once_in(3) {
                1 + random.below(9)
            } else {
                0
            },
            restarts: restarts as u32,
            pre_stop: lives && random.once_in(4),
        }
    }
}

impl Disturbance {
    /// The disturbance of this number.
    #[must_use]
    pub fn new(seed: u64, index: u64) -> Self {
        let mut random = random(seed, 2, index);
        let after = Duration::from_secs(25 + random.below(25) as u64);
        let what = match seed.wrapping_add(index) % 4 {
            0 => Trouble::HeldUp(Duration::from_millis(500 + random.below(4500) as u64)),
            1 => Trouble::ForkStorm(5_000 + random.below(30_000) as u32),
            2 => Trouble::ExecStorm(500 + random.below(2_000) as u32),
            _ => Trouble::RuntimeKilled,
        };
        Self { after, what }
    }
}

/// The fault of a pod. The faults are dealt as cards are, so that each comes as often as the
/// others.
fn planted(seed: u64, runtime: Runtime, index: u64) -> Option<Plant> {
    if index % PLANTED != PLANTED - 1 {
        return None;
    }
    let mut deck: Vec<_> = Plant::ALL
        .into_iter()
        .filter(|plant| plant.fits(runtime))
        .collect();
    let dealt = index / PLANTED;
    let size = deck.len() as u64;
    let mut random = random(seed, 3 + runtime as u64, dealt / size);
    for place in (1..deck.len()).rev() {
        deck.swap(place, random.below(place + 1));
    }
    deck.get((dealt % size) as usize).copied()
}

/// The random numbers of one thing, which do not depend on when it is asked for.
fn random(seed: u64, what: u64, index: u64) -> Random {
    let mut mixer = Random::new(seed.wrapping_add(what << 56).wrapping_add(index));
    Random::new(mixer.number())
}

impl fmt::Display for PodPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        if self.shares_pids {
            f.write_str(", shared pids")?;
        }
        if self.host_network {
            f.write_str(", host network")?;
        }
        if self.plant.is_some() {
            return Ok(());
        }
        for container in &self.containers {
            write!(f, "; {:?}", container.life)?;
            let counts = [
                (container.execs, "execs"),
                (container.orphans, "orphans"),
                (container.restarts as usize, "restarts"),
                (usize::from(container.pre_stop), "preStop"),
            ];
            for (count, what) in counts.iter().filter(|(count, _)| *count > 0) {
                write!(f, " {what}={count}")?;
            }
        }
        write!(f, "; runs {} ms", self.linger.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const RUNTIMES: [Runtime; 2] = [Runtime::Containerd, Runtime::Podman];

    #[test]
    fn a_seed_is_one_plan_and_another_seed_is_another() {
        let pods = |seed| (0..50).map(move |index| PodPlan::new(seed, Runtime::Containerd, index));
        assert!(pods(7).eq(pods(7)));
        assert!(pods(7).ne(pods(8)));
        let troubles = |seed| (0..20).map(move |index| Disturbance::new(seed, index));
        assert!(troubles(7).eq(troubles(7)));
        assert!(troubles(7).ne(troubles(8)));
    }

    #[test]
    fn each_plant_comes_once_before_any_comes_again() {
        for runtime in RUNTIMES {
            let wanted: BTreeSet<_> = Plant::ALL
                .into_iter()
                .filter(|plant| plant.fits(runtime))
                .collect();
            let dealt = (0..wanted.len() as u64 * PLANTED)
                .filter_map(|index| PodPlan::new(1, runtime, index).plant);
            let dealt: Vec<_> = dealt.collect();
            assert_eq!(dealt.len(), wanted.len());
            assert_eq!(dealt.into_iter().collect::<BTreeSet<_>>(), wanted);
        }
    }

    #[test]
    fn healthy_pods_of_every_kind_come() {
        let pods: Vec<_> = (0..300)
            .map(|index| PodPlan::new(3, Runtime::Containerd, index))
            .filter(|pod| pod.plant.is_none())
            .collect();
        let any =
            |is: fn(&ContainerPlan) -> bool| pods.iter().any(|pod| pod.containers.iter().any(is));
        assert!(pods.iter().any(|pod| pod.shares_pids));
        assert!(pods.iter().any(|pod| pod.host_network));
        assert!(pods.iter().any(|pod| pod.containers.len() == CONTAINERS));
        assert!(any(|container| container.life == Life::Crashes));
        assert!(any(|container| container.execs > 0 && container.pre_stop));
        assert!(any(|container| container.restarts > 0));
        assert!(any(|container| container.orphans > 0));
    }

    #[test]
    fn every_kind_of_disturbance_comes() {
        let kinds: BTreeSet<_> = (0..4)
            .map(|index| match Disturbance::new(5, index).what {
                Trouble::HeldUp(_) => 0,
                Trouble::ForkStorm(_) => 1,
                Trouble::ExecStorm(_) => 2,
                Trouble::RuntimeKilled => 3,
            })
            .collect();
        assert_eq!(kinds.len(), 4);
    }
}
