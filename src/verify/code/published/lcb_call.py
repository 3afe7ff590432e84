# Calls NAME of SOURCE as LiveCodeBench's harness does: of an object of class Solution if the text has one.
# SOURCE and NAME are set before this text.
import sys


def thinkery_call(*arguments):
    module = type(sys)("tmp_sol")
    for name in ("string re datetime collections heapq bisect copy math random statistics itertools functools "
                 "operator io sys json builtins typing").split():
        exec("from %s import *\nimport %s" % (name, name), module.__dict__)
    sys.setrecursionlimit(50000)
    exec(compile(SOURCE, "program.py", "exec", dont_inherit=True), module.__dict__)
    owner = module.Solution() if "class Solution" in SOURCE else module
    return getattr(owner, NAME)(*arguments)
