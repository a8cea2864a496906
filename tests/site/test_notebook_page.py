"""How a notebook becomes a page of the site."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tools.notebook_page import notebook_page

PNG = b"\x89PNG of some pixels"

EXPECTED = """\
# Title
[more](../docs/words.md)

```python
x = 1
x
```

```text
a
b
```

```text
1
```

```sh
ls
```

<div>
table</div>

```python
draw()
```

<img src="net_1.png" alt="What the cell above shows">

```python
graph
```

<img src="net_2.svg" alt="What the cell above shows">
"""


def written(path: Path, *cells: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"cells": cells}))
    return path


def code(source: str, *outputs: dict[str, Any]) -> dict[str, Any]:
    return {"cell_type": "code", "source": source.splitlines(keepends=True), "outputs": [*outputs]}


def result(**data: str) -> dict[str, Any]:
    kinds = {"html": "text/html", "plain": "text/plain", "png": "image/png", "svg": "image/svg+xml"}
    return {"output_type": "execute_result", "data": {kinds[key]: value for key, value in data.items()}}


def test_cells_and_outputs_become_markdown(tmp_path: Path) -> None:
    printed = {"output_type": "stream", "name": "stdout", "text": ["a\n", "b\n"]}
    page = notebook_page(
        written(
            tmp_path / "net.ipynb",
            {"cell_type": "markdown", "source": ["# Title\n", "[more](../docs/words.md)"]},
            code("x = 1\nx", printed, result(plain="1")),
            code("%%bash\nls", result(html="<div>\ntable</div>\n", plain="<Summary>")),
            code("draw()", result(png=base64.b64encode(PNG).decode(), plain="<Figure>")),
            code("graph", result(svg="<svg/>", plain="<Graph>")),
        )
    )
    assert page.pictures == {"net_1.png": PNG, "net_2.svg": b"<svg/>"}
    assert page.markdown == EXPECTED


def test_what_cannot_be_shown_is_an_error(tmp_path: Path) -> None:
    failed = {"output_type": "error", "ename": "KeyError"}
    with pytest.raises(ValueError, match="net: an output of the type 'error'; run `make notebooks`"):
        notebook_page(written(tmp_path / "net.ipynb", code("x", failed)))
    sound = {"output_type": "display_data", "data": {"audio/wav": ""}}
    with pytest.raises(ValueError, match="net: an output of the kinds audio/wav"):
        notebook_page(written(tmp_path / "net.ipynb", code("x", sound)))
