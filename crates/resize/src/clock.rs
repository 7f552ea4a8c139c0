//! Measures how long each part of the stage takes.

use std::time::Instant;

use ossify_settings::Context;

/// Reports with --verbose how long each part took.
pub(crate) struct Clock<'a> {
    context: &'a Context,
    last: Instant,
}

impl<'a> Clock<'a> {
    pub(crate) fn new(context: &'a Context) -> Self {
        Clock { context, last: Instant::now() }
    }

    pub(crate) fn lap(&mut self, what: impl std::fmt::Display) {
        let now = Instant::now();
        self.context
            .reporter
            .detail(format_args!("resize: {what} in {:.3} s", (now - self.last).as_secs_f64()));
        self.last = now;
    }
}
