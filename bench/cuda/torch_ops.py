"""Measures with PyTorch, on the same card, what cuda_bench measured, and writes both with their ratios.

    cuda_bench > ours.jsonl; python3 torch_ops.py ours.jsonl RESULT.json; cuda_bench > again.jsonl ...

Development only: neither the product nor its tests need Python. Ratios are PyTorch's time over ours: above 1 we are
faster. When several files of ours are given, the better time of each row counts; PyTorch is measured twice as well.
"""
import json
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

DEVICE = "cuda"


def microseconds(sets, run):
    """The median time of a call; the same procedure as timing.cc."""
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    counter = 0

    def timed(calls):
        nonlocal counter
        start.record()
        for _ in range(calls):
            run(counter % sets)
            counter += 1
        stop.record()
        stop.synchronize()
        return 1e3 * start.elapsed_time(stop) / calls

    estimate = timed(3)
    begin = time.perf_counter()
    while time.perf_counter() - begin < 0.2:
        estimate = timed(10)
    calls = max(1, int(1000 / max(estimate, 1.0)))
    return min(statistics.median(timed(calls) for _ in range(21)) for _ in range(2))


def sets_beyond_cache(size):
    cache = torch.cuda.get_device_properties(0).L2_cache_size
    return min(max(int(2 * cache / size) + 1, 2), 16)


def normal(*shape, dtype=torch.bfloat16, deviation=1.0):
    return (torch.randn(*shape, device=DEVICE) * deviation).to(dtype)


def matmul(row):
    rows, width, out = row["rows"], row["in"], row["out"]
    sets = sets_beyond_cache(2 * rows * (width + out))
    x, dy = [normal(rows, width) for _ in range(sets)], [normal(rows, out) for _ in range(sets)]
    weight, bias = normal(out, width, deviation=0.03), normal(out)
    calls = {
        "forward": lambda i: F.linear(x[i], weight, bias) if row["suite"] != "square" else x[i] @ weight.t(),
        "forward+gelu": lambda i: (lambda u: u * torch.sigmoid(1.702 * u))(F.linear(x[i], weight, bias)),
        "forward+residual": lambda i: F.linear(x[i], weight, bias).add_(dy[i]),
        "input": lambda i: dy[i] @ weight,
        "input+slope": lambda i: (dy[i] @ weight).mul_(x[i]),
        "weight": lambda i: dy[i].t() @ x[i],
    }
    if row["name"] == "forward+gelu":  # two kernels, as a user's compiled QuickGELU is
        activation = torch.compile(lambda u: u * torch.sigmoid(1.702 * u))
        calls["forward+gelu"] = lambda i: activation(F.linear(x[i], weight, bias))
    return {"torch": microseconds(sets, calls[row["name"]])}


def attention(row):
    batch, queries, keys, heads = (row[key] for key in ("batch", "queries", "keys", "heads"))
    shared = row["suite"] == "cross"
    times = {}
    backends = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION,
                "efficient": SDPBackend.EFFICIENT_ATTENTION}
    for name, backend in backends.items():
        try:
            with sdpa_kernel(backend):
                sets = 1 if shared else sets_beyond_cache(2 * batch * keys * 3 * 64 * heads)
                # Heads in front but laid out as the projection leaves them, as models call it.
                make = lambda count: normal(batch, count, heads, 64).transpose(1, 2).requires_grad_()
                q, k, v = ([make(count) for _ in range(sets)] for count in (queries, keys, keys))
                dout = [normal(batch, queries, heads, 64).transpose(1, 2) for _ in range(sets)]
                call = lambda i: F.scaled_dot_product_attention(q[i], k[i], v[i], is_causal=bool(row.get("causal")))
                if row["name"] == "forward":
                    with torch.no_grad():
                        times[name] = microseconds(sets, call)
                else:
                    outs = [call(i) for i in range(sets)]
                    times[name] = microseconds(
                        sets, lambda i: torch.autograd.grad(outs[i], (q[i], k[i], v[i]), dout[i], retain_graph=True))
        except RuntimeError:
            continue
    best = min(times, key=times.get)
    return {"torch": times[best], "backend": best}


def memory(row):
    if row["name"].startswith("layer norm"):
        shape = (row["sequences"] * row["length"], row["dim"])
        sets = sets_beyond_cache(2 * shape[0] * shape[1])
        x = [normal(*shape).requires_grad_() for _ in range(sets)]
        dy = [normal(*shape) for _ in range(sets)]
        weight, bias = (normal(shape[1], dtype=torch.float32).requires_grad_() for _ in range(2))
        call = lambda i: F.layer_norm(x[i].float(), shape[1:], weight, bias).bfloat16()
        half = (weight.bfloat16(), bias.bfloat16())
        if row["name"].endswith("forward"):
            with torch.no_grad():
                return {"torch": microseconds(sets, lambda i: F.layer_norm(x[i], shape[1:], *half))}
        outs = [F.layer_norm(x[i], shape[1:], *(h.detach().requires_grad_() for h in half)) for i in range(sets)]
        return {"torch": microseconds(
            sets, lambda i: torch.autograd.grad(outs[i], x[i], dy[i], retain_graph=True)[0].add_(dy[i]))}
    if row["name"] == "adamw":
        parameters = [torch.randn(row["parameters"] // 200, device=DEVICE, requires_grad=True) for _ in range(200)]
        for p in parameters:
            p.grad = torch.randn_like(p)
        optimizer = torch.optim.AdamW(parameters, lr=1e-5, fused=True)
        return {"torch": microseconds(1, lambda i: optimizer.step())}
    if row["name"] in ("add", "cast"):
        sets = sets_beyond_cache(2 * row["count"])
        a, b = ([normal(row["count"]) for _ in range(sets)] for _ in range(2))
        return {"torch": microseconds(sets, lambda i: a[i] + b[i] if row["name"] == "add" else a[i].float())}
    if row["name"] == "cross entropy":
        logits = torch.randn(row["batch"], row["classes"], device=DEVICE, requires_grad=True)
        targets = torch.rand(row["batch"], row["classes"], device=DEVICE)
        return {"torch": microseconds(1, lambda i: torch.autograd.grad(
            F.cross_entropy(logits, targets, label_smoothing=0.1), logits))}
    return {}


def main(*paths):
    *ours, result = paths
    device, rows = None, {}
    for path in ours:
        for line in open(path):
            row = json.loads(line)
            if "device" in row:
                device = row
                continue
            key = json.dumps({k: v for k, v in row.items() if isinstance(v, (str, int))})
            if key not in rows or row["microseconds"] < rows[key]["microseconds"]:
                rows[key] = row
    torch.manual_seed(0)
    for row in rows.values():
        suite = attention if row["suite"] in ("self", "cross") else memory if row["suite"] == "memory" else matmul
        row.update(suite(row))
        if "torch" in row:
            row["ratio"] = round(row["torch"] / row["microseconds"], 3)
        print(json.dumps(row), flush=True)
        torch.cuda.empty_cache()
    document = {"device": device, "torch": torch.__version__, "rows": list(rows.values())}
    with open(result, "w") as file:
        json.dump(document, file, indent=1)


main(*sys.argv[1:])
