//! Makes the screenshots of the report in `docs/` from the fixture of the tests:
//! `cargo run -p pause-trace-tests --bin screenshots`, after `cargo xtask test` has built the
//! program and got the browser.

use std::path::Path;

use pause_trace_tests::{chromium, run, scratch};

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = scratch("screenshots").join("report.html");
    let made = run([
        "report".as_ref(),
        root.join("fixtures/containerd-pod-v1.ptrec").as_os_str(),
        "--html".as_ref(),
        page.as_os_str(),
    ]);
    assert!(page.exists(), "{made:?}");
    for (name, size, dark) in [
        ("report.png", (1_100, 1_500), false),
        ("report-dark.png", (1_100, 1_500), true),
        ("report-phone.png", (500, 1_000), false),
    ] {
        let picture = root.join("../docs").join(name);
        chromium::picture(&page, "find=recorded", size, dark, &picture);
        println!("{}", picture.display());
    }
}
