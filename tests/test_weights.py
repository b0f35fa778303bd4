"""Published weights as data: fetched or said to be missing, and never replaced by random ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pydantic import ValidationError
from stand_in import Fault, stand_in

from usfmae.corpus.download import web as web_module
from usfmae.corpus.download.pins import gather
from usfmae.models.checkpoints import load_encoder, load_mae
from usfmae.models.classifiers import build_classifier
from usfmae.models.mae import MaskedAutoencoder, build_encoder
from usfmae.models.weights import MissingWeights, fetch_weights, missing_weights, weights_listing, weights_of
from usfmae.record import sha256
from usfmae.settings import Settings, SettingsError, load
from usfmae.settings.access import Download
from usfmae.settings.load import FILES
from usfmae.settings.models import Checkpoint, Encoder, Model
from workflow import ROOT, run_snakemake, snakemake

torch.set_num_threads(1)

TINY = Encoder(width=16, depth=2, heads=2, patch_size=4)
PUBLISHED = Model(title="Published", encoder="tiny", weights="checkpoint", checkpoint="tiny")
URL = "https://weights.example.org/mae/tiny_full.pth"
DRIVE = "https://drive.google.com/file/d/1TinyWeights/view"
CONFIG = [ROOT / f"config/{name}.yaml" for name in FILES]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web_module, "BACKOFF", 0.01)


def checkpoint(**changes: Any) -> Checkpoint:
    access = {"host": "http", "files": [{"name": "tiny_full.pth", "url": URL}]}
    entry = {"title": "Tiny", "access": access, "contents": "mae", "channels": 3, "licence": "CC0-1.0"}
    return Checkpoint.model_validate(entry | changes)


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A masked autoencoder as Facebook publishes them."""
    torch.manual_seed(1)
    state = autoencoder().state_dict()
    renamed = {key.removeprefix("encoder."): value for key, value in state.items()}
    renamed["decoder_pos_embed"] = renamed.pop("decoder_positions")
    for name in ("weight", "bias"):
        renamed[f"decoder_pred.{name}"] = renamed.pop(f"decoder_head.{name}")
    torch.save({"model": renamed}, tmp_path / "published.pth")
    return tmp_path / "published.pth"


def autoencoder() -> MaskedAutoencoder:
    encoder = build_encoder(size=16, channels=3, **TINY.model_dump())
    return MaskedAutoencoder(encoder, decoder_width=24, decoder_depth=1, decoder_heads=2, mask_ratio=0.5)


def classifier(weights: Path) -> torch.nn.Module:
    return build_classifier(PUBLISHED, TINY, classes=2, size=16, channels=3, weights=weights)


