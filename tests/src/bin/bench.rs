//! Runs the benchmark: `cargo xtask bench`.

use std::{env, path::PathBuf, process::ExitCode};

use pause_trace_tests::bench::{self, Options};

fn main() -> ExitCode {
    let Some(options) = options(env::args().skip(1)) else {
        eprintln!("usage: bench ROUNDS [--quick] [--json FILE] [NAME]");
        return ExitCode::from(2);
    };
    bench::run(&options)
}

fn options(mut args: impl Iterator<Item = String>) -> Option<Options> {
    let mut options = Options {
        name: None,
        rounds: args.next()?.parse().ok()?,
        json: None,
        quick: false,
    };
    while let Some(argument) = args.next() {
        match argument.as_str() {
            "--quick" => options.quick = true,
            "--json" => options.json = Some(PathBuf::from(args.next()?)),
            _ => options.name = Some(argument),
        }
    }
    Some(options)
}
