use crate::ranges::between;
use crate::schema::table;

table! {
    /// The synthetic dataset.
    PhantomSettings {
        /// Images over all splits.
        images: u64 [Output] = 600 => |v| between(v, 1, 10_000_000);
        /// Seed of the pictures.
        seed: u64 [Output] = 7;
        /// Images of train that are planted again in valid and test: copied, repacked, encoded
        /// again, brightened, turned, mirrored.
        leaks: u64 [Output] = 0 => |v| between(v, 0, 1_000_000);
    }
}