@pytest.mark.parametrize(
    ("address", "access"),
    [
        (URL, {"host": "http", "files": [{"name": "tiny_full.pth", "url": URL}]}),
        (DRIVE, {"host": "google_drive", "files": [{"name": "tiny_full.pth", "id": "1TinyWeights"}]}),
    ],
    ids=["http", "google_drive"],
)
def test_fetched_weights_start_pretraining_and_a_classifier(
    address: str, access: dict[str, Any], published: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "resources/weights/tiny"
    with stand_in({address: published}) as server:
        fetched = fetch_weights("tiny", checkpoint(access=access), folder, Download(mirrors=server.mirrors))
    assert (fetched["status"], fetched["reason"]) == ("available", None)
    assert [(file["path"], file["sha256"]) for file in fetched["files"]] == [
        ("tiny_full.pth", sha256(published))
    ]
    record = folder / "fetched.json"
    assert weights_of(record).read_bytes() == published.read_bytes()
    assert missing_weights(tmp_path / "resources", ["tiny"]) == {}
    wanted = torch.load(published, weights_only=True)["model"]
    torch.manual_seed(2)
    model, start = autoencoder(), classifier(record)
    load_mae(model, record)
    assert torch.equal(model.mask_token, wanted["mask_token"])
    for built in (model.encoder, start):
        assert torch.equal(built.state_dict()["blocks.1.mlp.fc1.weight"], wanted["blocks.1.mlp.fc1.weight"])


def test_weights_that_cannot_be_had_say_where_to_put_the_file_and_never_become_random_ones(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "resources/weights/tiny"
    with stand_in({URL: b""}, {URL: [Fault("status", 404)]}) as server:
        fetched = fetch_weights("tiny", checkpoint(), folder, Download(mirrors=server.mirrors))
    assert fetched["status"] == "unavailable"
    assert "weights.example.org/mae/tiny_full.pth is not there (404)" in fetched["reason"]
    assert (
        f"By hand: Download the files by hand; put the files into {folder / 'archives'}" in fetched["reason"]
    )
    assert "\n" not in fetched["reason"]
    assert missing_weights(tmp_path / "resources", ["tiny"]) == {"tiny": fetched["reason"]}
    for start in (classifier, lambda path: load_mae(autoencoder(), path)):
        with pytest.raises(
            MissingWeights, match=r"the weights tiny are missing: .*tiny_full\.pth is not there"
        ):
            start(folder / "fetched.json")


def test_a_file_put_there_by_hand_is_taken_and_makes_the_checkpoint_stale(
    published: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "resources/weights/tiny"
    nobody = Download(mirrors={"https://weights.example.org": "http://127.0.0.1:9"}, attempts=1)
    assert fetch_weights("tiny", checkpoint(), folder, nobody)["status"] == "unavailable"
    before = weights_listing(checkpoint(), folder)
    (folder / "archives/tiny_full.pth").write_bytes(published.read_bytes())
    assert weights_listing(checkpoint(), folder) != before
    assert fetch_weights("tiny", checkpoint(), folder, nobody)["status"] == "available"
    load_encoder(classifier(folder / "fetched.json"), folder / "fetched.json")


def test_weights_that_changed_since_the_first_download_are_refused(published: Path, tmp_path: Path) -> None:
    folder, lock = tmp_path / "weights/tiny", tmp_path / "checksums.lock"
    with stand_in({URL: published}) as server:
        fetched = fetch_weights("tiny", checkpoint(), folder, Download(mirrors=server.mirrors), lock)
    assert fetched["downloads"][0]["checked"] == "first"
    assert gather(tmp_path / "weights", lock) == 1
    with stand_in({URL: b"other weights"}) as server:
        again = fetch_weights("tiny", checkpoint(), tmp_path / "new", Download(mirrors=server.mirrors), lock)
    assert again["status"] == "unavailable"
    assert f"tiny_full.pth has changed: sha256 {sha256_of(b'other weights')}, pinned" in again["reason"]


def sha256_of(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()


def test_a_checksum_that_is_stated_is_compared(published: Path, tmp_path: Path) -> None:
    file = {"name": "tiny_full.pth", "url": URL, "sha256": "0" * 64}
    with stand_in({URL: published}) as server:
        fetched = fetch_weights(
            "tiny",
            checkpoint(access={"host": "http", "files": [file]}),
            tmp_path / "tiny",
            Download(mirrors=server.mirrors),
        )
    assert fetched["status"] == "unavailable"
    assert "tiny_full.pth is not what its publisher states: sha256" in fetched["reason"]


def test_a_hugging_face_folder_on_this_machine_is_used_where_it_lies(tmp_path: Path) -> None:
    theirs = tmp_path / "vit-mae"
    theirs.mkdir()
    for name in ("config.json", "model.safetensors"):
        (theirs / name).write_text("{}")
    access = {"host": "folder", "folder": str(theirs)}
    fetch_weights("tiny", checkpoint(access=access), tmp_path / "tiny")
    assert weights_of(tmp_path / "tiny/fetched.json") == theirs


def test_weights_not_fetched_yet_or_deleted_are_missing_with_the_command(
    published: Path, tmp_path: Path
) -> None:
    record = tmp_path / "weights/tiny/fetched.json"
    reason = missing_weights(tmp_path, ["tiny"])["tiny"]
    assert reason == f"{record} is not there: run `snakemake {record}`"
    with pytest.raises(MissingWeights, match="is not there: run"):
        classifier(record)
    with stand_in({URL: published}) as server:
        fetch_weights("tiny", checkpoint(), record.parent, Download(mirrors=server.mirrors))
    (record.parent / "release/tiny_full.pth").unlink()
    with pytest.raises(
        MissingWeights,
        match=r"tiny_full\.pth is gone: delete .*fetched\.json and start the same",
    ):
        classifier(record)


def test_a_model_of_published_weights_without_a_file_is_refused() -> None:
    with pytest.raises(ValueError, match="weights are 'checkpoint' but the file given is None"):
        build_classifier(PUBLISHED, TINY, classes=2, size=16, channels=3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"checkpoint": None}, "`weights: checkpoint` and `checkpoint: <checkpoint>` go together"),
        ({"weights": "scratch", "title": "x, from scratch"}, "`weights: checkpoint` and"),
        (
            {"encoder": None, "timm": "resnet18", "checkpoint": None, "weights": "pretrain", "pretrain": "x"},
            "`weights: pretrain` needs an `encoder`",
        ),
    ],
)
def test_a_model_of_published_weights_names_them_and_an_encoder(changes: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Model.model_validate(PUBLISHED.model_dump() | changes)


def test_a_checkpoint_is_one_file() -> None:
    with pytest.raises(ValidationError, match=r"`access\.files` must name the one file, not 0"):
        checkpoint(access={"host": "google_drive", "folder": "1Weights"})


def with_overlay(tmp_path: Path, overlay: dict[str, Any]) -> Settings:
    (tmp_path / "overlay.yaml").write_text(yaml.safe_dump(overlay), encoding="utf-8")
    return load(*CONFIG, tmp_path / "overlay.yaml")


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        (
            {"models": {"m": PUBLISHED.model_dump() | {"encoder": "vit_base", "checkpoint": "usfmae_10"}}},
            r"models\.m\.checkpoint: there is no checkpoint 'usfmae_10' \(did you mean \"usfmae_100\"\?\)",
        ),
        (
            {"recipes": {"pretrain": {"demo": {"initial_weights": "imagenet_mae_encoder"}}}},
            r"demo\.initial_weights: there is no checkpoint with a decoder .* called 'imagenet_mae_encoder'",
        ),
        (
            {
                "checkpoints": {"usfmae_100": {"seen": ["mmotu"]}},
                "study": {"models": ["usfmae_demo", "resnet18_scratch", "usfmae_100"]},
            },
            r"usfmae_100\.seen: there is no dataset 'mmotu'",
        ),
    ],
)
def test_a_checkpoint_that_is_not_defined_is_refused(overlay: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=message):
        with_overlay(tmp_path, overlay)


