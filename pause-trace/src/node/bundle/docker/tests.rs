use std::{fs, os::unix::fs::symlink};

use serde_json::json;

use super::super::{read as read_bundle, tests::Scratch};
use super::*;

const ID: &str = "8852eac251d8a963b28d3accf45d9d1173c668558fcd8049345e9d4589599bc9";
const OTHER: &str = "14e3592df8861a1c754907322eb5829d4e8ba9b03772f70f3f365f15a790b7da";

/// A node with a bundle of Docker whose mounts are from the directory of `owner`.
fn node(name: &str, owner: &str) -> (Scratch, Location) {
    let scratch = Scratch::new(name);
    let mounts = [
        json!({"destination": "/proc", "source": "proc"}),
        json!({"destination": "/data", "source": "/srv/containers/x/data"}),
        json!({"destination": "/etc/hosts", "source": format!("/srv/docker/containers/{owner}/hosts")}),
    ];
    let config = json!({ "mounts": mounts }).to_string();
    scratch.write(&format!("run/moby/{ID}/config.json"), config);
    let location = Location {
        manager: Manager::Docker,
        directory: Path::new("/run/moby").join(ID),
        reach: scratch.0.join("run/moby").join(ID),
        pid_file: None,
        socket: None,
    };
    (scratch, location)
}

fn containers(root: &str, id: &str, file: &str) -> String {
    format!("{root}/containers/{id}/{file}")
}

fn config(id: &str, signal: &str) -> String {
    json!({"ID": id, "Name": "/web", "Config": {"StopSignal": signal, "Tty": false}}).to_string()
}

fn stop_signal(location: &Location) -> Option<i32> {
    let bundle = read_bundle(location).expect("it is a bundle");
    bundle.stop_signal()
}

#[test]
fn the_configuration_is_beside_the_files_that_are_mounted() {
    for (name, owner) in [("docker-own", ID), ("docker-joined", OTHER)] {
        let (scratch, location) = node(name, owner);
        scratch.write(
            &containers("srv/docker", ID, "config.v2.json"),
            config(ID, "SIGRTMIN+3"),
        );
        let host = json!({"NetworkMode": format!("container:{OTHER}")}).to_string();
        scratch.write(&containers("srv/docker", ID, "hostconfig.json"), host);
        let bundle = read_bundle(&location).expect("it is a bundle");
        assert_eq!(bundle.stop_signal(), Some(37), "{name}");
        let shown = |text: Option<&Text>| text.map(ToString::to_string);
        assert_eq!(shown(bundle.docker.name.as_ref()).as_deref(), Some("web"));
        assert_eq!(
            shown(bundle.docker.network_of.as_ref()).as_deref(),
            Some(OTHER)
        );
    }
}

#[test]
fn the_stop_timeout_is_dockers_and_a_hostile_one_is_none() {
    let (scratch, location) = node("docker-timeout", ID);
    for (timeout, seconds) in [
        (json!(null), Some(10)),
        (json!(45), Some(45)),
        (json!(0), Some(0)),
        // It waits without end.
        (json!(-1), None),
        (json!(1e300), None),
        (json!(u64::MAX), None),
        (json!("9"), None),
        (json!([1]), None),
    ] {
        let image = json!({"StopSignal": "QUIT", "StopTimeout": timeout});
        let config = json!({"ID": ID, "Config": image}).to_string();
        scratch.write(&containers("srv/docker", ID, "config.v2.json"), config);
        let bundle = read_bundle(&location).expect("it is a bundle");
        let expected = seconds.map(|seconds: u64| seconds * 1_000_000_000);
        assert_eq!(bundle.stop_timeout, expected, "{timeout}");
        assert_eq!(bundle.stop_signal(), Some(3), "{timeout}");
    }
    // Without a readable file nothing is known.
    let (_scratch, location) = node("docker-no-timeout", ID);
    let bundle = read_bundle(&location).expect("it is a bundle");
    assert_eq!(bundle.stop_timeout, None);
}

#[test]
fn the_default_data_root_is_tried_too() {
    let (scratch, location) = node("docker-root", ID);
    scratch.write(
        &containers("var/lib/docker", ID, "config.v2.json"),
        config(ID, "QUIT"),
    );
    assert_eq!(stop_signal(&location), Some(3));
}

#[test]
fn the_data_root_is_reached_through_the_root_of_the_shim() {
    let (scratch, mut location) = node("docker-shim", ID);
    scratch.write(
        &containers("proc/7/root/srv/docker", ID, "config.v2.json"),
        config(ID, "10"),
    );
    fs::create_dir_all(scratch.0.join("run/moby").join(OTHER)).expect("make a directory");
    symlink(
        scratch.0.join("run/moby").join(OTHER),
        scratch.0.join("proc/7/cwd"),
    )
    .expect("make a link");
    location.reach = scratch.0.join("proc/7/cwd/..").join(ID);
    assert_eq!(stop_signal(&location), Some(10));
}

