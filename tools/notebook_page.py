"""A notebook as Markdown, with its outputs, for a page of the site."""

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PICTURES = {"image/svg+xml": "svg", "image/png": "png"}
"""Kinds of outputs that become files, with the endings of these."""


@dataclass(frozen=True)
class NotebookPage:
    """A notebook, converted."""

    markdown: str
    """Its cells. Links are those of the notebook, relative to it; pictures are beside the page."""

    pictures: dict[str, bytes]
    """The pictures of its outputs, by file name: ``{"own_cnn_1.png": ...}``."""


def notebook_page(path: Path) -> NotebookPage:
    """Convert the notebook `path`. Errors, and outputs of no kind that is known, raise ValueError."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        language = "sh" if source.startswith("%%bash\n") else "python"
        parts.append(_fence(language, source.removeprefix("%%bash\n")))
        parts += _outputs(cell["outputs"], path.stem, pictures)
    return NotebookPage("\n\n".join(parts) + "\n", pictures)


def _outputs(outputs: list[Any], stem: str, pictures: dict[str, bytes]) -> Iterator[str]:
    """Markdown for the `outputs` of a cell; what they show is added to `pictures`."""
    for output in outputs:
        if output["output_type"] == "stream":
            yield _fence("text", "".join(output["text"]))
        elif output["output_type"] in ("display_data", "execute_result"):
            yield _shown({kind: "".join(value) for kind, value in output["data"].items()}, stem, pictures)
        else:
            raise ValueError(f"{stem}: an output of the type {output['output_type']!r}; run `make notebooks`")


def _shown(data: Mapping[str, str], stem: str, pictures: dict[str, bytes]) -> str:
    """The best form of one output that has several."""
    for kind, ending in PICTURES.items():
        if kind in data:
            name = f"{stem}_{len(pictures) + 1}.{ending}"
            pictures[name] = base64.b64decode(data[kind]) if ending == "png" else data[kind].encode()
            return f'<img src="{name}" alt="What the cell above shows">'
    if "text/html" in data:
        return data["text/html"].strip()
    if "text/plain" in data:
        return _fence("text", data["text/plain"])
    raise ValueError(f"{stem}: an output of the kinds {', '.join(data)}, of which the site shows none")


def _fence(language: str, text: str) -> str:
    return f"```{language}\n{text.strip()}\n```"
