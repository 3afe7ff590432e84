# Runs one program against many inputs, each in a process of its own. Started by `sandbox::process` in an
# empty folder, with limits set and standard input holding the job: a line of numbers
#     mode cpu_ms wall_ms output_bytes file_bytes open_files source_bytes name_bytes input_bytes...
# followed by that many bytes each. Knows no expected output. Answers on standard output, per input:
#     index wait_status timed_out cpu_ms wall_ms memory_bytes stdout_bytes stderr_bytes value_bytes left
# and those bytes. Imports little: `json` alone costs as much as the interpreter's start.
import os, sys, time, select, resource, builtins
import _signal as signal

COMPILE_ERROR, STDERR_KEPT = 121, 4096
MODULES = ("math", "collections", "heapq", "itertools", "functools", "bisect", "string", "re", "random",
           "fractions", "decimal", "operator", "typing", "copy", "datetime", "time", "sys")
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


def read_all(fd):
    parts = []
    while part := os.read(fd, 1 << 20):
        parts.append(part)
    return b"".join(parts)


def job():
    head, _, rest = read_all(0).partition(b"\n")
    numbers = [int(word) for word in head.split()]
    texts, at = [], 0
    for size in numbers[6:]:
        texts.append(rest[at:at + size])
        at += size
    return numbers[:6], texts[0].decode(), texts[1].decode(), texts[2:]


def preload(source):
    # Imported once, before the forks; only what the program imports.
    for name in MODULES:
        if "import " + name in source or "from " + name in source:
            __import__(name)


def ambient(source):
    # Names a solution may use without importing them; only those that occur in it are looked up.
    words = set("".join(c if c.isalnum() or c == "_" else " " for c in source).split())
    scope = {name: __import__(name) for name in MODULES if name in words}
    for owner, names in PREAMBLE.items():
        for name in words.intersection(names.split()):
            scope[name] = getattr(__import__(owner), name)
    return scope


def sweep():
    # Everything a program left behind is our child: the process is a subreaper.
    left = 0
    while True:
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return left
        try:
            with open("/proc/self/task/%d/children" % os.getpid()) as file:
                children = file.read().split()
        except OSError:
            return left
        for child in children:
            left += 1
            try:
                os.kill(int(child), 9)
            except OSError:
                pass
        if children:
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                return left


def wipe():
    try:
        names = os.listdir(".")
    except OSError:
        return
    for name in names:
        import shutil
        if os.path.isdir(name) and not os.path.islink(name):
            shutil.rmtree(name, ignore_errors=True)
        else:
            try:
                os.unlink(name)
            except OSError:
                pass


def watch(child, wall_ms):
    begin = time.monotonic()
    fd = os.pidfd_open(child)
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    timed_out = not poll.poll(wall_ms)
    os.close(fd)
    if timed_out:
        os.kill(child, 9)
    _, status, usage = os.wait4(child, 0)
    wall = time.monotonic() - begin
    try:
        # All of its group at once, so that a fork bomb cannot outrun us.
        os.killpg(child, 9)
    except OSError:
        pass
    return status, timed_out, usage, int(wall * 1000)


def kept(fd, most, from_end):
    size = os.fstat(fd).st_size
    start = max(0, size - most) if from_end else 0
    parts, at = [], start
    while at < min(size, start + most):
        part = os.pread(fd, min(1 << 20, start + most - at), at)
        if not part:
            break
        parts.append(part)
        at += len(part)
    os.close(fd)
    return b"".join(parts)


def send(fd, data):
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view):]


