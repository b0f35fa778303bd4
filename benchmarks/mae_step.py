"""A training step of ViT-B/16 MAE (forward, backward, AdamW), beside Hugging Face's ViTMAEForPreTraining.

    python -m benchmarks.mae_step [--precision bfloat16] [--batch 8] [--threads 2] [--compile]

224 px, three channels, mask ratio 0.75, decoder 512 x 8; float32 weights, matrix products in the precision.
Both have the same weights, frames and masks, and the same fused AdamW; where the losses differ by more than
1e-5 in float32 there is no table. Each side runs with both of its implementations of attention, in turn
within each round. With --threads 1 the seconds are processor time, which other jobs disturb less. Runs on
the GPU where there is one; then use --batch 256.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch

from benchmarks.autoencoders import (
    ATTENTION,
    PRECISIONS,
    SHAPES,
    adamw,
    autocast,
    choose_attention,
    loss_of,
    make_batch,
    make_ours,
    make_theirs,
    stepper,
)
from benchmarks.measure import Seconds, alternate, device, fastest, machine, ratio, table
from usfmae.training.diagnostics import matmul_rate, operations

#: Largest relative difference of the two losses.
AGREEMENT = {"float32": 1e-5, "bfloat16": 1e-2}
PEER = "Hugging Face ViTMAE"


def compare(
    shape: str, batch: int, rounds: int, precision: str, *, compiled: bool = False
) -> tuple[dict[str, float], Seconds, float]:
    """Loss of each contender on the same batch, its seconds a step, and a frame's share of the device's peak
    times its seconds (operations of a frame over operations a second). Raises AssertionError where the losses
    do not agree."""
    place = device()
    theirs = make_theirs(shape)
    ours = make_ours(theirs)
    models = {"theirs": theirs.to(place), "ours": ours.to(place)}
    frames, noise = make_batch(theirs, batch, place)
    optimisers = {side: adamw(model) for side, model in models.items()}
    losses: dict[str, float] = {}
    contenders: dict[str, Callable[[], object]] = {}
    for side, kinds in ATTENTION.items():
        for kind in kinds:
            name = f"{PEER}, {kind}" if side == "theirs" else f"ours, {kind}"
            choose_attention(models[side], kind)
            with autocast(precision, place), torch.no_grad():
                losses[name] = float(loss_of(models[side], frames, noise))
            step = stepper(models[side], frames, noise, precision)

            def run(side: str = side, kind: str = kind, step: Callable[..., float] = step) -> float:
                choose_attention(models[side], kind)
                return step(optimisers[side])

            contenders[name] = run
    assert_agreement(losses, AGREEMENT[precision])
    if compiled:
        choose_attention(ours, "fused")
        fast = stepper(torch.compile(ours), frames, noise, precision)

        def run_compiled() -> float:
            choose_attention(ours, "fused")
            return fast(optimisers["ours"])

        contenders["ours, fused, torch.compile"] = run_compiled
    cost = operations(ours) / matmul_rate(place, precision)
    alone = place.type == "cpu" and torch.get_num_threads() == 1
    return (
        losses,
        alternate(contenders, rounds, clock=time.process_time if alone else time.perf_counter),
        cost,
    )


def assert_agreement(losses: dict[str, float], tolerance: float) -> None:
    """All of them within `tolerance` of the first, relatively."""
    first = next(iter(losses.values()))
    off = {name: loss for name, loss in losses.items() if abs(loss - first) > tolerance * abs(first)}
    assert not off, f"the losses differ by more than {tolerance}: {losses}"


def show(losses: dict[str, float], seconds: Seconds, batch: int, cost: float) -> str:
    peers = [name for name in seconds if name.startswith(PEER)]
    best = fastest(seconds, peers)
    rows = []
    for name, values in seconds.items():
        speed = batch / median(values)
        against = [f"{ratio(seconds, peer, name):.2f}" for peer in peers]
        loss = f"{losses[name]:.6f}" if name in losses else "-"
        rows.append([name, loss, f"{median(values):.3f}", f"{speed:.2f}", *against, f"{speed * cost:.0%}"])
    columns = ["step of", "loss", "seconds", "images/s", *(f"times {peer}" for peer in peers), "of peak"]
    own = fastest(seconds, [name for name in seconds if name not in peers])
    verdict = f"{own} is {ratio(seconds, best, own):.2f} times as fast as {best}."
    return f"{table(columns, rows)}\n\n{verdict}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, default="base")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    parser.add_argument("--compile", action="store_true", help="a contender more: ours, compiled")
    wanted = parser.parse_args()
    torch.set_num_threads(wanted.threads)
    print(f"\n{wanted.precision}, batch {wanted.batch}; {machine('timm', 'transformers')}\n")
    losses, seconds, cost = compare(
        wanted.shape, wanted.batch, wanted.rounds, wanted.precision, compiled=wanted.compile
    )
    print(show(losses, seconds, wanted.batch, cost))
    print(f"\nAt the end: {machine()}")


if __name__ == "__main__":
    main()
