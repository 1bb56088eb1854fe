"""Set the line numbers of the links in derivation.md, which name a file and what stands in it: `path::symbol`.

command     python -m experiments.pointers
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PAGE = Path(__file__).parent / "derivation.md"
POINTER = re.compile(r"\[`([^`\s]+?)::([\w.]+)`\]\(([^)\s#]+)(?:#L\d+)?\)")


def with_lines(text: str) -> str:
    """`text`, a page in this folder, each of its pointers linked to the line where the symbol is defined.

    Raises:
        KeyError: a file has no such symbol.
    """

    def link(pointer: re.Match[str]) -> str:
        path, symbol, target = pointer.groups()
        lines = dict(symbols((PAGE.parent / target).read_text()))
        return f"[`{path}::{symbol}`]({target}#L{lines[symbol]})"

    return POINTER.sub(link, text)


def symbols(source: str) -> Iterator[tuple[str, int]]:
    """Functions, classes, `Class.method`, `Class.field` and assigned names at the top level of a module, and lines."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, node.lineno
        if isinstance(node, ast.ClassDef):
            methods = (part for part in node.body if isinstance(part, ast.FunctionDef))
            yield from ((f"{node.name}.{method.name}", method.lineno) for method in methods)
            fields = ((part.target, part.lineno) for part in node.body if isinstance(part, ast.AnnAssign))
            yield from ((f"{node.name}.{name.id}", line) for name, line in fields if isinstance(name, ast.Name))
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        yield from ((target.id, node.lineno) for target in targets if isinstance(target, ast.Name))


if __name__ == "__main__":
    PAGE.write_text(with_lines(PAGE.read_text()))
