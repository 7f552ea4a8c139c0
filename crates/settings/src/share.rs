use ossify_contract::{MAX_PARTITIONS, Partition, WorkFolder};

use crate::args::whole_number;

/// The command line of stages that can work on a share of the images.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub struct ShareArgs {
    /// Process share I of N of the images, counted from 1, for --merge
    #[arg(long, value_name = "I/N", conflicts_with = "merge")]
    partition: Option<Partition>,
    /// Combine the parts of all N shares into the output
    #[arg(
        long,
        value_name = "N",
        value_parser = |text: &str| whole_number(text, 1, MAX_PARTITIONS)
    )]
    merge: Option<u32>,
}

/// What of the images a stage works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// All of them.
    Whole,
    /// One share, of which a part is left.
    Part(Partition),
    /// Nothing: the parts of so many shares become the whole.
    Merge(u32),
}

impl Share {
    /// The folders of a work folder that a stage reads and writes for this share, given what it
    /// reads and writes for the whole.
    pub fn folders(self, stage: &str, inputs: &[&str], output: &str) -> Vec<String> {
        let work = WorkFolder::new("");
        let parts = match self {
            Share::Whole => None,
            Share::Part(partition) => Some(work.part(stage, partition)),
            Share::Merge(count) => Some(work.parts(stage, count)),
        };
        let whole = (!matches!(self, Share::Part(_))).then(|| output.to_owned());
        let inputs = inputs.iter().map(|folder| (*folder).to_owned());
        inputs
            .chain(parts.map(|folder| folder.to_string_lossy().into_owned()))
            .chain(whole)
            .collect()
    }
}

impl ShareArgs {
    /// What was asked for.
    pub fn share(&self) -> Share {
        match (self.partition, self.merge) {
            (Some(partition), _) => Share::Part(partition),
            (None, Some(count)) => Share::Merge(count),
            (None, None) => Share::Whole,
        }
    }
}
