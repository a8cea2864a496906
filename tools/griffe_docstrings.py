"""The Griffe extension that mkdocs.yml names: our docstrings as Markdown."""

from typing import Any

import griffe

from tools.docstring_markdown import to_markdown


class DocstringMarkdown(griffe.Extension):
    """Rewrites each docstring when it has been read."""

    def on_instance(self, *, obj: Any, **_: Any) -> None:
        """Rewrite the docstring of a module, class, function or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = to_markdown(obj.docstring.value)
