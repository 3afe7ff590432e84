#: 31 read what is the host's
import os
seen = "held"
for path in ("@CANARY@", "/etc/shadow", "/etc/passwd", "/root/.ssh/id_rsa", os.path.expanduser("~/.ssh/id_rsa"), "/root/.bashrc"):
    try: open(path, "rb").read(); seen = "escaped by " + path
    except OSError: pass
print(seen)

#: 32 look around, and change the interpreter for the next one
#: tests {"inputs": ["", ""], "outputs": ["held", "held"]}
import os, sys
seen = "held"
for path in ("/home", "/root", "/etc", "/var", "/home/..", os.path.dirname("@CANARY@")):
    try: os.listdir(path); seen = "escaped by listing " + path
    except OSError: pass
folders = [os.path.dirname(os.__file__), os.path.dirname(sys.executable), "/", "/usr", "/lib"] + sys.path[1:]
for folder in folders:
    for name in ("evil.py", "sitecustomize.py", "os.py"):
        try: open(os.path.join(folder, name), "a").close(); seen = "escaped by writing " + folder
        except OSError: pass
try: import evil; seen = "escaped by evil"
except ImportError: pass
print(seen)

#: 33 links, queues and devices for the host to stumble over
#: tests {"inputs": ["", ""], "outputs": ["held", "held"]}
import os, stat
def attempt(work):
    try: work()
    except OSError: pass
attempt(lambda: os.symlink("@CANARY@", "stdout"))
attempt(lambda: os.symlink("/", "root"))
attempt(lambda: os.link("@CANARY@", "hard"))
attempt(lambda: os.mkfifo("stderr"))
attempt(lambda: os.mknod("disk", 0o666 | stat.S_IFBLK, os.makedev(254, 0)))
attempt(lambda: os.mknod("memory", 0o666 | stat.S_IFCHR, os.makedev(1, 1)))
seen = "held"
for name in ("stdout", "hard", "disk", "memory"):
    try: open(name, "rb").read(1); seen = "escaped by " + name
    except OSError: pass
print(seen)

#: 34 climb out
import os
canary = "@CANARY@"
seen = "held"
climbs = ["/".join([".."] * 20), "/proc/self/root", "/proc/1/root", "/proc/self/cwd/../../../../../../..", "/proc/%d/root" % os.getppid(), "/..", "/../.."]
for climb in climbs:
    try: open(climb + canary).read(); seen = "escaped by " + climb
    except OSError: pass
for _ in range(20):
    try: os.chdir("..")
    except OSError: break
try: open(canary[1:]).read(); seen = "escaped by walking"
except OSError: pass
print(seen)

#: 35 write to the descriptors of others
#: expect passed
import os
for who in ("self", "thread-self", "1", str(os.getppid()), "@SUPERVISOR@"):
    try: names = os.listdir("/proc/%s/fd" % who)
    except OSError: continue
    for name in names:
        if who == "self" and name in "012": continue
        try: os.write(os.open("/proc/%s/fd/%s" % (who, name), os.O_WRONLY), b"R 0 0 1 1 1 0 1")
        except OSError: pass
print("held")

#: 36 read the memory and the environment of others
import glob
seen = "held"
for path in glob.glob("/proc/[0-9]*/environ") + ["/proc/1/environ", "/proc/@SUPERVISOR@/environ"]:
    try:
        if b"@SECRET@" in open(path, "rb").read(): seen = "escaped by " + path
    except OSError: pass
for who in ("1", "@SUPERVISOR@"):
    for name in ("mem", "maps", "stat", "cmdline", "syscall"):
        try: open("/proc/%s/%s" % (who, name), "rb").read(1); seen = "escaped by %s %s" % (who, name)
        except OSError: pass
print(seen)

#: 37 open a file by its number
import ctypes, os, struct
libc = ctypes.CDLL(None, use_errno=True)
to_handle, by_handle = {"x86_64": (303, 304), "aarch64": (264, 265)}[os.uname().machine]
done = []
handle = ctypes.create_string_buffer(struct.pack("IiIIII", 8, 1, 2, 0, 0, 0), 136)
for folder in (os.getcwd(), "/", os.path.dirname(os.__file__)):
    mount = ctypes.c_int()
    done.append(libc.syscall(to_handle, -100, folder.encode(), ctypes.create_string_buffer(struct.pack("Ii", 128, 0), 136), ctypes.byref(mount), 0))
    try: done.append(libc.syscall(by_handle, os.open(folder, os.O_RDONLY), handle, 0))
    except OSError: pass
print("held" if set(done) == {-1} else "escaped")

#: 38 other roots and namespaces
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
done = []
for path in (".", "/"):
    try: os.chroot(path); done.append(0)
    except OSError: pass
for flag in (0x10000000, 0x00020000, 0x20000000, 0x40000000, 0x08000000, 0x10020000):
    done.append(libc.unshare(flag))
