"""Runs a small rehearsal with the real binary, then lets real clients use what it left behind.

Run by scripts/test-clients, which installs the clients. The scores of so small a run mean nothing.
With the argument `answers` there is no rehearsal, only what needs no engine.
"""

import json
import os
import subprocess
import sys
import tempfile
import unittest
import urllib.request

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


def said(text):
    return [{"role": "user", "content": text}]


def call(url, body=None):
    """The JSON that a URL answers."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


class Parrot:
    """An openai client of a server that repeats what it is told."""

    def __enter__(self):
        self.server = subprocess.Popen(
            [BIN, "--json", "serve", "parrot:step-ms=0", "--listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE, text=True,
        )
        address = json.loads(self.server.stdout.readline())["listening"]
        return openai.OpenAI(base_url=f"{address}/v1", api_key="none")

    def __exit__(self, *_):
        self.server.terminate()
        code = self.server.wait(timeout=30)
        if code != 0:
            raise AssertionError(f"the server ended with {code}")


class Answers(unittest.TestCase):
    """Needs no engine: what is asked of a parrot."""

    def test_openai_sees_every_shape_of_an_answer(self):
        with Parrot() as client:
            ask = {"model": "parrot", "temperature": 0, "messages": said("hello")}
            several = client.chat.completions.create(**ask, n=3, logprobs=True, top_logprobs=2)
            self.assertEqual([c.message.content for c in several.choices], ["hello"] * 3)
            for choice in several.choices:
                text = b"".join(bytes(token.bytes) for token in choice.logprobs.content)
                self.assertEqual(text, b"hello")
                self.assertTrue(all(len(t.top_logprobs) == 2 for t in choice.logprobs.content))
            texts, usage = {0: "", 1: ""}, None
            options = {"include_usage": True}
            for chunk in client.chat.completions.create(
                **ask, n=2, stream=True, stream_options=options
            ):
                usage = chunk.usage or usage
                for choice in chunk.choices:
                    texts[choice.index] += choice.delta.content or ""
            self.assertEqual((texts, usage.completion_tokens), ({0: "hello", 1: "hello"}, 10))
            thought = {**ask, "messages": said("<think>hm</think>yes")}
            message = client.chat.completions.create(**thought).choices[0].message
            self.assertEqual((message.reasoning_content, message.content), ("hm", "yes"))
            with self.assertRaises(openai.BadRequestError) as caught:
                client.chat.completions.create(**ask, tools=[{"type": "function"}])
            self.assertEqual(caught.exception.param, "tools")

    def test_openai_completes_with_echo(self):
        with Parrot() as client:
            ask = {"model": "parrot", "temperature": 0, "max_tokens": 1, "echo": True}
            answer = client.completions.create(**ask, prompt=["ab", "xy"], logprobs=1)
            self.assertEqual([choice.text for choice in answer.choices], ["abc", "xyz"])
            logprobs = answer.choices[0].logprobs
            self.assertEqual(logprobs.tokens, ["a", "b", "c"])
            self.assertIsNone(logprobs.token_logprobs[0])
            self.assertEqual(logprobs.text_offset, [0, 1, 2])

    def test_lm_evals_tokenizer_calls_are_answered(self):
        """The three calls of its remote tokenizer, and how it reads likelihoods."""
        with Parrot() as client:
            base = str(client.base_url).removesuffix("/v1/")
            info = call(f"{base}/tokenizer_info")
            self.assertEqual(info["eos_token"], "<|im_end|>")
            self.assertIn("bos_token", info)
            self.assertIn("im_start", info["chat_template"])
            ask = {"prompt": "a b", "add_special_tokens": False}
            tokens = call(f"{base}/tokenize", ask)["tokens"]
            self.assertEqual(call(f"{base}/detokenize", {"tokens": tokens})["prompt"], "a b")
            # A context of one token and a continuation of two.
            body = {"model": "parrot", "prompt": [tokens], "max_tokens": 1, "temperature": 0,
                    "logprobs": 1, "seed": 1234, "echo": True}
            logprobs = call(f"{base}/v1/completions", body)["choices"][0]["logprobs"]
            given = logprobs["token_logprobs"][1:-1]
            tops = logprobs["top_logprobs"][1:-1]
            self.assertEqual(len(given), 2)
            greedy = [max(top.values()) == one for one, top in zip(given, tops)]
            self.assertEqual(greedy, [False, False])


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
        import datasets

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
    load = unittest.defaultTestLoader.loadTestsFromTestCase
    wanted = [Answers] if "answers" in sys.argv[1:] else [Answers, Clients]
    tests = unittest.TestSuite(load(case) for case in wanted)
    result = unittest.TextTestRunner(verbosity=2).run(tests)
    failed = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)
