use std::future::poll_fn;
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use proptest::prelude::*;

use super::queue::{Front, Job, Queue};
use super::room::Need;
use super::*;

fn bounds(memory: usize, disk: usize) -> Bounds {
    Bounds {
        memory: (memory * BLOCK) as u64,
        disk: (disk * BLOCK) as u64,
    }
}

fn room(memory: usize, disk: usize, directory: &Path) -> Arc<Room> {
    let Bounds { memory, disk } = bounds(memory, disk);
    Arc::new(Room::new(memory, disk, Some(directory.to_owned())))
}

/// Of every body, from number `at` on.
fn bytes(at: u64, count: usize) -> Vec<u8> {
    /// No multiple of anything a block could be mistaken by.
    const PERIOD: usize = 65_521;
    static PATTERN: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let byte = |at: usize| ((at as u64).wrapping_mul(0x9e37_79b9) >> 13) as u8;
        (0..PERIOD).map(byte).collect()
    });
    let start = at as usize % PERIOD;
    let mut bytes = Vec::with_capacity(count + PERIOD);
    bytes.extend_from_slice(&PATTERN[start..]);
    while bytes.len() < count {
        bytes.extend_from_slice(&PATTERN);
    }
    bytes.truncate(count);
    bytes
}

// -- the queue against a model -------------------------------------------------------------------

#[derive(Debug, Clone)]
enum Step {
    Push(usize),
    Take(usize),
    /// Begins a job.
    Write,
    /// Ends it.
    Written(bool),
    /// The front of the file comes into memory.
    Read,
    /// Others take memory, or give it back.
    Others(u64),
    /// Others take disk, or give it back.
    OthersOnDisk(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (1..3 * BLOCK).prop_map(Step::Push),
        6 => (1..3 * BLOCK).prop_map(Step::Take),
        6 => Just(Step::Write),
        6 => prop::bool::weighted(0.97).prop_map(Step::Written),
        2 => Just(Step::Read),
        1 => (0..40_u64).prop_map(Step::Others),
        1 => (0..20_u64).prop_map(Step::OthersOnDisk),
    ];
    prop::collection::vec(step, 1..300)
}

/// Slots as a disk has them.
#[derive(Default)]
struct FakeFile(Vec<u8>);

impl FakeFile {
    fn write(&mut self, job: &Job) {
        for (at, bytes) in job.pieces() {
            let end = at as usize + bytes.len();
            self.0.resize(self.0.len().max(end), 0);
            self.0[at as usize..end].copy_from_slice(bytes);
        }
    }
}

