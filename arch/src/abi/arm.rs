//! Numbers of the 32-bit ABI of ARM (EABI), which aarch64 kernels run where the CPU does: `arch/arm64/tools/syscall_32.tbl`,
//! before Linux 6.11 `arch/arm64/include/asm/unistd32.h`.
//!
//! As for i386 ([`super::i386`]) they are those of the `syscalls` crate, by name, and a call may have several forms. What
//! only the ABI before this one had (oldstat, readdir, socketcall, mmap in one structure, …) is not there. 64-bit arguments
//! are in registers of an even number and the next.

use super::narrow::{Table, calls, numbers, wide_forms};
use super::{Form, NO_NUMBER, Sysno as S};
use syscalls::arm::Sysno as A;

/// Calls of the same name.
#[rustfmt::skip]
const SAME: &[(u16, S, Form)] = calls! { A:
    restart_syscall exit fork read write open close creat link unlink execve chdir mknod chmod lchown lseek
    getpid mount setuid getuid ptrace pause access sync kill rename mkdir rmdir dup pipe times brk setgid
    getgid geteuid getegid acct umount2 ioctl fcntl setpgid umask chroot ustat dup2 getppid getpgrp setsid
    setreuid setregid sethostname setrlimit getrusage gettimeofday settimeofday getgroups setgroups symlink
    readlink uselib swapon reboot munmap truncate ftruncate fchmod fchown getpriority setpriority statfs
    fstatfs syslog setitimer getitimer stat lstat fstat vhangup wait4 swapoff sysinfo fsync clone
    setdomainname uname adjtimex mprotect init_module delete_module quotactl getpgid fchdir sysfs
    personality setfsuid setfsgid getdents flock msync readv writev getsid fdatasync _sysctl mlock munlock
    mlockall munlockall sched_setparam sched_getparam sched_setscheduler sched_getscheduler sched_yield
    sched_get_priority_max sched_get_priority_min sched_rr_get_interval nanosleep mremap setresuid getresuid
    poll nfsservctl setresgid getresgid prctl rt_sigreturn rt_sigaction rt_sigprocmask rt_sigpending
    rt_sigtimedwait rt_sigqueueinfo rt_sigsuspend pread64 pwrite64 chown getcwd capget capset sigaltstack
    sendfile vfork getdents64 pivot_root mincore madvise gettid readahead setxattr lsetxattr fsetxattr
    getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr removexattr lremovexattr fremovexattr tkill
    futex sched_setaffinity sched_getaffinity io_setup io_destroy io_getevents io_submit io_cancel
    exit_group lookup_dcookie epoll_create epoll_ctl epoll_wait remap_file_pages set_tid_address
    timer_create timer_settime timer_gettime timer_getoverrun timer_delete clock_settime clock_gettime
    clock_getres clock_nanosleep tgkill utimes mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify
    mq_getsetattr waitid socket bind connect listen accept getsockname getpeername socketpair sendto
    recvfrom shutdown setsockopt getsockopt sendmsg recvmsg semop semget semctl msgsnd msgrcv msgget msgctl
    shmat shmdt shmget shmctl add_key request_key keyctl semtimedop vserver ioprio_set ioprio_get
    inotify_init inotify_add_watch inotify_rm_watch mbind get_mempolicy set_mempolicy openat mkdirat mknodat
    fchownat futimesat unlinkat renameat linkat symlinkat readlinkat fchmodat faccessat pselect6 ppoll
    unshare set_robust_list get_robust_list splice tee vmsplice move_pages getcpu epoll_pwait kexec_load
    utimensat signalfd timerfd_create eventfd fallocate timerfd_settime timerfd_gettime signalfd4 eventfd2
    epoll_create1 dup3 pipe2 inotify_init1 preadv pwritev rt_tgsigqueueinfo perf_event_open recvmmsg accept4
    fanotify_init fanotify_mark prlimit64 name_to_handle_at open_by_handle_at clock_adjtime syncfs sendmmsg
    setns process_vm_readv process_vm_writev kcmp finit_module sched_setattr sched_getattr renameat2 seccomp
    getrandom memfd_create bpf execveat userfaultfd membarrier mlock2 copy_file_range preadv2 pwritev2
    pkey_mprotect pkey_alloc pkey_free statx rseq io_pgetevents migrate_pages kexec_file_load
    pidfd_send_signal io_uring_setup io_uring_enter io_uring_register open_tree move_mount fsopen fsconfig
    fsmount fspick pidfd_open clone3 close_range openat2 pidfd_getfd faccessat2 process_madvise epoll_pwait2
    mount_setattr quotactl_fd landlock_create_ruleset landlock_add_rule landlock_restrict_self
    process_mrelease futex_waitv set_mempolicy_home_node cachestat fchmodat2 map_shadow_stack futex_wake
    futex_wait futex_requeue statmount listmount lsm_get_self_attr lsm_set_self_attr lsm_list_modules mseal
    setxattrat getxattrat listxattrat removexattrat open_tree_attr file_getattr file_setattr
};

