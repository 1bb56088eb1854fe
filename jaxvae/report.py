"""A run as one HTML file: text, tables and figures, readable from a laptop, a phone or paper, with no other file.

Images are embedded and every text is escaped; the page has no script and asks the network for nothing.
"""

import base64
import math
import os
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from numbers import Real
from pathlib import Path
from typing import Any

from jaxvae.files import write_whole

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

ONE = r"[-+]?[\d,]*\.?\d+(e[-+]\d+)?%?"
NUMBER = re.compile(f"–|{ONE}( ± {ONE})?")
"""A text that stands for a number: itself, a mean and a deviation, or a dash for none."""

STYLE = """
:root { color-scheme: light dark; --page: #f7f7f5; --ink: #1f2328; --quiet: #5c636b; --rule: #d9dbdd; --card: #fff; }
@media (prefers-color-scheme: dark) {
  :root { --page: #16181b; --ink: #e6e8ea; --quiet: #9aa2aa; --rule: #353a40; --card: #1e2125; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); line-height: 1.55;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 2.5rem clamp(1rem, 4vw, 2.5rem) 4rem; }
h1 { font-size: clamp(1.6rem, 4vw, 2.2rem); line-height: 1.2; margin: 0 0 1rem; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; line-height: 1.3; margin: 2.75rem 0 .75rem; padding-top: 1rem;
  border-top: 1px solid var(--rule); overflow-wrap: anywhere; }
p { max-width: 44rem; margin: 0 0 .9rem; overflow-wrap: anywhere; }
.intro { font-size: 1.1rem; }
figure { margin: 1.25rem 0; }
figcaption { color: var(--quiet); font-size: .9rem; max-width: 44rem; margin-top: .5rem; }
.picture { background: #fff; border: 1px solid var(--rule); border-radius: 8px; padding: .5rem; text-align: center; }
.picture img { max-width: 100%; height: auto; vertical-align: middle; }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--rule); border-radius: 8px;
  width: fit-content; max-width: 100%; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .9rem; text-align: left; border-bottom: 1px solid var(--rule); vertical-align: top; }
th { color: var(--quiet); font-weight: 600; vertical-align: bottom; }
tr:last-child td { border-bottom: 0; }
td:last-child:not([class]) { min-width: 12rem; }
.number { text-align: right; white-space: nowrap; }
@media print {
  :root { --page: #fff; --ink: #000; --quiet: #444; --rule: #bbb; --card: #fff; }
  main { max-width: none; padding: 0; }
  figure, tr { break-inside: avoid; }
  h2 { break-after: avoid; }
}
"""


@dataclass(frozen=True)
class Text:
    """Plain text; a blank line starts a new paragraph."""

    text: str

    def html(self) -> str:
        """The paragraphs."""
        paragraphs = [part.strip() for part in self.text.split("\n\n")]
        return "\n".join(f"<p>{escape(part)}</p>" for part in paragraphs if part)


@dataclass(frozen=True)
class Table:
    """Rows under a header. Numbers are right-aligned and share the decimals of their column; None shows as a dash."""

    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""

    def html(self) -> str:
        """The table in a box that scrolls sideways on a narrow screen."""
        columns = list(zip(*self.rows, strict=True)) or [()] * len(self.header)
        tags = [' class="number"' if all(map(reads_as_number, column)) and column else "" for column in columns]
        head = "".join(f"<th{tag}>{escape(name)}</th>" for tag, name in zip(tags, self.header, strict=True))
        lines = [
            "".join(f"<td{tag}>{escape(cell)}</td>" for tag, cell in zip(tags, row, strict=True))
            for row in zip(*map(format_column, columns), strict=True)
        ]
        body = "\n".join(f"<tr>{line}</tr>" for line in lines)
        table = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
        return f'<figure><div class="scroll">{table}</div>{figcaption(self.caption)}</figure>'


@dataclass(frozen=True)
class Image:
    """A PNG, as a path or as bytes, with a caption and a text for those who cannot see it."""

    png: str | os.PathLike | bytes
    caption: str
    alt: str

    def html(self) -> str:
        """The embedded image on a white card, drawn at 100 pixels per inch of a figure with 150 dots per inch.

        Raises:
            ValueError: the bytes are not a PNG.
        """
        data = self.png if isinstance(self.png, bytes) else Path(self.png).read_bytes()
        if not data.startswith(PNG_SIGNATURE):
            raise ValueError(f"image {self.alt!r}: not a PNG file")
        (pixels,) = struct.unpack(">I", data[16:20])  # the width, the first field of the header chunk
        source = f"data:image/png;base64,{base64.b64encode(data).decode()}"
        image = f'<img src="{source}" alt="{escape(self.alt)}" width="{round(pixels / 1.5)}">'
        return f'<figure><div class="picture">{image}</div>{figcaption(self.caption)}</figure>'


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: Sequence[Text | Table | Image]

    def html(self) -> str:
        """The heading, then every block."""
        return "\n".join([f"<h2>{escape(self.title)}</h2>", *(block.html() for block in self.blocks)])


def write_report(
    path: str | os.PathLike,
    *,
    title: str,
    intro: str,
    sections: Sequence[Section],
    settings: Mapping[str, Any],
) -> None:
    """Write the report. Atomic: a reader sees the old file or the whole new one.

    Args:
        path: the HTML file.
        title: heading of the page and title of its window.
        intro: what was done and what came out; a blank line starts a new paragraph.
        sections: the body, in order.
        settings: name -> value, the table at the end.
    """
    table = Table(("setting", "value"), [(name, str(value)) for name, value in settings.items()])
    body = "\n".join(section.html() for section in [*sections, Section("Settings", [table])])
    page = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
<div class="intro">{Text(intro).html()}</div>
{body}
</main>
</body>
</html>
"""
    write_whole(path, page.encode())


def figcaption(text: str) -> str:
    """The caption, or nothing if it is empty."""
    return f"<figcaption>{escape(text)}</figcaption>" if text else ""


def is_number(cell: Any) -> bool:
    """Whether a cell belongs in a column of numbers: a real number, or None for a missing one."""
    return cell is None or (isinstance(cell, Real) and not isinstance(cell, bool))


def reads_as_number(cell: Any) -> bool:
    """Whether a cell is right-aligned: a number, or the text of one such as "39.72 ± 0.79", "826,424" or a dash."""
    return is_number(cell) or (isinstance(cell, str) and NUMBER.fullmatch(cell) is not None)


def format_column(cells: Sequence[Any]) -> list[str]:
    """The cells as text: numbers with thousands separators and the decimals that four significant digits need.

    All numbers of a column show the same decimals, or each its own where that would take more than four. True and
    False read yes and no, None a dash.
    """
    numbers = [float(cell) for cell in cells if is_number(cell) and cell is not None]
    shortest = [f"{number:.4g}" for number in numbers if math.isfinite(number) and abs(number) < 1000]
    decimals = max((len(text.partition(".")[2]) for text in shortest), default=0)
    spec = ".4g" if decimals > 4 or any("e" in text for text in shortest) else f",.{decimals}f"
    return [format_cell(cell, spec) for cell in cells]


def format_cell(cell: Any, spec: str) -> str:
    """One cell, a number by `spec`."""
    if cell is None:
        return "–"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    return format(cell, spec) if isinstance(cell, Real) else str(cell)