#[test]
fn a_container_without_a_stop_signal_gets_the_default_and_a_bad_one_is_unknown() {
    for (name, signal, expected) in [
        ("docker-default", "", Some(SIGTERM)),
        ("docker-bad", "SIGNONE", None),
    ] {
        let (scratch, location) = node(name, ID);
        scratch.write(
            &containers("srv/docker", ID, "config.v2.json"),
            config(ID, signal),
        );
        assert_eq!(stop_signal(&location), expected, "{signal}");
    }
}

#[test]
fn what_is_not_the_containers_own_file_leaves_the_stop_signal_unknown() {
    let (_scratch, location) = node("docker-none", ID);
    assert_eq!(stop_signal(&location), None);

    let (scratch, location) = node("docker-others", ID);
    let file = containers("srv/docker", ID, "config.v2.json");
    for text in [config(OTHER, "SIGQUIT"), "[".repeat(1 << 20), String::new()] {
        scratch.write(&file, text);
        assert_eq!(stop_signal(&location), None);
    }

    let path = scratch.write(&file, "");
    let long = fs::OpenOptions::new().write(true).open(&path);
    // Sparse: nothing is written.
    long.and_then(|file| file.set_len(50 << 20))
        .expect("make a long file");
    assert_eq!(stop_signal(&location), None);

    let target = scratch.write("target.json", config(ID, "SIGQUIT"));
    for device in [target.as_path(), Path::new("/dev/zero")] {
        fs::remove_file(&path).expect("remove the file");
        symlink(device, &path).expect("make a link");
        assert_eq!(stop_signal(&location), None, "{}", device.display());
    }
    fs::remove_file(&path).expect("remove the link");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).expect("make a FIFO");
    assert_eq!(stop_signal(&location), None);
}

#[test]
fn mounts_that_a_user_chose_lead_nowhere_else() {
    let scratch = Scratch::new("docker-hostile");
    let mounts = [
        json!({"source": format!("/x/../../../{}/containers/{ID}/hosts", scratch.0.display())}),
        json!({"source": "hosts"}),
        json!({"source": "/hosts"}),
        json!({"source": ""}),
    ];
    let config = json!({ "mounts": mounts }).to_string();
    scratch.write(&format!("root/run/moby/{ID}/config.json"), config);
    scratch.write(
        &containers("", ID, "config.v2.json"),
        self::config(ID, "SIGQUIT"),
    );
    let location = Location {
        manager: Manager::Docker,
        directory: Path::new("/run/moby").join(ID),
        reach: scratch.0.join("root/run/moby").join(ID),
        pid_file: None,
        socket: None,
    };
    assert_eq!(stop_signal(&location), None);
}

#[test]
fn names_are_bounded() {
    let (scratch, location) = node("docker-long", ID);
    let name = format!("/{}", "x".repeat(100_000));
    let mode = format!("container:{}", "y".repeat(100_000));
    let config = json!({"ID": ID, "Name": name}).to_string();
    scratch.write(&containers("srv/docker", ID, "config.v2.json"), config);
    let host = json!({"NetworkMode": mode}).to_string();
    scratch.write(&containers("srv/docker", ID, "hostconfig.json"), host);
    let Docker {
        name, network_of, ..
    } = read_bundle(&location).expect("it is a bundle").docker;
    let length = name.map(|text| text.to_string().len());
    assert_eq!(length, Some(super::super::MAX_NAME_BYTES));
    assert_eq!(network_of, None);
}

#[test]
fn a_container_that_is_joined_by_its_name_is_found_by_its_id() {
    let (scratch, location) = node("docker-names", ID);
    let named = |id: &str, name: &str| json!({"ID": id, "Name": name}).to_string();
    let write = |id: &str, file: &str, text: String| {
        scratch.write(&containers("srv/docker", id, file), text);
    };
    write(ID, "config.v2.json", named(ID, "/app"));
    write(OTHER, "config.v2.json", named(OTHER, "/8852"));
    // The names of another container are believed only from its own file.
    let third = "3".repeat(64);
    write(&third, "config.v2.json", named(OTHER, "/stolen"));
    for (mode, expected) in [
        ("container:8852", Some(OTHER)),
        ("container:14e3592df886", Some(OTHER)),
        (&format!("container:{OTHER}"), Some(OTHER)),
        ("container:stolen", None),
        ("container:../../x", None),
        ("container:", None),
        ("bridge", None),
    ] {
        write(
            ID,
            "hostconfig.json",
            json!({"NetworkMode": mode}).to_string(),
        );
        let docker = read_bundle(&location).expect("it is a bundle").docker;
        let found = docker.network_of.map(|text| text.to_string());
        assert_eq!(found.as_deref(), expected, "{mode}");
    }
}
