"""Models with operators that are hard to name, and the names that NNCF 2.9 gave them."""

import importlib
import json
from typing import Any

from tests.zoo import DATA

CASES: dict[str, Any] = importlib.import_module("tests.data.corner_cases").CASES
"""The models by name, each with its `sample_inputs`."""

CORNER_CASES: dict[str, dict[str, Any]] = json.loads((DATA / "corner_cases.json").read_text())
"""What was recorded of each."""
