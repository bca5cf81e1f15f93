//! What the node says, apart from the kernel's events.

pub(crate) mod cgroup;
#[cfg_attr(
    not(test),
    expect(
        dead_code,
        reason = "what asks it is the verification of the node's own pods"
    )
)]
pub(crate) mod cri;
pub(crate) mod holders;
#[cfg_attr(
    not(test),
    expect(
        dead_code,
        reason = "the commands that look at a node's own pods will use it"
    )
)]
pub(crate) mod bundle;
pub(crate) mod cgroup;
mod file;
pub(crate) mod holders;
pub(crate) mod identity;
#[cfg_attr(
    not(test),
    expect(
        dead_code,
        reason = "the commands that look at a node's own pods will use it"
    )
)]
pub(crate) mod intent;
pub(crate) mod procfs;
#[cfg_attr(
    not(test),
    expect(
        dead_code,
        reason = "the commands that look at a node's own pods will use it"
    )
)]
pub(crate) mod survey;
