/// The most memory that this process may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLimit {
    /// Bytes.
    pub bytes: u64,
    /// What sets the limit, for messages.
    pub set_by: &'static str,
}

/// Where cgroups of version 2 and 1 have the limit of a container.
const CONTAINER_LIMITS: [&str; 2] =
    ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];

impl MemoryLimit {
    /// The lowest of the limits that the system sets; `None` where it does not say.
    pub fn of_process() -> Option<Self> {
        let machine = number_after("/proc/meminfo", "MemTotal:")
            .and_then(|kibibytes| kibibytes.checked_mul(1024));
        let address_space = number_after("/proc/self/limits", "Max address space");
        let container = CONTAINER_LIMITS
            .iter()
            .find_map(|path| std::fs::read_to_string(path).ok()?.trim().parse().ok());
        [
            (machine, "the memory of this machine"),
            (container, "the limit of the container"),
            (address_space, "ulimit -v"),
        ]
        .into_iter()
        .filter_map(|(bytes, set_by)| Some(MemoryLimit { bytes: bytes?, set_by }))
        .min_by_key(|limit| limit.bytes)
    }
}

/// The number behind `name` in one of the kernel's tables; `None` for one without limit, too.
fn number_after(path: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_has_some_memory_and_what_has_no_limit_no_number() {
        let limit = MemoryLimit::of_process().unwrap();
        assert!(limit.bytes > 1 << 28, "{limit:?}");
        assert!(number_after("/proc/meminfo", "MemTotal:").unwrap() >= limit.bytes / 1024);
        assert_eq!(number_after("/proc/self/limits", "Limit"), None);
        assert_eq!(number_after("/nowhere", "MemTotal:"), None);
    }
}
