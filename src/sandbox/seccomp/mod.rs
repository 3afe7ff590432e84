//! Which system calls a program may make.
//!
//! An allow-list: what contest programs, their threads and the usual libraries use, found by tracing
//! CPython 3.9 to 3.13. Anything else gets `EPERM`, because libraries probe and go on; calls newer
//! than the list get `ENOSYS`, so that the C library falls back (from `clone3`, whose flags cannot be
//! looked at, to `clone`, whose flags can). A call by the rules of another architecture, which would
//! be read by the wrong numbers, ends the program.
//!
//! Not here: what a call may do to which file (`landlock`), and how much it may use (`limits`).

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Width, SeccompCmpOp as Op, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, sock_filter,
};

/// What a process that gets a filter is going to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A slot in a process namespace of its own: the program may fork and signal whom it sees.
    Forking,
    /// One program without a namespace: threads, but no second process, and no signal to anybody else.
    Single,
}

/// A compiled filter, to be applied last before the interpreter is started.
#[derive(Debug)]
pub struct Filter {
    program: BpfProgram,
}

impl Filter {
    /// The filter for this process, which is about to become `program` and nothing else ever after:
    /// `execve` is allowed from the very address that holds the path now (take
    /// [`std::process::Command::get_program`], which lends it). The address space is gone once the
    /// call has succeeded, and nobody in the next one is told the address.
    ///
    /// # Errors
    /// If the filter cannot be compiled: a fault of ours, or a processor that the list has no
    /// numbers for.
    pub fn new(kind: Kind, program: &OsStr) -> Result<Self, String> {
        let own = u64::from(std::process::id());
        let at = program.as_bytes().as_ptr().addr() as u64;
        let compile = || -> Result<Self, seccompiler::BackendError> {
            let arch = TargetArch::try_from(PROCESSOR)?;
            let allowed = allowed(kind, own, at)?;
            let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
            let list = SeccompFilter::new(allowed, refuse, SeccompAction::Allow, arch)?;
            let mut program = unknown_numbers();
            program.extend(BpfProgram::try_from(list)?);
            Ok(Self { program })
        };
        compile().map_err(|error| format!("could not compile the system call filter: {error}"))
    }

    /// Applies it to the calling thread and all that it starts, for ever.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn apply(&self) -> Result<(), String> {
        seccompiler::apply_filter(&self.program)
            .map_err(|error| format!("could not filter system calls: {error}"))
    }
}

/// The kind of processor, by the filter compiler's name for it.
const PROCESSOR: &str = if cfg!(target_arch = "x86_64") {
    "x86_64"
} else if cfg!(target_arch = "aarch64") {
    "aarch64"
} else {
    "another"
};

/// Calls that are allowed whatever their arguments.
const FREE: &[c_long] = &[
    // Files that are open.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_fstat,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fadvise64,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sendfile,
    libc::SYS_copy_file_range,
    libc::SYS_getdents64,
    // Files by name: which of them is decided elsewhere.
    libc::SYS_openat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getcwd,
    libc::SYS_chdir,
    libc::SYS_fchdir,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_truncate,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_utimensat,
    libc::SYS_umask,
    libc::SYS_getxattr,
    libc::SYS_lgetxattr,
    libc::SYS_fgetxattr,
    libc::SYS_listxattr,
    libc::SYS_llistxattr,
    libc::SYS_flistxattr,
    // Memory.
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_mincore,
    libc::SYS_msync,
    libc::SYS_mbind,
    libc::SYS_get_mempolicy,
    libc::SYS_set_mempolicy,
    libc::SYS_membarrier,
    // Threads and their waiting.
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_gettid,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min,
    libc::SYS_getpriority,
    libc::SYS_getcpu,
    // Who we are, and our end.
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_getpgid,
    libc::SYS_getsid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_getgroups,
    libc::SYS_setsid,
    libc::SYS_setpgid,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_pidfd_open,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_getrusage,
    libc::SYS_times,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrandom,
    // Time and signals to ourselves.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_setitimer,
    libc::SYS_getitimer,
    libc::SYS_timer_create,
    libc::SYS_timer_settime,
    libc::SYS_timer_gettime,
    libc::SYS_timer_getoverrun,
    libc::SYS_timer_delete,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_signalfd4,
    libc::SYS_restart_syscall,
    // Waiting for files, and pipes.
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_pipe2,
    // Ends of a pair: nobody can be connected to, see `socketpair`.
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_shutdown,
    libc::SYS_getsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
];

