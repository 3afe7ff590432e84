"""Runs a small rehearsal with the real binary, then lets real clients use what it left behind.

Run by scripts/test-clients, which installs the clients. The scores of so small a run mean nothing.
"""

import json
import os
import subprocess
import sys
import tempfile
import unittest

import datasets
import openai

BIN = os.environ["THINKERY_BIN"]
METADATA = [
    "problem", "deepseek_reasoning", "deepseek_solution", "ground_truth_solution",
    "domain", "source", "test_cases", "starter_code",
]
SMALL = [
    "questions.rehearsal.math=120", "questions.rehearsal.held_out_per_family=2", "train.steps=20",
    "train.save_every=10", "evaluate.samples=1", "evaluate.max_tokens=48",
]


def thinkery(data, *words):
    """The JSON object that a command prints last."""
    command = [BIN, "--data", data, "--json", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise AssertionError(f"{command} ended with {done.returncode}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


class Clients(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.data = os.path.join(cls.folder.name, "data")
        sets = [word for value in SMALL for word in ("--set", value)]
        cls.result = thinkery(cls.data, "run", "rehearsal", *sets)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_every_stage_is_done(self):
        states = {name: stage["state"] for name, stage in self.result["stages"].items()}
        self.assertEqual(set(states.values()), {"done"}, states)
        self.assertEqual(len(states), 7)

    def test_datasets_reads_the_export(self):
        rows = thinkery(self.data, "dataset", "list")["datasets"]
        verified = next(row for row in rows if row["arm"] == "verified")
        out = os.path.join(self.folder.name, "export")
        thinkery(self.data, "dataset", "export", str(verified["id"]), "--out", out)
        default = datasets.load_dataset(out, "default", split="train")
        self.assertEqual(default.column_names, ["system", "conversations"])
        self.assertEqual(len(default), verified["rows"])
        turn = default[0]["conversations"]
        self.assertEqual([part["from"] for part in turn], ["user", "assistant"])
        self.assertTrue(turn[1]["value"].startswith("<|begin_of_thought|>\n\n"))
        self.assertTrue(turn[1]["value"].endswith("\n\n<|end_of_solution|>"))
        metadata = datasets.load_dataset(out, "metadata", split="train")
        self.assertEqual(metadata.column_names, METADATA)
        self.assertEqual(len(metadata), len(default))

    def test_openai_talks_to_the_server(self):
        run = next(path for path in self.models() if "unverified" not in path)
        server = subprocess.Popen(
            [BIN, "--json", "serve", run, "--listen", "127.0.0.1:0", "--served-name", "tiny"],
            stdout=subprocess.PIPE, text=True,
        )
        try:
            address = json.loads(server.stdout.readline())["listening"]
            client = openai.OpenAI(base_url=f"{address}/v1", api_key="none")
            self.assertEqual([model.id for model in client.models.list()], ["tiny"])
            messages = [{"role": "user", "content": "What is 2 + 3?"}]
            ask = {"model": "tiny", "messages": messages, "max_tokens": 16, "temperature": 0}
            answer = client.chat.completions.create(**ask)
            whole = answer.choices[0].message
            self.assertGreater(answer.usage.completion_tokens, 0)
            parts = {"content": "", "reasoning_content": ""}
            for chunk in client.chat.completions.create(**ask, stream=True):
                for choice in chunk.choices:
                    for name in parts:
                        parts[name] += getattr(choice.delta, name, None) or ""
            self.assertEqual(parts["content"], whole.content or "")
            with self.assertRaises(openai.NotFoundError):
                client.chat.completions.create(**{**ask, "model": "other"})
        finally:
            server.terminate()
            self.assertIsNotNone(server.wait(timeout=10))

    def models(self):
        runs = os.path.join(self.data, "runs")
        return [
            os.path.join(runs, name, "final") for name in sorted(os.listdir(runs))
            if os.path.isdir(os.path.join(runs, name, "final"))
        ]


if __name__ == "__main__":
    result = unittest.TextTestRunner(verbosity=2).run(
        unittest.defaultTestLoader.loadTestsFromTestCase(Clients)
    )
    failed = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)
