//! The runs of a container that is started more than once under one id.

use super::ContainerId;

/// Stands between a container's id and the number of the run. No container's id contains it.
const SEPARATOR: char = '@';

/// The id of a run of a container. Runs are counted from 1.
pub fn run_id(container: &ContainerId, number: u32) -> ContainerId {
    match number {
        0 | 1 => container.clone(),
        _ => format!("{container}{SEPARATOR}{number}").into(),
    }
}

/// The id of the container that a run belongs to.
pub fn run_container(run: &str) -> &str {
    run.split_once(SEPARATOR)
        .map_or(run, |(container, _)| container)
}

/// The number of a run, from 1.
pub fn run_number(run: &str) -> u32 {
    let number = run.split_once(SEPARATOR).map(|(_, number)| number);
    number.and_then(|number| number.parse().ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_names_its_container_and_its_number() {
        let container = ContainerId::from("0123");
        for number in [1, 2, 4_000_000_000] {
            let run = run_id(&container, number);
            assert_eq!(run_container(&run), "0123");
            assert_eq!(run_number(&run), number);
        }
        assert_eq!(run_id(&container, 1), container);
        assert_eq!(run_number("0123@x"), 1);
    }
}
