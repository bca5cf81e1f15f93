//! Starts another pause once before the scenarios. A file that the kernel cannot execute is an
//! error of the set-up, and no verdict on a pause.

use anyhow::{Result, bail};

use super::{
    patience::Patience,
    pod::{Pause, Pod, PodError},
    stage::PodKind,
};
use crate::node::cgroup::Layout;

/// Starts the pause in a plain pod, and removes the pod.
///
/// # Errors
/// Fails if the kernel refuses to execute the file. Any other obstacle is left to the scenarios,
/// which tell what they cannot do.
pub(crate) async fn of(pause: &Pause, args: &[String], patience: Patience) -> Result<()> {
    let name = match pause {
        Pause::Image(_) | Pause::Broken(_) => return Ok(()),
        Pause::File(path) => path.display().to_string(),
        Pause::Copy(name, _) => name.clone(),
    };
    let Ok(layout) = Layout::discover() else {
        return Ok(());
    };
    let mut plan = PodKind::Plain.plan(pause.clone());
    plan.sandbox.argv.extend(args.iter().cloned());
    let Ok(mut pod) = Pod::prepare(&layout, plan, patience).await else {
        return Ok(());
    };
    let started = pod.start_sandbox().await;
    pod.remove().await.ok();
    match started {
        Err(PodError::Refused(failure)) if failure.step.starts_with("execute ") => {
            // An interpreter or dynamic linker that does not exist looks like a missing file.
            let hint = match failure.errno() {
                nix::errno::Errno::ENOENT => {
                    "; the interpreter or dynamic linker that it names may be missing"
                }
                nix::errno::Errno::ENOEXEC => "; it may be built for another architecture",
                nix::errno::Errno::EACCES => "; its file system may be mounted noexec",
                _ => "",
            };
            bail!("failed to start the pause {name} as an ordinary user: {failure}{hint}")
        }
        _ => Ok(()),
    }
}
