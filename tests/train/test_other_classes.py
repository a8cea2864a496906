"""Trained networks of torchvision, for other classes."""

from pathlib import Path

import pytest
import torch

from fxbin.train.model_spec import build_model


@pytest.mark.parametrize(
    ("name", "last"), [("squeezenet1_1", "classifier.1"), ("mobilenet_v3_small", "classifier.3")]
)
def test_trained_weights_are_kept_but_those_of_the_last_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, last: str
) -> None:
    models = pytest.importorskip("torchvision.models")
    kept = models.get_model(name)
    file = tmp_path / "hub" / "checkpoints" / models.get_model_weights(name).DEFAULT.url.rpartition("/")[2]
    file.parent.mkdir(parents=True)
    torch.save(kept.state_dict(), file)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    model = build_model(f"torchvision:{name}", num_classes=3, pretrained=True).eval()
    before = kept.state_dict()
    differ = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert differ == {f"{last}.weight", f"{last}.bias"}
    assert model(torch.rand(2, 3, 64, 64)).shape == (2, 3)
    same = build_model(f"torchvision:{name}", num_classes=1000, pretrained=True)
    assert torch.equal(same.state_dict()[f"{last}.weight"], kept.state_dict()[f"{last}.weight"])
