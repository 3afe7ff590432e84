#!/usr/bin/env python3
"""Writes tests/it/golden/*: small random models and what PyTorch and transformers make of them.

Run by hand, in an environment with torch and transformers (CPU is enough); the results are
committed, so that tests need neither:

    python3 -m venv venv && venv/bin/pip install torch transformers && venv/bin/python scripts/reference_tensors.py

`MODELS` are trained: computed in f64 from f32 weights that are stored. `PARITY` are only run, in f32 as
transformers does; their weights come from a formula that the tests know too, so only configurations,
ids and logits are stored. Biases are not zero and norms not one: otherwise a
dropped bias or norm would go unnoticed. Weights after training are kept as differences to the
start, because absolute weights agree whatever an optimizer does. `MUTATIONS` are the same run with one
deliberate mistake each: a test that would not notice them would not notice ours. `--trained-only` leaves
`PARITY` alone.
"""

import json
import math
import pathlib
import sys

import numpy
import tokenizers
import torch
import transformers
from safetensors.torch import save_file

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests" / "it" / "golden"
STEPS = 20
MICRO_BATCHES = 3
WARM_UP = 2
RATE = 1e-3
ADAM = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.0}
MAX_NORM = 1.0
IGNORE = -100

MODELS = {
    "gqa2": dict(heads=4, kv_heads=2, hidden=32, tied=False, theta=1_000_000.0, epsilon=1e-6),
    "gqa7_tied": dict(heads=14, kv_heads=2, hidden=56, tied=True, theta=1_000_000.0, epsilon=1e-5),
    "gqa5": dict(heads=10, kv_heads=2, hidden=40, tied=False, theta=10_000.0, epsilon=1e-6),
    "llama_biased": dict(
        decay=0.01,
        kind="Llama", heads=4, kv_heads=1, hidden=24, tied=False, theta=10_000.0, epsilon=1e-5,
        more=dict(head_dim=8, attention_bias=True, mlp_bias=True),
    ),
    "qwen3_tied": dict(
        decay=0.01, kind="Qwen3", heads=4, kv_heads=2, hidden=24, tied=True, theta=10_000.0, epsilon=1e-6,
        more=dict(head_dim=10),
    ),
}


# Deliberate mistakes, each of which the test of the trajectory must find.
MUTATED = "gqa2"
MUTATIONS = [
    "weight_decay_0.01", "adam_epsilon_1e-6", "norm_epsilon_1e-5", "key_bias_dropped", "beta2_0.95",
    "warm_up_off_by_one", "clipping_off", "rope_theta_1e4", "mean_per_micro_batch", "labels_not_shifted",
]


def rate(step: int) -> float:
    if step < WARM_UP:
        return RATE * step / WARM_UP
    return RATE * max(0.0, 0.5 * (1 + math.cos(math.pi * (step - WARM_UP) / (STEPS - WARM_UP))))


def model_of(shape: dict):
    kind = shape.get("kind", "Qwen2")
    config = getattr(transformers, f"{kind}Config")(
        **shape.get("more", {}),
        vocab_size=67,
        hidden_size=shape["hidden"],
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["kv_heads"],
        max_position_embeddings=128,
        rms_norm_eps=shape["epsilon"],
        rope_parameters={"rope_type": "default", "rope_theta": shape["theta"]},
        tie_word_embeddings=shape["tied"],
        eos_token_id=2,
        bos_token_id=1,
        attn_implementation="eager",
    )
    model = getattr(transformers, f"{kind}ForCausalLM")(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape)
            if name.endswith("bias"):
                parameter.copy_(0.3 * noise)
            elif "norm" in name:
                parameter.copy_(1.0 + 0.2 * noise)
            else:
                parameter.copy_(0.15 * noise)
    return model.float()


