"""Colours: few, safe for colour-blind readers, one set for light and one for dark.

Methods take the qualitative set of Okabe and Ito ("Color Universal Design", 2008); stages and links take the bright set
of P. Tol ("Colour schemes", SRON/EPS/TN/09-002, 2021), so that a colour never means a method here and a link there.
Some are made darker (light theme) or lighter (dark theme) to reach 3:1 against the page (WCAG 2.2, 1.4.11).
"""

from __future__ import annotations

FAMILIES = {
    "onboard": "computing on board",
    "server": "computing on the ground",
    "isl_intra": "links inside a plane",
    "isl_inter": "links between planes",
    "downlink": "downlink",
    "uplink": "uplink",
    "backhaul": "backhaul",
    "other": "other",
}
"""What a stage mostly does; links have the names of the contact kinds."""

LIGHT = {
    "page": "#f6f7f9",
    "surface": "#ffffff",
    "ink": "#16202c",
    "quiet": "#51606f",
    "line": "#d8dee5",
    "grid": "#e8ecf0",
    "accent": "#0b5cad",
    "wash": "#eaf2fb",
    "sea": "#eef3f8",
    "land": "#cfd8df",
    "coast": "#aab7c1",
    "track": "#6b7a88",
    "good": "#117a4b",
    "bad": "#b3261e",
}
DARK = {
    "page": "#0e1319",
    "surface": "#161d26",
    "ink": "#e7ecf2",
    "quiet": "#9dabb9",
    "line": "#2c3743",
    "grid": "#222c37",
    "accent": "#74b5f5",
    "wash": "#182b40",
    "sea": "#111a24",
    "land": "#2d3a47",
    "coast": "#46566a",
    "track": "#8496a8",
    "good": "#4cc38a",
    "bad": "#ff8a80",
}

METHODS = (
    ("#0072b2", "#4aa8e0"),
    ("#d55e00", "#f08a3c"),
    ("#008a64", "#2fc195"),
    ("#b0528a", "#e08fbd"),
    ("#8a6a00", "#e3c044"),
    ("#2f88b8", "#8fd0f5"),
    ("#5b6470", "#aab4bf"),
    ("#7d4a1f", "#c99a70"),
    ("#a3173c", "#ff9aa8"),
    ("#4a4fb0", "#a9adff"),
    ("#5a7d00", "#aed65a"),
    ("#00838f", "#55d3dd"),
)
"""(light, dark) by the place of the method in the table; further methods start again. The first seven are the set's;
those after it (ours) fill the gaps of hue that it leaves, and lines carry their names as well."""

FAMILY_COLOURS = {
    "onboard": ("#d9475a", "#f27d8c"),
    "server": ("#8f3d7c", "#cf7fbe"),
    "isl_intra": ("#4477aa", "#77a6d6"),
    "isl_inter": ("#1f3f77", "#dcd8ff"),
    "downlink": ("#228833", "#53b865"),
    "uplink": ("#8f8420", "#d6c85a"),
    "backhaul": ("#2591b3", "#7fd6ef"),
    "other": ("#7b838c", "#97a1ab"),
}


def method_colour(index: int) -> str:
    """The colour of the method in that place, as a CSS value."""
    return f"var(--method-{index % len(METHODS)})"


def theme_css() -> str:
    """Both themes as CSS variables: the system's choice, unless the reader chose with the button."""
    light, dark = _variables(0, LIGHT), _variables(1, DARK)
    return (
        f":root{{color-scheme:light;{light}}}\n"
        f"@media screen and (prefers-color-scheme:dark){{:root:not([data-theme=light]){{color-scheme:dark;{dark}}}}}\n"
        f"@media screen{{:root[data-theme=dark]{{color-scheme:dark;{dark}}}}}\n"
    )


def _variables(theme: int, base: dict[str, str]) -> str:
    found = dict(base)
    found |= {f"method-{index}": pair[theme] for index, pair in enumerate(METHODS)}
    found |= {f"family-{family}": pair[theme] for family, pair in FAMILY_COLOURS.items()}
    return "".join(f"--{name}:{value};" for name, value in found.items())
