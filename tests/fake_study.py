"""The settings of a study that is made up: what the report is tested on."""

from __future__ import annotations

from typing import Any

from usfmae.settings import Settings, settings_from

SIDE, FOLDS = 32, 4
KIDNEY, NECK = ["normal", "dilation", "dysplastic"], ["normal", "hygroma"]
TASKS = {"kidney": KIDNEY, "neck": NECK}


def study() -> Settings:
    def dataset(title: str, anatomy: str) -> dict[str, Any]:
        return {
            "title": title,
            "anatomy": anatomy,
            "access": {"host": "simulated", "anatomy": anatomy, "subjects": {"normal": 5}},
            "licence": {"name": "CC0-1.0", "use": "open", "redistribution": True},
            "citation": f"The simulator of this project, {anatomy}.",
        }

    def task(name: str, split: dict[str, Any]) -> dict[str, Any]:
        classes = TASKS[name]
        return {
            "title": f"{name.capitalize()} <frames>",
            "corpus": "demo",
            "datasets": [name],
            "classes": {each: [each] for each in classes},
            "positive": "hygroma" if name == "neck" else None,
            "split": {"kind": "grouped", "folds": FOLDS, **split},
            "notes": "Angles & depths differ." if name == "neck" else "",
            "subgroup": "Device" if name == "kidney" else None,
        }

    training = {"epochs": 3, "batch_size": 8, "learning_rate": 0.001}
    vit = {"encoder": "tiny"}
    merged = {
        "study": {
            "title": "A study made for a test",
            "pretrain": ["mae"],
            "tasks": ["kidney", "neck"],
            "models": ["usfmae", "vit_scratch", "resnet18", "imagenet"],
            "reference": "usfmae",
            "recipe": "standard",
            "fractions": [0.25, 1.0],
            "shortcuts": True,
            "explain": {"recipe": "scorecam", "models": ["usfmae", "imagenet"]},
        },
        "corpora": {"demo": {"datasets": ["kidney", "neck", "scans"], "size": SIDE}},
        "datasets": {
            "kidney": dataset("Simulated kidneys", "kidney"),
            "neck": dataset("Simulated necks", "neck"),
            "scans": dataset("DICOM samples", "breast")
            | {"access": {"host": "package", "package": "pydicom", "folder": "data"}},
        },
        "encoders": {"tiny": {"width": 64, "depth": 2, "heads": 2, "patch_size": 8}},
        "models": {
            "usfmae": vit | {"title": "USF-MAE (demo)", "weights": "pretrain", "pretrain": "mae"},
            "vit_scratch": vit | {"title": "ViT from scratch"},
            "resnet18": {"title": "ResNet-18 from scratch", "timm": "resnet18"},
            "imagenet": {"title": "DenseNet-169 from scratch", "timm": "densenet169"},
        },
        "recipes": {
            "pretrain": {
                "mae": {
                    "title": "MAE, demo",
                    "encoder": "tiny",
                    "corpus": "demo",
                    "decoder_width": 32,
                    "decoder_depth": 1,
                    "decoder_heads": 1,
                    "grid": {"learning_rate": [0.001, 0.002], "weight_decay": [0.05], "folds": 2},
                    "training": training,
                }
            },
            "finetune": {"standard": {"title": "All weights", "training": training}},
            "explain": {"scorecam": {"title": "Score-CAM"}},
        },
        "tasks": {"kidney": task("kidney", {"holdout": 0.25}), "neck": task("neck", {})},
        "statistics": {"resamples": 100},
    }
    return settings_from(merged, [])
