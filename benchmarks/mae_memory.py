"""Peak memory of a training step of ViT-B/16 MAE, beside Hugging Face's ViTMAEForPreTraining.

    python -m benchmarks.mae_memory [--precision float32] [--batch 64] [--threads 2]

Two steps (forward, backward, AdamW) in a fresh process for each side and each implementation of attention. On
a CPU: the largest resident set, and how far it lies above that after the imports, the same for both sides.
On a GPU (use --batch 256): the most that torch had allocated.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

import torch

from benchmarks.autoencoders import (
    ATTENTION,
    PRECISIONS,
    SHAPES,
    Model,
    adamw,
    choose_attention,
    make_batch,
    make_ours,
    make_theirs,
    stepper,
)
from benchmarks.measure import device, machine, table


def measure(wanted: argparse.Namespace) -> dict[str, float]:
    """GB of one side with one attention, in this process: `peak`, and `grown` since the imports."""
    place, before = device(), resident_gb()
    theirs = make_theirs(wanted.shape)
    frames, noise = make_batch(theirs, wanted.batch, place)
    model: Model = make_ours(theirs) if wanted.side == "ours" else theirs
    del theirs
    choose_attention(model, wanted.attention)
    model.to(place)
    step, optimiser = stepper(model, frames, noise, wanted.precision), adamw(model)
    step(optimiser)
    loss = step(optimiser)  # now the optimiser's state is there while the activations are
    peak = torch.cuda.max_memory_allocated() / 2**30 if place.type == "cuda" else resident_gb()
    return {"peak": peak, "grown": peak - before if place.type == "cpu" else peak, "loss": loss}


def resident_gb() -> float:
    """The largest resident set of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, default="base")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    parser.add_argument("--side", choices=ATTENTION, help=argparse.SUPPRESS)
    parser.add_argument("--attention", help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    torch.set_num_threads(wanted.threads)
    if wanted.side:
        print(json.dumps(measure(wanted)))
        return
    print(f"\n{wanted.precision}, batch {wanted.batch}; {machine('timm', 'transformers')}\n")
    rows = []
    for side, kinds in ATTENTION.items():
        for kind in kinds:
            command = [sys.executable, "-m", "benchmarks.mae_memory", "--side", side, "--attention", kind]
            command += ["--shape", wanted.shape, "--batch", str(wanted.batch)]
            command += ["--threads", str(wanted.threads), "--precision", wanted.precision]
            root = Path(__file__).parents[1]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=root)
            found = json.loads(done.stdout.splitlines()[-1])
            name = "Hugging Face ViTMAE" if side == "theirs" else "ours"
            rows.append([f"{name}, {kind}", f"{found['peak']:.2f} GB", f"{found['grown']:.2f} GB"])
            print(rows[-1], file=sys.stderr)
    print(table(["two steps of", "peak", "above the imports"], rows))


if __name__ == "__main__":
    main()
