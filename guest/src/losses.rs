//! Ways to fail this machine on purpose, to check that the host detects each of them.

use std::{fs, thread};

use anyhow::{Context as _, Result, bail};

/// How often the closing line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastLine {
    Once,
    Never,
    Twice,
}

/// Fails the machine as a line of the plan requests: a word after its `!` and, after a tab, a text.
pub(crate) fn lose(how: &str) -> Result<LastLine> {
    let (how, text) = how.split_once('\t').unwrap_or((how, ""));
    match how {
        "panic" => write("/proc/sysrq-trigger", "c")?,
        // Level 0 (emergency), which `quiet` does not suppress.
        "log" => write("/dev/kmsg", &format!("<0>{text}\n"))?,
        "silence" => loop {
            thread::park();
        },
        "end" => return Ok(LastLine::Never),
        "twice" => return Ok(LastLine::Twice),
        other => bail!("fail the machine by `{other}`: unknown way"),
    }
    Ok(LastLine::Once)
}

fn write(file: &str, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("write to {file}"))
}
