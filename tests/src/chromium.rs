//! A real browser, without a window.

use std::{
    path::Path,
    process::{Command, Output},
};

use crate::lab::{installed, places};

/// A page as it is after its script has run.
#[derive(Debug)]
pub struct Shown {
    /// The document, as markup.
    pub dom: String,
    /// What the script, or the page's own policy, complained of.
    pub complaints: Vec<String>,
}

/// Opens a page; `fragment` is what follows the `#`.
///
/// # Panics
/// When the browser can't be run.
#[must_use]
pub fn open(page: &Path, fragment: &str) -> Shown {
    let output = run(page, fragment, &["--dump-dom".to_owned()]);
    let said = String::from_utf8_lossy(&output.stderr);
    Shown {
        dom: String::from_utf8_lossy(&output.stdout).into_owned(),
        complaints: said
            .lines()
            .filter(|line| line.contains("CONSOLE"))
            .map(str::to_owned)
            .collect(),
    }
}

/// Takes a picture of a page, as wide and high as said (in pixels).
///
/// # Panics
/// When there is none.
pub fn picture(page: &Path, fragment: &str, (width, height): (u32, u32), dark: bool, to: &Path) {
    let mut args = vec![
        format!("--window-size={width},{height}"),
        format!("--screenshot={}", to.display()),
        "--hide-scrollbars".to_owned(),
    ];
    if dark {
        args.push("--blink-settings=preferredColorScheme=0".to_owned());
    }
    run(page, fragment, &args);
    assert!(to.exists(), "no picture in {}", to.display());
}

fn run(page: &Path, fragment: &str, args: &[String]) -> Output {
    let root = installed(places::CHROMIUM);
    let output = Command::new(root.join("usr/lib/chromium/chromium-headless-shell"))
        .env("LD_LIBRARY_PATH", places::libraries(&root))
        .env("FONTCONFIG_SYSROOT", &root)
        // The tests run as root, which its sandbox refuses; the page is ours.
        .args(["--no-sandbox", "--disable-gpu", "--enable-logging=stderr"])
        .args(args)
        .arg(format!("file://{}#{fragment}", page.display()))
        .output()
        .expect("failed to run chromium-headless-shell");
    assert!(output.status.success(), "{output:?}");
    output
}
