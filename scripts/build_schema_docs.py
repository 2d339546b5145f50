"""Writes the scenario part of docs/schema.md from the declarations in orbitune/scenario/schema.py.

Usage: python scripts/build_schema_docs.py            rewrite the part between the two markers
       python scripts/build_schema_docs.py --check    fail if that part is not what would be written
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

from orbitune.scenario.keys import Key, keys_of
from orbitune.scenario.rules import RECONSTRUCTED, RULES
from orbitune.scenario.schema import ARRAYS, SECTIONS, Scenario
from orbitune.scenario.sources import preset_names, preset_text

PAGE = Path(__file__).resolve().parent.parent / "docs" / "schema.md"
BEGIN = "<!-- scenario: begin (written by scripts/build_schema_docs.py) -->"
END = "<!-- scenario: end -->"
NEW_PAGE = f"# Names, once and for all\n\n{BEGIN}\n{END}\n"

INTRODUCTION = """\
## Scenario

A scenario is a TOML file. Every dimensioned key ends in its unit. A key without a default has to be written, in the
file itself or in what it extends. `orbitune new` writes a file to start from; `orbitune check FILE` prints what was
understood; each run folder holds its scenario with every key written out.

- `extends = "demo"` takes everything else from a shipped preset, or from another file: `extends = "base.toml"`, counted
  from the folder of the file that says so. `extends = ["starlink-shell1", "ksat-like"]` takes several; the later one
  counts. Chains are allowed, circles are refused.
- A list (`[[shell]]`, `[[ground_station]]`, `[[fault]]`) written in a file replaces the whole list of what it extends.
- `--set KEY=VALUE` changes one value on top: `--set train.rounds=5`, `--set shell.0.planes=3`,
  `--set "ground_station.Punta Arenas.antennas=2"`. Quotes around a text may be left out.
- A key marked *only with* means nothing elsewhere. Where a nearer file turns the switch, the inherited key is dropped;
  written in the same file or nearer, it is an error.
- All problems of a scenario are reported at once, each with its file, key, value and what is allowed (exit code 2).
"""


def page_part() -> str:
    """The text between the markers."""
    lines = [INTRODUCTION, "### Top of the file", "", *_table(keys_of(Scenario), _extends_row())]
    for name, section in SECTIONS.items():
        title = f"[[{name}]]" if name in ARRAYS else f"[{name}]"
        lines += ["", f"### `{title}`", "", inspect.getdoc(section) or "", "", *_table(keys_of(section))]
    lines += ["", "### Values that exclude each other", "", *_rules(), "", "### Presets", "", *_presets()]
    return "\n".join(lines) + "\n"


def _extends_row() -> str:
    allowed = "a shipped preset, the path of a .toml file, or a list of them"
    return f"| `extends` | {allowed} | nothing | where everything else comes from |"


def _table(keys: tuple[Key, ...], *more: str) -> Iterator[str]:
    yield "| key | allowed | default | meaning |"
    yield "|---|---|---|---|"
    for key in keys:
        yield f"| `{key.name}` | {key.allowed} | {_default(key)} | {key.doc}{_only(key)} |"
    yield from more


def _default(key: Key) -> str:
    if key.required:
        return "to be written"
    return f"`{str(key.default).lower() if isinstance(key.default, bool) else key.default}`"


def _only(key: Key) -> str:
    if key.only_if is None:
        return ""
    name, values = key.only_if
    return f"; *only with* `{name}` = {' or '.join(f'`{value}`' for value in values)}"


def _rules() -> Iterator[str]:
    for rule in RULES:
        text = " ".join((inspect.getdoc(rule) or "").split("\n\n")[0].split())
        yield f"- {text}"
    fixed = ", ".join(f'`{key} = "{value}"`' for key, value in RECONSTRUCTED.items())
    yield f'- `method.name = "reconstructed"` brings {fixed}; another value written beside it is refused.'


def _presets() -> Iterator[str]:
    yield "| preset | what it is |"
    yield "|---|---|"
    for name in preset_names():
        first = preset_text(name).splitlines()[0].removeprefix("# ")
        yield f"| `{name}` | {first} |"


def written(page: str) -> str:
    """The page with the part between its markers replaced."""
    if BEGIN not in page or END not in page:
        raise SystemExit(f"{PAGE} has lost its markers; it needs these two lines:\n{BEGIN}\n{END}")
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{page_part()}{END}{after}"


def main(arguments: list[str]) -> int:
    """Write or check the page; 1 when a check finds it out of date."""
    page = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else NEW_PAGE
    fresh = written(page)
    if "--check" in arguments:
        if fresh != page:
            print(f"{PAGE} is out of date; run: python scripts/build_schema_docs.py")
        return int(fresh != page)
    PAGE.write_text(fresh, encoding="utf-8")
    print(f"wrote {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
