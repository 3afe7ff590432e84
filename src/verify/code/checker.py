# Becomes the checker SOURCE: standard input holds a JSON list of the input, the expected output and the
# actual one, which it finds as files named by its arguments. SOURCE is set before this text.
import json, os, sys


def files():
    parts = []
    while part := os.read(0, 1 << 20):
        parts.append(part)
    names = ("input.txt", "expected.txt", "output.txt")
    for name, text in zip(names, json.loads(b"".join(parts))):
        with open(name, "w", encoding="utf-8", newline="") as file:
            file.write(text)
    return names


sys.argv = ["checker.py", *files()]
exec(compile(SOURCE, "checker.py", "exec", dont_inherit=True), {"__name__": "__main__", "__builtins__": __builtins__})
