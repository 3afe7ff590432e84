//! What the filters answer: by a reading of their programs, call by call, and on a thread that
//! applies one to itself.

use std::ffi::OsStr;
use std::process::Command;

use rustix::io::Errno;
use rustix::thread::UnshareFlags;

use super::*;

/// What the kernel would do with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Allow,
    Refuse(i32),
    Kill,
}
use Answer::{Allow, Kill, Refuse};

const EPERM: Answer = Refuse(libc::EPERM);
const ENOSYS: Answer = Refuse(libc::ENOSYS);
const PATH: &str = "/usr/bin/python3";
const THREAD: u64 = 0x003d_0f00;
const FORK: u64 = 0x0120_0011;
const CLONE_NEWUSER: u64 = libc::CLONE_NEWUSER as u64;

/// Runs one program of a filter on a call, as the kernel does.
fn interpret(program: &BpfProgram, words: &[u32; 16]) -> u32 {
    let (mut at, mut value) = (0, 0);
    loop {
        let step = &program[at];
        at += 1;
        let code = u32::from(step.code);
        let jump = |met: bool| usize::from(if met { step.jt } else { step.jf });
        match code & 0x07 {
            libc::BPF_LD => value = words[step.k as usize / 4],
            libc::BPF_ALU if code & 0xf0 == libc::BPF_AND => value &= step.k,
            libc::BPF_RET => return step.k,
            libc::BPF_JMP => {
                at += match code & 0xf0 {
                    libc::BPF_JA => step.k as usize,
                    libc::BPF_JEQ => jump(value == step.k),
                    libc::BPF_JGT => jump(value > step.k),
                    libc::BPF_JGE => jump(value >= step.k),
                    other => panic!("a jump of kind {other:#x}"),
                }
            }
            _ => panic!("an instruction {code:#x}"),
        }
    }
}

fn answer_as(arch: u32, kind: Kind, call: c_long, arguments: [u64; 6]) -> Answer {
    let filter = Filter::new(kind, OsStr::new(PATH)).unwrap();
    let mut words = [0; 16];
    (words[0], words[1]) = (call as u32, arch);
    for (index, argument) in arguments.iter().enumerate() {
        words[4 + 2 * index] = *argument as u32;
        words[5 + 2 * index] = (*argument >> 32) as u32;
    }
    let answer = interpret(&filter.program, &words);
    match answer & 0xffff_0000 {
        libc::SECCOMP_RET_ALLOW => Allow,
        libc::SECCOMP_RET_ERRNO => Refuse((answer & 0xffff).cast_signed()),
        libc::SECCOMP_RET_KILL_PROCESS => Kill,
        other => panic!("an action {other:#x}"),
    }
}

/// Audit number of this processor.
const ARCH: u32 = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };

#[track_caller]
fn check(kind: Kind, call: c_long, arguments: [u64; 6], expected: Answer) {
    let found = answer_as(ARCH, kind, call, arguments);
    assert_eq!(found, expected, "{kind:?}: call {call} with {arguments:x?}");
}

#[track_caller]
fn check_both(call: c_long, arguments: [u64; 6], expected: Answer) {
    check(Kind::Forking, call, arguments, expected);
    check(Kind::Single, call, arguments, expected);
}

const NONE: [u64; 6] = [0; 6];

fn first(value: u64) -> [u64; 6] {
    [value, 0, 0, 0, 0, 0]
}

fn second(value: u64) -> [u64; 6] {
    [0, value, 0, 0, 0, 0]
}

#[test]
fn what_programs_need_is_allowed() {
    for call in FREE.iter().chain(FREE_OLD) {
        check_both(*call, NONE, Allow);
    }
    check_both(libc::SYS_clone, first(THREAD), Allow);
    check_both(libc::SYS_fcntl, second(libc::F_GETFL as u64), Allow);
    check_both(libc::SYS_ioctl, second(libc::TCGETS), Allow);
    check_both(libc::SYS_prctl, first(libc::PR_SET_NAME as u64), Allow);
    check_both(libc::SYS_prlimit64, NONE, Allow);
    let pair = [libc::AF_UNIX as u64, 1 | libc::SOCK_CLOEXEC as u64, 0, 0, 0, 0];
    check_both(libc::SYS_socketpair, pair, Allow);
    check_both(libc::SYS_sendto, NONE, Allow);
}

/// What no program has any business with.
const DOORS: &[c_long] = &[
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept4,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_kcmp,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_setup,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_personality,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_memfd_secret,
    libc::SYS_vmsplice,
    libc::SYS_quotactl,
    libc::SYS_swapon,
    libc::SYS_reboot,
    libc::SYS_mknodat,
    libc::SYS_symlinkat,
    libc::SYS_linkat,
    libc::SYS_fchownat,
    libc::SYS_flock,
    libc::SYS_inotify_init1,
    libc::SYS_fanotify_init,
    libc::SYS_shmget,
    libc::SYS_msgget,
    libc::SYS_semget,
    libc::SYS_mq_open,
    libc::SYS_seccomp,
    libc::SYS_setuid,
    libc::SYS_setresuid,
    libc::SYS_capset,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setscheduler,
    libc::SYS_setpriority,
    libc::SYS_ioprio_set,
    libc::SYS_mlockall,
    libc::SYS_execveat,
    libc::SYS_acct,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_process_madvise,
];

#[test]
fn doors_of_the_kernel_are_closed() {
    for call in DOORS {
        let refused = [EPERM, ENOSYS];
        for kind in [Kind::Forking, Kind::Single] {
            let found = answer_as(ARCH, kind, *call, NONE);
            assert!(refused.contains(&found), "{kind:?}: call {call}: {found:?}");
        }
    }
}