/// Further forms.
const FORMS: &[(u16, S, Form)] = wide_forms! { A };

/// Numbers of calls that take other arguments than elsewhere, or give other structures.
pub const FANOTIFY_MARK: u32 = A::fanotify_mark as u32;
/// See [`FANOTIFY_MARK`].
pub const GETDENTS: u32 = A::getdents as u32;
/// readdir(2) is not there.
pub const READDIR: u32 = NO_NUMBER;
/// Number of mmap2(2), whose last argument counts pages.
pub const MMAP2: u32 = A::mmap2 as u32;
/// socketcall(2) is not there.
pub const SOCKETCALL: u32 = NO_NUMBER;

/// Number of ppoll(2) with 64-bit times.
pub const PPOLL_TIME64: u32 = A::ppoll_time64 as u32;

/// Numbers from which on others are the CPU's own: see [`is_private`].
pub const PRIVATE_EDGES: [u32; 3] = [0x0f_0001, 0x0f_0007, 0x0f_0800];

/// Whether it is a call of the CPU's own (`<asm/unistd.h>`): breakpoint, cacheflush, usr26, usr32, set_tls, get_tls, which
/// filters see; or one of those behind, for which the kernel ends the program (`compat_arm_syscall()` of
/// `arch/arm64/kernel/sys_compat.c`).
pub const fn is_private(number: u32) -> bool {
    let [first, behind, fatal] = PRIVATE_EDGES;
    (number >= first && number < behind) || number >= fatal
}

/// Numbers of calls that only this ABI has, without a path or anything else that prun has work with.
#[rustfmt::skip]
const OTHERS: &[u16] = numbers! { A:
    nice sigaction sigsuspend sigpending sigreturn sigprocmask bdflush _llseek _newselect ugetrlimit
    mmap2 ftruncate64 fcntl64 sendfile64 fstatfs64 arm_fadvise64_64 pciconfig_iobase pciconfig_read
    pciconfig_write send recv arm_sync_file_range clock_gettime64 clock_settime64 clock_adjtime64
    clock_getres_time64 clock_nanosleep_time64 timer_gettime64 timer_settime64 timerfd_gettime64
    timerfd_settime64 pselect6_time64 ppoll_time64 io_pgetevents_time64 mq_timedsend_time64
    mq_timedreceive_time64 semtimedop_time64 rt_sigtimedwait_time64 futex_time64
    sched_rr_get_interval_time64
};

pub(super) static TABLE: Table = Table::new(SAME, &[FORMS], &[OTHERS]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_the_crate_is_in_a_list_under_its_name() {
        for a in A::iter() {
            assert!(TABLE.knows(a as u32), "{}", a.name());
        }
        for &(n, call, form) in SAME {
            let name = A::new(n.into()).map(|a| a.name());
            assert_eq!((name, form), (Some(call.name()), Form::Plain));
            assert_eq!(TABLE.number(call), u32::from(n));
        }
        for &(n, call, form) in FORMS {
            let name = A::new(n.into()).expect("a number of the crate").name();
            let short = ["_time64", "32", "64"].iter().find_map(|end| name.strip_suffix(end));
            let short = if short == Some("fstatat") { Some("newfstatat") } else { short };
            assert_eq!((short, form), (Some(call.name()), Form::Wide));
        }
        let knows = |n: [u32; 4]| n.map(|n| super::super::Abi::Arm.knows(n));
        assert_eq!(
            (knows([0xf_0001, 0xf_0006, 0xf_0800, u32::MAX]), knows([0xf_0000, 0xf_0007, 0xf_07ff, 500])),
            ([true; 4], [false; 4])
        );
    }
}
