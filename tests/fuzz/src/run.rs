//! Runs a target: the corpus first, then inputs that are made from it, until the bound is reached
//! or a finding ends the run.

use std::{
    cell::Cell,
    collections::HashSet,
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher as _},
    io,
    os::unix::fs::FileExt as _,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    process,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use nix::time::{ClockId, clock_gettime};

use crate::{Bounds, LONGEST, Target, corpus, memory, mutate::mutate, random::Random};

/// The longest time without a new input, after which the process is ended: a loop without end.
const HANGS: Duration = Duration::from_secs(120);

/// The most inputs with a shape of their own that are kept.
const MOST_SHAPES: usize = 8_192;

/// The most inputs that one run adds to the corpus in the tree, and their length.
const MOST_KEPT: usize = 16;
const LONGEST_KEPT: usize = 2 << 10;

/// The longest time to make the input of a finding shorter.
const SHORTENING: Duration = Duration::from_secs(10);

impl Target {
    /// Tries inputs. `judge` parses one, asserts what always holds, and returns the shape of the
    /// result.
    ///
    /// # Panics
    /// After a finding. The message names the file with the input.
    pub fn run<S: Hash>(self, judge: impl Fn(&[u8]) -> S) {
        let bounds = Bounds::read(self.name);
        let current = Current::create(self.name).expect("the target directory is writable");
        let mut run = Run {
            random: Random::new(bounds.seed),
            shapes: HashSet::new(),
            pool: Vec::new(),
            count: 0,
            current,
            target: &self,
            judge,
        };
        let started = Instant::now();
        for seed in &self.seeds {
            run.attempt(seed.clone());
        }
        let known = run.pool.len();
        let is_over = |count| match bounds.time {
            Some(time) => started.elapsed() >= time,
            None => count >= self.inputs,
        };
        while !is_over(run.count) {
            let input = run.make();
            run.attempt(input);
        }
        let (count, shapes, seed) = (run.count, run.pool.len(), bounds.seed);
        let seconds = started.elapsed().as_secs_f64();
        println!(
            "fuzz {}: {count} inputs in {seconds:.0} s, {shapes} shapes, {} of them new, seed {seed}",
            self.name,
            shapes - known,
        );
        if let Some(directory) = &bounds.keep {
            run.keep(directory, known);
        }
        run.current.remove();
    }
}

struct Run<'a, J> {
    target: &'a Target,
    judge: J,
    random: Random,
    /// Hashes of the shapes.
    shapes: HashSet<u64>,
    /// One input of each shape; those of the corpus first.
    pool: Vec<Vec<u8>>,
    count: u64,
    current: Current,
}

impl<S: Hash, J: Fn(&[u8]) -> S> Run<'_, J> {
    /// A new input.
    fn make(&mut self) -> Vec<u8> {
        let Target {
            generator,
            dictionary,
            longest,
            ..
        } = self.target;
        let random = &mut self.random;
        let generated = generator.filter(|_| random.once_in(4));
        let mut input = match generated {
            Some(generator) => generator(random),
            None if self.pool.is_empty() => random.bytes(256),
            // Half of them are made from the newest shapes.
            None => match random.once_in(2) {
                true => random.one_of(&self.pool).clone(),
                false => {
                    let newest = self.pool.len().saturating_sub(64);
                    random.one_of(&self.pool[newest..]).clone()
                }
            },
        };
        if generated.is_none() || !random.once_in(3) {
            mutate(&mut input, &self.pool, dictionary, *longest, random);
        }
        input.truncate(*longest);
        input
    }

    /// Tries an input. One with a new shape joins the pool.
    fn attempt(&mut self, input: Vec<u8>) {
        self.count += 1;
        self.current
            .set(&input)
            .expect("the target directory is writable");
        match examine(self.target, &self.judge, &input) {
            Ok(shape) => {
                if self.shapes.len() < MOST_SHAPES && self.shapes.insert(shape) {
                    self.pool.push(input);
                }
            }
            Err(what) => self.report(input, &what),
        }
    }

    /// Writes the input of a finding to a file, and ends the run.
    fn report(&self, input: Vec<u8>, what: &str) -> ! {
        let name = self.target.name;
        let input = self.shortened(input);
        let place = match corpus::write(&corpus::findings().join(name), &input) {
            Ok(path) => path.display().to_string(),
            Err(error) => format!("not in a file ({error}): {input:?}"),
        };
        panic!(
            "fuzz {name}: a finding after {} inputs: {what}\nits input is {place}\nwhen it is mended, copy the input to \
             {}, where it is tried in each run",
            self.count,
            corpus::of(name).display()
        );
    }

    /// Leaves out what the finding does not need.
    fn shortened(&self, mut input: Vec<u8>) -> Vec<u8> {
        let started = Instant::now();
        let hook = panic::take_hook();
        panic::set_hook(Box::new(|_| {}));
        let mut chunk = input.len() / 2;
        while chunk > 0 {
            let mut at = 0;
            while at < input.len() && started.elapsed() < SHORTENING {
                let mut shorter = input.clone();
                shorter.drain(at..(at + chunk).min(input.len()));
                match examine(self.target, &self.judge, &shorter) {
                    Err(_) => input = shorter,
                    Ok(_) => at += chunk,
                }
            }
            chunk /= 2;
        }
        panic::set_hook(hook);
        input
    }

    /// Adds short inputs with a new shape to the corpus.
    fn keep(&self, directory: &Path, known: usize) {
        let mut new: Vec<_> = self.pool[known..].iter().collect();
        new.retain(|input| input.len() <= LONGEST_KEPT);
        // Those that were found last took the most changes.
        for input in new.iter().rev().take(MOST_KEPT) {
            corpus::write(directory, input).expect("the tree is writable");
        }
    }
}

