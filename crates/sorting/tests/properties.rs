//! What sorting promises, whatever the records and however little memory there is.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::cmp::Ordering;
use std::io::{self, Read, Write};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering as Atomic};
use std::sync::{Arc, Mutex};

use ossify_sorting::{Merge, Ordered, Queue, Runs, Sorter, Stored};
use proptest::prelude::*;

/// Records of one test that are in memory.
#[derive(Debug, Default)]
struct Live {
    bytes: AtomicUsize,
    most: AtomicUsize,
}

/// Sorted by its key alone; `number` says when it came. It counts itself while it is in memory.
#[derive(Debug)]
struct Numbered {
    key: u8,
    number: u64,
    text: Vec<u8>,
    live: Option<Arc<Live>>,
}

/// Where counted records that come back from a file are counted.
static COUNTED: Mutex<Option<Arc<Live>>> = Mutex::new(None);

impl Numbered {
    fn new(key: u8, number: u64, text: Vec<u8>, live: Option<Arc<Live>>) -> Self {
        let record = Numbered { key, number, text, live };
        if let Some(live) = &record.live {
            let bytes = live.bytes.fetch_add(record.memory_bytes(), Atomic::SeqCst);
            live.most.fetch_max(bytes + record.memory_bytes(), Atomic::SeqCst);
        }
        record
    }

    fn content(&self) -> (u8, u64, &[u8]) {
        (self.key, self.number, &self.text)
    }
}

impl Drop for Numbered {
    fn drop(&mut self) {
        if let Some(live) = &self.live {
            live.bytes.fetch_sub(self.memory_bytes(), Atomic::SeqCst);
        }
    }
}

impl Stored for Numbered {
    fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.text.len()
    }

    fn write(&self, target: &mut impl Write) -> io::Result<()> {
        target.write_all(&[self.key, u8::from(self.live.is_some())])?;
        target.write_all(&self.number.to_le_bytes())?;
        target.write_all(&(self.text.len() as u32).to_le_bytes())?;
        target.write_all(&self.text)
    }

    fn read(source: &mut impl Read) -> io::Result<Self> {
        let (mut start, mut number, mut length) = ([0; 2], [0; 8], [0; 4]);
        source.read_exact(&mut start)?;
        let [key, is_counted] = start;
        source.read_exact(&mut number)?;
        source.read_exact(&mut length)?;
        let mut text = vec![0; u32::from_le_bytes(length) as usize];
        source.read_exact(&mut text)?;
        let live = COUNTED.lock().unwrap().clone().filter(|_| is_counted == 1);
        Ok(Numbered::new(key, u64::from_le_bytes(number), text, live))
    }
}

impl Ordered for Numbered {
    const IS_TOTAL: bool = false;

    fn order(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}

fn records() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    prop::collection::vec((0..8_u8, prop::collection::vec(any::<u8>(), 0..40)), 0..400)
}