fn play(steps: &[Step], bounds: Bounds, need: Need) -> Result<(), TestCaseError> {
    let home = Path::new("/nonexistent");
    let room = room(32, 16, home);
    let most = room_memory(&room);
    let mut queue = Queue::new(&room, bounds, need, None);
    let mut taken = 0;
    let (mut file, mut job) = (FakeFile::default(), None::<Job>);
    let (mut pushed, mut others, mut others_on_disk) = (0, None, None);
    let mut forced = 0;
    for step in steps {
        match step {
            Step::Push(count) => {
                let mut count = *count;
                while count > 0 && queue.make_room() {
                    let (tail, space) = queue.tail().unwrap();
                    prop_assert!(space > 0);
                    let new = bytes(pushed, space.min(count));
                    tail.extend_from_slice(&new);
                    queue.grew(new.len());
                    pushed += new.len() as u64;
                    count -= new.len();
                }
            }
            Step::Take(count) => {
                let mut count = *count;
                while count > 0 {
                    let got = match queue.front() {
                        Front::Nothing => {
                            prop_assert_eq!(taken, pushed);
                            break;
                        }
                        Front::Busy => {
                            prop_assert!(job.is_some());
                            break;
                        }
                        Front::Bytes(bytes) => bytes[..bytes.len().min(count)].to_vec(),
                        Front::File { at, len } => file.0[at as usize..][..len.min(count)].to_vec(),
                    };
                    prop_assert!(!got.is_empty());
                    prop_assert!(got == bytes(taken, got.len()), "other bytes");
                    taken += got.len() as u64;
                    queue.take(got.len());
                    count -= got.len();
                }
            }
            Step::Write => {
                if job.is_none() {
                    job = queue.next_job();
                    if let Some(job) = &job {
                        prop_assert!(job.pieces().count() > 0);
                    }
                } else {
                    prop_assert!(queue.next_job().is_none());
                }
            }
            Step::Written(done) => {
                if let Some(job) = job.take() {
                    if *done {
                        file.write(&job);
                    }
                    queue.written(job, *done);
                }
            }
            Step::Read => {
                if let Front::File { at, len } = queue.front() {
                    // As it is read: from the beginning of what is left.
                    let bytes = file.0[at as usize..][..len].to_vec();
                    forced = forced.max(len as u64);
                    queue.was_read(bytes);
                }
            }
            Step::Others(blocks) => {
                others = None;
                others = room
                    .grant(blocks * BLOCK as u64, 0, Need::Needed)
                    .or(others);
            }
            Step::OthersOnDisk(blocks) => {
                drop(others_on_disk.take());
                let charge = DiskCharge::new(&room);
                charge.grow(blocks * BLOCK as u64);
                others_on_disk = Some(charge);
            }
        }
        prop_assert_eq!(queue.len(), pushed - taken);
        prop_assert!(room.memory() <= most + forced, "{}", room.memory());
        prop_assert!(file.0.len() as u64 <= bounds.disk.next_multiple_of(BLOCK as u64));
    }
    // What is there can all be had, whatever was before.
    if let Some(job) = job.take() {
        file.write(&job);
        queue.written(job, true);
    }
    let mut rest = Vec::new();
    loop {
        let got = match queue.front() {
            Front::Nothing => break,
            Front::Busy => return Err(TestCaseError::fail("busy without a job")),
            Front::Bytes(bytes) => bytes.to_vec(),
            Front::File { at, len } => file.0[at as usize..][..len].to_vec(),
        };
        queue.take(got.len());
        rest.extend(got);
    }
    let left = (pushed - taken) as usize;
    prop_assert!(rest == bytes(taken, left), "other bytes at the end");
    prop_assert!(queue.is_file_idle());
    let held = others.is_some();
    drop((queue, others, others_on_disk));
    prop_assert_eq!((room.memory(), room.disk()), (0, 0), "{}", held);
    Ok(())
}

fn room_memory(room: &Arc<Room>) -> u64 {
    let all = room.grant(32 * BLOCK as u64, 0, Need::Needed).unwrap();
    let most = room.memory();
    drop(all);
    most
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_happens_the_same_bytes_come_out(
        steps in steps(),
        memory in 1..12_usize,
        disk in 0..12_usize,
        needed: bool,
    ) {
        let need = if needed { Need::Needed } else { Need::Wanted };
        play(&steps, bounds(memory, disk), need)?;
    }
}

// -- with files ----------------------------------------------------------------------------------

fn nothing(_: &mut Vec<u8>, _: usize) {}

/// Puts in what there is room for right now, and says how much that was.
fn fill(spool: &mut Spool, cx: &mut Context<'_>, from: u64, most: usize) -> usize {
    let mut count = 0;
    while count < most {
        let Some((tail, space)) = spool.room(cx) else {
            break;
        };
        let new = bytes(from + count as u64, space.min(most - count));
        tail.extend_from_slice(&new);
        spool.grew(new.len());
        count += new.len();
    }
    count
}

/// As much as there is room for, also once what is written is written.
async fn fill_up(spool: &mut Spool, from: u64, most: usize) -> usize {
    let mut count = 0;
    poll_fn(|cx| {
        count += fill(spool, cx, from + count as u64, most - count);
        match spool.writing {
            Some(_) if count < most => Poll::Pending,
            _ => Poll::Ready(()),
        }
    })
    .await;
    count
}

async fn take(spool: &mut Spool, most: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while out.len() < most {
        let most = most - out.len();
        let count = poll_fn(|cx| spool.poll_take(cx, &mut out, most, nothing)).await;
        if count.unwrap() == 0 {
            break;
        }
    }
    out
}

