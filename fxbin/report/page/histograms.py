"""Histograms of activations around their thresholds, as SVG."""

from collections.abc import Mapping, Sequence

from fxbin.report.activations import ActivationHistogram
from fxbin.report.html.markup import breakable, text


def histograms_section(histograms: Sequence[ActivationHistogram], entries: Mapping[str, str]) -> str:
    """A small drawing of each of `histograms`; `entries` are the short names of the call sites."""
    drawn = "".join(_histogram(found, entries.get(found.name, found.name)) for found in histograms)
    return f'<div class="histograms">{drawn}</div>'


def _histogram(found: ActivationHistogram, entry: str) -> str:
    low, high = found.smallest_threshold, found.largest_threshold
    threshold = f"{low:.3g}" if f"{low:.3g}" == f"{high:.3g}" else f"{low:.3g} to {high:.3g}"
    half = len(found.counts) // 2
    largest = max(found.counts) or 1
    lost = f" \N{MIDDLE DOT} <b>{found.not_finite} not finite</b>" if found.not_finite else ""
    quiet = _bars(found.counts[:half], 0, largest)
    firing = _bars(found.counts[half:], half, largest)
    return (
        f'<figure class="histogram">'
        f"<figcaption><code>{breakable(entry)}</code></figcaption>"
        f'<svg viewBox="0 0 {2 * half} 100" preserveAspectRatio="none" role="img" '
        f'aria-label="{found.fired:.1%} fire">'
        f'<path class="quiet" d="{quiet}"/><path class="firing" d="{firing}"/>'
        f'<path class="threshold" d="M{half} 0V100"/></svg>'
        f'<div class="scale"><span>\N{MINUS SIGN}{found.reach:.3g}</span><span>threshold</span>'
        f"<span>+{found.reach:.3g}</span></div>"
        f"<small><b>{found.fired:.1%}</b> fire \N{MIDDLE DOT} threshold {text(threshold)} "
        f"\N{MIDDLE DOT} scale {found.scale:.3g}{lost}</small></figure>"
    )


def _bars(counts: Sequence[int], start: int, largest: int) -> str:
    """One path around all bars, the first of which begins at `start`."""
    tops = "".join(f"V{100 - 100 * count / largest:.0f}h1" for count in counts)
    return f"M{start} 100{tops}V100Z"