/// Calls that younger processors do not have any more.
#[cfg(target_arch = "x86_64")]
const FREE_OLD: &[c_long] = &[
    libc::SYS_open,
    libc::SYS_creat,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_getdents,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_chmod,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
    libc::SYS_dup2,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd,
    libc::SYS_signalfd,
    libc::SYS_alarm,
    libc::SYS_pause,
    libc::SYS_time,
    libc::SYS_getpgrp,
    libc::SYS_getrlimit,
    libc::SYS_setrlimit,
    libc::SYS_arch_prctl,
];
#[cfg(not(target_arch = "x86_64"))]
const FREE_OLD: &[c_long] = &[libc::SYS_renameat];

/// Ways to a second process that show no flags.
#[cfg(target_arch = "x86_64")]
const FORKS: &[c_long] = &[libc::SYS_fork, libc::SYS_vfork];
#[cfg(not(target_arch = "x86_64"))]
const FORKS: &[c_long] = &[];

/// Calls from this number on are counted the same on every processor, and are new enough that the C
/// library can do without.
const NEW_FROM: c_long = libc::SYS_pidfd_send_signal;

/// New calls that the list decides about: allowed there, or refused with `EPERM`.
const NEW_LISTED: &[c_long] = &[
    libc::SYS_pidfd_open,
    libc::SYS_close_range,
    libc::SYS_faccessat2,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_pidfd_send_signal,
    libc::SYS_pidfd_getfd,
    libc::SYS_memfd_secret,
];

/// Bit that marks the numbers of x32, the third set of calls of an x86-64 kernel.
const X32: u32 = 0x4000_0000;

/// A child in a namespace of its own, or one that passes for a child of our parent.
const CLONE_ESCAPES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_PTRACE
    | libc::CLONE_PARENT)
    .cast_unsigned() as u64;

/// What of the process may be set: names, its end with its parent's, and less dumpable, never more.
const PRCTL: &[libc::c_int] = &[
    libc::PR_SET_PDEATHSIG,
    libc::PR_GET_PDEATHSIG,
    libc::PR_GET_DUMPABLE,
    libc::PR_SET_NAME,
    libc::PR_GET_NAME,
    libc::PR_SET_CHILD_SUBREAPER,
    libc::PR_GET_CHILD_SUBREAPER,
    libc::PR_SET_NO_NEW_PRIVS,
    libc::PR_GET_NO_NEW_PRIVS,
    // The C library names its memory.
    libc::PR_SET_VMA,
];

/// Questions about terminals and pipes; every other `ioctl` is a driver's own door.
const IOCTL: &[u64] =
    &[libc::TCGETS, libc::TIOCGWINSZ, libc::FIONREAD, libc::FIONBIO, libc::FIOCLEX, libc::FIONCLEX];

type Rules = BTreeMap<i64, Vec<SeccompRule>>;
type Compiled<T> = Result<T, seccompiler::BackendError>;

