import contextlib
import io
import re
from pathlib import Path

import json5

from fxbin.config import load_config
from fxbin.staged.schedule import stage_at

PAGE = Path(__file__).parents[2] / "docs" / "training.md"


def test_the_loop_on_the_page_prints_what_the_page_says() -> None:
    text = PAGE.read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    # The other one needs Lightning: tests/test_lightning.py has its like.
    expected, _ = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(code, {})
    assert output.getvalue() == expected


def test_the_steps_on_the_page_are_a_config() -> None:
    (steps,) = re.findall(r"```json5\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    config = load_config(json5.loads(f"{{{steps}}}"))
    assert config.distillation.teacher is not None
    assert config.distillation.teacher.previous_stage
    params = config.binarization.params
    assert stage_at(params, 29) == "activations"
    assert stage_at(params, 30) == "learning rate falls"
