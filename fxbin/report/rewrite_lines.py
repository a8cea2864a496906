"""What `compression.rewrites` has changed, as lines below the table of call sites."""

from collections import Counter
from collections.abc import Iterable, Iterator

from fxbin.errors.messages import listed
from fxbin.graph.node_info import SiteRewrite

AtSite = tuple[str, SiteRewrite]
"""The short name of a call site, and what one rewrite has done there."""


def rewrite_lines(sites: Iterable[tuple[str, Iterable[SiteRewrite]]]) -> Iterator[str]:
    """Yield for each rewrite what it has changed, then each reason for which it has left call sites alone."""
    by_name: dict[str, list[AtSite]] = {}
    for site, rewrites in sites:
        for found in rewrites:
            by_name.setdefault(found.rewrite, []).append((site, found))
    for name, at_sites in by_name.items():
        changed = Counter(found.change for _, found in at_sites if found.change)
        kinds = "; ".join(f"{count} x {text}" for text, count in changed.items())
        what = f": {kinds}" if kinds else ""
        yield f'rewrite "{name}": {changed.total()} of {len(at_sites)} call sites changed{what}'
        for reason, names in _by_reason(at_sites).items():
            yield f'left alone by "{name}": {listed(names)}: {reason}'


def _by_reason(at_sites: Iterable[AtSite]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for site, rewrite in at_sites:
        if rewrite.reason:
            found.setdefault(rewrite.reason, []).append(site)
    return found
