//! Waiting that gives up when the build is cancelled.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::cancel::Cancel;
use crate::error::{BuildError, Result};

/// How long a waiter sleeps before it looks whether the build is still wanted; what it waits for wakes it at once.
const LOOK_EVERY: Duration = Duration::from_millis(50);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until `ready` gives something.
fn wait<T, R>(
    mutex: &Mutex<T>,
    changed: &Condvar,
    cancel: &Cancel,
    mut ready: impl FnMut(&mut T) -> Option<R>,
) -> Result<R> {
    let mut guard = lock(mutex);
    loop {
        if let Some(result) = ready(&mut guard) {
            return Ok(result);
        }
        if cancel.is_cancelled() {
            return Err(BuildError::cancelled());
        }
        guard = changed.wait_timeout(guard, LOOK_EVERY).unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// A value that one thread sets and others wait for.
#[derive(Debug)]
pub(crate) struct Cell<T> {
    value: Mutex<Option<T>>,
    changed: Condvar,
}

impl<T> Default for Cell<T> {
    fn default() -> Self {
        Self { value: Mutex::new(None), changed: Condvar::new() }
    }
}

impl<T: Clone> Cell<T> {
    pub(crate) fn set(&self, value: T) {
        *lock(&self.value) = Some(value);
        self.changed.notify_all();
    }

    /// Waits for the value. One that will never come, because its thread failed, is known by the cancellation.
    pub(crate) fn wait(&self, cancel: &Cancel) -> Result<T> {
        wait(&self.value, &self.changed, cancel, |value| value.clone())
    }

    pub(crate) fn get(&self) -> Option<T> {
        lock(&self.value).clone()
    }
}

/// A bounded number of permits.
#[derive(Debug)]
pub(crate) struct Permits {
    free: Mutex<usize>,
    changed: Condvar,
}

impl Permits {
    pub(crate) fn new(count: usize) -> Self {
        Self { free: Mutex::new(count.max(1)), changed: Condvar::new() }
    }

    pub(crate) fn acquire(&self, cancel: &Cancel) -> Result<Permit<'_>> {
        wait(&self.free, &self.changed, cancel, |free| {
            *free = free.checked_sub(1)?;
            Some(())
        })?;
        Ok(Permit(self))
    }
}

/// A permit, for as long as it lives.
pub(crate) struct Permit<'a>(&'a Permits);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        *lock(&self.0.free) += 1;
        self.0.changed.notify_one();
    }
}

/// Keys that are being worked on, by any build: whoever else comes to one waits, and finds the result.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    busy: Mutex<HashSet<String>>,
    changed: Condvar,
}

impl Keys {
    pub(crate) fn begin(&self, key: &str, cancel: &Cancel) -> Result<BusyKey<'_>> {
        wait(&self.busy, &self.changed, cancel, |busy| busy.insert(key.to_owned()).then_some(()))?;
        Ok(BusyKey { keys: self, key: key.to_owned() })
    }
}

/// A key that is being worked on, for as long as the value lives.
pub(crate) struct BusyKey<'a> {
    keys: &'a Keys,
    key: String,
}

impl Drop for BusyKey<'_> {
    fn drop(&mut self) {
        lock(&self.keys.busy).remove(&self.key);
        self.keys.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_key_has_one_worker_at_a_time() {
        let (keys, cancel, working) = (Keys::default(), Cancel::default(), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let _busy = keys.begin("key", &cancel).unwrap();
                    assert_eq!(working.fetch_add(1, Ordering::SeqCst), 0);
                    working.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        cancel.cancel();
        let _other = keys.begin("other", &cancel).unwrap();
        assert!(keys.begin("other", &cancel).is_err(), "a cancelled build does not wait");
    }

    #[test]
    fn permits_are_bounded_and_come_back() {
        let (permits, cancel) = (Permits::new(1), Cancel::default());
        drop(permits.acquire(&cancel).unwrap());
        let _held = permits.acquire(&cancel).unwrap();
        cancel.cancel();
        assert!(permits.acquire(&cancel).is_err());
    }
}
