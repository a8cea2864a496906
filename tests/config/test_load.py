"""Configs in files: JSON5, and the messages about files that are missing or invalid."""

from pathlib import Path
from typing import Any

import pytest

from fxbin.config import load_config
from fxbin.errors import ConfigError

ROOT = Path(__file__).parents[2]
GOOD = """
// comments, unquoted keys, single quotes and trailing commas are fine
{
    compression: {
        algorithm: 'binarization', /* as in NNCF */
        params: { base_lr: 1e-3, },
    },
}
"""


def write(folder: Path, text: str | bytes, name: str = "config.json5") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def message(source: str | Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(source)
    return str(caught.value)


def test_json5_is_read(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, GOOD))
    assert config.binarization.params.base_lr == 1e-3
    assert load_config(str(write(tmp_path, GOOD))) == config
    assert load_config(write(tmp_path, b"\xef\xbb\xbf" + GOOD.encode())) == config


def test_a_config_is_returned_as_it_is() -> None:
    config = load_config({"compression": {"algorithm": "binarization"}})
    assert load_config(config) is config


def test_problems_in_a_file_name_the_file_as_given(tmp_path: Path) -> None:
    path = write(tmp_path, "{compression: {algorithm: 'binarization', mode: 'bnn'}}")
    assert message(path).startswith(f'{path}: compression.mode: got "bnn"')


def test_missing_file_names_near_ones(tmp_path: Path) -> None:
    write(tmp_path, GOOD, "resnet18_xnor.json5")
    write(tmp_path, GOOD, "other.json")
    path = tmp_path / "resnet18_xnr.json5"
    assert message(path) == f"{path}: no such file. Configs in {tmp_path}: resnet18_xnor.json5."
    assert "Configs in" in message(tmp_path / "zzz.toml")


def test_missing_folder_is_named(tmp_path: Path) -> None:
    assert f"The folder {tmp_path / 'no'} does not exist either" in message(tmp_path / "no" / "config.json5")


def test_a_folder_is_not_a_config(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    assert (
        message(tmp_path) == f"{tmp_path}: is a folder, expected a file. Configs in {tmp_path}: config.json5."
    )


SYNTAX_ERRORS: list[tuple[str, int, int, str]] = [
    ("{\n  a: 1,\n  b: ,\n}", 3, 6, 'Unexpected ","'),
    ("{\n  a: 1\n  b: 2\n}", 3, 3, "Is a comma missing before it?"),
    ("{\n\ta: 1,\n\tb 2\n}", 3, 4, 'Unexpected "2"'),
    ("# comment\n{}", 1, 1, "Comments begin with //."),
    ("{a: 1", 1, 6, "Unexpected end of input"),
    ('{a: "x\n"}', 1, 7, "Unexpected"),
]


@pytest.mark.parametrize(("text", "line", "column", "expected"), SYNTAX_ERRORS)
def test_syntax_error_shows_the_place(
    tmp_path: Path, text: str, line: int, column: int, expected: str
) -> None:
    path = write(tmp_path, text)
    head, shown, caret = message(path).splitlines()
    assert head.startswith(f"{path}, line {line}, column {column}: ")
    assert expected in head
    assert shown == f"    {text.splitlines()[line - 1]}"
    assert caret.expandtabs() == " " * (len(shown[: column + 3].expandtabs())) + "^"


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = write(
        tmp_path, '{\n  compression: {algorithm: "binarization",\n  mode: "xnor",\n  "mode": "dorefa"}}'
    )
    assert message(path) == f"{path}: the key 'mode' appears twice in one object, see lines 3, 4: remove one."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "is empty. Write at least"),
        ("[1]", "got a list, expected an object"),
        ("[" * 3000, "is nested too deeply for a config."),
        (b"\xff\xfe{}", "is not UTF-8 text (byte 0)"),
        ("__import__('os').system('true')", "line 1, column"),
    ],
)
def test_what_is_no_config_is_refused(tmp_path: Path, text: str | bytes, expected: str) -> None:
    assert expected in message(write(tmp_path, text))


def shipped() -> list[Any]:
    return sorted((ROOT / "configs").glob("*.json5"))


@pytest.mark.parametrize("path", shipped(), ids=lambda path: path.name)
def test_shipped_configs_load_and_every_key_in_them_has_an_effect(path: Path) -> None:
    assert load_config(path).notes == ()


@pytest.mark.parametrize("mode", ["xnor", "dorefa"])
def test_resnet18_example_is_the_public_one(mode: str) -> None:
    config = load_config(ROOT / f"configs/resnet18_imagenet_{mode}.json5")
    params = config.binarization.params
    assert config.binarization.mode == mode
    assert (config.epochs, config.batch_size, config.num_classes, config.pretrained) == (90, 384, 1000, True)
    assert config.input_info[0].sample_size == (1, 3, 224, 224)
    assert (params.activations_quant_start_epoch, params.weights_quant_start_epoch) == (10, 30)
    assert (params.lr_poly_drop_start_epoch, params.lr_poly_drop_duration_epochs) == (60, 30)
    assert params.disable_wd_start_epoch == 60
    assert config.binarization.ignored_scopes is not None
    assert len(config.binarization.ignored_scopes) == 5
