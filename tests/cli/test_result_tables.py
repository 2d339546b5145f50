"""Tables for a terminal: over several seeds every figure is that of all of them, or says that it is not."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from orbitune.cli.result_tables import results_table
from orbitune.links.contacts import KINDS
from orbitune.plans import OVER_SEEDS, over_seeds

HOUR_S, MB = 3600.0, 10**6


def row(method: str, time_h: float, bound_h: float, down_mb: int, up_mb: int, isl_mb: int) -> dict[str, Any]:
    """One seed's figures; what no test looks at is unknown."""
    sizes = dict.fromkeys(KINDS, 0) | {"downlink": down_mb * MB, "uplink": up_mb * MB, "isl_intra": isl_mb * MB}
    known = {"time_s": time_h * HOUR_S, "bound_s": bound_h * HOUR_S, "bytes": sizes, "sent_bytes": sum(sizes.values())}
    return {
        **dict.fromkeys(OVER_SEEDS), **known,
        "method": method, "rounds": 3, "target_accuracy": 0.8, "limiting": "embeddings down", "stopped": "",
    }  # fmt: skip


def lines(methods: int, width: int, *seeds: dict[str, Any]) -> list[str]:
    """What is printed of so many methods, which are all alike, on a page so many letters wide."""
    spread = over_seeds(seeds) if len(seeds) > 1 else None
    rows = [seeds[0] | {"method": f"method-{number}", "over_seeds": spread} for number in range(methods)]
    content = {"scenario": "made-up", "seeds": list(range(len(seeds))), "results": rows}
    console = Console(width=width)
    with console.capture() as capture:
        console.print(results_table(content))
    return capture.get().splitlines()


def printed(methods: int, *seeds: dict[str, Any]) -> list[list[str]]:
    """The words of each line, where there is room."""
    return [[word.strip() for word in line.split("  ") if word.strip()] for line in lines(methods, 200, *seeds)]


def table(*seeds: dict[str, Any]) -> dict[str, list[str]]:
    """The table of one method: its words by the label of the line."""
    return {words[0]: words[1:] for words in printed(1, *seeds) if words}


TWO_SEEDS = row("onboard", 20, 10, 1, 2, 30), row("onboard", 60, 20, 5, 4, 50)


def test_every_figure_is_the_mean_over_the_seeds_with_its_range() -> None:
    shown = table(*TWO_SEEDS)
    assert shown["between space and ground"] == ["6 MB (3 MB to 9 MB)"]
    assert shown["between satellites"] == ["40 MB (30 MB to 50 MB)"]
    assert shown["all links"] == ["46 MB (33 MB to 59 MB)"]
    assert shown["lower bound"] == ["15.00 h (10.00 h to 20.00 h)"]


def test_time_over_the_bound_is_formed_seed_by_seed() -> None:
    """Means of 40 h and 15 h would make 2.67, and 4 with the first seed's bound."""
    assert table(*TWO_SEEDS)["time / bound"] == ["2.5 (2 to 3)"]


def test_what_is_of_the_first_seed_alone_says_so() -> None:
    shown = table(*TWO_SEEDS)
    assert shown["limited by (first seed)"] == ["embeddings down"]
    assert shown["rounds (first seed)"] == ["3"]


def test_one_seed_needs_no_such_words() -> None:
    shown = table(TWO_SEEDS[0])
    assert shown["limited by"] == ["embeddings down"]
    assert shown["rounds"] == ["3"]
    assert shown["time / bound"] == ["2"]
    assert shown["between space and ground"] == ["3 MB"]


def test_many_methods_have_the_same_words_in_lines() -> None:
    words = [word for line in printed(5, *TWO_SEEDS) if "method-0" in line for word in line]
    assert {"2.5 (2 to 3)", "15.00 h (10.00 h to 20.00 h)", "6 MB (3 MB to 9 MB)", "embeddings down"} <= set(words)


def test_nothing_is_cut_off_on_a_page_of_the_usual_width() -> None:
    phases = {"deploy_s": 3000.0, "train_s": 50000.0, "deliver_s": 5000.0, "ratio_to_onboard_per_pass": 0.987}
    later = {key: 1.03 * value for key, value in phases.items()}
    shown = lines(5, 110, TWO_SEEDS[0] | phases, TWO_SEEDS[1] | later)
    assert not any("\N{HORIZONTAL ELLIPSIS}" in line for line in shown)
    assert max(len(line.rstrip()) for line in shown) <= 110
