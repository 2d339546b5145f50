"""HTML and SVG as nested calls. Whatever is not markup already is escaped, so no value of a run can become code."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable


class Markup(str):
    """Text that is HTML already and must not be escaped again."""

    __slots__ = ()


Child = str | float | None | Iterable["Child"]
Attribute = str | float | bool | None

_VOID = frozenset({"br", "input", "link", "meta", "hr", "col"})
_EMPTY = frozenset({"rect", "path", "use"})


def tag(name: str, /, *children: Child, **attributes: Attribute) -> Markup:
    """One element. `class_` gives class, `data_key` gives data-key; None and False leave an attribute out."""
    opening = f"<{name}{''.join(_attribute(key, value) for key, value in attributes.items())}"
    if name in _VOID:
        return Markup(f"{opening}>")
    if name in _EMPTY:
        return Markup(f"{opening}/>")
    return Markup(f"{opening}>{join(children)}</{name}>")


def join(children: Iterable[Child]) -> Markup:
    """Children one after another; None is left out, plain text is escaped."""
    return Markup("".join(map(_child, children)))


def _child(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, str):
        return html.escape(child, quote=False)
    if isinstance(child, int | float):
        return number(child)
    return join(child)


def _attribute(key: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    name = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {name}"
    text = value if isinstance(value, str) else number(value)
    return f' {name}="{html.escape(text)}"'


def number(value: float) -> str:
    """A coordinate: at most three decimals, no trailing zeros."""
    text = f"{value:.3f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def data_block(name: str, content: object) -> Markup:
    """JSON for the page's own script. `<` is written as an escape, so the block cannot be closed from inside."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return tag("script", Markup(text), type="application/json", id=name)
