//! Where the cache has its files, and how much it may keep.

use std::fs;

use super::{CacheDir, CacheSize};
use crate::model::parse_size;

pub(super) fn directory(text: &str) -> CacheDir {
    match text {
        text if text.eq_ignore_ascii_case("off") => CacheDir::Off,
        text => CacheDir::At(text.into()),
    }
}

/// `memory=64m disk=1g`; a size alone is the disk's. With a warning where the memory would be more than half of what
/// `there_is`, which is the bound then: a process that is ended for its cache serves nobody.
pub(super) fn size(text: &str, there_is: u64) -> Result<(CacheSize, Option<String>), String> {
    let mut size = CacheSize::default();
    for word in text.split([' ', ',']).filter(|word| !word.is_empty()) {
        let (what, bytes) = word.split_once('=').unwrap_or(("disk", word));
        let bytes = parse_size(bytes).map_err(|fault| fault.to_string())?;
        match what {
            "memory" if bytes < MEMORY_MIN => {
                return Err("the cache needs 8m of memory at least".to_owned());
            }
            "disk" if (1..DISK_MIN).contains(&bytes) => {
                return Err("the cache needs 1m of disk at least; disk=off for none".to_owned());
            }
            "memory" => size.memory = bytes,
            "disk" => size.disk = bytes,
            _ => return Err("expected memory=64m disk=1g, or a size for the disk".to_owned()),
        }
    }
    let most = (there_is / 2).max(MEMORY_MIN);
    let warning = (size.memory > most).then(|| {
        let (asked, most, there_is) = (size.memory >> 20, most >> 20, there_is >> 20);
        format!("WHARF_CACHE_SIZE: memory={asked}m is more than half of the {there_is}m there are; the cache takes {most}m")
    });
    size.memory = size.memory.min(most);
    Ok((size, warning))
}

/// Bytes of memory that the process may use: the machine's, or what its control group leaves it. Without end where nobody
/// says.
pub(super) fn memory_there_is() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let machine = machine
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().strip_suffix("kB"))
        .and_then(|kib| kib.trim().parse::<u64>().ok())
        .map(|kib| kib.saturating_mul(1024));
    let group = |path| fs::read_to_string(path).ok()?.trim().parse().ok();
    let groups = GROUPS.into_iter().filter_map(group);
    groups.chain(machine).min().unwrap_or(u64::MAX)
}

/// What finds entries takes some of it.
const MEMORY_MIN: u64 = 8 << 20;
/// Less than that keeps next to nothing: each file takes 4 KiB.
const DISK_MIN: u64 = 1 << 20;
/// As a container sees its own: version 2, and 1.
const GROUPS: [&str; 2] = [
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
];

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn no_size_is_more_than_there_is() {
        let read = |text| size(text, 4 * GIB).map(|(size, warning)| (size, warning.is_some()));
        let of = |memory, disk, warned| Ok((CacheSize { memory, disk }, warned));
        assert_eq!(read("memory=2g"), of(2 * GIB, GIB, false));
        for absurd in ["memory=3g", "memory=16777215t"] {
            assert_eq!(read(absurd), of(2 * GIB, GIB, true), "{absurd}");
        }
        // The file system bounds the disk's share.
        assert_eq!(read("16777215t"), of(64 << 20, 16_777_215 << 40, false));
        assert_eq!(read("0"), of(64 << 20, 0, false));
        for (wrong, why) in [
            ("1", "1m of disk at least"),
            ("disk=1023k", "1m of disk at least"),
            ("memory=0", "8m of memory at least"),
            ("memory=off", "8m of memory at least"),
            // 16 EiB.
            ("16777216t", "too large"),
            ("memory=18446744073709551616", "too large"),
            ("-1", "size"),
        ] {
            let told = read(wrong).expect_err(wrong);
            assert!(told.contains(why), "{wrong}: {told}");
        }
        // What the default is, on a machine that is small.
        let (small, warning) = size("disk=1g", 64 << 20).expect("a size");
        assert_eq!((small.memory, warning.is_some()), (32 << 20, true));
    }

    #[test]
    fn there_is_some_memory() {
        assert!((64 << 20..1 << 50).contains(&memory_there_is()));
    }
}
