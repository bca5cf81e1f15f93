//! The terminal, taken over and given back, however the program ends.

use std::io;

use ratatui::{DefaultTerminal, Frame};

/// A terminal in raw mode that shows its other screen. Dropping it gives it back; so does a panic, which drops nothing here,
/// by the hook that `try_init` installs.
pub(super) struct Screen(DefaultTerminal);

impl Screen {
    pub(super) fn open() -> io::Result<Self> {
        match ratatui::try_init() {
            Ok(terminal) => Ok(Self(terminal)),
            Err(error) => {
                // It may have been taken over in part.
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
        // A terminal that is gone needs nothing back.
        let _ = ratatui::try_restore();
    }
}
