//! Whether the data directory outlives the container.

use std::fs;
use std::path::Path;

/// What is to be said of a directory that goes with its container, or stays under a name nobody knows. A
/// new one starts without certificates then, and authorities limit how often they are issued again.
pub(super) fn warning(data: &Path) -> Option<String> {
    let in_container = ["/.dockerenv", "/run/.containerenv"].map(|path| Path::new(path).exists());
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    judge(&mounts, data, in_container.contains(&true))
}

/// `mounts` are in the words of proc(5): fourth the root within the file system, fifth the mount point.
fn judge(mounts: &str, data: &Path, in_container: bool) -> Option<String> {
    if !in_container {
        return None;
    }
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(3);
        let (root, point) = (words.next()?, words.next()?);
        data.starts_with(point).then_some((root, point))
    });
    let (root, point) = mounts.max_by_key(|(_, point)| point.len())?;
    let what = if point == "/" {
        "is not on a volume: what is kept there goes with the container"
    } else if is_anonymous(root) {
        "is on a volume without a name: another container, and in the end this one, will not find it"
    } else {
        return None;
    };
    Some(format!(
        "{} {what}; mount a volume there, or all certificates are ordered again, which authorities limit",
        data.display()
    ))
}

/// `/var/lib/docker/volumes/<64 hex digits>/_data`: what `VOLUME` in an image makes.
fn is_anonymous(root: &str) -> bool {
    let name = root
        .strip_suffix("/_data")
        .and_then(|rest| rest.rsplit('/').next());
    name.is_some_and(|name| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_volume_with_a_name_outlives_the_container() {
        let line =
            |root: &str, point: &str| format!("40 30 254:1 {root} {point} rw - ext4 /dev/x rw");
        let volume = |name: &str| line(&format!("/var/lib/docker/volumes/{name}/_data"), "/data");
        let root = line("/", "/");
        let anonymous = volume(&"0a".repeat(32));
        for (mounts, told) in [
            (vec![&root], Some("is not on a volume")),
            (
                vec![&root, &anonymous],
                Some("is on a volume without a name"),
            ),
            (vec![&root, &volume("wharf_data")], None),
            (vec![&root, &line("/srv/wharf", "/data")], None),
            (vec![&root, &line("/srv", "/data/other")], Some("is not on")),
        ] {
            let mounts = mounts.into_iter().map(|line| line.clone() + "\n");
            let mounts: String = mounts.collect();
            let warning = judge(&mounts, Path::new("/data"), true);
            let as_told = warning
                .as_deref()
                .map(|text| text.contains(told.unwrap_or("?")));
            assert_eq!(as_told, told.map(|_| true), "{mounts}");
            assert_eq!(judge(&mounts, Path::new("/data"), false), None);
        }
        assert_eq!(judge("", Path::new("/data"), true), None);
    }
}
