//! Numbers of the i386 ABI, which x86-64 kernels run too: 32-bit programs make its calls, and `int 0x80` anywhere.
//!
//! The numbers are those of the `syscalls` crate, taken by name. Many of its calls exist more than once: with 16 and
//! with 32 bits for an id, with three kinds of `struct stat`, with 32 and with 64 bits for a time. They are *forms* of one
//! call, which has its name from the 64-bit list.

use super::narrow::{Table, calls, numbers, wide_forms};
use super::{Form, Sysno as S};
use syscalls::x86::Sysno as X;

/// Calls of the same name.
#[rustfmt::skip]
const SAME: &[(u16, S, Form)] = calls! { X:
    restart_syscall exit fork read write open close creat link unlink execve chdir time mknod chmod lchown
    lseek getpid mount setuid getuid ptrace alarm pause utime access sync kill rename mkdir rmdir dup pipe
    times brk setgid getgid geteuid getegid acct umount2 ioctl fcntl setpgid umask chroot ustat dup2 getppid
    getpgrp setsid setreuid setregid sethostname setrlimit getrlimit getrusage gettimeofday settimeofday
    getgroups setgroups select symlink readlink uselib swapon reboot mmap munmap truncate ftruncate fchmod
    fchown getpriority setpriority statfs fstatfs ioperm syslog setitimer getitimer stat lstat fstat iopl
    vhangup wait4 swapoff sysinfo fsync clone setdomainname uname modify_ldt adjtimex mprotect create_module
    init_module delete_module get_kernel_syms quotactl getpgid fchdir sysfs personality afs_syscall setfsuid
    setfsgid getdents flock msync readv writev getsid fdatasync _sysctl mlock munlock mlockall munlockall
    sched_setparam sched_getparam sched_setscheduler sched_getscheduler sched_yield sched_get_priority_max
    sched_get_priority_min sched_rr_get_interval nanosleep mremap setresuid getresuid query_module poll
    nfsservctl setresgid getresgid prctl rt_sigreturn rt_sigaction rt_sigprocmask rt_sigpending
    rt_sigtimedwait rt_sigqueueinfo rt_sigsuspend pread64 pwrite64 chown getcwd capget capset sigaltstack
    sendfile getpmsg putpmsg vfork pivot_root mincore madvise getdents64 gettid readahead setxattr lsetxattr
    fsetxattr getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr removexattr lremovexattr
    fremovexattr tkill futex sched_setaffinity sched_getaffinity set_thread_area get_thread_area io_setup
    io_destroy io_getevents io_submit io_cancel fadvise64 exit_group lookup_dcookie epoll_create epoll_ctl
    epoll_wait remap_file_pages set_tid_address timer_create timer_settime timer_gettime timer_getoverrun
    timer_delete clock_settime clock_gettime clock_getres clock_nanosleep tgkill utimes vserver mbind
    get_mempolicy set_mempolicy mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr
    kexec_load waitid add_key request_key keyctl ioprio_set ioprio_get inotify_init inotify_add_watch
    inotify_rm_watch migrate_pages openat mkdirat mknodat fchownat futimesat unlinkat renameat linkat
    symlinkat readlinkat fchmodat faccessat pselect6 ppoll unshare set_robust_list get_robust_list splice
    sync_file_range tee vmsplice move_pages getcpu epoll_pwait utimensat signalfd timerfd_create eventfd
    fallocate timerfd_settime timerfd_gettime signalfd4 eventfd2 epoll_create1 dup3 pipe2 inotify_init1 preadv
    pwritev rt_tgsigqueueinfo perf_event_open recvmmsg fanotify_init fanotify_mark prlimit64 name_to_handle_at
    open_by_handle_at clock_adjtime syncfs sendmmsg setns process_vm_readv process_vm_writev kcmp finit_module
    sched_setattr sched_getattr renameat2 seccomp getrandom memfd_create bpf execveat socket socketpair bind
    connect listen accept4 getsockopt setsockopt getsockname getpeername sendto sendmsg recvfrom recvmsg
    shutdown userfaultfd membarrier mlock2 copy_file_range preadv2 pwritev2 pkey_mprotect pkey_alloc pkey_free
    statx arch_prctl io_pgetevents rseq semget semctl shmget shmctl shmat shmdt msgget msgsnd msgrcv msgctl
    pidfd_send_signal io_uring_setup io_uring_enter io_uring_register open_tree move_mount fsopen fsconfig
    fsmount fspick pidfd_open clone3 close_range openat2 pidfd_getfd faccessat2 process_madvise epoll_pwait2
    mount_setattr quotactl_fd landlock_create_ruleset landlock_add_rule landlock_restrict_self memfd_secret
    process_mrelease futex_waitv set_mempolicy_home_node cachestat fchmodat2 map_shadow_stack futex_wake
    futex_wait futex_requeue statmount listmount lsm_get_self_attr lsm_set_self_attr lsm_list_modules mseal
    setxattrat getxattrat listxattrat removexattrat open_tree_attr file_getattr file_setattr
};

