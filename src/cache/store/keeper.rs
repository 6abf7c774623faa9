//! A thread beside the workers: takes the directory, looks through it once, and lets go of what nobody asks for.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::core::{Core, Disk, Fault, UNIT, on_disk};
use super::file::{is_ours, read_preface};
use super::format::{STALE, Slot};
use super::fs::{Directory, Found};
use super::shard::Debris;
use super::stats::Cause;

/// Ends within a second of the store.
pub(super) fn spawn(core: &Arc<Core>, directory: Option<PathBuf>) -> io::Result<()> {
    let core = Arc::downgrade(core);
    let keeper = thread::Builder::new().name("wharf-cache".to_owned());
    keeper.spawn(move || run(&core, directory.as_deref()))?;
    Ok(())
}

fn run(core: &Weak<Core>, directory: Option<&Path>) {
    let mut told = false;
    let mut tick = 0_u32;
    while let Some(core) = core.upgrade() {
        if let Some(directory) = directory
            && core.disk.get().is_none()
        {
            told |= !take(&core, directory, told);
        }
        if core.disk.get().is_some() && !core.is_scanned() {
            core.scan(true);
        }
        if tick.is_multiple_of(EXPIRE) {
            core.expire(Instant::now());
        }
        drop(core);
        tick = tick.wrapping_add(1);
        thread::sleep(TICK);
    }
}

/// The disk tier begins once the directory is ours alone.
pub(super) fn take(core: &Core, directory: &Path, told: bool) -> bool {
    let minutes = SystemTime::now().duration_since(UNIX_EPOCH);
    let minutes = minutes.map_or(0, |passed| passed.as_secs() / 60);
    match Directory::open(directory, minutes) {
        Ok((files, first_id)) => {
            core.join(Box::new(files), first_id);
            return true;
        }
        Err(_) if told => {}
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            let directory = directory.display();
            tracing::info!(%directory, "another process has the cache's directory; until it ends, the cache is in memory only");
        }
        Err(error) => {
            let directory = directory.display();
            tracing::error!(%directory, %error, "the cache's directory cannot be used; the cache is in memory only");
        }
    }
    false
}

impl Core {
    pub(super) fn is_scanned(&self) -> bool {
        let purges = |disk: &Disk| {
            disk.purges
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .is_none()
        };
        self.disk.get().is_some_and(purges)
    }

    /// Enters what earlier processes have left in the directory, a bucket at a time; at half speed if `paced`.
    pub(super) fn scan(self: &Arc<Self>, paced: bool) {
        let Some(disk) = self.disk.get() else {
            return;
        };
        let (buckets, foreign) = disk.fs.buckets().unwrap_or_else(|error| {
            self.fault(Fault::Read, 0, &error);
            (Vec::new(), false)
        });
        if foreign {
            self.fault(Fault::Foreign, 0, &"beside its buckets");
        }
        for bucket in buckets {
            let began = Instant::now();
            self.scan_bucket(disk, bucket);
            let took = began.elapsed();
            if paced && took > Duration::from_millis(1) {
                thread::sleep(took);
            }
            if paced && Arc::strong_count(self) == 1 {
                return; // The store has gone.
            }
        }
        *disk.purges.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn scan_bucket(&self, disk: &Disk, bucket: u64) {
        let mut whole = Vec::new();
        let mut unfinished = Vec::new();
        let mut foreign = false;
        let listed = disk.fs.list(bucket, &mut |found| match found {
            Found::Whole(id) if id < disk.first_id => whole.push(id),
            Found::Unfinished(id) if id < disk.first_id => unfinished.push(id),
            Found::Foreign => foreign = true,
            _ => {}
        });
        if let Err(error) = listed {
            self.fault(Fault::Read, bucket, &error);
        }
        if foreign {
            self.fault(
                Fault::Foreign,
                bucket,
                &format_args!("in bucket {bucket:03x}"),
            );
        }
        for id in unfinished {
            if is_ours(disk, id, true) {
                let _ = disk.fs.remove_unfinished(id);
            }
        }
        for id in whole {
            match self.enter(disk, id) {
                Ok(true) => {}
                Ok(false) => {
                    let _ = disk.fs.remove(id);
                }
                Err(error) if is_ours(disk, id, false) => {
                    self.fault(Fault::Broken, id, &error);
                    let _ = disk.fs.remove(id);
                }
                Err(error) => self.fault(Fault::Foreign, id, &error),
            }
        }
    }

    /// Makes an entry of a file; false if the file is not wanted.
    fn enter(&self, disk: &Disk, id: u64) -> io::Result<bool> {
        let file = disk.fs.open(id)?;
        let (header, preface) = read_preface(disk, &file, id)?;
        let ident = self.ident(&header, &preface)?;
        let at = header.slot_at(0) as usize;
        Slot::latest(&preface[at..], &header).ok_or_else(super::file::damaged)?;
        let hash = self.index.hash(&ident.key);
        let used = self.seconds(Instant::now());
        let Some(mut new) = self.index.entry(hash, id, &ident, used) else {
            return Ok(false);
        };
        let bytes = on_disk(header.file_len());
        let weight = u32::try_from(bytes / UNIT).map_err(|_| super::file::damaged())?;
        new.disk = Some(weight);
        new.found = true;
        new.stale = header.marks & STALE != 0;
        if !ident.owner.take_disk(bytes) {
            return Ok(false);
        }
        if !disk.account.take(bytes) {
            ident.owner.give_disk(bytes);
            return Ok(false);
        }
        let mut debris = Debris::default();
        let purges = disk.purges.lock().unwrap_or_else(PoisonError::into_inner);
        let purged = purges
            .as_ref()
            .is_some_and(|purges| self.is_purged(purges, &new));
        disk.entries
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let entered = !purged && self.index.insert(new, &mut debris);
        drop(purges);
        if !entered {
            disk.entries
                .fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
            disk.account.give(bytes);
            ident.owner.give_disk(bytes);
        }
        self.discard_here(debris);
        Ok(entered)
    }

    /// Removes what nobody has asked for as long as its owner says, and what is above a quota that has become smaller.
    pub(super) fn expire(&self, now: Instant) {
        let now = self.seconds(now);
        let owners = self.index.owners.all();
        let inactive: HashMap<u16, u32> = owners
            .iter()
            .map(|owner| (owner.id(), owner.inactive()))
            .collect();
        let chosen = |slot: &super::shard::Slot, owner: u16, _: &[u32]| {
            let inactive = inactive.get(&owner).copied().unwrap_or(u32::MAX);
            now.saturating_sub(slot.used) >= inactive
        };
        self.index.sweep(Cause::Inactive, &chosen, &mut |debris| {
            self.discard_here(debris);
        });
        for owner in owners {
            let mut debris = Debris::default();
            while owner.used().1 > owner.quota()
                && self
                    .index
                    .evict_disk(Some(&owner), Cause::Quota, &mut debris)
            {
                self.discard_here(std::mem::take(&mut debris));
            }
            while owner.used().0 > owner.quota() && self.index.evict_memory(&owner, &mut debris) {
                self.discard_here(std::mem::take(&mut debris));
            }
        }
    }
}

const TICK: Duration = Duration::from_secs(1);
/// Ticks between looks for what nobody asks for.
const EXPIRE: u32 = 10;