/// Files are closed by others.
async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn memory_then_disk_then_no_more() {
    let home = tempfile::tempdir().unwrap();
    let room = room(100, 100, home.path());
    let mut spool = Spool::new(&room, bounds(4, 10));
    let came = fill_up(&mut spool, 0, usize::MAX).await;
    assert_eq!(came, 14 * BLOCK, "held once memory and disk are full");
    assert_eq!(spool.len(), came as u64);
    assert_eq!(room.disk(), 10 * BLOCK as u64);
    assert_eq!(home.path().read_dir().unwrap().count(), 0, "it has no name");
    // Who takes something makes room, of which there is as much as before in the end.
    let mut out = take(&mut spool, 3 * BLOCK + 5).await;
    let more = fill_up(&mut spool, came as u64, usize::MAX).await;
    assert!(more >= 2 * BLOCK, "{more}");
    out.extend(take(&mut spool, usize::MAX).await);
    assert!(out == bytes(0, came + more));
    until(|| room.disk() == 0).await;
    assert_eq!(room.memory(), 0);
    // Another round, in another file.
    let came = fill_up(&mut spool, 0, usize::MAX).await;
    assert_eq!(came, 14 * BLOCK);
    drop(spool);
    until(|| room.disk() == 0 && room.memory() == 0).await;
}

#[tokio::test]
async fn a_body_that_fits_into_memory_never_sees_the_disk() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("made");
    let room = room(100, 100, &directory);
    let mut spool = Spool::new(&room, bounds(4, 10));
    assert_eq!(fill_up(&mut spool, 0, 4 * BLOCK).await, 4 * BLOCK);
    assert!(!directory.exists());
    assert!(take(&mut spool, usize::MAX).await == bytes(0, 4 * BLOCK));
}

#[tokio::test]
async fn without_a_disk_that_works_there_is_memory() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for room in [
        room(100, 100, file.path()),
        Arc::new(Room::new(1 << 30, 0, None)),
    ] {
        let mut spool = Spool::new(&room, bounds(4, 10));
        assert_eq!(fill_up(&mut spool, 0, usize::MAX).await, 4 * BLOCK);
        let out = take(&mut spool, BLOCK).await;
        assert_eq!(out.len(), BLOCK);
        assert_eq!(
            fill_up(&mut spool, 4 * BLOCK as u64, usize::MAX).await,
            BLOCK
        );
        assert!(take(&mut spool, usize::MAX).await == bytes(BLOCK as u64, 4 * BLOCK));
        drop(spool);
        until(|| room.disk() == 0 && room.memory() == 0).await;
    }
}

#[tokio::test]
async fn what_all_hold_is_bounded_and_everybody_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let room = room(64, 1000, home.path());
    let mut spools: Vec<Spool> = (0..200).map(|_| Spool::new(&room, bounds(16, 8))).collect();
    let mut came = Vec::new();
    for spool in &mut spools {
        came.push(fill_up(spool, 0, usize::MAX).await);
    }
    assert!(room.memory() <= 48 * BLOCK as u64, "{}", room.memory());
    assert!(room.disk() <= 1000 * BLOCK as u64);
    let without = came.iter().filter(|came| **came == 0).count();
    assert!(without > 0, "those read as fast as their clients");
    let waker = Waker::noop();
    for (spool, came) in spools.iter_mut().zip(came) {
        assert!(take(spool, usize::MAX).await == bytes(0, came));
        assert!(spool.is_empty());
        // No memory is held by one that is empty.
        let mut cx = Context::from_waker(waker);
        assert!(
            spool
                .poll_take(&mut cx, &mut Vec::new(), 1, nothing)
                .is_ready()
        );
    }
    until(|| room.disk() == 0).await;
    assert_eq!(room.memory(), 0);
}

#[tokio::test]
async fn the_reader_is_told_how_much_comes_before_it_does() {
    let home = tempfile::tempdir().unwrap();
    let room = room(100, 100, home.path());
    let mut spool = Spool::new(&room, bounds(1, 10));
    let came = fill_up(&mut spool, 0, 5 * BLOCK).await;
    let (mut out, mut plain) = (Vec::new(), Vec::new());
    loop {
        let before = |out: &mut Vec<u8>, count: usize| out.extend((count as u32).to_be_bytes());
        let start = out.len();
        let took = poll_fn(|cx| spool.poll_take(cx, &mut out, 50_000, before));
        let count = took.await.unwrap();
        if count == 0 {
            break;
        }
        assert_eq!(out[start..start + 4], (count as u32).to_be_bytes());
        plain.extend_from_slice(&out[start + 4..]);
    }
    assert!(plain == bytes(0, came));
}

