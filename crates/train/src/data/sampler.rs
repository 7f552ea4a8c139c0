use std::ops::Range;

use ossify_settings::Sampler;

use crate::random::{Purpose, random_bits, unit};

/// One draw of a sample in an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// Number of the sample.
    pub sample: u32,
    /// How often the epoch drew it before; a balanced epoch draws samples of rare classes several
    /// times.
    pub repeat: u32,
}

/// What a training pass is like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PassRecipe {
    /// Which samples it draws.
    pub sampler: Sampler,
    /// Samples of a batch.
    pub batch_size: usize,
    /// Share of the backgrounds that each epoch draws, 0..1.
    pub background_share: f64,
}

/// Which samples make the batches of one pass, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Pass {
    /// Samples in the order of the pass.
    pub draws: Vec<Draw>,
    /// Draws of each batch, as ranges.
    pub batches: Vec<Range<usize>>,
}

impl Pass {
    /// A training pass, which (seed, epoch) decides, in batches whose sizes differ by at most one:
    /// a small last batch would upset BatchNorm. `classes` are those of the samples in their order,
    /// without one for backgrounds.
    pub fn training(classes: &[Option<u16>], recipe: &PassRecipe, seed: u64, epoch: u32) -> Self {
        let mut draws = match recipe.sampler {
            Sampler::Shuffle => each_once(classes.len()),
            Sampler::Balanced => balanced(classes, seed, epoch),
        };
        if recipe.background_share < 1.0 {
            draws.retain(|draw| {
                classes.get(draw.sample as usize).is_some_and(Option::is_some)
                    || unit(random_bits(seed, Purpose::Background, u64::from(epoch), number(draw)))
                        < recipe.background_share
            });
        }
        let batch_size = recipe.batch_size;
        let key = |draw: &Draw| {
            (random_bits(seed, Purpose::Order, u64::from(epoch), number(draw)), number(draw))
        };
        draws.sort_by_cached_key(key);
        let (total, count) = (draws.len(), draws.len().div_ceil(batch_size));
        let batches =
            (0..count).map(|batch| batch * total / count..(batch + 1) * total / count).collect();
        Pass { draws, batches }
    }

    /// A scoring pass: each sample once, in order, the last batch as small as it is.
    pub fn scoring(samples: usize, batch_size: usize) -> Self {
        let batches = (0..samples.div_ceil(batch_size))
            .map(|batch| batch * batch_size..((batch + 1) * batch_size).min(samples))
            .collect();
        Pass { draws: each_once(samples), batches }
    }
}

/// Each of so many samples, in order. A split has at most
/// [`MAX_SAMPLES`](crate::data::samples::MAX_SAMPLES).
fn each_once(samples: usize) -> Vec<Draw> {
    (0..=u32::MAX).take(samples).map(|sample| Draw { sample, repeat: 0 }).collect()
}

/// A number of its own for each draw of an epoch.
pub fn number(draw: &Draw) -> u64 {
    u64::from(draw.repeat) << 32 | u64::from(draw.sample)
}

