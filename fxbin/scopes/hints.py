"""Suggestions for patterns that match nothing, and warnings about patterns that match by accident."""

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping

from fxbin.config.operator_name import is_in_module, module_path, with_containers
from fxbin.config.pattern import REGEX_MARK, expression, matches, why_invalid
from fxbin.errors.messages import closest, counted
from fxbin.scopes.quoting import Quote, for_config

PREFIX = "NNCF"
"""Prefix of classes that NNCF replaces."""

USER_PREFIX = "NNCFUser"
"""Prefix of classes that users registered with NNCF."""


def hints(
    pattern: str,
    names: Collection[str],
    modules: Mapping[str, object] | None = None,
    quote: Quote = for_config,
) -> list[str]:
    """Suggestions, one sentence each, for a `pattern` that matches no node of the model; `names` are all.

    `modules` are the modules by all of PyTorch's names for them; `quote` writes what is suggested as the
    place needs where `pattern` was written.
    """
    if found := list(_without_operator(pattern, names, modules or {}, quote)):
        return found
    rules = REGEX_RULES if REGEX_MARK in pattern else NAME_RULES
    text = expression(pattern)
    for rule in rules:
        if found := list(rule(text, names, quote)):
            return found
    return list(_closest(text, names, quote))


def surprise(pattern: str, names: Collection[str]) -> str | None:
    r"""A warning about an expression that matches operators by accident: ``{re}conv2`` in ``conv2d_0``.

    None if it matches none by accident, or if it contains the whole name of the operator.
    """
    if REGEX_MARK not in pattern:
        return None
    convs = [name for name in names if "/conv2d_" in name and matches(name, pattern)]
    by_accident = [name for name in convs if _is_inside_operator(expression(pattern), name)]
    if not by_accident:
        return None
    word = expression(pattern)
    meant = f" For modules named {word}, write {for_config(_pattern(f'[{word}]'))}." * word.isidentifier()
    return (
        f"{for_config(pattern)} matches {counted(len(convs), 'convolution')}, {len(by_accident)} of them "
        f"only by the operator at the end of the name, as in {for_config(by_accident[0])}.{meant}"
    )


def _without_operator(
    pattern: str, names: Collection[str], modules: Mapping[str, object], quote: Quote
) -> Iterator[str]:
    """A sentence for PyTorch's name of a module in which no operator runs, or none by that name."""
    if not pattern or pattern not in modules:
        return
    same = (other for other, module in modules.items() if module is modules[pattern])
    known = next((other for other in same if any(is_in_module(name, other) for name in names)), None)
    if known is not None:
        yield f"The model runs this module under another name: did you mean {quote(known)}?"
    else:
        yield (
            "The model has this module, but no operator runs in it for the example inputs: leave the entry "
            "out, or give inputs that reach it."
        )


def _is_inside_operator(text: str, name: str) -> bool:
    """Whether `text` matches only inside the operator of `name`, and only a part of its word."""
    found = re.search(text, name)
    start = name.rindex("/") + 1
    return found is not None and found.start() >= start and found.end() < start + len("conv2d")


def _registered_class(text: str, names: Collection[str], _quote: Quote) -> Iterator[str]:
    """Rule for ``Net/NNCFUserMyConv[conv]/conv2d_0``: a class that was registered with NNCF."""
    meant = re.findall(rf"{USER_PREFIX}(\w+)", text)
    held = [word for word in dict.fromkeys(meant) if any(f"/{word}[" in name for name in names)]
    if held:
        yield (
            f"{USER_PREFIX} precedes classes that a model registered with nncf.torch.register_module: "
            f'add "registered_modules": {json.dumps(held)} at the top level of the config.'
        )


def _other_prefix(text: str, names: Collection[str], quote: Quote) -> Iterator[str]:
    """Rule for ``TinyResNet/Conv2d[conv1]/conv2d_0``: the prefix NNCF is missing, or one too many."""
    same = [name for name in names if without_prefix(name) == without_prefix(text)]
    if same:
        yield f"Did you mean {quote(same[0])}? {_about_prefix(same[0])}"


def _module_scope(text: str, names: Collection[str], quote: Quote) -> Iterator[str]:
    """Rule for ``TinyResNet/Sequential[layer1]``: the name of a module instead of an operator."""
    scope = without_prefix(text.strip().rstrip("/")) + "/"
    inside = [name for name in names if without_prefix(name).startswith(scope)]
    if inside:
        conv = next((name for name in inside if "/conv2d_" in name), inside[0])
        own = "/".join(conv.split("/")[: scope.count("/")])
        count = counted(len(inside), "operator")
        every = f", or all of them, {quote(_pattern(own))}" if len(inside) > 1 else ""
        yield f"It is a module, with {count} in it: did you mean {quote(conv)}{every}?"


def _other_operator(text: str, names: Collection[str], quote: Quote) -> Iterator[str]:
    """Rule for ``layer1.0.conv1/conv2d_1``: an operator that PyTorch's name of a module does not have."""
    module, _, operator = text.strip().rpartition("/")
    if not module or "/" in module:
        return
    paths = {name: path for name in names if (path := module_path(name))}
    inner = [name for name in paths if is_in_module(name, module)]
    same = [name for name in inner if name.endswith(f"/{operator}")]
    own = [name for name in inner if paths[name] == module]
    if found := same or own:
        close = ", ".join(quote(f"{paths[name]}/{name.rpartition('/')[2]}") for name in found[:3])
        yield f"Did you mean {close}? Operators are counted in the module that calls them, from 0 on."


def _stray_marks(text: str, names: Collection[str], quote: Quote) -> Iterator[str]:
    """Rule for a name with spaces around it, or with letters in another case."""
    same = [name for name in names if name.lower() == text.strip().lower()]
    if same:
        yield f"Did you mean {quote(same[0])}? Case and spaces count."


