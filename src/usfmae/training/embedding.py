"""A corpus as an encoder sees it: a map of its frames, near where they are alike; vectors for the audit."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.manifold import TSNE
from sklearn.preprocessing import normalize

from usfmae.models.checkpoints import load_encoder
from usfmae.models.classifiers import build_classifier
from usfmae.models.mae import build_encoder
from usfmae.models.weights import MissingWeights
from usfmae.progress import progress
from usfmae.record import atomic, write_json, write_table
from usfmae.settings.models import Encoder, Model
from usfmae.settings.pretraining import PretrainRecipe
from usfmae.settings.study import Embedding
from usfmae.training.batches import FrameStore, normalise, to_float
from usfmae.training.features import BATCH, tokens

Floats = NDArray[np.float32]

COLUMNS = ["frame_id", "dataset", "subject", "label", "x", "y", "nearest"]


def embed_corpus(
    folders: list[Path],
    recipe: PretrainRecipe,
    encoder: Encoder,
    weights: Path,
    chosen: Embedding,
    *,
    table: Path,
    facts: Path,
) -> None:
    """Writes `embedding.parquet` (`COLUMNS`, a row a frame) and `embedding.json` of docs/contracts.md.

    At most `chosen.frames` frames of each curated dataset in `folders` go through the recipe's encoder, whose
    weights (safetensors) are given. Features are the mean of the patch tokens, brought to length 1. `x` and
    `y` are t-SNE's (van der Maaten and Hinton 2008, J. Mach. Learn. Res. 9:2579), started from the first two
    principal components; `nearest` is the frame of another subject that is nearest in all dimensions, by
    cosine, which the map's two cannot show.
    """
    store = FrameStore(folders)
    rows = drawn(store.table["dataset"], chosen.frames, chosen.seed)
    network = build_encoder(
        size=store.size,
        channels=store.channels,
        layer_norm_epsilon=recipe.layer_norm_epsilon,
        **encoder.model_dump(),
    )
    load_encoder(network, weights)
    features = pooled_tokens(network, store, rows)
    shown = store.table.iloc[rows].reset_index(drop=True)
    other = nearest_of_others(features, shown["subject"].to_numpy(str))
    perplexity = min(chosen.perplexity, (len(rows) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init="pca", random_state=chosen.seed, n_jobs=1)
    places = tsne.fit_transform(features)
    shown = shown.assign(x=places[:, 0], y=places[:, 1], nearest=shown["frame_id"].to_numpy()[other])
    write_table(table, shown[COLUMNS])
    write_json(
        facts,
        {
            "frames_per_dataset": chosen.frames,
            "perplexity": perplexity,
            "seed": chosen.seed,
            "dimensions": features.shape[1],
            "kl_divergence": float(tsne.kl_divergence_),
        },
    )


def embed_frames(
    folders: list[Path], model: Model, encoder: Encoder | None, weights: Path, out: Path
) -> None:
    """Writes `embeddings.npy` of docs/contracts.md: float32 `(N, D)` of length 1, of every frame of the
    curated datasets in `folders`, by a model with published weights (their `fetched.json`). Without a row
    where the weights are not here: the audit then goes without."""
    store = FrameStore(folders)
    features = np.empty((0, 0), dtype=np.float32)
    shape = {"classes": 2, "size": store.size, "channels": store.channels}
    try:
        network = build_classifier(model, encoder, weights=weights, **shape)
    except MissingWeights as reason:
        print(f"No neighbours by embedding: {reason}")
    else:
        if len(store):
            features = pooled_tokens(network, store, np.arange(len(store)))
    with atomic(out) as temporary:
        np.save(temporary, features)


def drawn(datasets: pd.Series, most: int, seed: int) -> NDArray[np.intp]:
    """Positions, rising, of at most `most` rows of each dataset; `datasets (N,)` names each row's. What is
    drawn of a dataset depends on its name and the seed alone."""
    chosen = []
    for name, rows in datasets.groupby(datasets, sort=False).indices.items():
        generator = np.random.default_rng([seed, zlib.crc32(str(name).encode())])
        chosen.append(generator.permutation(rows)[:most])
    return np.sort(np.concatenate(chosen))


def pooled_tokens(network: torch.nn.Module, store: FrameStore, rows: NDArray[np.intp]) -> Floats:
    """float32 `(n, D)` of length 1: the mean of the patch tokens of the frames at these positions."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network.to(device).eval()
    found = []
    for start in progress(range(0, len(rows), BATCH), description="features of the corpus", unit="batch"):
        frames = normalise(to_float(store.gather(rows[start : start + BATCH]).to(device)))
        with torch.inference_mode():
            found.append(tokens(network, frames).mean(dim=1).cpu().numpy())
    features: Floats = normalize(np.concatenate(found))
    return features


def nearest_of_others(features: Floats, subjects: NDArray[np.str_]) -> NDArray[np.intp]:
    """Position `(n,)` of each frame's nearest one of another subject; features `(n, D)` have length 1."""
    likeness = features @ features.T
    likeness[subjects[:, None] == subjects] = -np.inf
    nearest: NDArray[np.intp] = likeness.argmax(axis=1)
    return nearest
