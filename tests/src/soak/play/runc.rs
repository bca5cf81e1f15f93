//! What the faulty runc of the soak does: it knows a fault by the name of its pod or container.

use xtask_support::places;

use crate::soak::plants::Plant;

/// The branches of the `case` in [`Containerd::make_runc_faulty`].
///
/// [`Containerd::make_runc_faulty`]: crate::lab::Containerd::make_runc_faulty
pub(super) fn faults() -> String {
    let busybox = places::directory(places::BUSYBOX).join("bin/busybox");
    let mut faults = FAULTS.replace("BUSYBOX", &busybox.display().to_string());
    for plant in Plant::ALL {
        faults = faults.replace(&format!("{{{plant:?}}}"), plant.name());
    }
    faults
}

const FAULTS: &str = r##"
"create "*-{OwnNetwork}/faulty)
    sed -i 's#{"type":"network","path":"[^"]*"}#{"type":"network"}#' config.json ;;
"create "*-{OwnIpc}/faulty)
    sed -i 's#{"type":"ipc","path":"[^"]*"}#{"type":"ipc"}#' config.json ;;
"create "*-{OwnUts}/faulty)
    sed -i 's#{"type":"uts","path":"[^"]*"}#{"type":"uts"}#' config.json ;;
"create "*-{OwnPids}/faulty)
    sed -i 's#{"type":"pid","path":"[^"]*"}#{"type":"pid"}#' config.json ;;
"create "*-{NodesPids}/faulty)
    sed -i 's#{"type":"pid"},##' config.json ;;
"create "*-{SandboxLeaks}/)
    sed -i 's#{"type":"ipc"},##' config.json ;;
"create "*-{JoinFails}/faulty)
    sed -i 's#\("type":"network","path":"/proc/[0-9]*/ns/\)net"#\1ipc"#' config.json ;;
"exec "*-{ProbedElsewhere}/faulty)
    sed -i 's#,{"type":"NEWIPC","path":"[^"]*"}##' "$states/$id/state.json" ;;
"create "*-{StartsWithoutAddress}/)
    net=$(sed -n 's#.*{"type":"network","path":"\([^"]*\)"}.*#\1#p' config.json)
    BUSYBOX nsenter --net="$net" BUSYBOX ip address flush dev eth0 ;;
"start "*-{StartsTooEarly}/)
    exit 0 ;;
"start "*-{StartsTooEarly}/faulty)
    real start "$id" && real start "$(annotated sandbox-id)"
    exit ;;
"start "*-{NeverStarts}/faulty)
    exit 0 ;;
"kill "*-{KilledAtOnce}/faulty)
    real kill "$id" 9
    exit ;;
"kill "*-{PauseStoppedFirst}/faulty)
    sandbox=$(annotated sandbox-id)
    pause=$(cat "$bundle/../$sandbox/init.pid")
    real kill "$sandbox" 9
    while [ -e "/proc/$pause/status" ]; do :; done ;;
"create "*-{PauseIsRoot}/)
    sed -i 's#"user":{"uid":65535,"gid":65535#"user":{"uid":0,"gid":0#' config.json ;;
"##;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_branch_names_a_plant() {
        let faults = faults();
        let branches: Vec<_> = faults
            .lines()
            .filter(|line| line.starts_with('"'))
            .collect();
        assert_eq!(branches.len(), 15);
        for branch in branches {
            let names = Plant::ALL.map(|plant| format!("*-{}/", plant.name()));
            assert!(names.iter().any(|name| branch.contains(name)), "{branch}");
        }
    }
}
