# Runs programs on inputs, each in a process of its own. One of these serves a slot: it starts once, imports what
# programs usually import, and forks per run. Knows no expected output.
#
# Started by `sandbox::enter` as
#     python -c HARNESS serve jail|open        the first process of its namespace, or an ordinary one (T0)
#     python -c HARNESS serve spawn COMMAND... starts COMMAND + header per run instead of forking (T1)
#     python -c HARNESS single HEADER          one run: descriptors 0 to 3 in place, the program on 4, a mark on 5
# Standard input is a socket of packets. From `sandbox::slot` come, with descriptors attached:
#     P source_bytes name_bytes argument_bytes... / file_name_bytes file_bytes ...     and the texts, in a file
#     T cpu_ms kill_ms wall_ms address_bytes output_bytes file_bytes open_files processes seed   and files 0 to 3
#     W ms                                                        the answer to W
# and to it go `K version` once ready, `K` for a program, and per run
#     R wait_status ended_by cpu_us wall_us memory_bytes left_processes clean
# where ended_by is 0 itself, 1 its processor time, 2 its wall time; `E why` if the harness could not; `W` when the
# wall time is over: only from outside can be seen how much of it the program waited for a processor.
import os, sys, time, select, resource, builtins, atexit, gc, marshal, fcntl, stat
import _signal as signal, _thread

COMPILE_ERROR, BROKEN = 121, 122
TOP, CONTROL, HIGHEST, LAST, WARM = 61, 62, 64, 1 << 20, 40
MODULES = ("math", "collections", "heapq", "itertools", "functools", "bisect", "operator", "time", "sys", "io", "os",
           "array", "abc", "collections.abc")
# Taken in when a program first names them: each makes every fork dearer.
COMMON = ("string", "re", "random", "fractions", "decimal", "typing", "copy", "datetime", "json", "threading", "struct",
          "enum", "queue", "cmath")
RARE = ("statistics", "dataclasses", "inspect", "textwrap", "numbers", "contextlib", "traceback", "hashlib",
        "calendar", "types", "weakref", "secrets", "pprint", "warnings", "tempfile", "zlib", "base64", "binascii", "difflib",
        "ast", "csv", "timeit", "pickle", "pathlib", "graphlib", "sortedcontainers", "numpy")
# What a solution that only defines a function may rely on, as on the sites these questions come from.
PREAMBLE = {
    "typing": "List Tuple Dict Set Optional Union Any Iterable Callable",
    "collections": "Counter OrderedDict deque defaultdict ChainMap",
    "functools": "lru_cache cache reduce cmp_to_key",
    "itertools": "accumulate product permutations combinations",
    "heapq": "heapify heappush heappop heappushpop heapreplace nlargest nsmallest",
    "bisect": "bisect_left bisect_right insort",
    "math": "sqrt sin cos tan ceil fabs floor gcd exp log log2 inf",
}
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE if hasattr(fcntl, "F_SEAL_SEAL") else 15
ADD_SEALS, GET_SEALS = 1033, 1034


# ---- programs ----

class Program:
    # What a packet P brings: texts cut from one file.
    def __init__(self, head, text):
        def cut(size):
            self.at += size
            return text[self.at - size:self.at]
        own, _, files = head.partition(b"/")
        sizes, self.at = [int(word) for word in own.split()], 0
        self.source = cut(sizes[0]).decode()
        self.name = cut(sizes[1]).decode()
        self.arguments = [cut(size).decode() for size in sizes[2:]]
        sizes = iter([int(word) for word in files.split()])
        self.files = [(cut(size).decode(), cut(next(sizes))) for size in sizes]
        self.code = None


def whole(fd):
    size, at, parts = os.fstat(fd).st_size, 0, []
    while at < size:
        part = os.pread(fd, 1 << 20, at)
        if not part:
            break
        parts.append(part)
        at += len(part)
    return b"".join(parts)


def send(fd, data):
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view):]


