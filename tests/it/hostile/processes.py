#: 21 a daemon
import os, time
try:
    if os.fork() == 0:
        os.setsid()
        if os.fork(): os._exit(0)
        os.closerange(0, 256)
        time.sleep(60)
        os._exit(0)
except OSError: pass
print("held")

#: 22 a child that keeps the output open
import os, time
try:
    if os.fork() == 0:
        time.sleep(60)
        os._exit(0)
except OSError: pass
print("held")

#: 23 kill the parent
import os
try: os.kill(os.getppid(), 9)
except OSError: pass
print("held")

#: 24 kill everybody
import os
try: os.kill(-1, 9)
except OSError: pass
print("held")

#: 24b kill the own group
#: expect runtime_error memory_limit passed
import os
try: os.killpg(0, 9)
except OSError: pass
print("held")

#: 25 kill the first process
import os
for signal in (9, 15, 6, 11):
    try: os.kill(1, signal)
    except OSError: pass
print("held")

#: 25b stop the parent
import os, signal
for who in (1, os.getppid()):
    for what in (signal.SIGSTOP, signal.SIGTSTP):
        try: os.kill(who, what)
        except OSError: pass
print("held")

#: 25c stop oneself
#: expect time_limit
#: limits {"wall_ms": 300}
import os, signal
os.kill(os.getpid(), signal.SIGSTOP)

#: 25d kill the judge
import os
seen = "held"
for signal in (0, 9):
    try:
        os.kill(@SUPERVISOR@, signal)
        seen = "escaped"
    except OSError: pass
print(seen)

#: 26 read and steer other processes
import ctypes, os
libc, parent = ctypes.CDLL(None, use_errno=True), os.getppid()
numbers = {"x86_64": (101, 310, 311, 438), "aarch64": (117, 270, 271, 438)}[os.uname().machine]
ptrace, readv, writev, getfd = numbers
done = []
for who in (parent, 1, @SUPERVISOR@):
    done.append(libc.syscall(ptrace, 16, who, 0, 0))
    done.append(libc.syscall(ptrace, 0x4206, who, 0, 0))
    room = (ctypes.c_ulong * 2)(ctypes.addressof(ctypes.create_string_buffer(64)), 64)
    there = (ctypes.c_ulong * 2)(id(os), 8)
    done.append(libc.syscall(readv, who, room, 1, there, 1, 0))
    done.append(libc.syscall(writev, who, room, 1, there, 1, 0))
    try:
        fd = os.pidfd_open(who)
        done.extend(libc.syscall(getfd, fd, target, 0) for target in range(8))
    except OSError: pass
print("held" if set(done) == {-1} else "escaped")

#: 27 hear no signal
#: expect time_limit
#: limits {"cpu_ms": 300}
import signal
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
while True: pass

#: 28 take the clocks away
#: expect time_limit
#: limits {"cpu_ms": 300}
import os, resource, signal
signal.alarm(0)
for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF): signal.setitimer(timer, 0)
for limit in (resource.RLIMIT_CPU, resource.RLIMIT_AS):
    try: resource.setrlimit(limit, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (OSError, ValueError): pass
os.closerange(0, 256)
while True: pass

#: 28b close everything and leave
#: expect runtime_error wrong_answer
import os
os.closerange(0, 256)

#: 29 start a shell
import os, subprocess
def attempt(work):
    try: work()
    except (OSError, subprocess.SubprocessError): pass
attempt(lambda: os.system("echo escaped"))
attempt(lambda: subprocess.run(["/bin/echo", "escaped"]))
attempt(lambda: subprocess.run("echo escaped", shell=True))
attempt(lambda: os.waitpid(os.posix_spawn("/bin/echo", ["echo", "escaped"], {}), 0))
attempt(lambda: os.popen("echo escaped").read())
print("held")

#: 29b become a shell
import os, sys
for path in ("/bin/sh", "/usr/bin/env", sys.executable, "/proc/self/exe", "/lib64/ld-linux-x86-64.so.2"):
    try: os.execv(path, [path, "-c", "print('escaped')"])
    except OSError: pass
print("held")

#: 29c become what one has written
import os
try:
    with open("shell", "w") as file: file.write("#!/bin/sh\necho escaped\n")
    os.chmod("shell", 0o755)
    os.execv("./shell", ["shell"])
except OSError: pass
print("held")

#: 30 take precedence
import os
def attempt(work):
    try: work()
    except OSError: pass
attempt(lambda: os.setsid())
attempt(lambda: os.setpgid(0, 0))
attempt(lambda: os.nice(-20))
attempt(lambda: os.setpriority(os.PRIO_PROCESS, 0, -20))
attempt(lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)))
attempt(lambda: os.sched_setaffinity(0, {0}))
print("held")