#[test]
fn arguments_decide_where_a_call_has_two_sides() {
    for kind in [Kind::Forking, Kind::Single] {
        for command in [libc::F_SETLEASE, libc::F_GETLEASE, libc::F_NOTIFY] {
            check(kind, libc::SYS_fcntl, second(command as u64), EPERM);
        }
        check(kind, libc::SYS_ioctl, second(libc::TIOCSTI), EPERM);
        // The kernel reads 32 bits: what lies above must not make another request of it.
        check(kind, libc::SYS_ioctl, second(libc::TIOCSTI | 1 << 32), EPERM);
        check(kind, libc::SYS_prctl, first(libc::PR_SET_MM as u64), EPERM);
        check(kind, libc::SYS_prctl, [libc::PR_SET_DUMPABLE as u64, 0, 0, 0, 0, 0], Allow);
        check(kind, libc::SYS_prctl, [libc::PR_SET_DUMPABLE as u64, 1, 0, 0, 0, 0], EPERM);
        check(kind, libc::SYS_prlimit64, first(1), EPERM);
        check(kind, libc::SYS_socketpair, [libc::AF_UNIX as u64, 2, 0, 0, 0, 0], EPERM);
        check(kind, libc::SYS_socketpair, [libc::AF_NETLINK as u64, 1, 0, 0, 0, 0], EPERM);
        check(kind, libc::SYS_sendto, [3, 4, 5, 0, 0x7fff_0000, 16], EPERM);
        check(kind, libc::SYS_clone, first(FORK | CLONE_NEWUSER), EPERM);
        check(kind, libc::SYS_clone, first(THREAD | libc::CLONE_NEWNET as u64), EPERM);
        check(kind, libc::SYS_clone, first(FORK | libc::CLONE_PARENT as u64), EPERM);
        check(kind, libc::SYS_execve, first(0x7fff_1234_5678), EPERM);
    }
}

#[test]
fn a_single_program_stays_single() {
    let own = u64::from(std::process::id());
    check(Kind::Forking, libc::SYS_clone, first(FORK), Allow);
    check(Kind::Forking, libc::SYS_kill, first(1), Allow);
    check(Kind::Single, libc::SYS_clone, first(FORK), EPERM);
    check(Kind::Single, libc::SYS_kill, first(own), Allow);
    check(Kind::Single, libc::SYS_tgkill, first(own), Allow);
    for other in [0, 1, own + 1, u64::MAX] {
        check(Kind::Single, libc::SYS_kill, first(other), EPERM);
        check(Kind::Single, libc::SYS_tgkill, first(other), EPERM);
    }
    for call in FORKS.iter().chain(&[libc::SYS_tkill, libc::SYS_memfd_create]) {
        check(Kind::Forking, *call, NONE, Allow);
        check(Kind::Single, *call, NONE, EPERM);
    }
}

#[test]
fn libraries_fall_back_from_what_is_newer_than_the_list() {
    check_both(libc::SYS_clone3, NONE, ENOSYS);
    check_both(libc::SYS_openat2, NONE, ENOSYS);
    for call in [452, 462, 470, 600, 100_000] {
        check_both(call, NONE, ENOSYS);
    }
}

#[test]
fn calls_of_another_architecture_end_the_program() {
    let foreign = [0x4000_0003, 0xc000_00f3, 0x4000_0028];
    for arch in foreign {
        assert_eq!(answer_as(arch, Kind::Forking, libc::SYS_read, NONE), Kill, "{arch:#x}");
    }
    check_both(0x4000_0000, NONE, Kill);
    check_both(0x4000_0000 + 59, NONE, Kill);
}

#[test]
fn a_filter_leaves_room_for_the_kernel_s_limit() {
    const BPF_MAXINSNS: usize = 4096;
    let filter = Filter::new(Kind::Single, OsStr::new(PATH)).unwrap();
    assert!(filter.program.len() < BPF_MAXINSNS);
}

/// Does `work` on a thread that has the filter.
fn filtered<T: Send>(kind: Kind, program: &OsStr, work: impl FnOnce() -> T + Send) -> T {
    let filter = Filter::new(kind, program).unwrap();
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            filter.apply().unwrap();
            work()
        });
        thread.join().unwrap()
    })
}

#[test]
#[expect(deprecated, reason = "only unsharing open files is unsafe, and that is not asked for")]
fn a_thread_with_the_filter_reaches_nobody() {
    let (connected, unshared, linked, read) = filtered(Kind::Forking, OsStr::new(PATH), || {
        (
            std::net::UdpSocket::bind("127.0.0.1:0").map(drop).map_err(|e| e.raw_os_error()),
            rustix::thread::unshare(UnshareFlags::NEWUSER),
            std::os::unix::fs::symlink("/etc/passwd", "never").map_err(|e| e.raw_os_error()),
            std::fs::read("/proc/self/maps").is_ok(),
        )
    });
    assert_eq!(connected, Err(Some(libc::EPERM)));
    assert_eq!(unshared, Err(Errno::PERM));
    assert_eq!(linked, Err(Some(libc::EPERM)));
    assert!(read);
}

#[test]
fn only_the_program_that_was_announced_is_started() {
    let mut announced = Command::new("/bin/true");
    let program = announced.get_program().to_owned();
    let at = announced.get_program();
    // The address counts, not the text: a copy of the path is another program.
    let copied = filtered(Kind::Forking, &program, || Command::new("/bin/true").status());
    assert_eq!(copied.unwrap_err().raw_os_error(), Some(libc::EPERM));
    let filter = Filter::new(Kind::Forking, at).unwrap();
    let status = std::thread::scope(|scope| {
        let start = || {
            filter.apply().unwrap();
            announced.status()
        };
        scope.spawn(start).join().unwrap()
    });
    assert!(status.unwrap().success());
}
