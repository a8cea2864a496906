"""What CONFIG, MODEL and --input mean on the command line."""

from pathlib import Path

import pytest

from fxbin.cli.source import changes_of, config_for, without_scope_check
from fxbin.config import load_config
from fxbin.errors import ConfigError
from fxbin.train.resume import plain
from fxbin.train.settings import read_settings

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.json5")), ids=lambda path: path.stem)
def test_every_shipped_config_can_be_overridden(path: Path) -> None:
    config = load_config(path)
    assert load_config(plain(config)) == config
    changed = read_settings(config, changes_of(data="fashion-mnist", data_dir=None))
    assert changed == load_config(plain(config) | {"data": "fashion-mnist"})
    assert not without_scope_check(config).binarization.validate_scopes


def test_a_model_is_combined_with_a_config() -> None:
    demo = str(CONFIGS / "demo.json5")
    config = config_for("torchvision:resnet18", None, demo)
    assert config.model == "torchvision:resnet18"
    assert config.binarization == load_config(demo).binarization


def test_what_does_not_go_together_is_refused() -> None:
    demo = str(CONFIGS / "demo.json5")
    with pytest.raises(ConfigError, match=r"--config: .* is a config itself"):
        config_for(demo, None, demo)
    with pytest.raises(ConfigError, match=r"--input: .* has its own input_info"):
        config_for("resnet_thin", "1,1,8,8", demo)


def test_input_is_for_a_config_without_one(tmp_path: Path) -> None:
    config = tmp_path / "loop.json5"
    config.write_text('{compression: {algorithm: "binarization"}}')
    found = config_for("resnet_thin", "2,1,14,14", config=str(config))
    assert [info.sample_size for info in found.input_info] == [(2, 1, 14, 14)]
