"""What all figures share: frame and caption, legends, switches, and the sentence for a missing figure."""

from __future__ import annotations

from collections.abc import Sequence

from orbitune.report.markup import Child, Markup, tag


def section(name: str, title: str, *body: Child) -> Markup:
    """One part of the page with its heading."""
    return tag("section", tag("h2", title, id=f"{name}-title"), *body, id=name, aria_labelledby=f"{name}-title")


def figure(name: str, *body: Child, caption: Child) -> Markup:
    """A figure with its caption."""
    return tag("figure", *body, tag("figcaption", caption), id=f"figure-{name}")


def missing(name: str, sentence: str) -> Markup:
    """Says why there is no figure."""
    return tag("p", sentence, class_="missing", id=f"missing-{name}")


def switch(name: str, label: str, options: Sequence[tuple[str, str]], chosen: str) -> Markup:
    """Buttons of which one is pressed; the script shows what has the same `data-choice`."""
    buttons = [
        tag("button", text, type="button", data_choose=key, aria_pressed="true" if key == chosen else "false")
        for key, text in options
    ]
    return tag("div", buttons, class_="switch", role="group", aria_label=label, data_switch=name)


def series_legend(entries: Sequence[tuple[str, str, str, bool]]) -> Markup:
    """Buttons that hide and show lines: (key, label, colour, dashed)."""
    buttons = [
        tag(
            "button",
            tag("i", class_="swatch line dashed" if dashed else "swatch line", style=f"--c:{colour}"),
            label,
            type="button",
            aria_pressed="true",
            data_toggle=key,
        )
        for key, label, colour, dashed in entries
    ]
    return tag("div", buttons, class_="legend", role="group", aria_label="Lines; press to hide or show")


def colour_legend(entries: Sequence[tuple[str, str]]) -> Markup:
    """A plain legend: (label, colour)."""
    items = [tag("li", tag("i", class_="swatch", style=f"--c:{colour}"), label) for label, colour in entries]
    return tag("ul", items, class_="legend plain")


def table(head: Sequence[Child], rows: Sequence[Sequence[Child]], caption: str, class_: str = "") -> Markup:
    """A table whose first column names the rows, in a box that scrolls by itself where the page is narrow."""
    header = tag("tr", [tag("th", cell, scope="col") for cell in head])
    body = [tag("tr", tag("th", row[0], scope="row"), [tag("td", cell) for cell in row[1:]]) for row in rows]
    inner = tag("table", tag("caption", caption), tag("thead", header), tag("tbody", body), class_=class_ or None)
    return tag("div", inner, class_="scroll", tabindex="0", role="region", aria_label=caption)


def details(summary: str, *body: Child) -> Markup:
    """Something to open."""
    return tag("details", tag("summary", summary), *body)
