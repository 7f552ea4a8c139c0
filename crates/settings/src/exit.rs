use std::process::ExitCode;

/// How a program ends. All programs have the same codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: it did its work, or the output was already there.
    Clean = 0,
    /// 1: it failed: an input of an earlier stage is missing or damaged, the disk or the store says
    /// no, the data cannot be used.
    Failed = 1,
    /// 2: the command line or the configuration is wrong, or names something that is not there.
    Usage = 2,
    /// 3: a gate that the user set was not met.
    Gate = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}
