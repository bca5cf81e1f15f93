//! pause-trace: proves, from inside the kernel, that the pods on a node are built the way
//! Kubernetes promises.

mod cli;
mod confine;
mod conformance;
mod history;
mod live;
mod metrics;
mod node;
mod playing;
mod pods;
mod probe;
mod record;
mod reference;
mod service;
mod session;
mod sink;
mod sys;
mod terminal;

use std::{env, process::ExitCode};

use pause_trace_core::{
    event, measure, news, observer, pipeline, policy, report, rules, runtimes, scenario, state,
    stop_outlook, text, timeline, verdict, why,
};

fn main() -> ExitCode {
    if cli::kubectl::is_plugin(env::args_os().next().as_deref()) {
        return cli::kubectl::main();
    }
    // The parts that pause-trace plays in its own reference pod, and what shells call: not for
    // users, and not to be slowed down by parsing.
    let mut args = env::args_os().skip(1);
    match args.next().as_deref().and_then(|part| part.to_str()) {
        Some(probe::HELPER) => probe::helper().into(),
        Some(probe::ways::CALLER) => probe::ways::caller().into(),
        Some("__runtime") => reference::runtime::main(args),
        Some("__workload") => reference::workload::main(args),
        Some("__pause") => reference::broken_pause::main(args),
        Some("__bystander") => reference::bystander::main(args),
        Some("__complete") => cli::completions::complete::main(args),
        _ => cli::main(),
    }
}
