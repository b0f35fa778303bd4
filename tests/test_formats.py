"""Published formats: told apart by their keys, loaded whole, and never unpickled."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import ViTMAEConfig, ViTMAEForPreTraining, ViTMAEModel

from usfmae.models.checkpoints import CheckpointError, load_encoder, load_mae, save_weights
from usfmae.models.mae import MaskedAutoencoder, build_encoder

torch.set_num_threads(1)

SHAPE = {"size": 16, "channels": 3, "patch_size": 4, "width": 16, "depth": 2, "heads": 2}


def mae(seed: int = 0, **changes: int) -> MaskedAutoencoder:
    """A small model in which no weight is 0."""
    torch.manual_seed(seed)
    encoder = build_encoder(**(SHAPE | changes))  # type: ignore[arg-type]
    model = MaskedAutoencoder(encoder, decoder_width=24, decoder_depth=1, decoder_heads=2, mask_ratio=0.5)
    for value in model.parameters():
        if value.requires_grad:
            torch.nn.init.normal_(value, std=0.1)
    return model.eval()


def classifier(**changes: int) -> torch.nn.Module:
    torch.manual_seed(9)
    return build_encoder(**(SHAPE | changes), num_classes=3, global_pool="token")  # type: ignore[arg-type]


def facebook(model: MaskedAutoencoder, *, decoder: bool = True) -> dict[str, Tensor]:
    """The keys of facebookresearch/mae's models_mae.py; USF-MAE's are the same."""
    state = {f"{key}".removeprefix("encoder."): value for key, value in model.state_dict().items()}
    if not decoder:
        return {key: value for key, value in state.items() if not key.startswith(("decoder_", "mask_token"))}
    state["decoder_pos_embed"] = state.pop("decoder_positions")
    for name in ("weight", "bias"):
        state[f"decoder_pred.{name}"] = state.pop(f"decoder_head.{name}")
    return state


def hugging_face(kind: type = ViTMAEForPreTraining, **changes: int) -> ViTMAEForPreTraining:
    options = {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
        "image_size": 16, "patch_size": 4, "decoder_hidden_size": 24, "decoder_num_hidden_layers": 1,
        "decoder_num_attention_heads": 2, "decoder_intermediate_size": 96, "mask_ratio": 0.5,
    }  # fmt: skip
    model = kind(ViTMAEConfig(**(options | changes), layer_norm_eps=1e-6))
    for value in model.parameters():
        torch.nn.init.normal_(value, std=0.1)
    return model.eval()


def with_names_of_version_5(folder: Path) -> Path:
    theirs = hugging_face()
    theirs.save_pretrained(folder)
    save_file({k: v.contiguous() for k, v in theirs.state_dict().items()}, folder / "model.safetensors")
    assert "vit.layers.0.attention.q_proj.weight" in load_file(folder / "model.safetensors")
    return folder


def with_names_of_version_4(folder: Path) -> Path:
    hugging_face().save_pretrained(folder)
    assert "vit.encoder.layer.0.attention.attention.query.weight" in load_file(folder / "model.safetensors")
    return folder


def as_first_published(folder: Path) -> Path:
    """facebook/vit-mae-base calls the decoder's blocks `decoder.decoder_layers`, old names inside."""
    state = load_file(with_names_of_version_4(folder) / "model.safetensors")
    renamed = {key.replace("decoder_encoder.layer", "decoder_layers"): v for key, v in state.items()}
    save_file(renamed, folder / "model.safetensors")
    return folder / "model.safetensors"  # a single file, without its config


@pytest.mark.parametrize(
    "write", [with_names_of_version_5, with_names_of_version_4, as_first_published], ids=lambda f: f.__name__
)
def test_a_hugging_face_model_predicts_the_same_in_ours(
    write: Callable[[Path], Path], tmp_path: Path
) -> None:
    torch.manual_seed(4)
    path = write(tmp_path)
    torch.manual_seed(4)
    theirs, ours = hugging_face(), mae(seed=1)
    load_mae(ours, path)
    frames, noise = torch.rand(2, 3, 16, 16), torch.rand(2, 16)
    with torch.inference_mode():
        _, prediction, masked = ours(frames, noise)
        logits = theirs(frames, noise=noise).logits.gather(1, masked[..., None].expand_as(prediction))
        torch.testing.assert_close(prediction, logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("whole", [True, False])
def test_a_hugging_face_encoder_loads_from_a_whole_model_and_from_an_encoder_alone(
    whole: bool, tmp_path: Path
) -> None:
    theirs = hugging_face(ViTMAEForPreTraining if whole else ViTMAEModel)
    theirs.save_pretrained(tmp_path)
    model = classifier()
    load_encoder(model, tmp_path)
    frames, in_order = torch.rand(2, 3, 16, 16), torch.arange(16.0).repeat(2, 1)
    encoder = theirs.vit if whole else theirs
    encoder.embeddings.config.mask_ratio = 0.0  # type: ignore[union-attr]
    with torch.inference_mode():
        expected = encoder(frames, noise=in_order).last_hidden_state  # type: ignore[operator]
        torch.testing.assert_close(model.forward_features(frames), expected, rtol=0, atol=1e-5)  # type: ignore[operator]


@pytest.mark.parametrize("name", ["mae_pretrain_vit_base_full.pth", "usfmae.pt", "mae.safetensors"])
def test_a_whole_masked_autoencoder_comes_back_weight_by_weight(name: str, tmp_path: Path) -> None:
    source, model = mae(), mae(seed=1)
    if name.endswith(".pth"):
        torch.save({"model": facebook(source)}, tmp_path / name)
    elif name.endswith(".pt"):
        torch.save(facebook(source), tmp_path / name)
    else:
        save_weights(tmp_path / name, source.state_dict())
    load_mae(model, tmp_path / name)
    assert all(torch.equal(value, source.state_dict()[key]) for key, value in model.state_dict().items())
    head = classifier()
    load_encoder(head, tmp_path / name)  # the decoder is left
    assert torch.equal(head.blocks[1].attn.qkv.weight, source.encoder.blocks[1].attn.qkv.weight)  # type: ignore[index,union-attr]


@pytest.mark.parametrize("wrapped", ["model", "state_dict", None])
def test_an_encoder_alone_fills_a_classifier(wrapped: str | None, tmp_path: Path) -> None:
    source, model, path = mae(), classifier(), tmp_path / "mae_pretrain_vit_base.pth"
    state = facebook(source, decoder=False)
    torch.save({wrapped: state} if wrapped else state, path)
    load_encoder(model, path)
    loaded = model.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in source.encoder.state_dict().items())


