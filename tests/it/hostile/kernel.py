#: 43 a server on this machine, and the cloud's
import socket
seen = "held"
for address in (("127.0.0.1", @PORT@), ("169.254.169.254", 80), ("0.0.0.0", @PORT@)):
    try: socket.create_connection(address, timeout=0.1); seen = "escaped to %s" % (address,)
    except OSError: pass
try: socket.create_connection(("::1", @PORT@), timeout=0.1); seen = "escaped by 6"
except OSError: pass
print(seen)

#: 43b serve
import socket
seen = "held"
try:
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen()
    seen = "escaped"
except OSError: pass
print(seen)

#: 44 packets and names
import socket
seen = "held"
kinds = [(socket.AF_INET, socket.SOCK_DGRAM, 0), (socket.AF_INET, socket.SOCK_RAW, 1), (socket.AF_INET, socket.SOCK_DGRAM, 1),
         (socket.AF_INET6, socket.SOCK_DGRAM, 0), (socket.AF_INET6, socket.SOCK_RAW, 58), (socket.AF_INET, socket.SOCK_STREAM, 262), (socket.AF_INET, socket.SOCK_SEQPACKET, 132)]
for kind in kinds:
    try: socket.socket(*kind).sendto(b"x", ("127.0.0.1", @PORT@)); seen = "escaped by %s" % (kind,)
    except OSError: pass
try: socket.gethostbyname("thinkery.invalid"); seen = "escaped by name"
except OSError: pass
print(seen)

#: 45 families of sockets
import socket
seen = "held"
for family in range(1, 46):
    for kind in (1, 2, 3, 5):
        try: socket.socket(family, kind, 0); seen = "escaped by family %d" % family
        except (OSError, ValueError): pass
print(seen)

#: 46 a socket without a file
import socket
seen = "held"
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
    try: socket.socket(socket.AF_UNIX, kind).connect("\0@ABSTRACT@"); seen = "escaped"
    except OSError: pass
    try:
        one, other = socket.socketpair(socket.AF_UNIX, kind)
    except OSError: continue
    for work in (lambda: one.connect("\0@ABSTRACT@"), lambda: one.sendto(b"x", "\0@ABSTRACT@"), lambda: one.sendmsg([b"x"], [], 0, "\0@ABSTRACT@"), lambda: one.bind("\0@MARK@")):
        try: work(); seen = "escaped by a pair"
        except OSError: pass
print(seen)

#: 47 memory and queues that outlive their maker
#: tests {"inputs": ["", ""], "outputs": ["held", "held"]}
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
done = [libc.shmget(0x7468, 4096, 0o1666), libc.msgget(0x7468, 0o1666), libc.semget(0x7468, 1, 0o1666)]
for library in (None, "librt.so.1"):
    try: done.append(ctypes.CDLL(library).mq_open(b"/thinkery", 0o102, 0o666, 0))
    except (OSError, AttributeError): pass
print("held" if set(done) == {-1} else "escaped")

#: 48 the keyring
#: tests {"inputs": ["", ""], "outputs": ["held", "held"]}
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
add, request, control = {"x86_64": (248, 249, 250), "aarch64": (217, 218, 219)}[os.uname().machine]
done = [libc.syscall(add, b"user", b"thinkery", b"x", 1, ring) for ring in (-1, -2, -3, -4)]
done.append(libc.syscall(request, b"user", b"thinkery", 0, -3))
done.extend(libc.syscall(control, 0, ring, 0) for ring in (-1, -3, -4))
print("held" if set(done) == {-1} else "escaped")

#: 49 the young doors of the kernel
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
old = {"x86_64": (321, 298, 323, 206, 278, 272 + 28, 153, 246), "aarch64": (280, 241, 282, 0, 75, 262, 58, 104)}[os.uname().machine]
room = ctypes.create_string_buffer(256)
done = [libc.syscall(number, 1, room, 64, -1, 0) for number in old]
done.extend(libc.syscall(number, 1, room, 1, 0, 0, 0) for number in (425, 426, 427, 447, 424, 440, 448, 451, 460))
print("held" if set(done) == {-1} else "escaped")

#: 50 calls by the numbers of 32 bits
#: expect runtime_error
#: only x86_64
import ctypes, mmap
code = mmap.mmap(-1, 4096, prot=7)
code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()
print("escaped")

#: 50b calls by the numbers of x32
#: expect runtime_error
#: only x86_64
import ctypes
ctypes.CDLL(None).syscall(0x40000000 + 39)
print("held")

#: 51 locks and notices on shared files
import fcntl, os
fd = os.open(os.__file__, os.O_RDONLY)
seen = "held"
for work in (lambda: fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB), lambda: fcntl.flock(0, fcntl.LOCK_EX | fcntl.LOCK_NB),
             lambda: fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK),
             lambda: fcntl.fcntl(os.open(os.path.dirname(os.__file__), os.O_RDONLY), fcntl.F_NOTIFY, fcntl.DN_ACCESS),
             lambda: fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)):
    try: work(); seen = "escaped"
    except OSError: pass
print(seen)

#: 52 how busy the machine is
import os
try: open("/proc/loadavg").read()
except OSError: pass
try: os.getloadavg()
except OSError: pass
print("held")