/// The allow-list of a process with the id `own` whose next program's path lies at `path`.
fn allowed(kind: Kind, own: u64, path: u64) -> Compiled<Rules> {
    let mut rules: Rules = FREE.iter().chain(FREE_OLD).map(|call| (*call, Vec::new())).collect();
    let mut when = |call: c_long, conditions: Vec<SeccompCondition>| -> Compiled<()> {
        rules.entry(call).or_default().push(SeccompRule::new(conditions)?);
        Ok(())
    };
    when(libc::SYS_execve, vec![is64(0, path)?])?;
    // Nobody's limits but our own.
    when(libc::SYS_prlimit64, vec![is64(0, 0)?])?;
    // Leases and notices tell what others do with files that we share with them; so do locks, and
    // `flock` is not on the list.
    let channels = [libc::F_SETLEASE, libc::F_GETLEASE, libc::F_NOTIFY];
    let channel = |command: &libc::c_int| {
        SeccompCondition::new(1, Width::Dword, Op::Ne, u64::from(command.unsigned_abs()))
    };
    when(libc::SYS_fcntl, channels.iter().map(channel).collect::<Compiled<_>>()?)?;
    for option in PRCTL {
        when(libc::SYS_prctl, vec![is32(0, u64::from(option.unsigned_abs()))?])?;
    }
    when(libc::SYS_prctl, vec![is32(0, libc::PR_SET_DUMPABLE as u64)?, is64(1, 0)?])?;
    for request in IOCTL {
        when(libc::SYS_ioctl, vec![is32(1, *request)?])?;
    }
    // asyncio wakes itself through a pair. Of streams only: a datagram could name its receiver.
    let stream = Op::MaskedEq(0xf);
    let pair = [
        is32(0, libc::AF_UNIX as u64)?,
        SeccompCondition::new(1, Width::Dword, stream, libc::SOCK_STREAM as u64)?,
    ];
    when(libc::SYS_socketpair, pair.to_vec())?;
    when(libc::SYS_sendto, vec![is64(4, 0)?])?;
    match kind {
        Kind::Forking => {
            when(libc::SYS_clone, vec![bits(0, CLONE_ESCAPES, 0)?])?;
            let free = FORKS.iter().chain(&[
                libc::SYS_kill,
                libc::SYS_tkill,
                libc::SYS_tgkill,
                // The harness makes the files of a test.
                libc::SYS_memfd_create,
            ]);
            rules.extend(free.map(|call| (*call, Vec::new())));
        }
        Kind::Single => {
            let thread = libc::CLONE_THREAD.cast_unsigned().into();
            when(libc::SYS_clone, vec![bits(0, CLONE_ESCAPES | thread, thread)?])?;
            // `abort` and `raise`.
            when(libc::SYS_kill, vec![is32(0, own)?])?;
            when(libc::SYS_tgkill, vec![is32(0, own)?])?;
        }
    }
    Ok(rules)
}

/// The whole argument `index` is `value`.
fn is64(index: u8, value: u64) -> Compiled<SeccompCondition> {
    SeccompCondition::new(index, Width::Qword, Op::Eq, value)
}

/// The argument `index`, of which the kernel reads 32 bits, is `value`.
fn is32(index: u8, value: u64) -> Compiled<SeccompCondition> {
    SeccompCondition::new(index, Width::Dword, Op::Eq, value)
}

/// Of the bits `mask` of the argument `index` those of `value` are set.
fn bits(index: u8, mask: u64, value: u64) -> Compiled<SeccompCondition> {
    SeccompCondition::new(index, Width::Qword, Op::MaskedEq(mask), value)
}

/// What comes before the list: ends programs that count as x32 does, and says `ENOSYS` to new calls
/// about which the list has nothing to say. Every other call goes on behind the last step.
fn unknown_numbers() -> BpfProgram {
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    let step = |code: u32, jt: u8, jf: u8, k: u32| sock_filter { code: code as u16, jt, jf, k };
    // The number of the call is the first word of what a filter is shown.
    let mut program = vec![
        step(LOAD, 0, 0, 0),
        step(AT_LEAST, 0, 1, X32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
    ];
    let to_end = (1..=NEW_LISTED.len() as u8).rev();
    let listed = |(call, rest): (&c_long, u8)| step(EQUAL, rest + 1, 0, *call as u32);
    program.extend(NEW_LISTED.iter().zip(to_end).map(listed));
    program.extend([
        step(AT_LEAST, 0, 1, NEW_FROM as u32),
        step(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs()),
    ]);
    program
}

#[cfg(test)]
mod tests;