def limit(cpu_ms, file_bytes, open_files):
    seconds = (cpu_ms + 999) // 1000
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    resource.setrlimit(resource.RLIMIT_NOFILE, (open_files, open_files))
    for number in (signal.SIGXFSZ, signal.SIGXCPU, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def leave(*_):
    # Our judge died or wants us gone: nothing stays behind.
    sweep()
    wipe()
    try:
        os.rmdir(os.getcwd())
    except OSError:
        pass
    os._exit(1)


def fork_each(numbers, inputs):
    # Returns in each child, with its input; leaves when all are done.
    signal.signal(signal.SIGTERM, leave)
    mode, cpu_ms, wall_ms, output_bytes, file_bytes, open_files = numbers
    wire = os.dup(1)
    for index, given in enumerate(inputs):
        files = [os.memfd_create(name) for name in ("stdin", "stdout", "stderr", "value")]
        send(files[0], given)
        os.lseek(files[0], 0, 0)
        child = os.fork()
        if child == 0:
            os.setsid()
            os.dup2(files[3], 250)
            for fd in range(3):
                os.dup2(files[fd], fd)
            os.closerange(3, 250)
            if mode:
                os.dup2(250, 3)
            os.close(250)
            # A program whose judge dies must not sleep for ever.
            signal.setitimer(signal.ITIMER_REAL, wall_ms / 1000 + 5)
            limit(cpu_ms, max(output_bytes + 1, file_bytes), open_files)
            return given
        status, timed_out, usage, wall = watch(child, wall_ms)
        left = sweep()
        os.close(files[0])
        out = kept(files[1], output_bytes + 1, False)
        err = kept(files[2], STDERR_KEPT, True)
        value = kept(files[3], output_bytes + 1, False)
        wipe()
        cpu = int((usage.ru_utime + usage.ru_stime) * 1000)
        head = (index, status, int(timed_out), cpu, wall, usage.ru_maxrss * 1024, len(out), len(err), len(value), left)
        send(wire, b" ".join(b"%d" % number for number in head) + b"\n" + out + err + value)
    os._exit(0)


def compiled(source):
    try:
        return compile(source, "program.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError) as error:
        os.write(2, ("%s: %s" % (type(error).__name__, error)).encode("utf-8", "replace")[:STDERR_KEPT])
        os._exit(COMPILE_ERROR)


def streams():
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", closefd=False)
    sys.stdout = sys.__stdout__ = open(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.__stderr__ = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)


def module(name):
    made = type(sys)(name)
    made.__builtins__, made.__file__ = builtins, "program.py"
    sys.modules[name] = made
    return made.__dict__


def site_builtins():
    # `-S` leaves out `exit` and `quit`.
    import _sitebuiltins
    builtins.exit = _sitebuiltins.Quitter("exit", "Ctrl-D (i.e. EOF)")
    builtins.quit = _sitebuiltins.Quitter("quit", "Ctrl-D (i.e. EOF)")


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


def call(scope, name, given):
    import json
    arguments = int_keys(json.loads(given))
    function = scope.get(name)
    if not callable(function):
        solution = scope.get("Solution")
        function = getattr(solution(), name, None) if isinstance(solution, type) else None
    if not callable(function):
        raise NameError("the program defines no function `%s`" % name)
    result = tagged(function(*arguments))
    if hasattr(sys, "set_int_max_str_digits"):
        sys.set_int_max_str_digits(0)
    send(3, json.dumps(result).encode())


def end(error):
    # What the interpreter does at its end, without taking itself apart: half of a short run's time.
    status = 0
    if isinstance(error, SystemExit):
        if error.code is not None and not isinstance(error.code, int):
            sys.stderr.write("%s\n" % error.code)
        status = 0 if error.code is None else error.code & 255 if isinstance(error.code, int) else 1
    elif error is not None:
        sys.excepthook(type(error), error, error.__traceback__)
        status = 1
    if "threading" in sys.modules:
        sys.modules["threading"]._shutdown()
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


numbers, source, name, inputs = job()
preload(source)
known = ambient(source) if name else {}
if name:
    import json
import atexit, gc
site_builtins()
gc.freeze()
given = fork_each(numbers, inputs)
del inputs
streams()
sys.argv = ["program.py"]
scope = module("solution" if name else "__main__")
scope.update(known)
code = compiled(source)
failure = None
try:
    exec(code, scope)
    if name:
        call(scope, name, given)
except BaseException as error:
    failure = error
end(failure)