/// Further forms.
const FORMS: &[(u16, S, Form)] = wide_forms! { X };

/// Those of the first years: number, name of the call, which form.
const OLD_FORMS: &[(u16, S, Form)] = &[
    (X::oldstat as u16, S::stat, Form::Old),
    (X::oldfstat as u16, S::fstat, Form::Old),
    (X::oldlstat as u16, S::lstat, Form::Old),
    (X::readdir as u16, S::getdents, Form::Old),
    (X::umount as u16, S::umount2, Form::Old),
    (X::olduname as u16, S::uname, Form::Old),
    (X::oldolduname as u16, S::uname, Form::Oldest),
];

/// Numbers of calls that take other arguments than elsewhere, or give other structures.
pub const FANOTIFY_MARK: u32 = X::fanotify_mark as u32;
/// See [`FANOTIFY_MARK`].
pub const GETDENTS: u32 = X::getdents as u32;
/// See [`FANOTIFY_MARK`].
pub const READDIR: u32 = X::readdir as u32;
/// Number of mmap2(2), whose last argument counts pages.
pub const MMAP2: u32 = X::mmap2 as u32;
/// Number of socketcall(2), which makes the calls of [`SOCKET_CALLS`].
pub const SOCKETCALL: u32 = X::socketcall as u32;
/// What its first argument means (`<linux/net.h>`), and how many words the second points to.
pub const SOCKET_CALLS: [(S, usize); 20] = [
    (S::socket, 3),
    (S::bind, 3),
    (S::connect, 3),
    (S::listen, 2),
    (S::accept, 3),
    (S::getsockname, 3),
    (S::getpeername, 3),
    (S::socketpair, 4),
    // send(2) and recv(2), which have no address.
    (S::sendto, 4),
    (S::recvfrom, 4),
    (S::sendto, 6),
    (S::recvfrom, 6),
    (S::shutdown, 2),
    (S::setsockopt, 5),
    (S::getsockopt, 5),
    (S::sendmsg, 3),
    (S::recvmsg, 3),
    (S::accept4, 4),
    (S::recvmmsg, 5),
    (S::sendmmsg, 4),
];

/// Numbers of calls that only this ABI has, without a path or anything else that prun has work with.
#[rustfmt::skip]
const OTHERS: &[u16] = numbers! { X:
    waitpid r#break stime stty gtty nice ftime prof signal lock mpx ulimit sigaction sgetmask ssetmask
    sigsuspend sigpending profil idle vm86old ipc sigreturn sigprocmask bdflush _llseek _newselect vm86
    ugetrlimit mmap2 ftruncate64 fcntl64 sendfile64 fstatfs64 fadvise64_64 clock_gettime64
    clock_settime64 clock_adjtime64 clock_getres_time64 clock_nanosleep_time64 timer_gettime64
    timer_settime64 timerfd_gettime64 timerfd_settime64 pselect6_time64 ppoll_time64
    io_pgetevents_time64 mq_timedsend_time64 mq_timedreceive_time64 semtimedop_time64
    rt_sigtimedwait_time64 futex_time64 sched_rr_get_interval_time64
};

pub(super) static TABLE: Table = Table::new(SAME, &[FORMS, OLD_FORMS], &[&[SOCKETCALL as u16], OTHERS]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_the_crate_is_in_a_list_under_its_name() {
        for x in X::iter() {
            assert!(TABLE.knows(x as u32), "{}", x.name());
        }
        for &(n, call, form) in SAME {
            let name = X::new(n.into()).map(|x| x.name());
            assert_eq!((name, form), (Some(call.name()), Form::Plain));
            assert_eq!(TABLE.number(call), u32::from(n));
        }
        let ids = |x: X| x.name().strip_suffix("32").is_some();
        for &(n, call, form) in FORMS {
            let x = X::new(n.into()).expect("a number of the crate");
            assert!(
                !ids(x) || (x.name() == format!("{}32", call.name()) && form == Form::Wide),
                "{}",
                x.name()
            );
        }
    }
}
