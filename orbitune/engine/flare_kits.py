"""Provisioning: a certificate authority, and a kit for the server, for each site and for the driver."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orbitune.engine.flare_answers import NAME
from orbitune.engine.protocol import DRIVER
from orbitune.errors import InputError, MissingExtra

PORT = 8002
"""Port of the server, if none is asked for: FLARE's own default."""

ANY = "*"
"""Among the functions that a site runs for the driver: whatever it names. For sites that belong to the driver."""

HOST = re.compile(r"(?=.{1,64}\Z)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")
"""What FLARE takes for a server's name (its `name_check`), no longer than a certificate's common name may be (RFC 5280,
ub-common-name)."""

PROJECT = "orbitune"
AUTHORITY = "authority"
SCHEME = "tcp"
"""How cells connect: TLS on plain TCP. Measured against FLARE's default, gRPC, see docs/federation.md."""


def check_installed() -> None:
    """Whether NVIDIA FLARE is there.

    Raises:
        MissingExtra: It is not.
    """
    try:
        import nvflare  # noqa: F401
    except ImportError as error:
        raise MissingExtra(f"the engine flare needs NVIDIA FLARE: pip install 'orbitune[flare]' ({error})") from None


def provision(
    names: Sequence[str],
    into: Path,
    server_host: str = "localhost",
    port: int = PORT,
    factories: Sequence[str] = (),
    scheme: str = SCHEME,
) -> Mapping[str, Path]:
    """Write kits, or add sites to a folder that has kits already.

    Args:
        names: Names of the sites, which are the members.
        into: Folder. `into/authority` keeps the key that signs certificates; whoever has it can make members.
        server_host: Name or address under which the sites reach the server. With "localhost" or 127.0.0.1 the
            server listens on the loopback alone, otherwise on all addresses of its machine.
        port: Port of the server.
        factories: Functions that the driver may name to the sites besides those of Orbitune, see `flare_site.Site`.
        scheme: "tcp" or "grpc".

    Returns:
        The folder of each kit: of each name, of "server", and of the driver.

    Raises:
        InputError: A name that cannot be.
        MissingExtra: NVIDIA FLARE is not installed.
    """
    check_names(names, server_host)
    built = _build(names, into, server_host, port, scheme)
    kits = {name: into / name for name in (*names, DRIVER, "server")}
    for name, kit in kits.items():
        if not kit.exists():
            shutil.move(built / (server_host if name == "server" else name), kit)
            kit.chmod(0o700)
            _configure(kit, name, factories)
    shutil.rmtree(built)
    return kits


def check_names(names: Sequence[str], server_host: str) -> None:
    """Refuse names that FLARE or we could mistake.

    Raises:
        InputError: There are some.
    """
    if not HOST.fullmatch(server_host) or server_host == DRIVER:
        raise InputError(
            f"server {server_host!r}: write the name of its machine as the sites reach it, or its IPv4 address, such "
            f"as relay.example.org or 10.0.0.3: letters, digits, - and dots, at most 64, and not {DRIVER!r}"
        )
    taken = {DRIVER, "server", AUTHORITY, server_host}
    for name in names:
        if not NAME.fullmatch(name) or name in taken:
            raise InputError(
                f"site {name!r}: a name has letters, digits, - and _, begins with a letter or digit, has at most 63 "
                f"of them, and is none of {', '.join(sorted(taken))}"
            )
    if len(set(names)) < len(names):
        raise InputError(f"a site is named twice: {', '.join(names)}")


def _build(names: Sequence[str], into: Path, server_host: str, port: int, scheme: str) -> Path:
    """Let FLARE build the kits; the folder in which they lie."""
    check_installed()
    from nvflare.lighter.entity import Participant, Project
    from nvflare.lighter.impl.cert import CertBuilder
    from nvflare.lighter.impl.signature import SignatureBuilder
    from nvflare.lighter.impl.static_file import StaticFileBuilder
    from nvflare.lighter.impl.workspace import WorkspaceBuilder
    from nvflare.lighter.provisioner import Provisioner

    def participant(kind: str, name: str, **properties: Any) -> Participant:
        return Participant(type=kind, name=name, org=PROJECT, props=properties)

    server = participant("server", server_host, fed_learn_port=port, admin_port=port)
    clients = [participant("client", name) for name in (*names, DRIVER)]
    authority = into / AUTHORITY
    authority.mkdir(parents=True, exist_ok=True)
    authority.chmod(0o700)
    static = StaticFileBuilder(config_folder="config", scheme=scheme)
    builders = [WorkspaceBuilder(["master_template.yml"]), static, CertBuilder(), SignatureBuilder()]
    context = Provisioner(str(authority), builders).provision(
        Project(PROJECT, "", [server, *clients]), logger=_Silent()
    )
    return Path(context["current_prod_dir"])


class _Silent:
    """FLARE's report of what it writes; we say it ourselves."""

    def debug(self, text: str) -> None: ...
    def info(self, text: str) -> None: ...
    def warning(self, text: str) -> None: ...
    def error(self, text: str) -> None: ...


def _configure(kit: Path, name: str, factories: Sequence[str]) -> None:
    """Make a kit one of a member: our component in, everything that this needs not out."""
    local = kit / "local"
    resources = json.loads((local / "resources.json.default").read_text())
    if name == "server":
        resources["components"].append({"id": "tether", "path": "orbitune.engine.flare_site.Tether", "args": {}})
    elif name != DRIVER:
        resources["allow_log_streaming"] = False
        site = {"id": "orbitune", "path": "orbitune.engine.flare_site.Site", "args": {"factories": list(factories)}}
        resources["components"] = [
            component for component in resources["components"] if component["id"] != "site_log_streamer"
        ] + [site]
    (local / "resources.json").write_text(json.dumps(resources, indent=2))


def keep_inside(kit: Path) -> None:
    """Let the server of a kit that stays here keep its things in the kit; FLARE's default is one folder in /tmp for
    all servers of a machine, and wants absolute paths."""
    file = kit / "local" / "resources.json"
    resources = json.loads(file.read_text())
    resources["snapshot_persistor"]["args"]["storage"]["args"]["root_dir"] = str(kit / "snapshots")
    for component in resources["components"]:
        if component["id"] == "job_manager":
            component["args"]["uri_root"] = str(kit / "jobs")
    file.write_text(json.dumps(resources, indent=2))
