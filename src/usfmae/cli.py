"""The command `usfmae`: what a fine-tuned model says of new images. The workflow itself is `snakemake`."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

CONFIG = Path(__file__).resolve().parents[2] / "config"
#: In the order of the Snakefile.
CONFIG_FILES = ("datasets", "openus46", "models", "recipes", "tasks", "config")


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0; 1 where a file or frame could not be judged; 2 for a mistake in command or model."""
    parser = argparse.ArgumentParser(prog="usfmae", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser(
        "predict",
        help="probabilities of images as CSV",
        description="Not for clinical use. See docs/predict.md.",
    )
    command.add_argument(
        "images", nargs="+", type=Path, help="files or folders: images, DICOM, videos, volumes"
    )
    command.add_argument(
        "--model", required=True, type=Path, help="folder of an export, or of a fine-tuned fold"
    )
    command.add_argument("--out", type=Path, help="the CSV file; by default it goes to the terminal")
    command.add_argument(
        "--configfile",
        action="append",
        default=[],
        type=Path,
        help="for a fold: the configuration of the study that made it; may be given several times",
    )
    options = parser.parse_args(arguments)
    return predict(options.model, options.images, options.out, options.configfile)


def predict(model: Path, images: list[Path], out: Path | None, configfiles: list[Path]) -> int:
    """Writes the CSV; returns the exit code."""
    import pandas as pd

    from usfmae.deployment.predictor import ModelError, Predictor, image_files
    from usfmae.progress import progress
    from usfmae.record import atomic
    from usfmae.settings import SettingsError, load

    print("usfmae predict: not for clinical use", file=sys.stderr)
    try:
        if (model / "decision.json").is_file():
            predictor = Predictor.load(model)
        else:
            from usfmae.deployment.from_run import predictor_of_run

            settings = load(*(CONFIG / f"{name}.yaml" for name in CONFIG_FILES), *configfiles)
            predictor = predictor_of_run(model, settings)
    except (ModelError, SettingsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    files = image_files(images)
    if not files:
        print(f"error: no file below {images[0]}", file=sys.stderr)
        return 2
    problems = 0
    with ExitStack() as stack:
        file: TextIO = sys.stdout
        if out:
            file = stack.enter_context(stack.enter_context(atomic(out)).open("w", encoding="utf-8"))
        pd.DataFrame(columns=predictor.columns).to_csv(file, index=False)
        for table in predictor.predict(progress(files, description="predicting", unit="file")):
            table.to_csv(file, header=False, index=False)
            problems += int(table["problem"].notna().sum())
    if problems:
        print(f"{problems} could not be judged: see the column `problem`", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