fn memory() -> impl Strategy<Value = usize> {
    prop_oneof![Just(0), Just(1), 1..500_usize, 500..20_000_usize, Just(usize::MAX)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_sorter_sorts_as_a_stable_sort_in_memory_does(records in records(), memory in memory()) {
        let folder = tempfile::tempdir().unwrap();
        let mut sorter = Sorter::new(folder.path(), memory);
        for (number, (key, text)) in records.iter().enumerate() {
            sorter.push(Numbered::new(*key, number as u64, text.clone(), None)).unwrap();
        }
        let found: Vec<Numbered> =
            sorter.finish().unwrap().into_records().unwrap().map(Result::unwrap).collect();
        let mut expected: Vec<(u8, u64, &[u8])> = records
            .iter()
            .enumerate()
            .map(|(number, (key, text))| (*key, number as u64, text.as_slice()))
            .collect();
        expected.sort_by_key(|(key, ..)| *key);
        let found: Vec<_> = found.iter().map(Numbered::content).collect();
        prop_assert_eq!(found, expected);
        prop_assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_queue_gives_back_what_came_in_the_order_it_came(
        records in records(),
        memory in memory(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut queue = Queue::new(folder.path(), memory);
        for (number, (key, text)) in records.iter().enumerate() {
            queue.push(Numbered::new(*key, number as u64, text.clone(), None)).unwrap();
        }
        let mut found = 0;
        for record in queue.into_records() {
            let (key, text) = &records[found];
            let record = record.unwrap();
            prop_assert_eq!(record.content(), (*key, found as u64, text.as_slice()));
            found += 1;
        }
        prop_assert_eq!(found, records.len());
    }

    #[test]
    fn merged_runs_keep_the_order_of_equal_records(mut runs in prop::collection::vec(
        prop::collection::vec(0..5_u8, 0..30), 0..12,
    )) {
        let folder = tempfile::tempdir().unwrap();
        let mut stored = Runs::create(folder.path()).unwrap();
        let mut expected = Vec::new();
        for run in &mut runs {
            run.sort_unstable();
            let mut writer = stored.begin();
            for key in run {
                expected.push((*key, expected.len() as u64));
                let (key, number) = expected[expected.len() - 1];
                writer.push(&Numbered::new(key, number, Vec::new(), None)).unwrap();
            }
            writer.end().unwrap();
        }
        expected.sort_by_key(|(key, _)| *key);
        prop_assert_eq!((stored.count(), stored.records()), (runs.len(), expected.len() as u64));
        let readers = stored.readers(0..stored.count(), 16);
        // The file stays as long as somebody reads it.
        drop(stored);
        let merged = Merge::new(readers).unwrap().map(|record| {
            let record: Numbered = record.unwrap();
            (record.key, record.number)
        });
        prop_assert_eq!(merged.collect::<Vec<_>>(), expected);
    }
}

#[test]
fn no_more_records_are_in_memory_than_it_may_take() {
    let folder = tempfile::tempdir().unwrap();
    let live = Arc::new(Live::default());
    *COUNTED.lock().unwrap() = Some(Arc::clone(&live));
    for memory in [10_000, 100_000] {
        let mut sorter = Sorter::new(folder.path(), memory);
        for number in 0..20_000_u64 {
            let text = vec![0; (number * 7919 % 97) as usize];
            let key = (number * 31 % 251) as u8;
            sorter.push(Numbered::new(key, number, text, Some(Arc::clone(&live)))).unwrap();
        }
        // In the end one record of each run is in memory: fewer than windows have room for.
        let sorted = sorter.finish().unwrap().into_records().unwrap();
        let mut last = 0;
        let count = sorted.inspect(|record| {
            let key = record.as_ref().unwrap().key;
            assert!(last <= key);
            last = key;
        });
        assert_eq!(count.count(), 20_000);
        let most = live.most.swap(0, Atomic::SeqCst);
        assert!(most <= memory + 200, "{most} bytes in {memory}");
    }
    *COUNTED.lock().unwrap() = None;
}

#[test]
fn words_are_sorted_with_64_open_files_however_many_runs_there_are() {
    const INNER: &str = "OSSIFY_SORTING_FEW_FILES";
    if std::env::var_os(INNER).is_none() {
        let name = "words_are_sorted_with_64_open_files_however_many_runs_there_are";
        let status = Command::new("sh")
            .args(["-c", "ulimit -n 64 && exec \"$@\"", "sh"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", name, "--test-threads=1"])
            .env(INNER, "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut sorter = Sorter::new(folder.path(), 2_000);
    let word = |number: u64| [number * 7919 % 100_003, number];
    (0..100_000).for_each(|number| sorter.push(word(number)).unwrap());
    let mut expected: Vec<[u64; 2]> = (0..100_000).map(word).collect();
    expected.sort_unstable();
    let sorted = sorter.finish().unwrap().into_records().unwrap();
    // Others that are sorted at the same time.
    let others: Vec<_> = (0..20)
        .map(|_| {
            let mut other = Sorter::new(folder.path(), 0);
            (0..50).for_each(|number| other.push([50 - number]).unwrap());
            other.finish().unwrap().into_records().unwrap()
        })
        .collect();
    assert_eq!(sorted.map(Result::unwrap).collect::<Vec<_>>(), expected);
    for other in others {
        assert_eq!(
            other.map(Result::unwrap).collect::<Vec<_>>(),
            (1..=50).map(|n| [n]).collect::<Vec<_>>()
        );
    }
}

#[test]
fn a_folder_that_is_not_there_is_an_error_and_not_a_panic() {
    let error = Sorter::new("/nonexistent", 0).push([1]).unwrap_err().to_string();
    assert!(error.starts_with("cannot create a temporary file in /nonexistent: "), "{error}");
}
