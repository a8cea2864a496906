"""Tables for terminals that break no word and no name, however narrow the terminal is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fxbin.report.text import unbroken


@dataclass(frozen=True)
class Column:
    """One column of a grid."""

    title: str
    """Its heading."""

    justify: Literal["left", "right"] = "left"
    """How its cells are aligned."""

    wraps: bool = False
    """Whether its cells are sentences, which may take several lines."""


@dataclass(frozen=True)
class Grid:
    """A table in Markdown, so that it can be pasted from a log into an issue.

    Where it is too wide, the cells of columns that wrap take several lines, with breaks between words; where
    that is not enough, each row becomes a paragraph: its first cell, then the others below it.

    Where there is no terminal, a bar in a cell is escaped, as Markdown needs it: from a terminal, names and
    patterns are copied as they are.
    """

    columns: Sequence[Column]
    """The columns, the first of which names the row."""

    rows: Sequence[Sequence[Text]]
    """For each row, one cell for each column."""

    def fits(self, width: int) -> bool:
        """Whether each row takes one line in `width` columns."""
        return self._frame + sum(self._natural) <= width

    def wrapped(self, width: int) -> "list[int] | None":
        """Widths of columns with which the table fits `width` and no word is broken; None if none do."""
        least = self._least
        spare = width - self._frame - sum(least)
        if spare < 0:
            return None
        for index in sorted(range(len(least)), key=lambda column: self._natural[column] - least[column]):
            wanted = min(self._natural[index] - least[index], spare)
            least[index] += wanted
            spare -= wanted
        return least

    @property
    def _frame(self) -> int:
        """What stands around the cells: a space on both sides of each, and the lines between them."""
        return 3 * len(self.columns) + 1

    @property
    def _natural(self) -> list[int]:
        return [max(map(_longest_line, self._cells(index))) for index in range(len(self.columns))]

    @property
    def _least(self) -> list[int]:
        return [
            max(map(_longest_word if column.wraps else _longest_line, self._cells(index)))
            for index, column in enumerate(self.columns)
        ]

    def _cells(self, index: int) -> Iterator[str]:
        yield self.columns[index].title
        yield from (row[index].plain for row in self.rows)

    def in_markdown(self) -> "Grid":
        r"""The same table with ``|`` in cells written ``\|``."""
        return Grid(
            self.columns,
            [[Text(r"\|").join(cell.split("|", allow_blank=True)) for cell in row] for row in self.rows],
        )

    def names_fit(self, width: int) -> bool:
        """Whether the first cell of each row is at most `width` columns wide."""
        return self._natural[0] <= width

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not console.is_terminal and any("|" in cell.plain for row in self.rows for cell in row):
            yield from self.in_markdown()._lines(options)
        else:
            yield from self._lines(options)

    def _lines(self, options: ConsoleOptions) -> Iterator[Table | Text | Padding]:
        if self.fits(options.max_width):
            yield self._table(self._natural)
        elif (widths := self.wrapped(options.max_width)) is not None:
            yield self._table(widths)
        else:
            for row in self.rows:
                yield from self._paragraph(row)

    def _table(self, widths: Sequence[int]) -> Table:
        table = Table(box=box.MARKDOWN, header_style="bold")
        for column, width in zip(self.columns, widths, strict=True):
            table.add_column(
                column.title,
                justify=column.justify,
                width=width,
                no_wrap=not column.wraps,
            )
        for row in self.rows:
            table.add_row(*row)
        return table

    def _paragraph(self, row: Sequence[Text]) -> Iterator[Text | Padding]:
        """`row` as lines."""
        yield unbroken(row[0])
        said = Text()
        for column, cell in zip(self.columns[1:], row[1:], strict=True):
            if cell.plain:
                said.append(", " if said.plain else "").append(f"{column.title} ".lstrip()).append_text(cell)
        yield Padding(said, (0, 0, 0, 2))


@dataclass(frozen=True)
class Widest:
    """The first of several forms of one table that fits the terminal.

    If none does, the first one whose names fit: its rows become paragraphs, which have room for everything.
    """

    forms: Sequence[Grid]
    """The forms, the most complete first."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        in_lines = (form for form in self.forms if form.fits(width))
        wrapped = (form for form in self.forms if form.wrapped(width) is not None)
        in_paragraphs = (form for form in self.forms if form.names_fit(width))
        yield next(chain(in_lines, wrapped, in_paragraphs), self.forms[-1])


def _longest_line(cell: str) -> int:
    return max(map(cell_len, cell.splitlines()), default=0)


def _longest_word(cell: str) -> int:
    return max(map(cell_len, cell.split()), default=0)