/// As many draws as there are samples, as many of each class that has one (give or take one), and
/// of backgrounds.
/// Within a class each sample comes once before any comes again; which ones come once more changes
/// with the epoch.
fn balanced(samples: &[Option<u16>], seed: u64, epoch: u32) -> Vec<Draw> {
    let mut classes: Vec<Vec<u32>> = Vec::new();
    for (number, class) in (0..=u32::MAX).zip(samples) {
        // Backgrounds are a class of their own, the first.
        let class = class.map_or(0, |class| usize::from(class) + 1);
        if classes.len() <= class {
            classes.resize(class + 1, Vec::new());
        }
        classes[class].push(number);
    }
    classes.retain(|members| !members.is_empty());
    let (total, count) = (samples.len(), classes.len());
    let mut draws = Vec::with_capacity(total);
    for (class, mut members) in classes.into_iter().enumerate() {
        members.sort_by_cached_key(|sample| {
            (random_bits(seed, Purpose::Sampler, u64::from(epoch), u64::from(*sample)), *sample)
        });
        // Which classes get the draws that do not divide moves on with the epochs.
        let turn = (class + epoch as usize) % count;
        let quota = (turn + 1) * total / count - turn * total / count;
        let repeated = (0..=u32::MAX)
            .flat_map(|repeat| members.iter().map(move |&sample| Draw { sample, repeat }));
        draws.extend(repeated.take(quota));
    }
    draws
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(classes: &[usize]) -> Vec<Option<u16>> {
        let class = |(class, count): (usize, &usize)| vec![Some(class as u16); *count];
        classes.iter().enumerate().flat_map(class).collect()
    }

    fn training(
        samples: &[Option<u16>],
        sampler: Sampler,
        batch_size: usize,
        seed: u64,
        epoch: u32,
    ) -> Pass {
        let recipe = PassRecipe { sampler, batch_size, background_share: 1.0 };
        Pass::training(samples, &recipe, seed, epoch)
    }

    #[test]
    fn an_epoch_draws_its_share_of_the_backgrounds_and_every_other_sample() {
        let samples: Vec<Option<u16>> =
            (0..4000).map(|number| (number % 2 == 0).then_some(0)).collect();
        let recipe =
            PassRecipe { sampler: Sampler::Shuffle, batch_size: 16, background_share: 0.25 };
        let draws = |epoch| Pass::training(&samples, &recipe, 1, epoch).draws;
        let backgrounds = |draws: &[Draw]| -> std::collections::BTreeSet<u32> {
            draws.iter().map(|draw| draw.sample).filter(|sample| sample % 2 == 1).collect()
        };
        let (first, second) = (draws(1), draws(2));
        assert_eq!(first.iter().filter(|draw| draw.sample % 2 == 0).count(), 2000);
        assert!((440..560).contains(&backgrounds(&first).len()));
        assert!(backgrounds(&first).intersection(&backgrounds(&second)).count() < 200);
    }

    #[test]
    fn a_shuffled_pass_is_a_permutation_that_seed_and_epoch_decide() {
        let pass = |seed, epoch| training(&samples(&[1000]), Sampler::Shuffle, 16, seed, epoch);
        let mut sorted: Vec<u32> = pass(1, 1).draws.iter().map(|draw| draw.sample).collect();
        assert_ne!(sorted, (0..1000).collect::<Vec<_>>());
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
        assert_eq!(pass(1, 1), pass(1, 1));
        assert_ne!(pass(1, 1), pass(1, 2));
        assert_ne!(pass(1, 1), pass(2, 1));
    }

    #[test]
    fn training_batches_are_of_nearly_equal_size_and_cover_all() {
        for (count, batch_size) in [(2085, 16), (17, 16), (16, 16), (3, 16), (1, 16), (33, 2)] {
            let pass = training(&samples(&[count]), Sampler::Shuffle, batch_size, 1, 1);
            let sizes: Vec<usize> = pass.batches.iter().map(Range::len).collect();
            let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
            assert!(most - least <= 1 && *most <= batch_size, "{sizes:?}");
            assert_eq!(sizes.iter().sum::<usize>(), count);
            assert_eq!(sizes.len(), count.div_ceil(batch_size));
        }
    }

    #[test]
    fn a_balanced_pass_draws_every_class_alike_and_spreads_within_it() {
        let counts = [531, 3, 228, 0, 340];
        let samples = samples(&counts);
        for epoch in 1..6 {
            let pass = training(&samples, Sampler::Balanced, 16, 9, epoch);
            assert_eq!(pass.draws.len(), samples.len());
            let mut numbers: Vec<u64> = pass.draws.iter().map(number).collect();
            numbers.sort_unstable();
            numbers.dedup();
            assert_eq!(numbers.len(), samples.len(), "each draw has a number of its own");
            for (class, count) in counts.into_iter().enumerate().filter(|(_, count)| *count > 0) {
                let mut times = std::collections::HashMap::<u32, usize>::new();
                for draw in pass
                    .draws
                    .iter()
                    .filter(|draw| samples[draw.sample as usize] == Some(class as u16))
                {
                    *times.entry(draw.sample).or_default() += 1;
                }
                let drawn: usize = times.values().sum();
                assert!((275..=276).contains(&drawn), "class {class}: {drawn}");
                let (least, most) = (
                    if times.len() < count { 0 } else { *times.values().min().unwrap() },
                    *times.values().max().unwrap(),
                );
                assert!(most - least <= 1, "class {class}: {least} to {most} times");
            }
        }
    }

    #[test]
    fn a_scoring_pass_covers_every_sample_once_in_order() {
        let pass = Pass::scoring(37, 16);
        assert_eq!(pass.batches, [0..16, 16..32, 32..37]);
        assert_eq!(
            pass.draws.iter().map(|draw| draw.sample).collect::<Vec<_>>(),
            (0..37).collect::<Vec<_>>()
        );
        assert!(Pass::scoring(0, 16).batches.is_empty());
    }
}