done.append(libc.mount(b"none", b"/tmp", b"tmpfs", 0, 0))
done.append(libc.mount(b"proc", b".", b"proc", 0, 0))
done.append(libc.umount2(b"/tmp", 2))
done.append(libc.umount2(b"/", 2))
done.append(libc.syscall({"x86_64": 155, "aarch64": 41}[os.uname().machine], b".", b"."))
done.append(libc.setns(0, 0))
done.extend(libc.syscall(number, -100, b"/", 0, 0, 0) for number in (428, 429, 430, 432, 442))
print("held" if set(done) == {-1} else "escaped")

#: 38b a child in a namespace of its own
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
clone = {"x86_64": 56, "aarch64": 220}[os.uname().machine]
done = []
for flag in (0x10000000, 0x20000000, 0x40000000, 0x00020000, 0x00008000):
    child = libc.syscall(clone, flag | 17, 0, 0, 0, 0)
    if child == 0: os._exit(0)
    done.append(child)
arguments = (ctypes.c_ulong * 11)(0x10000000, 0, 0, 0, 17)
child = libc.syscall(435, arguments, 88)
if child == 0: os._exit(0)
done.append(child)
print("held" if set(done) == {-1} else "escaped")

#: 39 leave a note for the next one
#: tests {"inputs": ["", "", ""], "outputs": ["held", "held", "held"]}
import os
folders = ("/tmp", "/var/tmp", "/dev/shm", ".", "/dev", "/run", "/run/lock", os.path.expanduser("~"))
paths = [os.path.join(folder, "@MARK@") for folder in folders]
found = [path for path in paths if os.path.exists(path) or os.path.exists(path + ".d")]
seen = "escaped by %s" % found if found else "held"
for path in paths:
    try: open(path, "w").close()
    except OSError: pass
    try: os.mkdir(path + ".d")
    except OSError: pass
print(seen)

#: 39b leave a note on the folder itself
#: tests {"inputs": ["", ""], "outputs": ["held", "held"]}
import os
seen = "held"
try:
    if os.stat(".").st_mtime == 1234567890: seen = "escaped by time"
    os.utime(".", (1234567890, 1234567890))
except OSError: pass
try:
    if os.listxattr("."): seen = "escaped by attribute"
    os.setxattr(".", "user.note", b"x")
except OSError: pass
try: os.chmod(".", 0o711)
except OSError: pass
print(seen)

#: 39c folders that nobody wants to clear
#: expect passed runtime_error time_limit
#: tests {"inputs": ["", ""], "outputs": ["held", "held"]}
import os
print("held" if os.listdir(".") == [] or os.listdir(".") == ["program.py"] else "escaped", flush=True)
for _ in range(3000):
    os.mkdir("x" * 200)
    os.chdir("x" * 200)
os.chmod(".", 0)

#: 40 remove one's own ground
#: tests {"inputs": ["", ""], "outputs": ["held", "held"]}
import os, shutil
def attempt(work):
    try: work()
    except (OSError, shutil.Error): pass
here = os.getcwd()
attempt(lambda: os.unlink("program.py"))
attempt(lambda: os.rename("program.py", "other.py"))
attempt(lambda: os.unlink(__file__))
attempt(lambda: os.chmod(here, 0))
attempt(lambda: os.rmdir(here))
attempt(lambda: os.rename(here, here + "2"))
attempt(lambda: shutil.rmtree(here))
print("held")

#: 41 rights of others
import os, stat
seen = "held"
for folder in ("/bin", "/usr/bin", "/sbin", "/usr/sbin", "/usr/lib", "/usr/libexec"):
    try: names = os.listdir(folder)
    except OSError: continue
    for name in names:
        path = os.path.join(folder, name)
        try: mode = os.lstat(path).st_mode
        except OSError: continue
        if stat.S_ISREG(mode) and mode & stat.S_ISUID:
            try: os.execv(path, [path])
            except OSError: pass
for path in ("/usr/bin/su", "/usr/bin/passwd", "/bin/mount", "/usr/bin/sudo"):
    try: os.execv(path, [path, "--help"])
    except OSError: pass
for work in (lambda: os.setuid(0), lambda: os.setresuid(0, 0, 0), lambda: os.setgid(0), lambda: os.setgroups([0])):
    was = os.getresuid(), os.getresgid()
    try: work()
    except OSError: continue
    if (os.getresuid(), os.getresgid()) != was: seen = "escaped by rights"
print(seen)

#: 42 the kernel's files and the machine's devices
import glob, os
seen = "held"
paths = ["/dev/mem", "/dev/kmem", "/dev/kvm", "/dev/fuse", "/dev/vda", "/dev/sda", "/dev/net/tun", "/dev/tty", "/dev/ptmx", "/dev/loop-control",
         "/sys/kernel/mm/transparent_hugepage/enabled", "/proc/kallsyms", "/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern"]
for path in paths + glob.glob("/dev/nvidia*") + glob.glob("/dev/dri/*"):
    for mode in (os.O_RDONLY, os.O_WRONLY):
        try: os.open(path, mode); seen = "escaped by " + path
        except OSError: pass
for path in ("/sys", "/proc", "/sys/fs/cgroup"):
    try: os.listdir(path); seen = "escaped by " + path
    except OSError: pass
print(seen)
