"""`orbitune provision`: certificates and kits for a federation of several owners."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Group


@click.command("provision")
@click.argument("sites", nargs=-1, required=True)
@click.option(
    "--into", required=True, type=click.Path(path_type=Path), help="Folder for the kits; keep it to yourself."
)
@click.option(
    "--server",
    default="localhost",
    show_default=True,
    metavar="HOST",
    help="Name of the server's machine as the sites reach it; with localhost it listens on the loopback alone.",
)
@click.option("--port", default=8002, show_default=True, type=click.IntRange(1, 65535), help="Port of the server.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def provision_command(sites: Sequence[str], into: Path, server: str, port: int, as_json: bool) -> None:
    """Make the kits of a federation: one for the server, one for the driver, one for each of SITES.

    SITES are the hosts of a launch: plane-0, plane-1, ... and ground, or satellite-0, ... See docs/federation.md.
    """
    from orbitune.cli import console

    console.show(provision(sites, into, server, port), as_json, table)


def provision(names: Sequence[str], into: Path, server_host: str = "localhost", port: int = 8002) -> dict[str, Any]:
    """Write kits into a folder, or add sites to one that has kits.

    Returns:
        `into`, `server` ("host:port") and `kits`: folder by "server", "driver" and site.

    Raises:
        InputError: A name that cannot be.
        MissingExtra: NVIDIA FLARE is not installed.
    """
    from orbitune.engine import flare_kits

    kits = flare_kits.provision(names, into, server_host, port)
    folders = {name: str(kits[name]) for name in ("server", "driver", *names)}
    return {"into": str(into), "server": f"{server_host}:{port}", "kits": folders}


def table(content: Any) -> Group:
    """Which folder goes to whom, and what each does with it."""
    from rich import box
    from rich.console import Group
    from rich.table import Table

    shown = Table("kit", "goes to", "who then runs", box=box.SIMPLE_HEAD,
                  title=f"A federation whose server is {content['server']}", title_justify="left",
                  title_style="bold")  # fmt: skip
    for name, folder in content["kits"].items():
        shown.add_row(folder, *_who(name, folder))
    keep = f"Keep {content['into']}/authority to yourself: whoever has it can make members."
    return Group(shown, f"{keep} Hand each kit to its owner alone, on a way that you trust; it holds a private key.")


def _who(name: str, folder: str) -> tuple[str, str]:
    if name == "driver":
        return "whoever launches", f"orbitune launch SCENARIO --engine flare --address {folder}"
    return ("the server's machine" if name == "server" else f"the owner of {name}"), f"{name}/startup/start.sh"
