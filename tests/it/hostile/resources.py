#: 1 fork bomb
#: expect runtime_error
import os
while True: os.fork()

#: 1b fork bomb that takes no for an answer
#: expect time_limit memory_limit
#: limits {"wall_ms": 700}
import os
while True:
    try: os.fork()
    except OSError: pass

#: 1c how many processes there can be
import os, time
made = 0
try:
    while made < 1000:
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
        made += 1
except OSError: pass
print("held" if made < 64 else "escaped")

#: 2 thread bomb
#: expect runtime_error memory_limit
import threading, time
while True: threading.Thread(target=time.sleep, args=(60,), daemon=True).start()

#: 3 memory bomb
#: expect memory_limit
x = []
while True: x.append(bytearray(10 ** 6))

#: 3b memory bomb that takes no for an answer
#: expect memory_limit time_limit
x = []
while True:
    try: x.append(bytearray(10 ** 6))
    except MemoryError: pass

#: 3c memory bomb of many processes
#: expect passed memory_limit runtime_error time_limit
import os
children = []
for _ in range(8):
    try: child = os.fork()
    except OSError: break
    if child == 0:
        x = bytearray(10 ** 8)
        os._exit(0)
    children.append(child)
for child in children: os.waitpid(child, 0)
print("held")

#: 4 more memory than there is
#: expect memory_limit
bytearray(10 ** 12)

#: 5 memory that no object holds
#: expect memory_limit runtime_error
import mmap
maps = []
while True:
    maps.append(mmap.mmap(-1, 10 ** 7))
    maps[-1].write(b"x" * 10 ** 7)

#: 5b memory in files without a name
#: expect memory_limit runtime_error output_limit
import os
held = []
while True:
    held.append(os.memfd_create("x"))
    os.write(held[-1], b"x" * 10 ** 6)

#: 5c memory in shared memory files
#: expect memory_limit runtime_error output_limit
index = 0
while True:
    open("/dev/shm/%d" % index, "wb").write(b"x" * 10 ** 6)
    index += 1

#: 5d memory in pipes
#: expect memory_limit runtime_error
import os, fcntl
while True:
    read, write = os.pipe()
    fcntl.fcntl(write, 1031, 1 << 20)
    os.set_blocking(write, False)
    os.write(write, b"x" * (1 << 20))

#: 6 a full disk
#: expect runtime_error memory_limit
index = 0
while True:
    open(str(index), "wb").write(b"x" * 10 ** 6)
    index += 1

#: 7 a million empty files
#: expect runtime_error time_limit
for index in range(10 ** 6): open(str(index), "w").close()

#: 8 a file of a terabyte with nothing in it
#: expect runtime_error output_limit
with open("a", "wb") as file:
    file.truncate(10 ** 12)
    file.seek(10 ** 12)
    file.write(b"x")

#: 9 a loop
#: expect time_limit
#: cpu
while True: pass

#: 9b a loop in every thread
#: expect time_limit
#: cpu
import threading
def loop():
    while True: pass
for _ in range(3): threading.Thread(target=loop).start()

#: 9c a loop in every process
#: expect time_limit runtime_error
#: limits {"wall_ms": 1000}
import os
for _ in range(3): os.fork()
while True: pass

#: 10 a long sleep
#: expect time_limit
#: limits {"wall_ms": 300}
import time
time.sleep(1e9)

#: 11 one endless operation
#: expect time_limit
#: cpu
x = 9 ** 9 ** 9

#: 12 an expression that matches for ever
#: expect time_limit
#: cpu
import re
re.match(r"(a+)+b", "a" * 64)

#: 13 an int of ten million digits
#: expect runtime_error time_limit
int("9" * 10 ** 7)

#: 14 recursion without end
#: expect runtime_error memory_limit time_limit
import sys
sys.setrecursionlimit(10 ** 9)
def f(): f()
f()

#: 14b recursion in C without end
#: expect runtime_error memory_limit time_limit
import sys
sys.setrecursionlimit(10 ** 9)
x = []
for _ in range(10 ** 6): x = [x]
repr(x)

#: 15 output without end
#: expect output_limit
while True: print("x" * 10 ** 5)

#: 16 complaints without end
#: expect output_limit
import sys
while True: print("x" * 10 ** 5, file=sys.stderr)

#: 17 a line without end
#: expect output_limit
import sys
while True: sys.stdout.write("x" * 10 ** 5)

#: 17b a hole of two gigabytes in the output
#: expect output_limit runtime_error
import os
os.ftruncate(1, 1 << 31)
os.lseek(1, 1 << 31, 0)
os.write(1, b"x")

#: 18 every descriptor
#: expect runtime_error
import os
while True: os.dup(0)

#: 19 a file that unpacks to ten gigabytes
#: expect memory_limit time_limit
import gzip
gzip.decompress(gzip.compress(bytes(10 ** 7)) * 1000)

#: 19b a pickle that promises a terabyte
#: expect memory_limit runtime_error
import pickle, struct
pickle.loads(b"\x80\x04\x8e" + struct.pack("<Q", 10 ** 12) + b"x")
