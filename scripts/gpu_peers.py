"""Products, attention and decoding by torch and transformers on a GPU: what gpu-check's are put beside.

Prints a table on stderr and one JSON object on stdout. Sizes are those of `src/engine/gpu.rs`.
"""

import json
import sys
import time

import torch

ROWS, HIDDEN, FEED_FORWARD, QKV = 16384, 3584, 18944, 4608
PRODUCTS = {
    "qkv": (ROWS, QKV, HIDDEN),
    "output": (ROWS, HIDDEN, HIDDEN),
    "gate and up": (ROWS, 2 * FEED_FORWARD, HIDDEN),
    "down": (ROWS, HIDDEN, FEED_FORWARD),
    "down, one row": (1, HIDDEN, FEED_FORWARD),
}


def timed(run, runs=5):
    for _ in range(3):
        run()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(runs):
        run()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / runs


def say(name, value):
    print(f"{name:<44} {value:>24}", file=sys.stderr)


def products():
    out = []
    for name, (rows, columns, inner) in PRODUCTS.items():
        x = torch.randn(rows, inner, device="cuda", dtype=torch.bfloat16)
        w = torch.randn(columns, inner, device="cuda", dtype=torch.bfloat16)
        rate = 2 * rows * columns * inner / timed(lambda: torch.nn.functional.linear(x, w)) / 1e12
        say(f"torch, {name}", f"{rate:.1f} TFLOP/s")
        out.append({"name": name, "teraflops": rate})
    return out


def attention():
    out = []
    for tokens in (1024, 2048, 4096, 8192, 16384, 32768):
        q = torch.randn(1, 28, tokens, 128, device="cuda", dtype=torch.bfloat16)
        k, v = (torch.randn(1, 4, tokens, 128, device="cuda", dtype=torch.bfloat16) for _ in "kv")
        run = lambda: torch.nn.functional.scaled_dot_product_attention(
            q, k, v, is_causal=True, enable_gqa=True
        )
        seconds = timed(run)
        say(f"torch, attention over {tokens} tokens, ms", f"{seconds * 1e3:.3f}")
        out.append({"tokens": tokens, "milliseconds": seconds * 1e3})
    return out


def attention_gradient_error(tokens=2048):
    """torch's own error in bf16 against its own f32, as gpu-check's is measured."""
    torch.manual_seed(0)
    whole = [torch.randn(1, h, tokens, 128, device="cuda") for h in (28, 4, 4)]
    slope = torch.randn(1, 28, tokens, 128, device="cuda")

    def gradients(dtype):
        leaves = [x.to(dtype).requires_grad_() for x in whole]
        y = torch.nn.functional.scaled_dot_product_attention(
            *leaves, is_causal=True, enable_gqa=True
        )
        y.backward(slope.to(dtype))
        return torch.cat([leaf.grad.float().flatten() for leaf in leaves])

    right = gradients(torch.float32)
    error = ((gradients(torch.bfloat16) - right).norm() / right.norm()).item()
    say("torch, gradient of attention, relative error", f"{error:.3e}")
    return error


def decoding():
    try:
        from transformers import Qwen2Config, Qwen2ForCausalLM
    except ImportError:
        return None
    config = Qwen2Config(
        vocab_size=152064, hidden_size=HIDDEN, intermediate_size=FEED_FORWARD,
        num_hidden_layers=28, num_attention_heads=28, num_key_value_heads=4,
        max_position_embeddings=32768, rope_theta=1e6, tie_word_embeddings=False,
    )
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = Qwen2ForCausalLM(config).eval()
    torch.set_default_dtype(torch.float32)
    out = []
    for batch in (1, 8, 64):
        ids = torch.ones(batch, 1, dtype=torch.long, device="cuda")
        run = lambda n: model.generate(
            ids, max_new_tokens=n, min_new_tokens=n, do_sample=False, pad_token_id=0
        )
        with torch.inference_mode():
            short, long = timed(lambda: run(10), 1), timed(lambda: run(60), 1)
        milliseconds = (long - short) / 50 * 1e3
        say(f"transformers, decode at batch {batch}, ms", f"{milliseconds:.2f}")
        out.append({"batch": batch, "milliseconds": milliseconds})
    return out


print(json.dumps({
    "torch": torch.__version__,
    "products": products(),
    "attention": attention(),
    "attention_gradient_error": attention_gradient_error(),
    "decode": decoding(),
}))
