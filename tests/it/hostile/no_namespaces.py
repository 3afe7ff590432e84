# Becomes the program named by its arguments where nobody may make namespaces or mount anything: what a container
# without privileges allows. Refuses with EPERM, and clone3 with ENOSYS, as container engines do. After the word
# `all` Landlock and further filters are refused too.
import ctypes, os, struct, sys

EPERM, ENOSYS, ALLOW, ERRNO = 1, 38, 0x7FFF0000, 0x00050000
NEW = 0x7E020000  # every CLONE_NEW flag
refused, clone = {
    "x86_64": ((272, 308, 165, 166, 155, 161), 56),
    "aarch64": ((97, 268, 40, 39, 41, 51), 220),
}[os.uname().machine]
refused += (428, 429, 430, 432, 442)
if sys.argv[1] == "all":
    refused += (444, 445, 446, {"x86_64": 317, "aarch64": 277}[os.uname().machine])


def step(code, yes, no, value):
    return struct.pack("HBBI", code, yes, no, value)


answers = [step(0x06, 0, 0, ALLOW), step(0x06, 0, 0, ERRNO | EPERM), step(0x06, 0, 0, ERRNO | ENOSYS)]
steps = [step(0x20, 0, 0, 0)]
for number in refused:
    steps += [step(0x15, 0, 1, number), answers[1]]
steps += [step(0x15, 0, 1, 435), answers[2]]
steps += [step(0x15, 0, 3, clone), step(0x20, 0, 0, 16), step(0x45, 0, 1, NEW), answers[1], answers[0]]
text = b"".join(steps)
buffer = ctypes.create_string_buffer(text)
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(text) // 8, ctypes.addressof(buffer)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0, "no_new_privs"
assert libc.prctl(22, 2, program, 0, 0) == 0, "seccomp"
os.execv(sys.argv[2], sys.argv[2:])
