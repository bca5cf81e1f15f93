//! A real headless browser.

use std::{
    path::Path,
    process::{Command, Output},
};

use crate::lab::{installed, places};

/// A page after its script has run.
#[derive(Debug)]
pub struct RenderedPage {
    /// The document, as markup.
    pub dom: String,
    /// Errors of the script or of the page's content security policy.
    pub complaints: Vec<String>,
}

/// Opens a page. `fragment` is the part after the `#`.
///
/// # Panics
/// When the browser can't be run.
#[must_use]
pub fn open(page: &Path, fragment: &str) -> RenderedPage {
    open_in(page, fragment, (1_100, 1_500), false)
}

/// Opens a page in a window of this width and height, with the light or the dark colours.
///
/// # Panics
/// When the browser can't be run.
#[must_use]
pub fn open_in(page: &Path, fragment: &str, size: (u32, u32), dark: bool) -> RenderedPage {
    let mut args = window(size, dark);
    args.push("--dump-dom".to_owned());
    let output = run(page, fragment, &args);
    let errors = String::from_utf8_lossy(&output.stderr);
    RenderedPage {
        dom: String::from_utf8_lossy(&output.stdout).into_owned(),
        complaints: errors
            .lines()
            .filter(|line| line.contains("CONSOLE"))
            .map(str::to_owned)
            .collect(),
    }
}

/// Takes a screenshot of a page; width and height are in pixels.
///
/// # Panics
/// When the browser fails.
pub fn picture(page: &Path, fragment: &str, size: (u32, u32), dark: bool, to: &Path) {
    let mut args = window(size, dark);
    args.push(format!("--screenshot={}", to.display()));
    run(page, fragment, &args);
    assert!(to.exists(), "no picture in {}", to.display());
}

fn window((width, height): (u32, u32), dark: bool) -> Vec<String> {
    let mut args = vec![
        format!("--window-size={width},{height}"),
        "--hide-scrollbars".to_owned(),
    ];
    if dark {
        args.push("--blink-settings=preferredColorScheme=0".to_owned());
    }
    args
}

fn run(page: &Path, fragment: &str, args: &[String]) -> Output {
    let root = installed(places::CHROMIUM);
    let output = Command::new(root.join("usr/lib/chromium/chromium-headless-shell"))
        .env("LD_LIBRARY_PATH", places::libraries(&root))
        .env("FONTCONFIG_SYSROOT", &root)
        // The tests run as root, for which the browser refuses its sandbox. The page is trusted.
        .args(["--no-sandbox", "--disable-gpu", "--enable-logging=stderr"])
        .args(args)
        .arg(format!("file://{}#{fragment}", page.display()))
        .output()
        .expect("failed to run chromium-headless-shell");
    assert!(output.status.success(), "{output:?}");
    output
}
