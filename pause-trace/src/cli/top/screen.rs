//! Takes over the terminal, and restores it however the program ends.

use std::io;

use ratatui::{DefaultTerminal, Frame};

/// A terminal in raw mode that shows the alternate screen. Dropping it restores the terminal. A
/// panic, which does not drop it, restores the terminal through the hook that `try_init` installs.
pub(super) struct Screen(DefaultTerminal);

impl Screen {
    pub(super) fn open() -> io::Result<Self> {
        match ratatui::try_init() {
            Ok(terminal) => Ok(Self(terminal)),
            Err(error) => {
                // The terminal may be half initialised.
                let _ = ratatui::try_restore();
                Err(error)
            }
        }
    }

    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.0.draw(draw).map(|_| ())
    }

    pub(super) fn width(&self) -> usize {
        self.0.size().map_or(80, |size| size.width.into())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.0.show_cursor();
        // A terminal that was closed cannot be restored.
        let _ = ratatui::try_restore();
    }
}
