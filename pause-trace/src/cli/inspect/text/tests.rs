use super::*;
use crate::{cli::pods::json::testing, stop_outlook::StopOutlook};

/// The block of a pod under one heading.
fn block(node: &NodeSnapshot, name: &str, head: &str) -> String {
    let mut pods = node.snapshot.pods.iter();
    let pod = pods.find(|pod| pod.title() == name).expect("it is there");
    let text = shown(TextStyle::PLAIN, false, None, node, pod).expect("there is room");
    let mut blocks = text.split("\n\n");
    let block = blocks.find(|block| block.starts_with(head));
    block.expect("it is shown").trim_end().to_owned()
}

#[test]
fn namespaces_are_side_by_side_and_a_mismatch_is_a_sentence() {
    assert_eq!(
        block(&testing::node(None), "default/web", "Namespaces"),
        "\
Namespaces
  OF        net       ipc       uts       pid       mnt       user  cgroup
  the host  1         2         3         4         5         6     7
  pause     own 1001  own 1002  own 1003  own 1004  own 1005  host  host
  app       same      same      same      own 1014  own 1015  host  host
  side      own 1009  same      same      own 1024  own 1025  host  host
  side should have the pause's net namespace, but has its own"
    );
}

#[test]
fn processes_are_indented_below_their_parents() {
    assert_eq!(
        block(&testing::node(None), "default/web", "Processes"),
        "\
Processes
  CONTAINER  PID   NSPID  PARENT  STATE     AGE    NAME
  pause      1000  1      1       sleeping  5m0s   app
  app        1500  1      1       sleeping  4m10s  app
  app        1600  1      1500    sleeping  4m0s     app
  app        1601  1      1600    zombie    3m59s      app
  side       1700  1      1       sleeping  3m50s  app"
    );
}

#[test]
fn the_network_shows_interfaces_addresses_and_ports() {
    assert_eq!(
        block(&testing::node(None), "default/web", "Network"),
        "\
Network 1001 of pause, app
  interfaces  lo up, eth0 up
  addresses   10.4.0.7, 127.0.0.1
  routes      default via 10.4.0.1 dev eth0
  listening   tcp 0.0.0.0:80"
    );
    assert_eq!(
        block(&testing::node(None), "default/db", "Network"),
        "Network\n  the host's"
    );
}

#[test]
fn a_stop_that_takes_the_whole_grace_period_is_a_sentence() {
    let mut node = testing::node(None);
    let text = block(&node, "default/web", "Containers");
    let expected = "a stop of app will take the whole grace period: app (pid 1500) is pid 1 of its pid \
                    namespace and has no handler for SIGTERM, so the kernel drops it";
    assert!(text.ends_with(expected), "{text}");
    for container in node
        .snapshot
        .pods
        .iter_mut()
        .flat_map(|pod| &mut pod.containers)
    {
        container.stop = container.stop.map(|_| StopOutlook::Stops);
    }
    let text = block(&node, "default/web", "Containers");
    assert!(!text.contains("grace"), "{text}");
}

#[test]
fn hostile_names_stay_in_their_line() {
    let node = testing::node(None);
    let block = block(&node, "default/db-\\u{1b}[2J", "Containers");
    assert!(
        block.contains("\n  app\\u{a}  c1c1c1c1c1c1  app"),
        "{block}"
    );
    assert!(block.ends_with("there is no pause process: it has ended, or the runtime runs none"));
}

#[test]
fn without_the_ebpf_program_verdicts_and_signals_are_unknown() {
    let node = testing::node(None);
    for head in ["Signals", "Verdicts"] {
        assert_eq!(
            block(&node, "default/web", head),
            format!("{head}\n  ? unknown without the eBPF program")
        );
    }
}

#[test]
fn signals_show_sender_target_and_result() {
    let node = testing::node(Some(testing::judged()));
    let block = block(&node, "default/web", "Signals");
    let line = block.lines().nth(2).expect("a signal under the head");
    assert!(
        line.ends_with("SIGTERM  pid 1500 (app)  pid 7 (evil\\u{a})  1      ignored"),
        "{block}"
    );
}

#[test]
fn violations_show_their_evidence_and_passes_are_counted() {
    let node = testing::node(Some(testing::judged()));
    let pod = &node.snapshot.pods[2];
    let text = shown(TextStyle::PLAIN, false, None, &node, pod).expect("there is room");
    let (_, verdicts) = text.split_once("\nVerdicts\n").expect("they are last");
    assert!(
        verdicts.starts_with("✗ PT101 error net-shared  "),
        "{verdicts}"
    );
    assert!(verdicts.contains("\n    expected  "), "{verdicts}");
    assert!(
        verdicts.ends_with("\n  1 passed; -v lists them\n"),
        "{verdicts}"
    );
}
