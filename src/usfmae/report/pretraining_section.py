"""A pretraining recipe on the page: losses, what was watched, reconstructions, the grid, speed, settings."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from usfmae.record import flatten
from usfmae.report import figures_training
from usfmae.report.embedding_section import embedding_parts
from usfmae.report.exhibits import Exhibits, Picture, Table, embedded
from usfmae.report.products import Products
from usfmae.report.words import count, duration, number


def pretraining_section(name: str, products: Products, exhibits: Exhibits) -> dict[str, Any]:
    """Figures, grid, speed and settings of a recipe; what is not there is left out."""
    recipe = products.settings.recipes.pretrain[name]
    folder, out = products.results / "pretrain" / name, exhibits.figures
    simulated = bool(products.simulated(products.settings.members(recipe.corpus)))
    parts: list[Table | Picture] = []
    history, run = products.table("pretrain", name, "history.parquet"), products.json(folder / "run.json")
    counts = run["counts"] if run else {}
    if history is not None:
        figures_training.pretraining_curves(history, out / f"{name}_loss", simulated=simulated)
        caption = (
            "Loss over the masked patches, and what is watched at each epoch. Effective rank: in how many "
            "dimensions the embeddings of different frames differ; 1 means that the encoder has collapsed. "
            "Spread: 0 where all frames have one embedding, about 1 where they fill all directions alike."
        )
        parts.append(embedded(out / f"{name}_loss", _last_losses(history), caption))
    pictures = folder / "reconstructions.npz"
    if pictures.exists():
        figures_training.reconstructions(pictures, out / f"{name}_reconstructions", simulated=simulated)
        frames = "Training frames" if counts.get("validation") == 0 else "Validation frames"
        alt = f"{frames}: original, with masked patches tinted, and reconstructed at some epochs."
        caption = (
            f"{frames}. {recipe.mask_ratio:.0%} of the patches are hidden (tinted); the rows below show what "
            "the model fills in, after the epoch that stands beside them."
        )
        parts.append(embedded(out / f"{name}_reconstructions", alt, caption))
    parts += embedding_parts(name, products, exhibits)
    grid, chosen = products.table("pretrain", name, "grid.csv"), products.chosen_setting(name)
    if recipe.grid is not None and grid is not None:
        shown = grid_table(grid, chosen["setting"] if chosen else None)
        caption = "The grid: mean over the folds. The setting with the lowest validation loss trains on."
        parts.append(exhibits.table(f"{name}_grid", shown, caption, {"Chosen"}))
    if chosen is not None:
        recipe = recipe.with_setting({key: chosen[key] for key in ("learning_rate", "weight_decay")})
    encoder = products.settings.encoders[recipe.encoder]
    values = flatten(recipe.model_dump(exclude={"title"}) | {"encoder": encoder.model_dump()})
    frame = pd.DataFrame({"Setting": list(values), "Value": [str(value) for value in values.values()]})
    return {
        "title": recipe.title,
        "simulated": simulated,
        "counts": counts,
        "duration": duration(run["seconds"]) if run else "",
        "speed": speed(history, run["environment"]["device"]) if history is not None and run else "",
        "parts": parts,
        "settings": exhibits.table(f"{name}_settings", frame, "Settings of the recipe.", set(frame)),
    }


def grid_table(grid: pd.DataFrame, chosen: str | None) -> pd.DataFrame:
    """A row a setting of `grid.csv`: means over its folds, and whether it is the one called `chosen`."""
    return pd.DataFrame(
        [
            {
                "Learning rate": f"{rows['learning_rate'].iloc[0]:g}",
                "Weight decay": f"{rows['weight_decay'].iloc[0]:g}",
                "Folds": f"{rows['validation_loss'].count()} of {len(rows)}",
                "Validation loss": number(rows["validation_loss"].mean(), 4),
                "SD": number(rows["validation_loss"].std(), 4),
                "Training loss": number(rows["train_loss"].mean(), 4),
                "Chosen": "chosen" if setting == chosen else "",
            }
            for setting, rows in grid.groupby("setting", sort=False)
        ]
    )


def speed(history: pd.DataFrame, device: str) -> str:
    """A sentence with the median epoch's speed, waiting and utilisation, and the largest memory; a figure
    that the history lacks is left out."""
    middle = history.median(numeric_only=True)

    def known(column: str) -> float | None:
        value = float(middle.get(column, math.nan))
        return None if math.isnan(value) else value

    said = []
    if (images := known("images_per_second")) is not None:
        said.append(f"{images:,.0f} images a second on {device}")
    if (waiting := known("waiting_share")) is not None:
        said.append(f"{100 * waiting:.2g} % of the time spent waiting for frames")
    if (used := known("utilisation")) is not None:
        said.append(f"{100 * used:.2g} % of the device's measured rate of matrix products")
    sentence = f"Median epoch: {', '.join(said)}." if said else ""
    if known("memory_gb") is not None:
        sentence += f" Largest memory: {history['memory_gb'].max():.1f} GB."
    if skipped := history.get("skipped_steps", pd.Series(dtype=int)).sum():
        sentence += f" {count(skipped, 'step')} skipped, because the loss was not finite."
    return sentence.strip()


def _last_losses(history: pd.DataFrame) -> str:
    train, validation = history[["train_loss", "validation_loss"]].iloc[-1]
    held_back = "no frame is held back" if math.isnan(validation) else f"{validation:.4g} in validation"
    return f"Loss by epoch; the last is {train:.4g} in training, {held_back}."
