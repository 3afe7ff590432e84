//! Ways in which correct programs read and write. A judge that imitates streams instead of handing
//! over real ones fails a dozen of them; all are accepted here.

use serde_json::{Value, json};

use crate::env::TestEnv;

/// Each reads `3`, `4` and `5 6` on three lines and prints their sum, 18.
const IDIOMS: &[(&str, &str)] = &[
    ("input", "a = int(input()); b = int(input()); print(a + b + sum(map(int, input().split())))"),
    ("read", "import sys\nprint(sum(map(int, sys.stdin.read().split())))"),
    (
        "readline",
        "import sys\na = int(sys.stdin.readline())\nb = int(sys.stdin.readline())\n\
         print(a + b + sum(map(int, sys.stdin.readline().split())))",
    ),
    (
        "readlines",
        "import sys\nprint(sum(int(w) for line in sys.stdin.readlines() for w in line.split()))",
    ),
    (
        "input is readline",
        "import sys\ninput = sys.stdin.readline\na = int(input()); b = int(input())\n\
         print(a + b + sum(map(int, input().split())))",
    ),
    ("stdout.write", "import sys\nsys.stdout.write(str(sum(map(int, sys.stdin.read().split()))))"),
    (
        "thread with a large stack",
        "import sys, threading\nsys.setrecursionlimit(10 ** 6)\nthreading.stack_size(1 << 28)\n\
         def f(n): return 0 if n == 0 else 1 + f(n - 1)\n\
         def main(): print(sum(map(int, sys.stdin.read().split())) + f(50000) - 50000)\n\
         t = threading.Thread(target=main)\nt.start()\nt.join()",
    ),
    (
        "deep recursion",
        "import sys\nsys.setrecursionlimit(10 ** 6)\n\
         def f(n): return 0 if n == 0 else 1 + f(n - 1)\n\
         print(sum(map(int, sys.stdin.read().split())) + f(50000) - 50000)",
    ),
    (
        "lru_cache",
        "from functools import lru_cache\nimport sys\n@lru_cache(None)\n\
         def f(n): return n if n < 2 else f(n - 1) + f(n - 2)\n\
         print(sum(map(int, sys.stdin.read().split())) + f(30) - 832040)",
    ),
    (
        "text of several lines",
        "import sys\nx = '''a\n  b\n'''\nprint(sum(map(int, sys.stdin.read().split())))",
    ),
    (
        "buffer.readline",
        "import sys\ninput = sys.stdin.buffer.readline\na = int(input()); b = int(input())\n\
         print(a + b + sum(map(int, input().split())))",
    ),
    ("buffer.read", "import sys\nprint(sum(map(int, sys.stdin.buffer.read().split())))"),
    (
        "for line in stdin",
        "import sys\ns = 0\nfor line in sys.stdin:\n    s += sum(map(int, line.split()))\nprint(s)",
    ),
    (
        "iter of stdin",
        "import sys\nit = iter(sys.stdin)\nprint(sum(int(w) for line in it for w in line.split()))",
    ),
    ("open(0)", "print(sum(map(int, open(0).read().split())))"),
    ("os.read", "import os\nprint(sum(map(int, os.read(0, 10 ** 6).split())))"),
    (
        "os.write",
        "import os, sys\nos.write(1, str(sum(map(int, sys.stdin.read().split()))).encode())",
    ),
    (
        "stdout.buffer",
        "import sys\nsys.stdout.buffer.write(b'%d\\n' % sum(map(int, sys.stdin.buffer.read().split())))",
    ),
    (
        "fast IO",
        "import os, sys\nfrom io import BytesIO, IOBase\nclass FastIO(IOBase):\n    newlines = 0\n    \
         def __init__(self, file):\n        self._fd = file.fileno()\n        self.buffer = BytesIO()\n        \
         self.write = self.buffer.write\n    def read(self):\n        while True:\n            \
         b = os.read(self._fd, max(os.fstat(self._fd).st_size, 8192))\n            if not b: break\n            \
         ptr = self.buffer.tell()\n            self.buffer.seek(0, 2), self.buffer.write(b), \
         self.buffer.seek(ptr)\n        return self.buffer.read()\n    def flush(self):\n        \
         os.write(self._fd, self.buffer.getvalue())\n        self.buffer.truncate(0), self.buffer.seek(0)\n\
         i = FastIO(sys.stdin)\no = FastIO(sys.stdout)\n\
         o.write(str(sum(map(int, i.read().split()))).encode())\no.flush()",
    ),
    ("exit()", "import sys\nprint(sum(map(int, sys.stdin.read().split())))\nexit()"),
    ("sys.exit(0)", "import sys\nprint(sum(map(int, sys.stdin.read().split())))\nsys.exit(0)"),
    (
        "os._exit",
        "import os, sys\nprint(sum(map(int, sys.stdin.read().split())), flush=True)\nos._exit(0)",
    ),
    (
        "main without blanks",
        "import sys\nif __name__=='__main__':print(sum(map(int,sys.stdin.read().split())))",
    ),
    (
        "a global",
        "global cnt\ncnt = 0\nimport sys\ndef f():\n    global cnt\n    \
         cnt += sum(map(int, sys.stdin.read().split()))\nf()\nprint(cnt)",
    ),
    (
        "atexit",
        "import atexit, sys\ns = sum(map(int, sys.stdin.read().split()))\natexit.register(lambda: print(s))",
    ),
    (
        "from __future__",
        "from __future__ import annotations\nimport sys\nprint(sum(map(int, sys.stdin.read().split())))",
    ),
    (
        "raw descriptor that nobody closes",
        "import sys\no = open(1, 'w')\no.write(str(sum(map(int, open(0).read().split()))))",
    ),
    (
        "mmap of standard input",
        "import mmap\nwith mmap.mmap(0, 0, access=mmap.ACCESS_READ) as m:\n    \
         print(sum(map(int, bytes(m).split())))",
    ),
    (
        "a file of its own",
        "import sys\nopen('out.txt', 'w').write(sys.stdin.read())\n\
         print(sum(map(int, open('out.txt').read().split())))",
    ),
];

/// Grades every idiom with these settings of the environment and says which are refused.
fn refused(settings: &[(&str, &str)]) -> Vec<String> {
    let env = TestEnv::new();
    let row = |(name, code): &(&str, &str)| {
        let solution = format!("```python\n{code}\n```");
        let tests = json!({"inputs": ["3\n4\n5 6\n", "3\r\n4\r\n5 6"], "outputs": ["18", "18"]});
        format!("{}\n", json!({"id": name, "solution": solution, "tests": tests}))
    };
    let rows = env.file("rows.jsonl", &IDIOMS.iter().map(row).collect::<String>());
    let mut command = env.command(&["grade", "code"]);
    command.envs(settings.iter().copied()).stdin(std::fs::File::open(rows).unwrap());
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let graded: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(graded.len(), IDIOMS.len(), "{stderr}");
    let failed = graded.iter().filter(|row| row["verdict"] != "correct");
    failed.map(|row| format!("{}: {}", row["id"], row["why"])).collect()
}

#[test]
fn every_way_to_read_and_write_is_accepted() {
    assert_eq!(refused(&[]), Vec::<String>::new());
}

#[test]
fn programs_that_start_anew_each_time_may_only_not_write_files() {
    let refused = refused(&[("THINKERY_SANDBOX_TIER", "T1")]);
    assert!(refused.len() == 1 && refused[0].contains("a file of its own"), "{refused:#?}");
}