def preload(program):
    # Trusted modules only, once per slot: a fork shares them. Imports stand at the beginning.
    named = {"json", "typing"} if program.name else set()
    for line in program.source[:1 << 16].splitlines():
        if "import" in line:
            named.update(line.replace(",", " ").replace(";", " ").split())
    new = [name for name in COMMON + RARE if name in named and name not in sys.modules]
    take_in(new)
    return new


def take_in(names):
    # What `random` and `threading` do after a fork touches so many pages that it costs as much as the
    # fork; we seed anew ourselves, and there are no threads here.
    hook, os.register_at_fork = os.register_at_fork, lambda **_: None
    for name in names:
        try:
            __import__(name)
        except Exception:
            pass
    os.register_at_fork = hook


def ambient(source):
    # Names a solution may use without importing them; only those that occur in it are looked up.
    words = set("".join(c if c.isalnum() or c == "_" else " " for c in source).split())
    scope = {name: __import__(name) for name in MODULES + COMMON if name in words}
    for owner, names in PREAMBLE.items():
        for name in words.intersection(names.split()):
            scope[name] = getattr(__import__(owner), name)
    return scope


# ---- one run, in a process of its own ----

def limit(numbers):
    cpu_ms, kill_ms, wall_ms, address_bytes, output_bytes, file_bytes, open_files, processes, seed = numbers
    seconds = kill_ms // 1000 + 2
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    written = max(output_bytes + 1, file_bytes)
    resource.setrlimit(resource.RLIMIT_FSIZE, (written, written))
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))
    resource.setrlimit(resource.RLIMIT_AS, (address_bytes, address_bytes))
    if processes:
        resource.setrlimit(resource.RLIMIT_NPROC, (processes, processes))
    for number in (signal.SIGXFSZ, signal.SIGXCPU, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def compiled(program, keep):
    # `keep` is a file that is sealed before any of the program runs: later runs may trust it.
    if program.code is not None:
        return program.code
    try:
        code = compile(program.source, "program.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        os.write(2, ("%s: %s" % (type(error).__name__, error)).encode("utf-8", "replace")[:4096])
        os._exit(COMPILE_ERROR)
    if keep is not None:
        # Code may be larger than any file that the program may write: then it is compiled again.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            send(keep, marshal.dumps(code))
            fcntl.fcntl(keep, ADD_SEALS, SEALS)
        except (OSError, ValueError):
            pass
        os.close(keep)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    return code


def streams():
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", closefd=False)
    sys.stdout = sys.__stdout__ = open(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.__stderr__ = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)


def module(name):
    made = type(sys)(name)
    made.__builtins__, made.__file__ = builtins, "program.py"
    sys.modules[name] = made
    return made.__dict__


def tagged(value, depth=0):
    if depth > 100:
        return ["o", "too deep"]
    if value is None:
        return ["n"]
    if isinstance(value, bool):
        return ["b", bool(value)]
    if isinstance(value, int):
        return ["i", int.__repr__(value)]
    if isinstance(value, float):
        return ["f", float.__repr__(value)]
    if isinstance(value, str):
        return ["s", str.__str__(value)]
    for kind, mark in ((list, "l"), (tuple, "t"), (set, "u"), (frozenset, "u")):
        if isinstance(value, kind):
            return [mark, [tagged(item, depth + 1) for item in kind.__iter__(value)]]
    if isinstance(value, dict):
        return ["d", [[tagged(k, depth + 1), tagged(v, depth + 1)] for k, v in dict.items(value)]]
    return ["o", type(value).__name__]


def int_keys(value):
    # JSON has no integer keys; the sets these questions come from mean integers.
    if isinstance(value, list):
        return [int_keys(item) for item in value]
    if isinstance(value, dict):
        return {int(k) if k.lstrip("-").isdigit() else k: int_keys(v) for k, v in value.items()}
    return value


def call(scope, name):
    import json
    if hasattr(sys, "set_int_max_str_digits"):
        usual = sys.get_int_max_str_digits()
        sys.set_int_max_str_digits(0)
    arguments = int_keys(json.loads(whole(0)))
    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(usual)
    function = scope.get(name)
    if not callable(function):
        solution = scope.get("Solution")
        function = getattr(solution(), name, None) if isinstance(solution, type) else None
    if not callable(function):
        raise NameError("the program defines no function `%s`" % name)
    result = tagged(function(*arguments))
    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(0)
    text = json.dumps(result).encode()
    send(3, b"%d\n" % len(text) + text)


def end(error, scope):
    # What the interpreter does at its end, without taking itself apart: half of a short run's time.
    status = 0
    if isinstance(error, SystemExit):
        if error.code is not None and not isinstance(error.code, int):
            sys.stderr.write("%s\n" % error.code)
        status = 0 if error.code is None else error.code & 255 if isinstance(error.code, int) else 1
    elif error is not None:
        sys.excepthook(type(error), error, error.__traceback__)
        status = 1
    threading = sys.modules.get("threading")
    if threading is not None and (_thread._count() or getattr(threading, "_threading_atexits", None)):
        threading._shutdown()
    atexit._run_exitfuncs()
    # Finalisers of what the program still holds.
    for key in [key for key in scope if key != "__builtins__"]:
        scope.pop(key, None)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        status = status or 120
    os._exit(status)


def run(program, seed, keep):
    # Descriptors are in place, limits are set; from here on nothing is ours any more.
    if "random" in program.source:
        import random
        random.seed(seed)
    sys.argv = ["program.py"] + program.arguments
    sys.path.insert(0, os.getcwd())
    scope = module("solution" if program.name else "__main__")
    code = compiled(program, keep)
    failure = None
    try:
        if program.name:
            scope.update(ambient(program.source))
        exec(code, scope)
        if program.name:
            call(scope, program.name)
    except BaseException as error:
        failure = error
    end(failure, scope)


def warm():
    # The interpreter adapts functions to what they are called with, and writes to them for it. Done here
    # once, it is not done in every child, whose memory then stays shared.
    kept = os._exit, resource.setrlimit, signal.signal, sys.path, sys.argv, sys.modules["__main__"]
    os._exit, resource.setrlimit, signal.signal = (lambda *_: None,) * 3
    program = Program(b"9 0 /", b"x = 1 + 1")
    for _ in range(WARM):
        limit([1] * 9)
        sys.path = list(kept[3])
        run(program, 0, None)
    os._exit, resource.setrlimit, signal.signal, sys.path, sys.argv, sys.modules["__main__"] = kept


# ---- the slot ----

def wipe(top):
    # Folders are emptied into the top one rather than descended into: a program may nest them at will.
    try:
        os.fchmod(top, 0o700)
        names, moved = os.listdir(top), 0
        unlikely = os.urandom(12).hex() if names else ""
        while names:
            for name in names:
                if not stat.S_ISDIR(os.stat(name, dir_fd=top, follow_symlinks=False).st_mode):
                    os.unlink(name, dir_fd=top)
                    continue
                os.chmod(name, 0o700, dir_fd=top)
                inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
                for below in os.listdir(inner):
                    if stat.S_ISDIR(os.stat(below, dir_fd=inner, follow_symlinks=False).st_mode):
                        os.chmod(below, 0o700, dir_fd=inner)
                    moved += 1
                    os.rename(below, "%s%d" % (unlikely, moved), src_dir_fd=inner, dst_dir_fd=top)
                os.close(inner)
                os.rmdir(name, dir_fd=top)
            names = os.listdir(top)
        for name in os.listxattr(top):
            os.removexattr(top, name)
        os.utime(top, (0, 0))
        return 1
    except OSError:
        return 0


def sweep_namespace():
    # The first process of a namespace may kill all others at once: no fork bomb outruns that.
    try:
        os.kill(-1, signal.SIGKILL)
    except OSError:
        pass
    left, seconds, peak = 0, 0.0, 0
    while True:
        try:
            _, _, usage = os.wait4(-1, 0)
        except ChildProcessError:
            return left, seconds, peak
        left, peak = left + 1, max(peak, usage.ru_maxrss)
        seconds += usage.ru_utime + usage.ru_stime


def sweep_children():
    # Everything a program left behind is our child: the process is a subreaper.
    left, seconds, peak = 0, 0.0, 0
    while True:
        try:
            with open("/proc/self/task/%d/children" % os.getpid()) as file:
                children = file.read().split()
        except OSError:
            return left, seconds, peak
        for child in children:
            try:
                os.kill(int(child), signal.SIGKILL)
            except OSError:
                pass
        try:
            _, _, usage = os.wait4(-1, 0)
        except ChildProcessError:
            return left, seconds, peak
        left, peak = left + 1, max(peak, usage.ru_maxrss)
        seconds += usage.ru_utime + usage.ru_stime


def watch(child, kill_ms, wall_ms):
    # The clock of another process: of its time on the processor, in all its threads.
    clock, begin, ended_by = (~child << 3) | 2, time.monotonic(), 0
    fd = os.pidfd_open(child)
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    poll.register(CONTROL, select.POLLIN)
    used, asked = 0.0, False
    while True:
        left_cpu = kill_ms - used
        left_wall = wall_ms - (time.monotonic() - begin) * 1000
        if left_cpu <= 0:
            ended_by = 1
            break
        if left_wall <= 0 and not asked:
            control.send(b"W")
            asked = True
        # Threads may use several processors at once, so that half the rest is safe to sleep through.
        pause = left_cpu if left_cpu < 20 else left_cpu / 2 + 1
        events = dict(poll.poll(max(1, pause if asked else min(pause, left_wall + 1))))
        if fd in events:
            break
        if CONTROL in events:
            more, asked = waits(), False
            if not more:
                ended_by = 2
                break
            wall_ms += more
        try:
            used = time.clock_gettime(clock) * 1000
        except OSError:
            pass
    if ended_by:
        os.kill(child, signal.SIGKILL)
    if asked:
        waits()
    os.close(fd)
    _, status, usage = os.wait4(child, 0)
    return status, ended_by, usage, time.monotonic() - begin


def waits():
    # How much longer a run may take, since it had to wait for a processor.
    kind, text, _ = received()
    if kind != b"W":
        leave()
    return int(text)


def leave():
    # Whoever judges is gone: nothing stays behind.
    if os.getpid() != 1:
        sweep()
        wipe(TOP)
    os._exit(0)


def forked(program, numbers, files):
    keep = None if program.code is not None else os.memfd_create("code", 3)
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            limit(numbers)
            for fd, given in enumerate(files if keep is None else files + [keep]):
                os.dup2(given, fd)
            os.closerange(len(files) + (keep is not None), HIGHEST)
            keep = None if keep is None else len(files)
            gc.enable()
        except BaseException as error:
            control.send(("E could not begin a run: %s" % error).encode())
            os._exit(BROKEN)
        run(program, numbers[8], keep)
    return child, keep


def spawned(program, numbers, files):
    mark = os.memfd_create("mark", 0)
    header = " ".join(str(number) for number in numbers)
    child = os.fork()
    if child == 0:
        if len(files) == 3:
            files = files + [os.open("/dev/null", os.O_WRONLY)]
        for fd, given in enumerate(files + [pack, mark]):
            os.dup2(given, fd)
        os.closerange(6, HIGHEST)
        os.execv(command[0], command + [header, head.decode()])
    return child, mark


def test(program, numbers, files):
    for name, content in program.files:
        with open(name, "wb") as file:
            file.write(content)
    child, kept = start(program, numbers, files)
    status, ended_by, usage, wall = watch(child, numbers[1], numbers[2])
    left, seconds, peak = sweep()
    if kept is not None:
        text = whole(kept)
        if start is spawned and not text:
            said = whole(files[2])[-500:].strip().rpartition(b"\n")[2]
            control.send(b"E the launcher did not begin a run: " + said)
        elif start is forked and fcntl.fcntl(kept, GET_SEALS) & SEALS == SEALS:
            program.code = marshal.loads(text)
        os.close(kept)
    cpu = usage.ru_utime + usage.ru_stime + seconds
    memory = max(usage.ru_maxrss, peak) * 1024
    answer = (status, ended_by, int(cpu * 1e6), int(wall * 1e6), memory, left, wipe(TOP))
    control.send(b"R " + b" ".join(b"%d" % number for number in answer))


def received():
    packet, ancillary, _, _ = control.recvmsg(1 << 16, 256)
    fds = [fd for _, _, data in ancillary for fd in memoryview(data).cast("i").tolist()]
    return packet[:1], packet[2:], fds


def serve():
    global head, pack
    program = None
    while True:
        kind, text, fds = received()
        if kind == b"P":
            if pack is not None:
                os.close(pack)
            pack, head = fds[0], text
            program = Program(head, whole(pack))
            if start is forked and preload(program):
                gc.collect()
                gc.freeze()
            control.send(b"K")
        elif kind == b"T":
            test(program, [int(word) for word in text.split()], fds)
            for fd in fds:
                os.close(fd)
        else:
            leave()


def undumpable():
    # No other process may look into this one or those it forks.
    try:
        import _ctypes
        _ctypes.call_function(_ctypes.dlsym(_ctypes.dlopen(None, 0), "prctl"), (4, 0, 0, 0, 0))
    except (ImportError, OSError):
        pass


def site_builtins():
    # `-S` leaves out `exit` and `quit`.
    import _sitebuiltins
    builtins.exit = _sitebuiltins.Quitter("exit", "Ctrl-D (i.e. EOF)")
    builtins.quit = _sitebuiltins.Quitter("quit", "Ctrl-D (i.e. EOF)")


os.environ.pop("LD_BIND_NOW", None)
# The limit on the stack, large for deep recursion, would be reserved by every thread.
_thread.stack_size(32 << 20)
sys.path = [folder for folder in sys.path if folder]
site_builtins()
if sys.argv[1] == "single":
    undumpable()
    program = Program(sys.argv[3].encode(), whole(4))
    limit([int(word) for word in sys.argv[2].split()])
    os.write(5, b"begun")
    streams()
    os.closerange(3 if not program.name else 4, LAST)
    run(program, int(sys.argv[2].split()[8]), None)
else:
    import _socket
    os.dup2(os.open(".", os.O_RDONLY | os.O_DIRECTORY), TOP)
    os.dup2(0, CONTROL)
    control = _socket.socket(1, 5, 0, fileno=CONTROL)
    # The streams of programs are made here once, on files like those that a run will have there.
    for fd in range(2):
        os.dup2(os.memfd_create("none"), fd)
    streams()
    # What comes over the wire gets higher numbers than those it is moved to.
    for fd in range(3, 8):
        os.dup2(1, fd)
    os.closerange(8, TOP)
    head = pack = None
    start = spawned if sys.argv[2] == "spawn" else forked
    command = sys.argv[3:]
    # Whoever started the judge may have left it files that are no business of programs.
    spared = int(os.path.basename(command[0])) if start is spawned else HIGHEST
    os.closerange(HIGHEST, spared)
    os.closerange(spared + 1, LAST)
    if os.getpid() == 1:
        sweep = sweep_namespace
        # What has a handler reaches the first process of a namespace; the rest does not.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    else:
        sweep = sweep_children
    if start is forked:
        undumpable()
        take_in(MODULES)
        warm()
        gc.disable()
        gc.collect()
        gc.freeze()
    control.send(b"K " + ".".join(map(str, sys.version_info[:3])).encode())
    serve()
