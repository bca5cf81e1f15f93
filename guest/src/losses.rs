//! Ways to lose this machine, so that the host can be seen to notice.

use std::{fs, thread};

use anyhow::{Context as _, Result, bail};

/// What becomes of the machine's last line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastLine {
    Once,
    Never,
    Twice,
}

/// Does what a line of the plan asks for after its `!`: a word and, after a tab, a text.
pub(crate) fn lose(how: &str) -> Result<LastLine> {
    let (how, text) = how.split_once('\t').unwrap_or((how, ""));
    match how {
        "panic" => write("/proc/sysrq-trigger", "c")?,
        // At the level of an emergency, which no `quiet` holds back.
        "log" => write("/dev/kmsg", &format!("<0>{text}\n"))?,
        "silence" => loop {
            thread::park();
        },
        "end" => return Ok(LastLine::Never),
        "twice" => return Ok(LastLine::Twice),
        other => bail!("lose the machine by `{other}`, which is no way to do that"),
    }
    Ok(LastLine::Once)
}

fn write(file: &str, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("write to {file}"))
}
