"""The names of members in tables, figures and progress: the scalars in which they differ."""

from collections.abc import Iterable, Mapping, Sequence

SHORT_NAMES = {
    "beta": "β",
    "variance": "σ²",
    "learning_rate": "lr",
    "warmup_steps": "warm-up",
    "white_threshold": "white above",
    "white_weight": "white weight",
    "black_weight": "black weight",
}


def label(by: str, value: float | str) -> str:
    """The name of a group of members: `label("beta", 3.0)` is "β = 3"; a text names itself."""
    return value if isinstance(value, str) else f"{SHORT_NAMES.get(by, by.replace('_', ' '))} = {value:g}"


def varying(rows: Iterable[Mapping], names: Sequence[str]) -> tuple[str, ...]:
    """Which of `names` have more than one value in `rows`; beta where none has."""
    rows = list(rows)
    return tuple(name for name in names if len({row.get(name) for row in rows}) > 1) or ("beta",)


def member_label(row: Mapping, names: Sequence[str]) -> str:
    """A member by its values of `names`, such as "β = 1, σ² = 0.5"."""
    return ", ".join(label(name, row[name]) for name in names)


def in_order(values: Iterable) -> list:
    """Distinct values: numbers ascending, texts as they first appear."""
    distinct = list(dict.fromkeys(values))
    return distinct if any(isinstance(value, str) for value in distinct) else sorted(distinct)
