"""Measures the whole model with PyTorch: Hugging Face's X-CLIP with scaled dot product attention, in bfloat16.

    python3 torch_model.py infer|train b32|b16|l14 FRAMES BATCH [CLASSES] [REPEATS] [eager|default|reduce-overhead ...]

The counterpart of bench/model.mjs: the same sizes, random weights and pixels, text features that are given. Inference has
its weights in bfloat16; training runs under autocast with a fused AdamW. Each way after REPEATS is measured in turn: as
it is, or by torch.compile in that mode. Prints a JSON line per way when it is done, with the median seconds of a step, the
better of two rounds of REPEATS, and the peak of the device memory that tensors took (and that the allocator held); a way
that fails gives a line with the error. Development only. DEVICE=cpu shows that it runs; `tiny` is a model for that.
"""
import gc
import json
import os
import statistics
import sys
import time

import torch
import transformers
from transformers import XCLIPConfig, XCLIPModel, XCLIPTextConfig, XCLIPVisionConfig

DEVICE = os.environ.get("DEVICE", "cuda")
WARM_UP = 3
# width, layers and patch of the vision tower, width of the features, side of the pictures
SIZES = {
    "tiny": (128, 3, 8, 128, 32),
    "b32": (768, 12, 32, 512, 224),
    "b16": (768, 12, 16, 512, 224),
    "l14": (1024, 24, 14, 768, 224),
}


def make_model(arch, frames):
    width, layers, patch, features, side = SIZES[arch]
    text = XCLIPTextConfig(hidden_size=features, intermediate_size=4 * features, num_attention_heads=features // 64,
                           num_hidden_layers=1)  # the text tower does not run
    vision = XCLIPVisionConfig(hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers,
                               num_attention_heads=width // 64, patch_size=patch, image_size=side, num_frames=frames,
                               mit_hidden_size=features, mit_intermediate_size=4 * features,
                               mit_num_attention_heads=features // 64, mit_num_hidden_layers=1, drop_path_rate=0.0)
    config = XCLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=features,
                         prompt_num_attention_heads=features // 64, attn_implementation="sdpa")
    torch.manual_seed(0)
    return XCLIPModel(config).to(DEVICE)


def score(model, pixels, text):
    """Logits of videos [B, T, 3, H, W] over classes [K, D]: all of the model's forward pass but the text tower."""
    batch, frames = pixels.shape[:2]
    vision = model.vision_model(pixels.flatten(0, 1))
    video = model.mit(model.visual_projection(vision.pooler_output).unflatten(0, (batch, frames))).pooler_output
    patches = model.prompts_visual_layernorm(vision.last_hidden_state[:, 1:]) @ model.prompts_visual_projection
    patches = patches.unflatten(0, (batch, frames)).mean(1)
    text = text.expand(batch, -1, -1)
    text = text + model.prompts_generator(text, patches)
    video, text = (x / x.norm(dim=-1, keepdim=True) for x in (video, text))
    return torch.einsum("bd,bkd->bk", video, model.logit_scale.exp() * text)


def make_step(mode, model, run, pixels, text):
    """What is timed: one pass over the batch, or one update."""
    if mode == "infer":
        model.eval().bfloat16()
        pixels, text = pixels.bfloat16(), text.bfloat16()

        def infer():
            with torch.inference_mode():
                return run(model, pixels, text)

        return infer
    model.train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith(("text_model", "text_projection", "logit_scale")))
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=8e-6, betas=(0.9, 0.98), weight_decay=1e-3, fused=True)
    targets = torch.full((len(pixels), len(text)), 1 / len(text), device=DEVICE)

    def train():
        with torch.autocast(DEVICE, dtype=torch.bfloat16):
            logits = run(model, pixels, text)
        loss = torch.nn.functional.cross_entropy(logits.float(), targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss

    return train


def measure(mode, arch, frames, batch, classes, repeats, way):
    wait = torch.cuda.synchronize if DEVICE == "cuda" else lambda: None
    model = make_model(arch, frames)
    run = score if way == "eager" else torch.compile(score, mode=way)
    side, features = SIZES[arch][4], SIZES[arch][3]
    step = make_step(mode, model, run, torch.randn(batch, frames, 3, side, side, device=DEVICE),
                     torch.randn(classes, features, device=DEVICE))
    seconds = []
    for _ in range(WARM_UP + 2 * repeats):
        wait()
        start = time.perf_counter()
        step()
        wait()
        seconds.append(time.perf_counter() - start)
    middle = min(statistics.median(seconds[start:start + repeats]) for start in (WARM_UP, WARM_UP + repeats))
    memory = {}
    if DEVICE == "cuda":
        memory = {"peakDeviceMb": torch.cuda.max_memory_allocated() >> 20,
                  "reservedDeviceMb": torch.cuda.max_memory_reserved() >> 20}
    return {"seconds": round(middle, 6), "videosPerSecond": round(batch / middle, 3), **memory,
            "attention": model.config.vision_config._attn_implementation}


def main(mode, arch, frames, batch, classes="400", repeats="20", *ways):
    for way in ways or ("eager",):
        torch._dynamo.reset()
        gc.collect()  # of the way before, so that each has the memory for itself
        if DEVICE == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        row = {"peer": "torch", "way": way, "torch": torch.__version__, "transformers": transformers.__version__,
               "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
        try:
            row.update(measure(mode, arch, int(frames), int(batch), int(classes), int(repeats), way))
        except Exception as error:  # one way that does not work does not end the others
            row["error"] = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        print(json.dumps(row), flush=True)


main(*sys.argv[1:])
