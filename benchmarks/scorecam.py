"""Score-CAM of ours beside grad-cam's `ScoreCAM`: the same map, and how much sooner.

    python -m benchmarks.scorecam [--models vit_base_patch16_224 densenet169 resnet50] [--images 1]
                                  [--channels 64] [--size 224] [--rounds 3] [--threads 2]

timm's architectures with random weights, sharpened so that their scores answer to the masks; smooth random
images; three classes. Both sides explain the same layer. `as shipped` is grad-cam with its batches of 16 in
float32; it is also run in bf16 autocast, for the ratio at equal precision. `--channels` shows both sides only
the first so many channels, for a processor that has no hours. Errors are of maps from 0 to 1, against
grad-cam's in float32; where ours in float32 is further than 1e-3 from it there is no table. With --threads 1
on a processor the seconds are processor time, which other jobs disturb less. Runs on the GPU where there is
one.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import numpy as np
import timm
import torch
from torch import Tensor, nn

from benchmarks.measure import Seconds, alternate, device, machine, ratio, table
from usfmae.explain.layers import target_layer, token_grid
from usfmae.explain.scorecam import score_cam

MODELS = ["vit_base_patch16_224", "densenet169", "resnet50"]
CLASSES = 3
PARITY = 1e-3
SHIPPED, PEER_BF16 = "grad-cam, as shipped (float32)", "grad-cam, bf16 autocast"
OURS, OURS_BF16 = "ours, float32", "ours, bf16"


class Shown(nn.Module):
    """A network whose target layer is shown as `features`, a map (N, D, h, w) of its first channels only."""

    def __init__(self, network: nn.Module, channels: int | None) -> None:
        super().__init__()
        self.network, self.features = network, nn.Identity()
        layer, tokens = target_layer(network)
        self.seen: list[Tensor] = []
        self.size: tuple[int, int] = (0, 0)

        def show(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            grid = token_grid(output, network, self.size) if tokens else output
            self.features(grid[:, :channels].float())  # grad-cam cannot read bf16

        layer.register_forward_hook(show)
        for name in ("num_prefix_tokens", "global_pool", "blocks"):  # what ours reads of a transformer
            if hasattr(network, name):
                setattr(self, name, getattr(network, name))

    def forward(self, images: Tensor) -> Tensor:  # (N, 3, H, W) -> (N, classes)
        self.size = (images.shape[-2], images.shape[-1])
        return self.network(images)


def make(name: str, size: int, channels: int | None) -> Shown:
    """The network in evaluation mode. Fresh weights give all masks nearly one score, so norms and linear
    layers are drawn anew, wider."""
    torch.manual_seed(1)
    options = {"img_size": size} if name.startswith("vit") else {}
    network = timm.create_model(name, num_classes=CLASSES, **options).eval()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Linear):
                module.weight.copy_(torch.randn_like(module.weight) * 2 / module.in_features**0.5)
            if isinstance(module, nn.LayerNorm | nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.5, 0.5)
    return Shown(network, channels).to(device())


def pictures(n: int, size: int) -> Tensor:
    """Smooth random images (n, 3, size, size)."""
    coarse = torch.randn(n, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    return nn.functional.interpolate(coarse, (size, size), mode="bicubic").to(device())


def theirs(model: Shown, images: Tensor, targets: Tensor, *, bf16: bool = False) -> np.ndarray:
    """Maps (N, H, W) of grad-cam, without its progress bar."""
    from pytorch_grad_cam import ScoreCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    wanted = [ClassifierOutputTarget(int(target)) for target in targets]
    with (
        contextlib.redirect_stderr(io.StringIO()),
        torch.autocast(device().type, torch.bfloat16, enabled=bf16),
        ScoreCAM(model, [model.features]) as cam,
    ):
        return cam(images, wanted)


def ours(model: Shown, images: Tensor, targets: Tensor, **options: object) -> np.ndarray:
    return score_cam(model, images, targets, layer=model.features, tokens=False, **options)  # type: ignore[arg-type]


def compare(
    name: str, size: int, images: int, channels: int | None, rounds: int, clusters: list[int]
) -> tuple[dict[str, np.ndarray], Seconds, int]:
    """Maps and seconds of each contender, and how many channels were scored. Raises AssertionError where
    ours in float32 is not grad-cam's map, or where a map is empty."""
    # A network each: ours changes how its weights lie in memory.
    peer, model, inputs = make(name, size, channels), make(name, size, channels), pictures(images, size)
    targets = torch.arange(images) % CLASSES
    contenders: dict[str, Callable[[], np.ndarray]] = {
        SHIPPED: partial(theirs, peer, inputs, targets),
        PEER_BF16: partial(theirs, peer, inputs, targets, bf16=True),
        OURS: partial(ours, model, inputs, targets),
        OURS_BF16: partial(ours, model, inputs, targets, precision="bfloat16"),
    }
    for groups in clusters:
        contenders[f"ours, bf16, {groups} groups of channels"] = partial(
            ours, model, inputs, targets, precision="bfloat16", clusters=groups
        )
    maps: dict[str, np.ndarray] = {}

    def keep(name: str, run: Callable[[], np.ndarray]) -> None:
        maps[name] = run()

    alone = device().type == "cpu" and torch.get_num_threads() == 1
    runs: dict[str, Callable[[], object]] = {key: partial(keep, key, run) for key, run in contenders.items()}
    seconds = alternate(runs, rounds, clock=time.process_time if alone else time.perf_counter)
    assert maps[SHIPPED].std(axis=(1, 2)).min() > 0.02, "an empty map proves nothing"
    worst = np.abs(maps[OURS] - maps[SHIPPED]).max()
    assert worst <= PARITY, f"{name}: ours differs from grad-cam's map by {worst:.1e}"
    seen: list[int] = []
    handle = model.features.register_forward_hook(lambda *args: seen.append(args[2].shape[1]))
    with torch.inference_mode():
        model(inputs[:1])
    handle.remove()
    return maps, seconds, seen[0]


def show(maps: dict[str, np.ndarray], seconds: Seconds, images: int) -> str:
    rows = []
    for name, values in seconds.items():
        off = np.abs(maps[name] - maps[SHIPPED])
        error = ["-", "-"] if name == SHIPPED else [f"{off.max():.1e}", f"{off.mean():.1e}"]
        peers = [f"{ratio(seconds, peer, name):.2f}" for peer in (SHIPPED, PEER_BF16)]
        rows.append([name, f"{median(values) / images:.2f}", *peers, *error])
    columns = [
        "Score-CAM",
        "seconds an image",
        "times as shipped",
        "times in bf16",
        "largest error",
        "mean error",
    ]
    return table(columns, rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--channels", type=int, default=None, help="the first so many; by default all")
    parser.add_argument("--clusters", type=int, nargs="*", default=[16, 64, 128])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    wanted = parser.parse_args()
    torch.set_num_threads(wanted.threads)
    print(f"\n{machine('timm', 'grad-cam')}\n")
    for name in wanted.models:
        maps, seconds, channels = compare(
            name, wanted.size, wanted.images, wanted.channels, wanted.rounds, wanted.clusters
        )
        count = f"{wanted.images} image{'s' if wanted.images > 1 else ''}"
        print(f"{name}, {wanted.size} px, {channels} channels, {count}, {wanted.rounds} rounds\n")
        print(f"{show(maps, seconds, wanted.images)}\n", flush=True)
    print(f"At the end: {machine()}")


if __name__ == "__main__":
    main()
