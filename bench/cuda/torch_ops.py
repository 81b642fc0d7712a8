"""Measures with PyTorch, on the same card, what cuda_bench measured, and writes both with their ratios.

    cuda_bench > first.jsonl; cuda_bench > second.jsonl; python3 torch_ops.py first.jsonl second.jsonl RESULT.json

Development only: neither the product nor its tests need Python. Ratios are PyTorch's time over ours: above 1 we are
faster. When several files of ours are given, the better time of each row counts; PyTorch is measured twice as well.
The result is written after every row, so that what was measured is kept when time runs out. With DEVICE=cpu it shows that
it runs, on rows of `cuda_bench --tiny`; the times then say nothing.
"""
import functools
import json
import os
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

DEVICE = os.environ.get("DEVICE", "cuda")


def microseconds(sets, run):
    """The median time of a call; the same procedure as timing.cc."""
    if DEVICE == "cpu":
        begin = time.perf_counter()
        run(0)
        return 1e6 * (time.perf_counter() - begin)
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
    while time.perf_counter() - begin < 0.05:
        estimate = timed(10)
    calls = max(1, int(1000 / max(estimate, 1.0)))
    return min(statistics.median(timed(calls) for _ in range(21)) for _ in range(2))


def sets_beyond_cache(size):
    if DEVICE == "cpu":
        return 2
    cache = torch.cuda.get_device_properties(0).L2_cache_size
    return min(max(int(2 * cache / size) + 1, 2), 16)


def normal(*shape, dtype=torch.bfloat16, deviation=1.0):
    return (torch.randn(*shape, device=DEVICE) * deviation).to(dtype)


@functools.cache
def quick_gelu():
    """QuickGELU as one kernel, which is what a user's own function becomes; and in which way it is run."""
    function = lambda u: u * torch.sigmoid(1.702 * u)
    try:
        fast = torch.compile(function, dynamic=True)
        fast(normal(16, 16))
        return fast, "compiled"
    except Exception as error:  # where nothing can compile it, it is three kernels, and its row says so
        print(f"torch_ops: torch.compile: {(str(error).splitlines() or [type(error).__name__])[0]}", file=sys.stderr)
        return function, "eager"


def matmul(row):
    rows, width, out = (row["sizes"][key] for key in ("rows", "in", "out"))
    sets = sets_beyond_cache(2 * rows * (width + out))
    x, dy = [normal(rows, width) for _ in range(sets)], [normal(rows, out) for _ in range(sets)]
    weight, bias = normal(out, width, deviation=0.03), normal(out)
    name = row["name"].replace(", ", "+")  # one or two kernels of ours: PyTorch's way is the same
    activation, way = quick_gelu() if name == "forward+gelu" else (None, None)
    calls = {
        "forward": lambda i: F.linear(x[i], weight, bias) if row["suite"] != "square" else x[i] @ weight.t(),
        "forward+gelu": lambda i: activation(F.linear(x[i], weight, bias)),
        "forward+residual": lambda i: F.linear(x[i], weight, bias).add_(dy[i]),
        "input": lambda i: dy[i] @ weight,
        "input+slope": lambda i: (dy[i] @ weight).mul_(x[i]),
        "weight": lambda i: dy[i].t() @ x[i],
        "weight+bias": lambda i: (dy[i].t() @ x[i], dy[i].sum(0)),
    }
    if name not in calls:
        return {}
    return {"torch": microseconds(sets, calls[name]), **({"way": way} if way else {})}


def attention(row):
    batch, queries, keys, heads = (row["sizes"][key] for key in ("batch", "queries", "keys", "heads"))
    shared = row["suite"] == "cross"
    times = {}
    backends = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION,
                "efficient": SDPBackend.EFFICIENT_ATTENTION, "math": SDPBackend.MATH}
    for name, backend in backends.items():
        try:
            with sdpa_kernel(backend):
                sets = 1 if shared else sets_beyond_cache(2 * batch * keys * 3 * 64 * heads)
                # Heads in front but laid out as the projection leaves them, as models call it.
                make = lambda count: normal(batch, count, heads, 64).transpose(1, 2).requires_grad_()
                q, k, v = ([make(count) for _ in range(sets)] for count in (queries, keys, keys))
                dout = [normal(batch, queries, heads, 64).transpose(1, 2) for _ in range(sets)]
                causal = bool(row["sizes"].get("causal"))
                call = lambda i: F.scaled_dot_product_attention(q[i], k[i], v[i], is_causal=causal)
                inputs = lambda i: (q[i], k[i], v[i])
                if row["name"] == "forward":
                    with torch.no_grad():
                        times[name] = microseconds(sets, call)
                elif row["name"] == "backward":
                    outs = [call(i) for i in range(sets)]
                    times[name] = microseconds(
                        sets, lambda i: torch.autograd.grad(outs[i], inputs(i), dout[i], retain_graph=True))
                else:
                    times[name] = microseconds(sets, lambda i: torch.autograd.grad(call(i), inputs(i), dout[i]))
        except RuntimeError:  # a backend that does not take this shape, or not in this memory
            continue
    if not times:
        return {}
    best = min(times, key=times.get)
    return {"torch": times[best], "backend": best, "backends": {name: round(t, 3) for name, t in times.items()}}


