//! Threads without the standard library's signal stack: where there is no memory for that, it panics in the new
//! thread, and prun and its guest would go down for the want of a page that nobody needs.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io::Error;
use std::time::Duration;

type Work = Box<dyn FnOnce() + Send>;

extern "C" fn begin(work: *mut c_void) -> *mut c_void {
    // SAFETY: made by `Box::into_raw` in `spawn`, which has given it away.
    let work: Box<Work> = unsafe { Box::from_raw(work.cast()) };
    work();
    std::ptr::null_mut()
}

/// Starts a thread that nobody waits for, with a stack of so many bytes.
///
/// # Errors
/// `EAGAIN`, where the host has no memory or no room for another task.
pub fn spawn(stack: usize, work: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    let work: *mut Work = Box::into_raw(Box::new(Box::new(work)));
    // SAFETY: the attributes are initialised before they are used; `begin` takes what `work` points to, once.
    let failed = unsafe {
        let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
        let mut id: libc::pthread_t = std::mem::zeroed();
        match libc::pthread_attr_init(&raw mut attributes) {
            0 => {
                libc::pthread_attr_setstacksize(&raw mut attributes, stack);
                libc::pthread_attr_setdetachstate(&raw mut attributes, libc::PTHREAD_CREATE_DETACHED);
                let failed = libc::pthread_create(&raw mut id, &raw const attributes, begin, work.cast());
                libc::pthread_attr_destroy(&raw mut attributes);
                failed
            }
            failed => failed,
        }
    };
    if failed != 0 {
        // SAFETY: no thread has begun, so the work is still ours.
        drop(unsafe { Box::from_raw(work) });
        return Err(Error::from_raw_os_error(failed));
    }
    Ok(())
}

/// `CPUCLOCK_SCHED` and `CPUCLOCK_PERTHREAD_MASK` of `<linux/posix-timers.h>`: with these a thread's number names its clock.
const CLOCK_OF_THREAD: i32 = 2 | 4;

/// How long the thread `id` of this process has had a CPU; `None` when it has not begun or is gone.
pub fn cpu_time(id: i32) -> Option<Duration> {
    // SAFETY: all-zero bytes are a valid time, which is writable.
    unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        // 0 would be whoever asks.
        let known = id > 0 && libc::clock_gettime(!id << 3 | CLOCK_OF_THREAD, &raw mut time) == 0;
        known.then(|| Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_has_a_clock() {
        let me = nix::unistd::gettid().as_raw();
        let begun = cpu_time(me).expect("it runs");
        while cpu_time(me).expect("it runs") - begun < Duration::from_millis(5) {}
        let (tell, hear) = std::sync::mpsc::channel();
        spawn(1 << 17, move || tell.send(nix::unistd::gettid().as_raw()).expect("it is heard")).unwrap();
        let other = hear.recv().unwrap();
        assert!(cpu_time(other).is_none_or(|time| time < Duration::from_millis(5)), "not this one's");
        assert_eq!((cpu_time(0), cpu_time(1)), (None, None), "nobody, and another process's");
    }

    #[test]
    fn a_thread_runs_or_is_refused() {
        let (tell, hear) = std::sync::mpsc::channel();
        spawn(1 << 17, move || tell.send(1).expect("it is heard")).unwrap();
        assert_eq!(hear.recv().unwrap(), 1);
        let (tell, hear) = std::sync::mpsc::channel::<i32>();
        assert!(spawn(1 << 50, move || tell.send(2).expect("it is heard")).is_err());
        assert!(hear.recv().is_err(), "what was to be done is dropped");
    }
}
