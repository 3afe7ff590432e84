#!/usr/bin/env python3
"""Writes tests/it/golden/*: small random Qwen2 models and what PyTorch makes of them.

Run by hand, in an environment with torch and transformers (CPU is enough); the results are
committed, so that tests need neither:

    python3 -m venv venv && venv/bin/pip install torch transformers && venv/bin/python scripts/reference_tensors.py

Everything is computed in f64 from f32 weights. Biases are not zero and norms not one: otherwise a
dropped bias or norm would go unnoticed. Weights after training are kept as differences to the
start, because absolute weights agree whatever an optimizer does.
"""

import json
import pathlib

import torch
import transformers
from safetensors.torch import save_file

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests" / "it" / "golden"
STEPS = 10
MICRO_BATCHES = 2
RATES = [0.0, 5e-4, 1e-3, 1e-3, 9e-4, 8e-4, 7e-4, 5e-4, 3e-4, 1e-4]
ADAM = {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.01}
MAX_NORM = 1.0
IGNORE = -100

MODELS = {
    "gqa2": dict(heads=4, kv_heads=2, hidden=32, tied=False, theta=10_000.0, epsilon=1e-6),
    "gqa7_tied": dict(heads=14, kv_heads=2, hidden=56, tied=True, theta=1_000_000.0, epsilon=1e-5),
}


def model_of(shape: dict) -> transformers.Qwen2ForCausalLM:
    config = transformers.Qwen2Config(
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
    model = transformers.Qwen2ForCausalLM(config)
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


def loss_sum(model, example: dict) -> torch.Tensor:
    ids = torch.tensor([example["input_ids"]])
    logits = model(input_ids=ids).logits[0, :-1].double()
    labels = torch.tensor(example["labels"][1:])
    return torch.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="sum")


def trained_tokens(micro_batches: list) -> int:
    labels = [label for batch in micro_batches for example in batch for label in example["labels"][1:]]
    return sum(label != IGNORE for label in labels)


def optimizer_of(model) -> torch.optim.AdamW:
    kept, decayed = [], []
    for name, parameter in model.named_parameters():
        (kept if name.endswith("bias") or "norm" in name else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": ADAM["weight_decay"]},
        {"params": kept, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups, lr=0.0, betas=(ADAM["beta1"], ADAM["beta2"]), eps=ADAM["epsilon"]
    )


def train(model, steps: list, tensors: dict) -> list:
    optimizer = optimizer_of(model)
    curve = []
    for number, micro_batches in enumerate(steps):
        divisor = trained_tokens(micro_batches)
        total = 0.0
        for batch in micro_batches:
            loss = sum(loss_sum(model, example) for example in batch)
            (loss / divisor).backward()
            total += float(loss.detach())
        if number == 0:
            for name, parameter in model.named_parameters():
                tensors[f"gradient.{name}"] = parameter.grad.float().contiguous().clone()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
        for group in optimizer.param_groups:
            group["lr"] = RATES[number]
        optimizer.step()
        optimizer.zero_grad()
        curve.append({"loss": total / divisor, "grad_norm": float(norm), "learning_rate": RATES[number]})
    return curve


def write(name: str, shape: dict) -> None:
    torch.manual_seed(sum(name.encode()))
    folder = FOLDER / name
    model = model_of(shape)
    model.save_pretrained(folder)
    model = model.double()
    vocabulary = model.config.vocab_size
    steps = [
        [[sequence(length, vocabulary) for length in lengths] for lengths in ([17, 33, 9], [70 + step, 5])]
        for step in range(STEPS)
    ]
    assert all(len(micro_batches) == MICRO_BATCHES for micro_batches in steps)
    ids = steps[0][1][0]["input_ids"]
    with torch.no_grad():
        tensors = {"logits": model(input_ids=torch.tensor([ids])).logits[0].float().contiguous()}
    start = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    curve = train(model, steps, tensors)
    for parameter_name, parameter in model.named_parameters():
        change = parameter.detach() - start[parameter_name]
        tensors[f"change.{parameter_name}"] = change.float().contiguous()
    save_file(tensors, folder / "reference.safetensors")
    record = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "adam": ADAM,
        "max_norm": MAX_NORM,
        "logits_ids": ids,
        "steps": [dict(micro_batches=batches, **line) for batches, line in zip(steps, curve)],
    }
    (folder / "reference.json").write_text(json.dumps(record) + "\n")


for model_name, model_shape in MODELS.items():
    write(model_name, model_shape)
    print(f"wrote {FOLDER / model_name}")
