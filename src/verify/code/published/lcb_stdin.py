# Runs SOURCE as LiveCodeBench's harness does: as the body of one function, with imports pulled out of it,
# and with a standard input and output that are Python objects without files behind them. Programs that
# need the files fail here as they fail there. SOURCE is set before this text.
import ast, builtins, io, os, sys


class Buffer:
    def __init__(self, text):
        self.data = text.encode()

    def read(self, *_):
        return self.data

    def readline(self, *_):
        # The first line, every time.
        return self.data.split(b"\n")[0] + b"\n"


class Input:
    def __init__(self, text):
        self.text, self.lines, self.buffer = text, io.StringIO(text), Buffer(text)

    def read(self, *_):
        return self.text

    def readline(self, *size):
        return self.lines.readline(*size)

    def readlines(self, *_):
        return self.text.split("\n")

    def __getattr__(self, name):
        return getattr(self.lines, name)


def given():
    parts = []
    while part := os.read(0, 1 << 20):
        parts.append(part)
    return b"".join(parts).decode("utf-8", "replace")


def as_function(source):
    tree = ast.parse(source)
    last = tree.body[-1] if tree.body else None
    if isinstance(last, ast.If) and ast.unparse(last.test) == "__name__ == '__main__'":
        tree.body[-1:] = last.body
    imports = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    if any(getattr(node, "module", "") == "__future__" for node in imports):
        raise SyntaxError("from __future__ imports must occur at the beginning of the file")
    made = ast.parse("def wrapped_function(): pass")
    made.body[0].body = [node for node in tree.body if node not in imports] or made.body[0].body
    made.body[:0] = imports
    return compile(ast.fix_missing_locations(made), "program.py", "exec")


def run():
    builtins.quit = None
    text = given()
    real, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    module = type(sys)("tmp_sol")
    for name in ("string re datetime collections heapq bisect copy math random statistics itertools functools "
                 "operator io sys json builtins typing").split():
        exec("from %s import *\nimport %s" % (name, name), module.__dict__)
    sys.setrecursionlimit(50000)
    status, printed = 1, io.StringIO()
    printed.close = lambda: None
    try:
        exec(as_function(SOURCE), module.__dict__)
        if "class Solution" in SOURCE:
            module = module.Solution()
        sys.stdin, sys.stdout = Input(text), printed
        try:
            module.wrapped_function()
        except SystemExit:
            pass
        status = 0
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
    sys.stderr.flush()
    view = memoryview(printed.getvalue().encode("utf-8", "replace"))
    while view:
        view = view[os.write(real, view):]
    os._exit(status)


run()
