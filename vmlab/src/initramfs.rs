//! Writes an initramfs: a cpio archive in the "newc" format. No tool of the host is needed for it.
//!
//! The format is [the
//! kernel's](https://docs.kernel.org/driver-api/early-userspace/buffer-format.html). Programs are
//! copied from the host, with the libraries that the host's loader finds for them.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

/// An archive that is being written.
#[derive(Default)]
pub(crate) struct Initramfs {
    bytes: Vec<u8>,
    /// The paths in it. A directory must come before its files.
    paths: BTreeSet<PathBuf>,
}

impl Initramfs {
    /// Adds a program of the host as `path`, and its libraries under their paths on the host.
    pub(crate) fn add_program(&mut self, path: &str, program: &Path) -> Result<()> {
        let read = |file: &Path| {
            fs::read(file).with_context(|| format!("failed to read {}", file.display()))
        };
        self.add_file(Path::new(path), &read(program)?);
        for library in libraries(program)? {
            if !self.paths.contains(&library) {
                self.add_file(&library, &read(&library)?);
            }
        }
        Ok(())
    }

    /// Adds a file under an absolute path.
    pub(crate) fn add_file(&mut self, path: &Path, content: &[u8]) {
        let parents: Vec<_> = path.ancestors().skip(1).map(Path::to_owned).collect();
        for parent in parents.into_iter().rev().skip(1) {
            if self.paths.insert(parent.clone()) {
                self.add_entry(&parent, DIRECTORY, &[]);
            }
        }
        self.paths.insert(path.to_owned());
        self.add_entry(path, PROGRAM, content);
    }

    /// The finished archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.add_entry(Path::new("/TRAILER!!!"), 0, &[]);
        self.bytes
    }

    /// Adds a header of fourteen hexadecimal fields, the name and the content, each padded to four
    /// bytes.
    fn add_entry(&mut self, path: &Path, mode: u32, content: &[u8]) {
        let name = path.strip_prefix("/").unwrap_or(path).as_os_str();
        let name = name.as_encoded_bytes();
        let number = self.paths.len() as u32;
        let sizes = (content.len() as u32, name.len() as u32 + 1);
        let (links, nothing) = (1, 0);
        self.bytes.extend_from_slice(b"070701");
        for field in [
            number, mode, nothing, nothing, links, nothing, sizes.0, nothing, nothing, nothing,
            nothing, sizes.1, nothing,
        ] {
            self.bytes
                .extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name);
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// The libraries that the host's loader maps for a program, and the loader itself.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd")
        .arg(program)
        .env("LC_ALL", "C")
        .env_remove("LD_LIBRARY_PATH")
        .output()
        .context("failed to start ldd, which comes with the C library")?;
    let (text, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    if errors.contains("not a dynamic executable") {
        return Ok(Vec::new());
    }
    if !output.status.success() {
        bail!(
            "failed to list the libraries of {}: {}",
            program.display(),
            errors.trim()
        );
    }
    parse_libraries(&text)
        .with_context(|| format!("failed to find the libraries of {}", program.display()))
}

/// Parses the output of ldd: `NAME => PATH (ADDRESS)`, `PATH (ADDRESS)` for the loader,
/// `NAME (ADDRESS)` for the vDSO.
fn parse_libraries(text: &str) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for line in text.lines() {
        if line.contains("=> not found") {
            bail!("the host lacks a library: {}", line.trim());
        }
        let rest = line.split_once("=> ").map_or(line, |(_, rest)| rest);
        let path = rest.split_whitespace().next().unwrap_or_default();
        if path.starts_with('/') {
            paths.push(path.into());
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_after_the_directories_above_it() {
        let mut archive = Initramfs::default();
        archive.add_file(Path::new("/usr/bin/true"), b"abc");
        archive.add_file(Path::new("/usr/plan"), b"v2\n");
        let bytes = archive.finish();
        let text = String::from_utf8_lossy(&bytes);
        let names: Vec<&str> = text
            .split("070701")
            .skip(1)
            .map(|entry| entry[104..].split('\0').next().unwrap_or_default())
            .collect();
        assert_eq!(
            names,
            ["usr", "usr/bin", "usr/bin/true", "usr/plan", "TRAILER!!!"]
        );
        assert_eq!(bytes.len() % 4, 0);
    }

    #[test]
    fn the_header_has_the_sizes_of_name_and_content() {
        let mut archive = Initramfs::default();
        archive.add_file(Path::new("/init"), b"abc");
        let bytes = archive.finish();
        let field = |at: usize| &bytes[6 + 8 * at..14 + 8 * at];
        assert_eq!(field(1), b"000081ed", "a regular, executable file");
        assert_eq!(field(6), b"00000003", "three bytes of content");
        assert_eq!(field(11), b"00000005", "a name of four and a zero");
        assert_eq!(
            &bytes[110..116],
            b"init\0\0",
            "padded to 116, which is 4 * 29"
        );
        assert_eq!(&bytes[116..120], b"abc\0");
    }

    #[test]
    fn libraries_have_the_paths_of_the_host() {
        let text = "\tlinux-vdso.so.1 (0x1)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x2)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x3)\n";
        let paths = parse_libraries(text).expect("no library is missing");
        let expected = [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(paths, expected.map(PathBuf::from));
        assert!(parse_libraries("\tlibx.so.1 => not found\n").is_err());
    }
}
