//! Fuzzing on stable Rust and without the network.
//!
//! A fuzz target is a test beside its parser, so that it reaches private functions and needs no
//! build of its own. It names its inputs in a [`Target`] and gives it a function, which parses an
//! input, asserts the invariants of the parser, and returns the *shape* of what it parsed: which
//! variants, which error, which fields. An input with a new shape joins the inputs that later ones
//! are made from. This takes the place of the coverage that libFuzzer measures, which needs a
//! nightly compiler.
//!
//! A finding is a panic, an input that takes longer than [`LONGEST`], or one that needs more memory
//! than the target allows. The input is made shorter and written to a file. Copied into the
//! target's directory below `tests/fuzz/corpus`, it becomes a regression test: each run first tries
//! every input of the corpus as it is.

mod corpus;
mod memory;
mod mutate;
mod random;
mod run;

pub use random::Random;

use std::{path::PathBuf, time::Duration};

/// The most processor time that one input may take, in an unoptimised build.
pub const LONGEST: Duration = Duration::from_secs(2);

/// The inputs of a fuzz target, and its bounds.
pub struct Target {
    name: &'static str,
    seeds: Vec<Vec<u8>>,
    dictionary: Vec<Vec<u8>>,
    generator: Option<fn(&mut Random) -> Vec<u8>>,
    longest: usize,
    memory: (usize, usize),
    inputs: u64,
}

impl Target {
    /// A target. Its inputs are those of `tests/fuzz/corpus/NAME`.
    ///
    /// # Panics
    /// When the corpus cannot be read.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            seeds: corpus::read(&corpus::of(name)),
            dictionary: Vec::new(),
            generator: None,
            longest: 8 << 10,
            memory: (64 << 10, 64),
            inputs: 3_000,
        }
    }

    /// Adds the files of a directory of the workspace, such as fixtures of other tests.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn files_of(mut self, directory: &str) -> Self {
        let found = corpus::read(&corpus::workspace().join(directory));
        assert!(!found.is_empty(), "{directory} has no files");
        self.seeds.extend(found);
        self
    }

    /// Adds inputs.
    #[must_use]
    pub fn seeds(mut self, seeds: impl IntoIterator<Item = Vec<u8>>) -> Self {
        self.seeds.extend(seeds);
        self
    }

    /// Adds the lines of the inputs as inputs of their own.
    #[must_use]
    pub fn each_line(mut self) -> Self {
        let lines = self
            .seeds
            .iter()
            .flat_map(|seed| seed.split(|byte| *byte == b'\n'));
        let lines: Vec<_> = lines.map(<[u8]>::to_vec).collect();
        self.seeds.extend(lines);
        self
    }

    /// Words to insert.
    #[must_use]
    pub fn dictionary(mut self, words: &[&str]) -> Self {
        self.dictionary
            .extend(words.iter().map(|word| word.as_bytes().to_vec()));
        self
    }

    /// Makes inputs that are valid, or nearly so. Every fourth input begins as one of them.
    #[must_use]
    pub fn generator(mut self, generator: fn(&mut Random) -> Vec<u8>) -> Self {
        self.generator = Some(generator);
        self
    }

    /// The maximum length of an input. Longer ones are cut.
    #[must_use]
    pub fn longest(mut self, longest: usize) -> Self {
        self.longest = longest;
        self
    }

    /// The memory that an input may take: so many bytes, and so many for each of its bytes.
    #[must_use]
    pub fn memory(mut self, fixed: usize, for_each_byte: usize) -> Self {
        self.memory = (fixed, for_each_byte);
        self
    }

    /// How many inputs `cargo test` tries.
    #[must_use]
    pub fn inputs(mut self, inputs: u64) -> Self {
        self.inputs = inputs;
        self
    }

    fn allowed(&self, input: &[u8]) -> usize {
        self.memory.0 + self.memory.1 * input.len()
    }
}

/// How a run is bounded: by the environment, else by the target.
struct Bounds {
    /// `PAUSE_TRACE_FUZZ_SECONDS`
    time: Option<Duration>,
    /// `PAUSE_TRACE_FUZZ_SEED`. `cargo test` always uses the same, so that its result depends on
    /// nothing but the tree.
    seed: u64,
    /// `PAUSE_TRACE_FUZZ_KEEP`: where to write inputs with a new shape.
    keep: Option<PathBuf>,
}

impl Bounds {
    fn read(name: &str) -> Self {
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        Self {
            time: number("PAUSE_TRACE_FUZZ_SECONDS").map(Duration::from_secs),
            seed: number("PAUSE_TRACE_FUZZ_SEED").unwrap_or(1),
            keep: std::env::var_os("PAUSE_TRACE_FUZZ_KEEP").map(|_| corpus::of(name)),
        }
    }
}
