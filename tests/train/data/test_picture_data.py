import pickle
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from fxbin import load_config
from fxbin.config import Config
from fxbin.errors import CheckpointError, ConfigError, DataError
from fxbin.train.data import open_data
from fxbin.train.data.decode import decode
from fxbin.train.data.folder import open_folder
from fxbin.train.data.kept import check_same_classes
from fxbin.train.data.picture_data import PictureData
from tests.folders import write_folder


def config(root: Path, **changes: Any) -> Config:
    return load_config(
        {
            "data": f"folder:{root}",
            "workers": 0,
            "batch_size": 5,
            "input_info": {"sample_size": [1, 3, 8, 8]},
            "compression": {"algorithm": "binarization"},
        }
        | changes
    )


def opened(settings: Config) -> PictureData:
    data = open_data(settings)
    assert isinstance(data, PictureData)
    return data


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_folder(tmp_path / "train", pictures=8)
    write_folder(tmp_path / "val", pictures=3, seed=1)
    return tmp_path


AUGMENTATION = {"crop": 0.3, "rand_augment": 2, "shift": 1, "flip": True}


def content(batches: Any) -> Tensor:
    return torch.cat([x for x, _ in batches])


def test_what_is_evaluated_is_what_torchvision_makes_of_the_pictures(root: Path) -> None:
    given = {"resize": 9, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4]}
    data = opened(config(root, pictures=given))
    steps = [v2.Resize(9), v2.CenterCrop(8), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    expected = ImageFolder(root / "val", v2.Compose([*steps, v2.Normalize(given["mean"], given["std"])]))
    (x, labels), *rest = list(data.held_out())
    assert [len(y) for _, y in rest] == [4]
    torch.testing.assert_close(x, torch.stack([expected[i][0] for i in range(5)]))
    assert labels.tolist() == [0, 0, 0, 1, 1]


def test_an_epoch_shows_every_picture_once_and_depends_on_seed_and_epoch_alone(root: Path) -> None:
    settings = config(root, augmentation=AUGMENTATION)
    whole = list(opened(settings).training(settings, seed=3).epoch(1))
    assert [len(y) for _, y in whole] == [5, 5, 5, 5, 4]
    assert torch.cat([y for _, y in whole]).bincount().tolist() == [8, 8, 8]
    random.random(), torch.rand(3)  # whatever else draws random numbers
    state = torch.get_rng_state()
    batches = opened(settings).training(settings, seed=3)
    rest = list(batches.epoch(1, start=3))
    assert torch.equal(content(rest), content(whole[3:]))
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(content(batches.epoch(2)), content(whole))
    assert not torch.equal(content(opened(settings).training(settings, seed=4).epoch(1)), content(whole))


def test_workers_and_processes_change_no_picture(root: Path) -> None:
    settings = config(root, augmentation=AUGMENTATION)
    whole = list(opened(settings).training(settings, seed=0).epoch(0))
    shared = opened(config(root, augmentation=AUGMENTATION, workers=2))
    parts = [shared.training(settings, 0, rank, 2) for rank in (0, 1)]
    for epoch in (1, 0):  # the same workers read both
        of_ranks = [list(part.epoch(epoch)) for part in parts]
    for batch, one, other in zip(whole, *of_ranks, strict=True):
        assert torch.equal(batch[0], torch.cat([one[0], other[0]]))
        assert torch.equal(batch[1], torch.cat([one[1], other[1]]))
    alone = list(shared.held_out())
    halves = [batch for rank in (0, 1) for batch in shared.held_out(rank, 2)]
    assert torch.equal(content(alone), content(halves))


def test_an_iteration_that_was_left_does_not_disturb_the_next(root: Path) -> None:
    settings = config(root, workers=1)
    batches = opened(settings).training(settings, seed=0)
    left = batches.epoch(0)
    next(left)
    first = content(batches.epoch(1))
    assert torch.equal(first, content(batches.epoch(1)))
    with pytest.raises(RuntimeError, match="another iteration"):
        next(left)


def test_pictures_are_normalized_by_their_own_mean_and_deviation(root: Path) -> None:
    settings = config(root)
    x = content(opened(settings).training(settings, seed=0).epoch(0))
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(x.std((0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)


@pytest.mark.parametrize("model", ["timm:mobilenetv3_small_100", "torchvision:resnet18"])
def test_pictures_are_normalized_as_the_config_of_the_model_says(root: Path, model: str) -> None:
    for changes in ({"pretrained": True}, {"pictures": {"normalize": "model"}}):
        found = opened(config(root, model=model, **changes)).preprocessing
        assert found.mean == (0.485, 0.456, 0.406)
        assert found.resize == 9  # 8 / 0.875
        assert found.interpolation == ("bicubic" if "timm" in model else "bilinear")
    with pytest.raises(ConfigError, match=r'pictures.normalize: "model" needs a model whose config'):
        opened(config(root, model="resnet_thin", pictures={"normalize": "model"}))


def test_one_picture_may_be_bad_and_too_many_are_an_error_that_names_them(root: Path) -> None:
    first, second = root / "train/class_0/000.png", root / "train/class_2/003.png"
    first.write_bytes(first.read_bytes()[:60])
    settings = config(root, bad_pictures=0.05)
    data = opened(settings)
    batches = data.training(settings, seed=0)
    assert sum(len(y) for _, y in batches.epoch(0)) == 23
    assert data.epoch_notes() == [
        f"1 of 24 training pictures cannot be read: {first} (image file is truncated)"
    ]
    second.write_text("this is text")
    with pytest.raises(
        DataError, match=rf"2 of 24 training.*{first}.*, {second} \(not a picture\).*bad_pictures"
    ):
        list(batches.epoch(0))


def test_bad_held_out_pictures_are_left_out_and_counted_too(root: Path) -> None:
    (root / "val/class_1/001.png").write_bytes(b"")
    data = opened(config(root, bad_pictures=0.2))
    assert sum(len(y) for _, y in data.held_out()) == 8
    (note,) = data.epoch_notes()
    assert note.startswith("1 of 9 held-out pictures cannot be read")
    with pytest.raises(DataError, match="1 of 9 held-out pictures"):
        list(opened(config(root)).held_out())


def test_transparent_pictures_get_a_white_background_and_grey_ones_three_channels(tmp_path: Path) -> None:
    from PIL import Image

    for label, picture in enumerate((Image.new("LA", (9, 9), (10, 0)), Image.new("L", (9, 9), 51))):
        folder = tmp_path / str(label)
        folder.mkdir()
        for index in (0, 1):
            picture.save(folder / f"{index}.png")
    data = opened(config(tmp_path, held_out_share=0.5, pictures={"normalize": "none"}))
    ((x, labels),) = data.held_out()
    assert labels.tolist() == [0, 1]
    torch.testing.assert_close(x[:, :, 4, 4], torch.tensor([[1.0] * 3, [0.2] * 3]))


def test_transparent_colours_of_a_palette_are_blended_with_white(tmp_path: Path) -> None:
    from PIL import Image

    from fxbin.train.data.decode import decode

    picture = Image.new("P", (4, 1))
    picture.putpalette([0, 0, 0, 200, 100, 50, 10, 20, 30])
    picture.putdata([0, 1, 2, 2])
    picture.save(tmp_path / "some.png", transparency=bytes([0, 128]))
    picture.save(tmp_path / "one.png", transparency=2)
    for name in ("some", "one"):
        with Image.open(tmp_path / f"{name}.png") as written:
            layer = written.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        expected = torch.tensor(list(Image.alpha_composite(white, layer).convert("RGB").tobytes()))
        found = torch.tensor(list(decode(tmp_path / f"{name}.png", 3).tobytes()))
        assert (found - expected).abs().max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_pictures_are_turned_as_their_exif_tag_says(tmp_path: Path, orientation: int, suffix: str) -> None:
    from PIL import Image, ImageOps

    pixels = torch.arange(6 * 4 * 3, dtype=torch.uint8).view(6, 4, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / f"a.{suffix}"
    Image.fromarray(pixels.numpy()).save(file, exif=exif, lossless=True)
    with Image.open(file) as picture:
        expected = ImageOps.exif_transpose(picture).convert("RGB")
    assert decode(file, 3).tobytes() == expected.tobytes()
    assert decode(file.read_bytes(), 3).size == ((4, 6) if orientation < 5 else (6, 4))


def test_a_damaged_exif_tag_is_no_reason_to_leave_a_picture_out(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (4, 6), (9, 8, 7)).save(tmp_path / "a.png", exif=b"Exif\0\0no tags at all")
    assert decode(tmp_path / "a.png", 3).size == (4, 6)


def test_workers_may_be_started_with_a_copy_of_the_reader(root: Path) -> None:
    from fxbin.train.data.reader import Key, Reader, Use

    settings = config(root, augmentation=AUGMENTATION)
    preprocessing = opened(settings).preprocessing
    parts = open_folder(root, None, 0.2, 0)
    reader = Reader(parts, preprocessing, preprocessing.for_training(settings.augmentation))
    copied = pickle.loads(pickle.dumps(reader))
    keys = [Key(use, 2, seed=5) for use in Use]
    assert torch.equal(reader.__getitems__(keys).x, copied.__getitems__(keys).x)


def test_samples_are_spread_over_the_held_out_pictures(root: Path) -> None:
    _, labels = opened(config(root)).samples(3)
    assert labels.tolist() == [0, 1, 2]


def test_a_size_is_needed_and_a_crop_larger_than_the_picture_is_refused(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"input_info.sample_size: got nothing, expected the size"):
        opened(config(root, input_info=[{"sample_size": [1, 5]}]).model_copy(update={"input_info": ()}))
    with pytest.raises(ConfigError, match=r"pictures.resize: got 7, expected at least 8"):
        opened(config(root, pictures={"resize": 7}))
    with pytest.raises(
        ConfigError, match=r"pictures.mean: got \[0.1, 0.2\], expected a number for each of the 3"
    ):
        opened(config(root, pictures={"mean": [0.1, 0.2], "std": [1, 1]}))


def test_pictures_of_any_shape_cover_a_size_that_is_not_square(root: Path) -> None:
    data = opened(config(root, input_info={"sample_size": [1, 1, 4, 12]}))
    assert content(data.held_out()).shape == (9, 1, 4, 12)


def test_classes_that_changed_since_a_run_was_started_are_refused(root: Path) -> None:
    kept = opened(config(root)).kept()
    check_same_classes(kept, kept)
    check_same_classes(None, kept)
    with pytest.raises(
        CheckpointError, match=r"started with 3 classes, now there are 2 \(gone: class_1; new: none"
    ):
        check_same_classes(kept, {"classes": ["class_0", "class_2"]})