/// The hash of the shape of an input, or the finding.
fn examine<S: Hash>(
    target: &Target,
    judge: &impl Fn(&[u8]) -> S,
    input: &[u8],
) -> Result<u64, String> {
    // Processor time, so that a busy machine makes no finding.
    let started = processor_time();
    let judged = || panic::catch_unwind(AssertUnwindSafe(|| shape(judge(input))));
    let (result, held) = memory::most(judged);
    let took = processor_time().saturating_sub(started);
    let shape = result.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        format!("panic: {}", text.unwrap_or("of no text"))
    })?;
    if took > LONGEST {
        return Err(format!("it took {} ms of processor time", took.as_millis()));
    }
    let allowed = target.allowed(input);
    if held > allowed {
        return Err(format!(
            "{} bytes of input took {held} bytes of memory, more than {allowed}",
            input.len()
        ));
    }
    Ok(shape)
}

fn shape(shape: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    shape.hash(&mut hasher);
    hasher.finish()
}

fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// The input that is being tried, in a file: what ends the process, such as a stack that overflows,
/// leaves it there. A thread ends the process when an input never ends.
struct Current {
    path: PathBuf,
    file: File,
    length: Cell<usize>,
    tried: Arc<AtomicU64>,
    /// Dropped at the end, which ends the thread.
    _alive: Sender<()>,
}

impl Current {
    fn create(name: &'static str) -> io::Result<Self> {
        let directory = corpus::findings();
        fs::create_dir_all(&directory)?;
        let path = directory.join(format!("{name}.current"));
        let file = File::create(&path)?;
        let tried = Arc::new(AtomicU64::new(0));
        let (alive, ended) = mpsc::channel::<()>();
        let (seen, place) = (Arc::clone(&tried), path.clone());
        thread::spawn(move || {
            let mut last = u64::MAX;
            while ended.recv_timeout(HANGS) == Err(RecvTimeoutError::Timeout) {
                let now = seen.load(Ordering::Relaxed);
                if now == last {
                    eprintln!("fuzz {name}: an input never ends: {}", place.display());
                    process::abort();
                }
                last = now;
            }
        });
        Ok(Self {
            path,
            file,
            length: Cell::new(0),
            tried,
            _alive: alive,
        })
    }

    fn set(&self, input: &[u8]) -> io::Result<()> {
        self.tried.fetch_add(1, Ordering::Relaxed);
        self.file.write_all_at(input, 0)?;
        if self.length.replace(input.len()) != input.len() {
            self.file.set_len(input.len() as u64)?;
        }
        Ok(())
    }

    fn remove(&self) {
        // Only in the way.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(target: Target, judge: impl Fn(&[u8]) -> usize) -> String {
        let run = AssertUnwindSafe(|| target.run(judge));
        let panic = panic::catch_unwind(run).expect_err("there is a finding");
        panic.downcast_ref::<String>().expect("a text").clone()
    }

    #[test]
    fn a_panic_is_found_and_its_input_is_made_short_and_written() {
        let target = Target::new("test-panic")
            .seeds([b"0123456789 no 7".to_vec()])
            .dictionary(&["bad"]);
        let text = finding(target, |input| {
            assert!(!input.windows(3).any(|word| word == b"bad"), "bad");
            input.len()
        });
        let path = text
            .lines()
            .find_map(|line| line.strip_prefix("its input is "))
            .expect("a path");
        assert_eq!(fs::read(path).expect("the input"), b"bad");
    }

    #[test]
    fn memory_beyond_the_bound_is_found() {
        let target = Target::new("test-memory")
            .seeds([b"x".to_vec()])
            .memory(1 << 10, 1);
        let text = finding(target, |input| {
            let size = if input.len() > 100 { 1 << 20 } else { 1 };
            std::hint::black_box(vec![1_u8; size]).len()
        });
        assert!(text.contains("bytes of memory, more than"), "{text}");
    }

    #[test]
    fn an_input_that_takes_long_is_found() {
        let target = Target::new("test-time").seeds([b"x".to_vec()]);
        let text = finding(target, |input| {
            let end = processor_time() + LONGEST + Duration::from_millis(10);
            while input == b"x" && processor_time() < end {}
            input.len()
        });
        assert!(text.contains("ms of processor time"), "{text}");
    }

    #[test]
    fn new_shapes_lead_further() {
        // Bytes that no single change makes: each right one is a shape of its own.
        let target = Target::new("test-shapes")
            .seeds([b"....".to_vec()])
            .inputs(200_000);
        let text = finding(target, |input| {
            let right = input
                .iter()
                .zip(b"\x01\x7f\x80\xff")
                .take_while(|(is, wanted)| is == wanted)
                .count();
            assert!(right < 4, "all");
            right
        });
        assert!(text.contains("panic: all"), "{text}");
    }
}
