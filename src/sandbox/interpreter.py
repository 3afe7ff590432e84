# Says what this interpreter needs of the file system, as one line of JSON: nothing else enters a slot.
# Read by `sandbox::interpreter`.
import json, os, struct, sys

folders = [p for p in sys.path if p and os.path.isdir(p)]
# Extensions name further libraries only when they are loaded.
for folder in folders:
    for name in sorted(os.listdir(folder)) if folder.endswith("lib-dynload") else []:
        module = name.split(".")[0]
        if name.endswith(".so") and not module.startswith(("_test", "_tkinter", "_xx", "xx", "_curses", "readline", "_ctypes_test", "_dbm", "_gdbm", "nis", "ossaudiodev")):
            try:
                __import__(module)
            except Exception:
                pass


def placed(path):
    # Where it stands once the folders before it are followed.
    return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))


def loader(path):
    # The program header PT_INTERP of a 64-bit ELF file.
    with open(path, "rb") as file:
        head = file.read(64)
        if head[:5] != b"\x7fELF\x02":
            return None
        offset, size, count = struct.unpack_from("=Q", head, 32)[0], *struct.unpack_from("=HH", head, 54)
        for at in range(count):
            file.seek(offset + at * size)
            entry = file.read(size)
            if struct.unpack_from("=I", entry)[0] == 3:
                start, length = struct.unpack_from("=Q", entry, 8)[0], struct.unpack_from("=Q", entry, 32)[0]
                file.seek(start)
                return file.read(length).rstrip(b"\0").decode()


executable = os.path.realpath(sys.executable)
with open("/proc/self/maps") as maps:
    mapped = {line.split(None, 5)[5].strip() for line in maps if line.count("/")}
libraries = {p for p in mapped if ".so" in os.path.basename(p) and os.path.isfile(p)}
# Loaded by the C library when a thread ends.
libraries |= {os.path.join(f, "libgcc_s.so.1") for f in {os.path.dirname(p) for p in libraries}
              if os.path.isfile(os.path.join(f, "libgcc_s.so.1"))}
inside = tuple(os.path.realpath(f) + os.sep for f in folders)
files = {placed(p): os.path.realpath(p) for p in libraries | {executable} if not os.path.realpath(p).startswith(inside)}
links = {}
for path in sorted(files):
    # The names under which a library is asked for.
    folder, name = os.path.split(path)
    stem = name.split(".so")[0]
    for other in os.listdir(folder) if ".so" in name else []:
        full = os.path.join(folder, other)
        if other.startswith(stem) and os.path.islink(full) and os.path.realpath(full) == os.path.realpath(path):
            links[full] = path
start = loader(executable)
if start and placed(start) not in files:
    files[placed(start)] = os.path.realpath(start)
if os.path.isfile("/etc/ld.so.cache"):
    files["/etc/ld.so.cache"] = os.path.realpath("/etc/ld.so.cache")
for name in ("/lib", "/lib32", "/lib64", "/libx32"):
    if os.path.islink(name):
        links[name] = os.readlink(name)
print(json.dumps({
    "version": list(sys.version_info[:3]),
    "executable": executable,
    "loader": start and os.path.realpath(start),
    "folders": sorted({(f, os.path.realpath(f)) for f in folders}),
    "files": sorted(files.items()),
    "links": sorted((a, b) for a, b in links.items() if a not in files),
}))
