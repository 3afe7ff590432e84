# The twelve hostile programs that a box must hold before it is given any other. Standard input names one and what
# it is to go for, a line `name=value` each; the answer is `held` or `escaped: how`. `sandbox::probes` asks.
#   isolated=1   the box has namespaces: what is the host's is not even there, rather than refused
#   filtered=1   the box filters system calls: sockets cannot be made, rather than lead nowhere
import os, sys

given = dict(line.rstrip("\n").split("=", 1) for line in sys.stdin)
isolated, filtered = given["isolated"] == "1", given["filtered"] == "1"
supervisor = int(given["supervisor"])


class Escaped(Exception):
    pass


def tried(work, how):
    # Whatever the kernel refuses is held.
    try:
        work()
    except OSError:
        return
    raise Escaped(how)


def file():
    for path in filter(None, given["read"].split(":")):
        tried(lambda: open(path, "rb").read(1), "it read `%s`" % path)
        if isolated:
            tried(lambda: os.lstat(path), "it sees `%s`" % path)
    for path in ("/", "/home", "/etc"):
        tried(lambda: os.listdir(path), "it listed `%s`" % path)


def environment():
    for who in ("self", "1", str(os.getppid()), str(supervisor)):
        for name in ("environ", "mem", "maps"):
            tried(lambda: open("/proc/%s/%s" % (who, name), "rb").read(0), "it opened `/proc/%s/%s`" % (who, name))
    if isolated:
        tried(lambda: os.stat("/proc/self"), "it sees `/proc`")


def connected(family, address):
    import _socket
    if filtered:
        tried(lambda: _socket.socket(family, _socket.SOCK_STREAM).close(), "it made a socket")
    else:
        tried(lambda: _socket.socket(family, _socket.SOCK_STREAM).connect(address), "it reached the host's listener")


def tcp():
    connected(2, ("127.0.0.1", int(given["port"])))


def socket():
    connected(1, "\0" + given["name"])


def signal():
    if isolated:
        if os.getppid() != 1:
            raise Escaped("it sees processes beside the first of its own")
        # Numbers from here on are nobody's inside.
        if supervisor > os.getpid() + 64:
            try:
                os.kill(supervisor, 0)
            except ProcessLookupError:
                return
            except OSError:
                pass
            raise Escaped("it sees the judge")
    else:
        tried(lambda: os.kill(supervisor, 0), "it may signal the judge")


def trace():
    # Without ctypes a program cannot ask for it either.
    try:
        import ctypes
    except ImportError:
        return
    libc, room = ctypes.CDLL(None), (ctypes.c_ulong * 4)()
    number = {"x86_64": 310, "aarch64": 270}.get(os.uname().machine, 270)
    here = (ctypes.c_ulong * 2)(ctypes.addressof(room), 8)
    there = (ctypes.c_ulong * 2)(int(given["address"]), 8)
    whom = [os.getppid()] if isolated else [os.getppid(), supervisor]
    for who in whom:
        if libc.ptrace(0x4206, who, 0, 0) == 0:
            raise Escaped("it traces process %d" % who)
    if not isolated and libc.syscall(number, supervisor, here, 1, there, 1, 0) >= 0:
        raise Escaped("it reads the judge's memory")


def processes():
    most, made = 2 * int(given["processes"]), 0
    read, write = os.pipe()
    try:
        while made < most:
            if os.fork() == 0:
                os.close(write)
                os.read(read, 1)
                os._exit(0)
            made += 1
    except OSError:
        pass
    if made == most or made and not isolated:
        raise Escaped("it made %d processes" % made)


def memory():
    each = int(given["memory"]) * 2 // 3
    try:
        if not isolated:
            raise Escaped("it has %d bytes" % len(b"x" * (3 * each)))
        ready, begun = os.pipe()
        read, write = os.pipe()
        children = []
        for _ in range(3):
            child = os.fork()
            if child == 0:
                os.close(write)
                held = b"x" * each
                os.write(begun, b"x")
                os.read(read, 1)
                os._exit(len(held) != each)
            children.append(child)
        os.set_blocking(ready, False)
        # Whoever counts by looking must have the time to look. A child that was killed says nothing, and the
        # others keep the pipe open: nobody is waited for.
        import time
        have, all_have, until = 0, True, None
        while all_have and (until is None or time.monotonic() < until):
            all_have = os.waitpid(-1, os.WNOHANG)[0] == 0
            try:
                have += len(os.read(ready, len(children)))
            except BlockingIOError:
                pass
            if until is None and have == len(children):
                until = time.monotonic() + float(given["seconds"])
            time.sleep(0.005)
        os.close(write)
        if all_have and all(os.waitpid(child, 0)[1] == 0 for child in children):
            raise Escaped("its processes have %d bytes" % (3 * each))
    except (MemoryError, OSError):
        pass


def write():
    library = os.path.dirname(os.__file__)
    for folder in filter(None, given["write"].split(":") + ["/", library]):
        path = os.path.join(folder, given["name"])
        tried(lambda: open(path, "w").close(), "it wrote `%s`" % path)


def link():
    for path in filter(None, given["read"].split(":")):
        for make in (os.symlink, os.link):
            try:
                make(path, "out")
            except OSError:
                continue
            tried(lambda: open("out", "rb").read(1), "it read `%s` by a link" % path)
            os.unlink("out")


def forge():
    for fd in range(3, 256):
        tried(lambda: os.fstat(fd), "descriptor %d is open" % fd)
    for who in ("1", str(os.getppid())):
        for fd in range(256):
            tried(lambda: os.stat("/proc/%s/fd/%d" % (who, fd)), "it sees the judge's descriptors")
    tried(lambda: open("/proc/%d/mem" % os.getppid(), "r+b", 0), "it writes to the harness' memory")


def survive():
    try:
        if os.fork() == 0:
            os.setsid()
            child = os.fork()
            if child:
                os.write(1, b"%d\n" % child)
                os._exit(0)
            os.closerange(0, 3)
            import time
            time.sleep(30)
            os._exit(0)
        os.wait()
    except OSError:
        pass


def survived():
    if given["process"]:
        tried(lambda: os.kill(int(given["process"]), 0), "process %s lives on" % given["process"])


try:
    globals()[given["probe"]]()
    print("held")
except Escaped as how:
    print("escaped: %s" % how)
