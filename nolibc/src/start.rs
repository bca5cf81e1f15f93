//! The start of a program, and its arguments.

/// Declares the main function of a program: `fn(Args) -> !`.
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
    /// The function that [`start!`] defines. A program without it does not link.
    safe fn nolibc_main(args: Args) -> !;
}

/// The arguments of the program, without its own name.
pub struct Args {
    next: *const *const u8,
}

/// One argument: a C string on the initial stack, which is never freed.
pub struct Arg(*const u8);

impl Iterator for Args {
    type Item = Arg;

    fn next(&mut self) -> Option<Arg> {
        // SAFETY: `next` is within argv, at most at the final null, which it never passes.
        let arg = unsafe { *self.next };
        if arg.is_null() {
            return None;
        }
        // SAFETY: not at the final null yet, so the next element is within argv.
        self.next = unsafe { self.next.add(1) };
        Some(Arg(arg))
    }
}

impl Args {
    /// Whether no argument is left.
    pub fn is_empty(&self) -> bool {
        // SAFETY: `next` is within argv, at most at the final null.
        unsafe { (*self.next).is_null() }
    }

    /// The arguments of `execve`: the path, the arguments including the path, and the environment,
    /// which follows them on the stack.
    pub(crate) fn to_execute(&self) -> (*const u8, *const *const u8, *const *const u8) {
        let argv = self.next;
        // SAFETY: `next` is within argv, at most at the final null.
        let path = unsafe { *argv };
        let mut end = argv;
        // SAFETY: the loop stops at the final null.
        while unsafe { !(*end).is_null() } {
            // SAFETY: not at the final null yet.
            end = unsafe { end.add(1) };
        }
        // SAFETY: the environment begins after the final null of argv (`create_elf_tables`,
        // fs/binfmt_elf.c).
        (path, argv, unsafe { end.add(1) })
    }
}

impl Arg {
    /// The value of the argument, if it is a decimal number of at most nine digits.
    pub fn number(&self) -> Option<usize> {
        let mut at = self.0;
        let mut number = 0;
        for _ in 0..10 {
            // SAFETY: no byte before `at` was the final NUL.
            let byte = unsafe { *at };
            match byte {
                b'0'..=b'9' => number = number * 10 + usize::from(byte - b'0'),
                0 if at != self.0 => return Some(number),
                _ => return None,
            }
            // SAFETY: a digit is not the final NUL, so there is one more byte.
            at = unsafe { at.add(1) };
        }
        None
    }

    pub(crate) fn pointer(&self) -> *const u8 {
        self.0
    }

    /// Whether the argument equals `expected`. Compares byte by byte, because `memcmp` and `strlen`
    /// belong to the C library.
    pub fn is(&self, expected: &[u8]) -> bool {
        let mut at = self.0;
        for &byte in expected {
            // SAFETY: each byte so far equals one of `expected`, which has no NUL, so `at` has not
            // passed the end.
            if unsafe { *at } != byte {
                return false;
            }
            // SAFETY: the byte at `at` was not the final NUL, so there is one more.
            at = unsafe { at.add(1) };
        }
        // SAFETY: as above; this is at most the final NUL.
        unsafe { *at == 0 }
    }
}

/// The target of `_start`, with the stack as the kernel made it: argc, then argv with a final null.
pub(crate) extern "C" fn entry(stack: *const usize) -> ! {
    // SAFETY: only `_start` calls this function, with the kernel's initial stack pointer
    // (`create_elf_tables`, fs/binfmt_elf.c).
    let argc = unsafe { *stack };
    // A process can be executed with an empty argv, without a name: then the null is the first
    // word. (Since 5.18 the kernel adds an empty name.)
    let own_name = usize::from(argc > 0);
    // SAFETY: argv follows on the same stack, `argc` pointers and a null. The name is skipped only
    // if there is one.
    let next = unsafe { stack.add(1 + own_name) }.cast::<*const u8>();
    nolibc_main(Args { next })
}