/// What the kernel does not have in memory comes by way of another thread.
#[tokio::test]
async fn what_has_left_memory_is_read_from_disk() {
    let home = tempfile::tempdir_in(".").unwrap();
    let room = room(100, 100, home.path());
    let mut spool = Spool::new(&room, bounds(1, 20));
    let came = fill_up(&mut spool, 0, usize::MAX).await;
    let mut out = take(&mut spool, BLOCK / 2).await;
    if let Some(file) = &spool.file {
        file.file.sync_all().unwrap();
        rustix::fs::fadvise(&file.file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }
    out.extend(take(&mut spool, usize::MAX).await);
    assert!(out == bytes(0, came));
}

// -- uploads -------------------------------------------------------------------------------------

async fn take_in(
    room: &Arc<Room>,
    bounds: Bounds,
    len: usize,
    known: bool,
) -> Result<Upload, NoRoom> {
    let mut intake = Intake::new(room, bounds, known.then_some(len as u64));
    while (intake.len() as usize) < len {
        poll_fn(|cx| intake.poll_room(cx)).await?;
        let (at, left) = (intake.len(), len - intake.len() as usize);
        let (tail, space) = intake.tail().unwrap();
        let new = bytes(at, space.min(left).min(10_000));
        tail.extend_from_slice(&new);
        intake.grew(new.len());
    }
    poll_fn(|cx| intake.poll_end(cx)).await;
    Ok(intake.into_upload())
}

async fn all_of(upload: &Rc<Upload>, most: usize) -> Vec<u8> {
    let (mut reader, mut out) = (upload.reader(), Vec::new());
    loop {
        let count = poll_fn(|cx| reader.poll_read(cx, &mut out, most))
            .await
            .unwrap();
        if count == 0 {
            assert_eq!(reader.left(), 0);
            return out;
        }
        assert!(count <= most);
    }
}

#[tokio::test]
async fn an_upload_can_be_read_again_and_again() {
    let home = tempfile::tempdir_in(".").unwrap();
    let room = room(100, 100, home.path());
    for len in [
        0,
        1,
        8 * 1024,
        8 * 1024 + 1,
        BLOCK,
        3 * BLOCK + 7,
        11 * BLOCK - 1,
    ] {
        for known in [true, false] {
            let upload = Rc::new(take_in(&room, bounds(2, 10), len, known).await.unwrap());
            assert_eq!(upload.len(), len as u64);
            assert!(all_of(&upload, usize::MAX).await == bytes(0, len));
            assert!(all_of(&upload, 7777).await == bytes(0, len));
            if let Some(file) = &upload.file {
                file.file.sync_all().unwrap();
                rustix::fs::fadvise(&file.file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
            }
            assert_eq!(upload.file.is_some(), len > 2 * BLOCK);
            assert!(all_of(&upload, 5000).await == bytes(0, len));
            drop(upload);
            until(|| room.disk() == 0).await;
            assert_eq!(room.memory(), 0);
        }
    }
}

#[tokio::test]
async fn an_upload_has_bounds_of_its_own_and_those_of_all() {
    let home = tempfile::tempdir().unwrap();
    let roomy = room(100, 100, home.path());
    for disk in [0, 3] {
        let most = (1 + disk) * BLOCK;
        assert!(take_in(&roomy, bounds(1, disk), most, false).await.is_ok());
        let refused = take_in(&roomy, bounds(1, disk), most + 1, false).await;
        assert_eq!(refused.unwrap_err(), NoRoom::Own);
    }
    let narrow = room(8, 4, home.path());
    let refused = take_in(&narrow, bounds(2, 100), 50 * BLOCK, false).await;
    assert_eq!(refused.unwrap_err(), NoRoom::All);
    until(|| narrow.disk() == 0).await;
    assert_eq!(narrow.memory(), 0);
    // Small ones take little.
    let mut many = Vec::new();
    for _ in 0..500 {
        many.push(take_in(&narrow, bounds(2, 100), 1000, true).await.unwrap());
    }
    assert_eq!(narrow.memory(), 500_000);
    let mut waiting = pin!(take_in(&narrow, bounds(2, 100), BLOCK, true));
    let refused = poll_fn(|cx| waiting.as_mut().poll(cx)).await;
    assert_eq!(refused.unwrap_err(), NoRoom::All);
}
