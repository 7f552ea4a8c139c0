use crate::words;

words! {
    /// How a shard lies on the disk.
    ShardCompression {
        /// As it is: memory-mapped, read by row without a copy.
        None = "none",
        /// Each batch packed with zstd, for cold storage; to read a row its batch is unpacked.
        Zstd = "zstd",
    }
}