def _qualified(text: str, names: Collection[str], quote: Quote) -> Iterator[str]:
    """Rule for ``module.layer1``: what looks like PyTorch's name of a module, but is none."""
    if "/" in text:
        return
    inner = [path for name in names if (path := module_path(name))]
    paths = dict.fromkeys(outer for path in inner for outer in with_containers(path))
    # Names as PyTorch gives them inside another module, or in a wrapper, end alike.
    longer = [path for path in paths if path.endswith(f".{text}")]
    shorter = max((path for path in paths if text.endswith(f".{path}")), key=len, default=None)
    close = longer[:3] or ([shorter] if shorter else closest(text, paths))
    if close:
        found = ", ".join(map(quote, close))
        yield f"Did you mean {found}? Names of modules are those that PyTorch gives in the whole model."


def _module_in_regex(text: str, names: Collection[str], quote: Quote) -> Iterator[str]:
    r"""Rule for ``{re}layer1.0``, also written ``{re}^layer1\.0$``: PyTorch's name of a module as a regex."""
    plain = re.sub(r"\\(.)", r"\1", text.strip().removeprefix("^").removesuffix("$"))
    if count := _nodes_of(plain, names):
        yield f"Names of modules are written without {REGEX_MARK}: {quote(plain)} matches {count}."


def _unescaped(text: str, names: Collection[str], quote: Quote) -> Iterator[str]:
    r"""Rule for ``{re}Net/NNCFConv2d[conv1]``: brackets that are not written ``\[ \]``."""
    escaped = re.sub(r"(?<!\\)([\[\]])", r"\\\1", text)
    if escaped != text and (count := _nodes(escaped, names)):
        yield f"Brackets need a backslash: {quote(REGEX_MARK + escaped)} matches {count}."


def _other_prefix_in_regex(text: str, names: Collection[str], quote: Quote) -> Iterator[str]:
    """Rule for ``{re}TinyResNet/Conv2d``, where the class is called NNCFConv2d."""
    without = without_prefix(text)
    # Only at the start of a class after a slash: the first class is the model's, which has no prefix.
    with_prefix, with_user_prefix = (
        re.sub(r"(?<=/)(?=[A-Z])", f"({prefix})?", without) for prefix in (PREFIX, USER_PREFIX)
    )
    for other in (without, with_prefix, with_user_prefix, rf"{PREFIX}{without}"):
        if other != text and (count := _nodes(other, names)):
            name = next(name for name in names if re.search(other, name))
            yield f"{quote(REGEX_MARK + other)} matches {count}. {_about_prefix(name)}"
            return


def _anchored(text: str, names: Collection[str], quote: Quote) -> Iterator[str]:
    """Rule for ``{re}^layer1``: an anchored expression that would match without its anchors."""
    loose = text.removeprefix("^").removesuffix("$")
    if loose != text and (count := _nodes(loose, names)):
        yield (
            "Names begin with the class of the model and end with an operator and a number: without ^ and $, "
            f"{quote(REGEX_MARK + loose)} matches {count}."
        )


def _other_case(text: str, names: Collection[str], quote: Quote) -> Iterator[str]:
    """Rule for an expression with spaces around it, or with letters in another case."""
    stripped = text.strip()
    for other, reason in ((stripped, "Spaces count"), (f"(?i:{stripped})", "Case counts")):
        if other != text and (count := _nodes(other, names)):
            yield f"{reason}: {quote(REGEX_MARK + other)} matches {count}."
            return


def _closest(text: str, names: Collection[str], quote: Quote) -> Iterator[str]:
    close = closest(text, names, cutoff=0.4)
    if close:
        yield f"Closest: {', '.join(map(quote, close))}."


def without_prefix(name: str) -> str:
    """`name` without the prefixes NNCF and NNCFUser of classes."""
    return re.sub(rf"(^|/){PREFIX}(User)?", r"\1", name)


def _about_prefix(name: str) -> str:
    if USER_PREFIX in name:
        return f"Classes in registered_modules are preceded by {USER_PREFIX}."
    if PREFIX in name:
        return f"The class of a plain nn.Conv2d, nn.Linear, ... is preceded by {PREFIX}."
    return (
        f"Only plain nn.Conv2d, nn.Linear, ... that NNCF replaced are preceded by {PREFIX}: this one is not."
    )


def _pattern(scope: str) -> str:
    """A pattern that selects everything in the module `scope`."""
    return REGEX_MARK + re.escape(scope)


def _nodes(text: str, names: Collection[str]) -> str:
    """How many of `names` the expression `text` selects, as ``"2 nodes"``; empty if none or if invalid."""
    pattern = REGEX_MARK + text
    return "" if why_invalid(pattern) else _nodes_of(pattern, names)


def _nodes_of(pattern: str, names: Collection[str]) -> str:
    """How many of `names` the valid `pattern` selects, as ``"2 nodes"``; empty if none."""
    count = sum(matches(name, pattern) for name in names)
    return counted(count, "node") if count else ""


Rule = Callable[[str, Collection[str], Quote], Iterator[str]]
"""Yields suggestions for a text that matches none of the names; the first rule that has some decides."""

NAME_RULES: tuple[Rule, ...] = (
    _registered_class, _other_prefix, _module_scope, _other_operator, _stray_marks, _qualified,
)  # fmt: skip
"""Rules for entries that are names."""

REGEX_RULES: tuple[Rule, ...] = (
    _module_in_regex, _unescaped, _registered_class, _other_prefix_in_regex, _anchored, _other_case,
)  # fmt: skip
"""Rules for entries with ``{re}``."""