def sequence(length: int, vocabulary: int) -> dict:
    ids = torch.randint(0, vocabulary, (length,))
    labels = ids.clone()
    labels[: length // 3] = IGNORE  # the prompt
    if length > 20:
        labels[length // 2 : length // 2 + 4] = IGNORE  # a second user turn
    return {"input_ids": ids.tolist(), "labels": labels.tolist()}


def loss_sum(model, example: dict, mistake: str = "") -> torch.Tensor:
    ids = torch.tensor([example["input_ids"]])
    labels = torch.tensor(example["labels"][1:])
    logits = model(input_ids=ids).logits[0]
    logits = logits[1:] if mistake == "labels_not_shifted" else logits[:-1]
    return torch.nn.functional.cross_entropy(logits.double(), labels, ignore_index=IGNORE, reduction="sum")


def trained_tokens(micro_batches: list) -> int:
    labels = [label for batch in micro_batches for example in batch for label in example["labels"][1:]]
    return sum(label != IGNORE for label in labels)


def adam_of(shape: dict, mistake: str) -> dict:
    adam = dict(ADAM, weight_decay=shape.get("decay", ADAM["weight_decay"]))
    changes = {
        "weight_decay_0.01": {"weight_decay": 0.01},
        "adam_epsilon_1e-6": {"epsilon": 1e-6},
        "beta2_0.95": {"beta2": 0.95},
    }
    return adam | changes.get(mistake, {})


def optimizer_of(model, adam: dict) -> torch.optim.AdamW:
    kept, decayed = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (kept if name.endswith("bias") or "norm" in name else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": adam["weight_decay"]},
        {"params": kept, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=(adam["beta1"], adam["beta2"]), eps=adam["epsilon"])


def train(model, steps: list, adam: dict, tensors: dict, mistake: str = "") -> list:
    optimizer = optimizer_of(model, adam)
    curve = []
    for number, micro_batches in enumerate(steps):
        divisor = trained_tokens(micro_batches)
        total = 0.0
        for batch in micro_batches:
            loss = sum(loss_sum(model, example, mistake) for example in batch) / divisor
            if mistake == "mean_per_micro_batch":
                loss = loss * divisor / trained_tokens([batch]) / len(micro_batches)
            loss.backward()
            total += float(loss.detach())
        if number == 0:
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    tensors[f"gradient.{name}"] = parameter.grad.float().contiguous().clone()
        most = math.inf if mistake == "clipping_off" else MAX_NORM
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), most)
        own = rate(number + 1 if mistake == "warm_up_off_by_one" else number)
        for group in optimizer.param_groups:
            group["lr"] = own
        optimizer.step()
        optimizer.zero_grad()
        curve.append({"loss": total, "grad_norm": float(norm), "learning_rate": own})
    return curve


def curve_with(folder: pathlib.Path, steps: list, shape: dict, mistake: str) -> list:
    """Loss and norm of every step of a run with one deliberate mistake."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").double()
    if mistake == "norm_epsilon_1e-5":
        for module in model.modules():
            if hasattr(module, "variance_epsilon"):
                module.variance_epsilon = 1e-5
    if mistake == "rope_theta_1e4":
        rotary = model.model.rotary_emb
        half = torch.arange(0, rotary.inv_freq.numel(), dtype=torch.float64) / rotary.inv_freq.numel()
        rotary.inv_freq = 1.0 / 10_000.0**half
    if mistake == "key_bias_dropped":
        for name, parameter in model.named_parameters():
            if name.endswith("k_proj.bias"):
                parameter.data.zero_()
                parameter.requires_grad_(False)
    curve = train(model, steps, adam_of(shape, mistake), {}, mistake)
    return [{"loss": line["loss"], "grad_norm": line["grad_norm"]} for line in curve]


def write(name: str, shape: dict) -> None:
    torch.manual_seed(sum(name.encode()))
    folder = FOLDER / name
    model = model_of(shape)
    model.save_pretrained(folder)
    model = model.double()
    vocabulary = model.config.vocab_size
    steps = [
        [
            [sequence(length, vocabulary) for length in lengths]
            for lengths in ([17, 33, 9], [50 + step, 5], [24, 12])
        ]
        for step in range(STEPS)
    ]
    assert all(len(micro_batches) == MICRO_BATCHES for micro_batches in steps)
    ids = steps[0][1][0]["input_ids"]
    with torch.no_grad():
        tensors = {"logits": model(input_ids=torch.tensor([ids])).logits[0].float().contiguous()}
    start = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    adam = adam_of(shape, "")
    curve = train(model, steps, adam, tensors)
    for parameter_name, parameter in model.named_parameters():
        change = parameter.detach() - start[parameter_name]
        tensors[f"change.{parameter_name}"] = change.float().contiguous()
    save_file(tensors, folder / "reference.safetensors")
    record = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "adam": adam,
        "max_norm": MAX_NORM,
        "logits_ids": ids,
        "steps": [dict(micro_batches=batches, **line) for batches, line in zip(steps, curve)],
    }
    (folder / "reference.json").write_text(json.dumps(record) + "\n")
    if name == MUTATED:
        curves = {mistake: curve_with(folder, steps, shape, mistake) for mistake in ["none", *MUTATIONS]}
        (FOLDER / "mutations.json").write_text(json.dumps({"model": name, "curves": curves}) + "\n")
        for mistake, lines in curves.items():
            apart = max(abs(own["loss"] - line["loss"]) for own, line in zip(lines, curve))
            print(f"{mistake}: loss {apart:.1e} apart")


# What runs but is not trained. The rest of each configuration is `parity_config`'s.
VOCABULARY = 128
NEW_TOKENS = 64
PROMPT = "<|im_start|>user\nWhat is 17 + 5, and why?<|im_end|>\n<|im_start|>assistant\n"
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
THETA = {"rope_theta": 10_000.0, "rope_type": "default"}
LLAMA3 = {
    "rope_theta": 500_000.0, "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 32,
}
YARN = {
    "rope_theta": 10_000.0, "rope_type": "yarn", "factor": 4.0,
    "original_max_position_embeddings": 32,
}
YARN_SHARP = dict(YARN, factor=3.0, attention_factor=0.8, beta_fast=8.0, beta_slow=2.0, truncate=False)
PARITY = {
    "qwen2_tied": dict(kind="Qwen2", heads=(14, 2, 8), hidden=112, tied=True, rope=dict(THETA, rope_theta=1e6)),
    "qwen2_heads64": dict(kind="Qwen2", heads=(6, 3, 64), hidden=80, rope=THETA, more=dict(head_dim=64)),
    "qwen2_yarn": dict(kind="Qwen2", heads=(4, 4, 32), hidden=128, rope=YARN, epsilon=1e-5),
    "qwen2_yarn_sharp": dict(kind="Qwen2", heads=(5, 1, 16), hidden=80, tied=True, rope=YARN_SHARP),
    "qwen2_bf16": dict(kind="Qwen2", heads=(4, 2, 16), hidden=64, rope=THETA, dtype="bfloat16"),
    "llama3": dict(kind="Llama", heads=(8, 1, 16), hidden=128, tied=True, rope=LLAMA3, epsilon=1e-5),
    "llama_heads128": dict(kind="Llama", heads=(2, 1, 128), hidden=256, rope=LLAMA3, epsilon=1e-5),
    "llama_biased": dict(
        kind="Llama", heads=(4, 2, 24), hidden=64, rope=THETA,
        more=dict(head_dim=24, attention_bias=True, mlp_bias=True),
    ),
    "llama_f16": dict(kind="Llama", heads=(4, 4, 16), hidden=64, rope=THETA, dtype="float16"),
    "qwen3": dict(kind="Qwen3", heads=(6, 2, 32), hidden=64, rope=dict(THETA, rope_theta=1e6), more=dict(head_dim=32)),
    "qwen3_tied": dict(kind="Qwen3", heads=(5, 1, 128), hidden=96, tied=True, rope=THETA),
    "qwen3_biased": dict(
        kind="Qwen3", heads=(4, 4, 16), hidden=64, rope=YARN, more=dict(head_dim=16, attention_bias=True)
    ),
}


def mixed(states):
    """SplitMix64 of an array of 64-bit states."""
    with numpy.errstate(over="ignore"):
        z = states.astype(numpy.uint64)
        z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
        return z ^ (z >> numpy.uint64(31))


def formula(name: str, shape: tuple, seed: int):
    """The weights of a tensor: uniform numbers from its name, as `golden_parity.rs` draws them."""
    state = 0xCBF29CE484222325 ^ seed
    for byte in name.encode():
        state = ((state ^ byte) * 0x100000001B3) % 2**64
    count = math.prod(shape)
    with numpy.errstate(over="ignore"):
        steps = numpy.arange(1, count + 1, dtype=numpy.uint64) * numpy.uint64(0x9E3779B97F4A7C15)
        numbers = mixed(numpy.uint64(state) + steps)
    unit = (numbers >> numpy.uint64(40)).astype(numpy.float32) / numpy.float32(2**23) - numpy.float32(1)
    if name.endswith("norm.weight"):
        values = numpy.float32(1) + unit * numpy.float32(0.4)
    elif name.endswith("bias"):
        values = unit * numpy.float32(0.5)
    elif name == "model.embed_tokens.weight":
        values = unit
    else:
        values = unit * numpy.float32(3.0 / math.sqrt(shape[1]))
    return torch.from_numpy(values.reshape(shape))


def parity_config(shape: dict):
    heads, kv_heads, _ = shape["heads"]
    return getattr(transformers, f"{shape['kind']}Config")(
        vocab_size=VOCABULARY,
        hidden_size=shape["hidden"],
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=256 if shape["rope"]["rope_type"] != "yarn" else 128,
        rms_norm_eps=shape.get("epsilon", 1e-6),
        rope_parameters=dict(shape["rope"]),
        tie_word_embeddings=shape.get("tied", False),
        eos_token_id=2,
        bos_token_id=None,
        attn_implementation="eager",
        **shape.get("more", {}),
    )


def ascii_tokenizer() -> tokenizers.Tokenizer:
    """A byte-level tokenizer that knows ASCII only, so that a model's vocabulary goes beyond it."""
    letters = ["Ċ", "Ġ"] + [chr(code) for code in range(33, 127)]
    vocabulary = {token: index for index, token in enumerate(SPECIALS + letters)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIALS)
    return tokenizer


def greedy(model, prompt: list):
    """Ids, logits of the prompt and 64 tokens after it, and how clear the choices were."""
    with torch.no_grad():
        ids = model.generate(
            torch.tensor([prompt]), max_new_tokens=NEW_TOKENS, do_sample=False, eos_token_id=VOCABULARY,
            pad_token_id=0, use_cache=True,
        )[0]
        logits = model(input_ids=ids[None]).logits[0]
    best = logits.topk(2, dim=-1).values
    return ids.tolist(), logits, float((best[:, 0] - best[:, 1]).min())


def write_parity(name: str, shape: dict, tokenizer) -> None:
    dtype = getattr(torch, shape.get("dtype", "float32"))
    prompt = tokenizer.encode(PROMPT).ids
    for seed in range(1000):
        model = getattr(transformers, f"{shape['kind']}ForCausalLM")(parity_config(shape)).float().eval()
        with torch.no_grad():
            for parameter_name, parameter in model.named_parameters():
                values = formula(parameter_name, tuple(parameter.shape), seed)
                parameter.copy_(values.to(dtype).float())
        ids, logits, gap = greedy(model, prompt)
        new = ids[len(prompt):]
        # No special token, a clear choice everywhere, and no endless loop of a few tokens.
        if min(new) >= len(SPECIALS) and gap > 2e-3 and len(set(new)) > 12:
            break
    else:
        raise SystemExit(f"no seed of {name} is clear enough")
    model.config.dtype = dtype
    record = {
        "transformers": transformers.__version__,
        "config": json.loads(model.config.to_json_string(use_diff=False)),
        "seed": seed,
        "tensors": {name: list(p.shape) for name, p in model.named_parameters()},
        "prompt_tokens": len(prompt),
        "ids": ids,
        "text": tokenizer.decode(new, skip_special_tokens=True),
        "gap": gap,
    }
    folder = FOLDER / "parity"
    (folder / f"{name}.json").write_text(json.dumps(record) + "\n")
    save_file({"logits": logits.contiguous()}, folder / f"{name}.safetensors")
    print(f"wrote {name}: seed {seed}, gap {gap:.4f}, {len(set(new))} different tokens")


def write_all_parity() -> None:
    folder = FOLDER / "parity"
    folder.mkdir(exist_ok=True)
    tokenizer = ascii_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    for name, shape in PARITY.items():
        write_parity(name, shape, tokenizer)


for model_name, model_shape in MODELS.items():
    write(model_name, model_shape)
    print(f"wrote {FOLDER / model_name}")
if "--trained-only" not in sys.argv:
    write_all_parity()
