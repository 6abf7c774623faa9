//! What is in memory and still has to be written: one job for each entry, and it writes the newest.
//!
//! Two jobs for one file would race, and the older notes could be the ones that stay.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::core::Core;
use super::object::Object;

/// By entry, as long as a job for it is in line or at work; so there are no more than the pool takes.
#[derive(Debug, Default)]
pub(super) struct Behind(Mutex<HashMap<u64, Todo>>);

#[derive(Debug)]
struct Todo {
    object: Arc<Object>,
    task: Task,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// There is no file yet.
    Write,
    /// Only notes and head are new.
    Rewrite,
}

impl Core {
    /// False if too many are waiting: then it is in memory only, or on disk as it was.
    pub(super) fn write_later(
        self: &Arc<Self>,
        hash: u64,
        object: &Arc<Object>,
        task: Task,
    ) -> bool {
        let (id, object) = (object.id, Arc::clone(object));
        let mut behind = self.behind.lock();
        if let Some(todo) = behind.get_mut(&id) {
            todo.object = object;
            return true;
        }
        behind.insert(id, Todo { object, task });
        drop(behind);
        let core = Arc::clone(self);
        let queued = self.pool.write(move || core.write_newest(hash, id));
        if !queued {
            self.behind.lock().remove(&id);
        }
        queued
    }

    fn write_newest(&self, hash: u64, id: u64) {
        loop {
            let (object, task) = match self.behind.lock().get_mut(&id) {
                Some(todo) => {
                    let task = std::mem::replace(&mut todo.task, Task::Rewrite);
                    (Arc::clone(&todo.object), task)
                }
                None => return,
            };
            match task {
                Task::Write => self.write_behind(hash, &object),
                Task::Rewrite => self.rewrite(hash, &object),
            }
            let mut behind = self.behind.lock();
            let newest = behind.get(&id);
            if newest.is_none_or(|todo| Arc::ptr_eq(&todo.object, &object)) {
                behind.remove(&id);
                return;
            }
        }
    }
}

impl Behind {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Todo>> {
        // Nothing in here panics half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
