//! How a program begins, and what it was called with.

/// Names the function that a program is: `fn(Args) -> !`.
#[macro_export]
macro_rules! start {
    ($main:path) => {
        #[unsafe(no_mangle)]
        fn nolibc_main(args: $crate::Args) -> ! {
            $main(args)
        }
    };
}

unsafe extern "Rust" {
    /// What [`start!`] makes; a program that lacks it does not link.
    safe fn nolibc_main(args: Args) -> !;
}

/// What the program was called with, its own name left out.
pub struct Args {
    next: *const *const u8,
}

/// One argument: a C string on the first stack, which is never given back.
pub struct Arg(*const u8);

impl Iterator for Args {
    type Item = Arg;

    fn next(&mut self) -> Option<Arg> {
        // SAFETY: `next` is within argv, at most at its closing null, which it never passes.
        let arg = unsafe { *self.next };
        if arg.is_null() {
            return None;
        }
        // SAFETY: not yet at the closing null, so one further is still within argv.
        self.next = unsafe { self.next.add(1) };
        Some(Arg(arg))
    }
}

impl Args {
    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        // SAFETY: `next` is within argv, at most at its closing null.
        unsafe { (*self.next).is_null() }
    }

    /// What `execve` takes: the path, the arguments from it on, and the environment, which follows them on the stack.
    pub(crate) fn to_execute(&self) -> (*const u8, *const *const u8, *const *const u8) {
        let argv = self.next;
        // SAFETY: `next` is within argv, at most at its closing null.
        let path = unsafe { *argv };
        let mut end = argv;
        // SAFETY: goes no further than the closing null.
        while unsafe { !(*end).is_null() } {
            // SAFETY: not yet at the closing null.
            end = unsafe { end.add(1) };
        }
        // SAFETY: the environment begins right behind argv's closing null (`create_elf_tables`, fs/binfmt_elf.c).
        (path, argv, unsafe { end.add(1) })
    }
}

impl Arg {
    /// The number that it is, when it is a decimal one of at most nine digits.
    pub fn number(&self) -> Option<usize> {
        let mut at = self.0;
        let mut number = 0;
        for _ in 0..10 {
            // SAFETY: nothing before `at` was the closing NUL.
            let byte = unsafe { *at };
            match byte {
                b'0'..=b'9' => number = number * 10 + usize::from(byte - b'0'),
                0 if at != self.0 => return Some(number),
                _ => return None,
            }
            // SAFETY: a digit is not the closing NUL, so there is one more.
            at = unsafe { at.add(1) };
        }
        None
    }

    pub(crate) fn pointer(&self) -> *const u8 {
        self.0
    }

    /// Compares byte by byte: `memcmp` and `strlen` are what a C library would bring.
    pub fn is(&self, expected: &[u8]) -> bool {
        let mut at = self.0;
        for &byte in expected {
            // SAFETY: each byte so far equalled one of `expected`, which has no NUL, so `at` has not passed the end.
            if unsafe { *at } != byte {
                return false;
            }
            // SAFETY: the byte at `at` was not the closing NUL, so there is one more.
            at = unsafe { at.add(1) };
        }
        // SAFETY: as above; at the latest this is the closing NUL.
        unsafe { *at == 0 }
    }
}

/// Where `_start` goes, with the stack as the kernel made it: argc, then argv with a closing null.
pub(crate) extern "C" fn entry(stack: *const usize) -> ! {
    // SAFETY: only `_start` calls this, with the stack pointer the kernel gave it (`create_elf_tables`, fs/binfmt_elf.c).
    let argc = unsafe { *stack };
    // A process can be executed with no argv at all, not even a name: then the null is the first word. (Kernels since
    // 5.18 add an empty name.)
    let own_name = usize::from(argc > 0);
    // SAFETY: argv is the next word of the same stack, `argc` pointers and a null; its name is skipped only if there is one.
    let next = unsafe { stack.add(1 + own_name) }.cast::<*const u8>();
    nolibc_main(Args { next })
}
