"""The HTML report: escaping, self-containment, number formatting, structure."""

import base64
import struct
from html.parser import HTMLParser

import numpy as np
import pytest

from jaxvae.report import Image, Section, Table, Text, format_column, write_report

PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 1500, 600)  # a header is all the report reads
ATTACK = "<script>alert('β')</script>"


class Page(HTMLParser):
    """All tags with their attributes, and whether every tag was closed in order."""

    VOID = frozenset({"meta", "img"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def write(path, title="Title", sections=(), settings=None):
    write_report(path, title=title, intro="Intro.", sections=sections, settings=settings or {"beta": 4})
    return path.read_text(encoding="utf-8")


@pytest.fixture
def full(tmp_path):
    figure = tmp_path / "figure.png"
    figure.write_bytes(PNG)
    blocks = [
        Text(f"{ATTACK}\n\nSecond."),
        Table((ATTACK, "KL"), [(ATTACK, 1.5)], ATTACK),
        Image(figure, ATTACK, f'"{ATTACK}"'),
        Image(PNG, "", "bytes"),
    ]
    return write(tmp_path / "report.html", ATTACK, [Section(ATTACK, blocks)], {ATTACK: ATTACK})


def test_everything_is_escaped(full):
    assert "<script" not in full
    assert full.count("&lt;script&gt;") == 11  # title 2, heading, text, table 3, image 2, setting 2
    assert "script" not in [tag for tag, _ in Page(full).tags]


def test_is_well_formed(full):
    page = Page(full)
    assert page.open == []
    assert [tag for tag, _ in page.tags].count("h1") == 1


def test_needs_no_other_file(full):
    for tag, attributes in Page(full).tags:
        assert tag not in {"link", "script", "iframe"}
        assert "href" not in attributes
        assert attributes.get("src", "data:").startswith("data:")
    assert "://" not in full
    assert "url(" not in full
    assert "@import" not in full


def test_embeds_the_image_with_its_alt_text_and_width(full):
    images = [attributes for tag, attributes in Page(full).tags if tag == "img"]
    assert [base64.b64decode(image["src"].removeprefix("data:image/png;base64,")) for image in images] == [PNG, PNG]
    assert [image["alt"] for image in images] == [f'"{ATTACK}"', "bytes"]
    assert [image["width"] for image in images] == ["1000", "1000"]  # 1500 pixels at 150 dpi


def test_rejects_what_is_not_a_png():
    with pytest.raises(ValueError, match="'a curve': not a PNG"):
        Image(b"GIF89a", "", "a curve").html()


def test_text_splits_paragraphs():
    assert Text("One\ntwo.\n\n\n\nThree & four.").html() == "<p>One\ntwo.</p>\n<p>Three &amp; four.</p>"


def test_columns_of_means_and_deviations_are_right_aligned():
    html = Table(("loss", "note"), [("39.72 ± 0.79", "1 of 2 collapsed"), ("–", "39")]).html()
    assert '<tr><td class="number">39.72 ± 0.79</td><td>1 of 2 collapsed</td></tr>' in html
    assert '<tr><td class="number">–</td><td>39</td></tr>' in html


@pytest.mark.parametrize("text", ["2.0e+09 ± 1.4e+09", "826,424", "-3.5%", "+0.2%", "5", ".5", "–"])
def test_a_text_that_is_a_number_is_right_aligned(text):
    assert f'<td class="number">{text}</td>' in Table(("a",), [(text,)]).html()


@pytest.mark.parametrize("text", ["36 of 36 values", "", "1 ± 2 nats", "e+09", "z = 3"])
def test_other_text_is_not(text):
    assert f"<td>{text}</td>" in Table(("a",), [(text,)]).html()


def test_number_columns_are_right_aligned():
    html = Table(("name", "KL", "flag"), [("a", 1.0, True), ("b", None, False)]).html()
    assert '<tr><th>name</th><th class="number">KL</th><th>flag</th></tr>' in html
    assert '<tr><td>a</td><td class="number">1</td><td>yes</td></tr>' in html
    assert '<tr><td>b</td><td class="number">–</td><td>no</td></tr>' in html


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([105.3123, 98.4712], ["105.31", "98.47"]),
        ([1.0, 4.0], ["1", "4"]),
        ([1, 2.5], ["1.0", "2.5"]),
        ([60000, 469], ["60,000", "469"]),
        ([1234567.8], ["1,234,568"]),
        ([1e-05, 0.001], ["1e-05", "0.001"]),
        ([0.01335, 7.0], ["0.01335", "7"]),
        ([np.float32(0.5), np.int64(3)], ["0.5", "3.0"]),
        ([float("nan"), 2.5], ["nan", "2.5"]),
        (["a", None, True, [1]], ["a", "–", "yes", "[1]"]),
        ([], []),
    ],
)
def test_format_column(cells, expected):
    assert format_column(cells) == expected


def test_a_table_may_be_empty():
    html = Table(("a", "b"), []).html()
    assert "<th>a</th><th>b</th>" in html
    assert "<td" not in html


def test_a_row_of_another_length_is_an_error():
    with pytest.raises(ValueError, match="zip"):
        Table(("a", "b"), [(1, 2), (3,)]).html()


def test_settings_come_last(tmp_path):
    text = write(
        tmp_path / "report.html",
        sections=[Section("Curves", [Text("Here.")])],
        settings={"beta": 4.0, "data": "digits"},
    )
    assert text.index("Curves") < text.index("<h2>Settings</h2>") < text.index("<td>beta</td><td>4.0</td>")


def test_replaces_the_old_report_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    assert write(path).startswith("<!DOCTYPE html>")
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_report_leaves_the_old_one(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    with pytest.raises(ValueError, match="not a PNG"):
        write(path, sections=[Section("Bad", [Image(b"", "", "")])])
    assert path.read_text() == "old"
