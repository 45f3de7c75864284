//! Threads without the standard library's signal stack: where there is no memory for that, it panics in the new
//! thread, and prun and its guest would go down for the want of a page that nobody needs.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io::Error;

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

#[cfg(test)]
mod tests {
    use super::*;

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