def test_the_published_checkpoints_are_configured() -> None:
    known = load(*CONFIG).checkpoints
    assert {"imagenet_mae", "usfmae_100", "usfmae_500"} <= known.keys()
    assert known["imagenet_mae"].contents == "mae"
    assert known["imagenet_mae"].access.files[0].url == (
        "https://dl.fbaipublicfiles.com/mae/pretrain/mae_pretrain_vit_base_full.pth"
    )
    assert known["usfmae_100"].seen is None  # nobody says which


def test_snakemake_fetches_weights_by_rule(published: Path, tmp_path: Path) -> None:
    with stand_in({URL: published}) as server:
        overlay = {
            "checkpoints": {"tiny": checkpoint().model_dump(mode="json")},
            "download": {"mirrors": server.mirrors},
        }
        (tmp_path / "overlay.yaml").write_text(yaml.safe_dump(overlay), encoding="utf-8")
        target, overlay_file = "resources/weights/tiny/fetched.json", tmp_path / "overlay.yaml"
        snakemake(tmp_path / "study", target, configfile=overlay_file)
    record = tmp_path / "study" / target
    assert json.loads(record.read_text(encoding="utf-8"))["status"] == "available"
    again = run_snakemake(tmp_path / "study", target, configfile=overlay_file)
    assert "Nothing to be done" in again.stdout
    load_mae(autoencoder(), record)