def memory(row):
    name, sizes = row["name"], row["sizes"]
    if name == "device copy":
        x = torch.randn(sizes["bytes"] // 4, device=DEVICE)
        y = torch.empty_like(x)
        return {"torch": microseconds(1, lambda i: y.copy_(x))}
    if name.startswith("layer norm"):
        shape = (sizes["sequences"] * sizes["length"], sizes["dim"])
        sets = sets_beyond_cache(2 * shape[0] * shape[1])
        x = [normal(*shape).requires_grad_() for _ in range(sets)]
        dy = [normal(*shape) for _ in range(sets)]
        weight, bias = (normal(shape[1]).requires_grad_() for _ in range(2))
        if name.endswith("forward"):
            with torch.no_grad():
                return {"torch": microseconds(sets, lambda i: F.layer_norm(x[i], shape[1:], weight, bias))}
        outs = [F.layer_norm(x[i], shape[1:], weight, bias) for i in range(sets)]
        gradients = lambda i: torch.autograd.grad(outs[i], (x[i], weight, bias), dy[i], retain_graph=True)
        return {"torch": microseconds(sets, lambda i: gradients(i)[0].add_(dy[i]))}  # and the residual's gradient
    if name == "adamw":
        parameters = [torch.randn(sizes["parameters"] // 200, device=DEVICE, requires_grad=True) for _ in range(200)]
        for p in parameters:
            p.grad = torch.randn_like(p)
        optimizer = torch.optim.AdamW(parameters, lr=1e-5, fused=True)
        return {"torch": microseconds(1, lambda i: optimizer.step())}
    if name in ("add", "cast"):
        sets = sets_beyond_cache(2 * sizes["count"])
        a, b = ([normal(sizes["count"]) for _ in range(sets)] for _ in range(2))
        return {"torch": microseconds(sets, lambda i: a[i] + b[i] if name == "add" else a[i].float())}
    if name == "cross entropy":
        logits = torch.randn(sizes["batch"], sizes["classes"], device=DEVICE, requires_grad=True)
        targets = torch.rand(sizes["batch"], sizes["classes"], device=DEVICE)
        return {"torch": microseconds(1, lambda i: torch.autograd.grad(
            F.cross_entropy(logits, targets, label_smoothing=0.1), logits))}
    if name == "pixels":
        return {"torch": microseconds(1, pixels(sizes["pictures"], sizes["side"]))}
    return {}


def pixels(pictures, side):
    """Resize, crop in the middle, normalise; ours mirrors every other picture as well."""
    height, short = side * 3 // 2, side * 8 // 7
    frames = torch.zeros(pictures, 3, height, height * 4 // 3, dtype=torch.uint8, device=DEVICE)
    resized = (short, short * 4 // 3)
    top, left = ((extent - side) // 2 for extent in resized)
    mean, deviation = (torch.tensor(v, device=DEVICE).view(3, 1, 1) for v in ((123.7, 116.3, 103.5), (58.4, 57.1, 57.4)))

    def run(_):
        x = F.interpolate(frames.float(), resized, mode="bilinear", align_corners=False)
        return ((x[:, :, top:top + side, left:left + side] - mean) / deviation).bfloat16()

    return run


SUITES = {"self": attention, "cross": attention, "memory": memory}


def best_rows(paths):
    """The device, and the better time of each measurement."""
    device, rows = None, {}
    for path in paths:
        for line in open(path):
            row = json.loads(line)
            if "device" in row:
                device = row
                continue
            key = json.dumps([row["suite"], row["name"], row["dtype"], row["sizes"]])
            if key not in rows or row["microseconds"] < rows[key]["microseconds"]:
                rows[key] = row
    return device, list(rows.values())


def main(*paths):
    *ours, result = paths
    device, rows = best_rows(ours)
    torch.manual_seed(0)
    versions = {"torch": torch.__version__, "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    print(f"{'':60} {'ours us':>9} {'expected':>9} {'torch us':>9} {'ratio':>7}")
    for row in rows:
        try:
            row.update(SUITES.get(row["suite"], matmul)(row))
        except Exception as error:  # of memory, or of the compiler: the rows behind it are still to be measured
            row["error"] = f"{type(error).__name__}: {error}"[:300]
        label = f"{row['suite']} {row['name']} {' '.join(map(str, row['sizes'].values()))}"
        line = f"{label:60} {row['microseconds']:9.1f} {row['predicted']:9.1f}"
        if "torch" in row:
            row["ratio"] = row["torch"] / row["microseconds"]
            line += f" {row['torch']:9.1f} {row['ratio']:7.2f} {row.get('backend', row.get('way', ''))}"
        print(line, flush=True)
        torch.cuda.empty_cache()
        with open(result + ".part", "w") as file:
            json.dump({"device": device, **versions, "rows": rows}, file, indent=1)
        os.replace(result + ".part", result)


main(*sys.argv[1:])
