"""Sizes and latencies before and after, as a table with bars."""

from dataclasses import dataclass

from fxbin.report.benchmark import NAMES, BenchmarkReport, Timing
from fxbin.report.html.markup import text


@dataclass(frozen=True)
class Gain:
    """What 1 bit gains in one runtime: its fastest form in 1 bit, beside float32 in the same runtime."""

    runtime: str
    """Name of the runtime."""

    before: float
    """Median seconds in float32."""

    after: float
    """Median seconds of the fastest form in 1 bit."""


def gains(report: BenchmarkReport) -> list[Gain]:
    """The gain in each runtime that was timed in both forms."""
    found = []
    for runtime in dict.fromkeys(timing.runtime for timing in report.timings):
        timings = [timing for timing in report.timings if timing.runtime == runtime]
        one_bit = [timing.median for timing in timings if timing.one_bit]
        before = next((timing.median for timing in timings if timing.name == "float32"), None)
        if before is not None and one_bit:
            found.append(Gain(NAMES[runtime], before, min(one_bit)))
    return found


def timings_section(report: BenchmarkReport) -> str:
    """A table with a row for each form of the model: latency, speed-up, size."""
    slowest = max(timing.median for timing in report.timings)
    largest = max(timing.size for timing in report.timings) or 1
    rows = "".join(_row(report, timing, slowest, largest) for timing in report.timings)
    lines = "<br>".join(map(text, report.conditions))
    titles = ("form", "ms", "times faster", "in 1 bit", "MB")
    head = "".join(f'<th scope="col">{title}</th>' for title in titles)
    return (
        f'<div class="scroll"><table class="timings"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody>'
        f'</table></div><p class="note">{lines}</p>'
    )


def _row(report: BenchmarkReport, timing: Timing, slowest: float, largest: int) -> str:
    count = f"{timing.one_bit} of {timing.promised}" if timing.promised else ""
    return (
        f'<tr><th scope="row">{text(NAMES[timing.runtime])}, {text(timing.name)}</th>'
        f'<td class="num bar" style="--share:{100 * timing.median / slowest:.1f}%"><span>'
        f"{timing.median * 1e3:.2f}</span></td>"
        f'<td class="num">{report.speedup(timing):.1f}</td><td class="num">{count}</td>'
        f'<td class="num bar" style="--share:{100 * timing.size / largest:.1f}%"><span>'
        f"{timing.size / 1e6:.2f}</span></td></tr>"
    )