def test_an_encoder_alone_is_no_masked_autoencoder(tmp_path: Path) -> None:
    path = tmp_path / "mae_pretrain_vit_base.pth"
    torch.save({"model": facebook(mae(), decoder=False)}, path)
    with pytest.raises(
        CheckpointError, match=r"vit_base\.pth holds an encoder alone, and a decoder is needed"
    ):
        load_mae(mae(), path)


def test_half_precision_weights_load_as_float32(tmp_path: Path) -> None:
    source, model = mae(), mae(seed=1)
    torch.save({key: value.bfloat16() for key, value in facebook(source).items()}, tmp_path / "half.pt")
    load_mae(model, tmp_path / "half.pt")
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}
    torch.testing.assert_close(model.mask_token, source.mask_token, rtol=1e-2, atol=1e-3)


class Trap:
    """What unpickling would run."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("__import__('pathlib').Path('trapped').touch()",)


@pytest.mark.parametrize("extra", [Trap(), argparse.Namespace(lr=1)])
def test_a_file_that_must_be_unpickled_is_refused(
    extra: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": facebook(mae()), "args": extra}, tmp_path / "trap.pth")
    with pytest.raises(CheckpointError, match=r"trap\.pth: not plain weights: .*it is not read\. Ask for"):
        load_mae(mae(), tmp_path / "trap.pth")
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("kept", [0, 10, 2000, -500])
def test_a_truncated_pytorch_file_is_named(kept: int, tmp_path: Path) -> None:
    path = tmp_path / "cut.pth"
    torch.save(facebook(mae()), path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"cut\.pth: not "):
        load_mae(mae(), path)


def test_what_holds_no_state_dict_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="holds no state dict, neither at its top nor under `model` or"):
        load_encoder(classifier(), tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=r"absent\.pt: there are no weights here"):
        load_encoder(classifier(), tmp_path / "absent.pt")


def test_an_unknown_format_is_refused_with_some_of_its_keys(tmp_path: Path) -> None:
    save_weights(tmp_path / "net.safetensors", {"layer1.0.conv1.weight": torch.zeros(2)})
    with pytest.raises(
        CheckpointError, match=r"no patch embedding in it.* begin with layer1\.0\.conv1\.weight"
    ):
        load_encoder(classifier(), tmp_path / "net.safetensors")


def test_a_hugging_face_key_that_lacks_or_is_too_many_is_named(tmp_path: Path) -> None:
    file = with_names_of_version_5(tmp_path) / "model.safetensors"
    whole = load_file(file)
    save_file({k: v for k, v in whole.items() if k != "vit.layers.1.attention.k_proj.bias"}, file)
    with pytest.raises(CheckpointError, match=r"missing: encoder\.blocks\.1\.attn\.k\.bias \(query, key and"):
        load_mae(mae(), tmp_path)
    save_file(whole | {"classifier.weight": torch.zeros(3, 16)}, file)
    for load, model in ((load_mae, mae()), (load_encoder, classifier())):
        with pytest.raises(CheckpointError, match=r"surplus: classifier\.weight$"):
            load(model, tmp_path)  # type: ignore[operator]


def test_two_keys_for_one_layer_are_refused(tmp_path: Path) -> None:
    file = with_names_of_version_5(tmp_path) / "model.safetensors"
    save_file(load_file(file) | {"vit.encoder.layer.0.output.dense.bias": torch.zeros(16)}, file)
    with pytest.raises(CheckpointError, match=r"two keys for one layer, encoder\.blocks\.0\.mlp\.fc2\.bias"):
        load_mae(mae(), tmp_path)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_another_number_of_heads_is_refused_although_the_shapes_fit(part: str, tmp_path: Path) -> None:
    key = "num_attention_heads" if part == "encoder" else "decoder_num_attention_heads"
    hugging_face(**{key: 4}).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())[key] == 4
    with pytest.raises(CheckpointError, match=f"its {part} has 4 attention heads, the model's has 2"):
        load_mae(mae(), tmp_path)
