"""The driver's own place in a federation: a cell with a certificate, which registers like a site but runs no worker."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path
from typing import Any

from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal
from nvflare.apis.utils.decomposers import flare_decomposers
from nvflare.fuel.f3.cellnet.cell import Cell
from nvflare.fuel.f3.cellnet.core_cell import CoreCell
from nvflare.fuel.f3.cellnet.fqcn import FQCN
from nvflare.fuel.f3.drivers.driver_params import DriverParams
from nvflare.fuel.f3.stats_pool import StatsPoolManager
from nvflare.fuel.sec.authn import set_add_auth_headers_filters
from nvflare.private.defs import CellChannel, CellChannelTopic, CellMessageHeaderKeys, ClientType, new_cell_message
from nvflare.private.fed.authenticator import Authenticator

from orbitune.engine.protocol import DRIVER
from orbitune.errors import InputError, RunError

HEARTBEAT_S = 30.0
"""Real seconds between signs of life; FLARE's server forgets a client after 600 s (`heart_beat_timeout`)."""

logging.getLogger("nvflare").addHandler(logging.NullHandler())  # as a library should; otherwise it writes to stderr


class DriverCell:
    """A connection to the server of a federation, with the driver's kit.

    Args:
        kit: Folder with the driver's kit.
        timeout_s: How long to wait for the server, real seconds.

    Raises:
        InputError: The folder is no kit.
        RunError: The server does not answer, or refuses.
    """

    def __init__(self, kit: Path, timeout_s: float = 60.0) -> None:
        server, target, credentials = _read_kit(kit)
        self._project = str(server["name"])
        flare_decomposers.register()
        if DRIVER in CoreCell.ALL_CELLS:
            raise RunError("this process is in a federation already; close that engine first")
        self._pools = set(StatsPoolManager.pools)
        self._cell = Cell(
            fqcn=DRIVER,
            root_url=f"{server['service']['scheme']}://{target}",
            secure=True,
            credentials=credentials,
            auth_identity=DRIVER,
            auth_identity_map={FQCN.ROOT_SERVER: server["identity"]},
        )
        self._closed = threading.Event()
        try:
            self._cell.start()
            self._register(str(server["identity"]), credentials, timeout_s)
        except Exception as error:
            self.close()
            raise RunError(f"the server at {target} does not take the driver in: {error}") from error
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    @property
    def core(self) -> CoreCell:
        """The cell itself."""
        return self._cell.core_cell

    def _register(self, server: str, credentials: dict[str, str], timeout_s: float) -> None:
        authenticator = Authenticator(
            cell=self._cell,
            project_name=self._project,
            client_name=DRIVER,
            client_type=ClientType.REGULAR,
            expected_sp_identity=server,
            secure_mode=True,
            root_cert_file=credentials[DriverParams.CA_CERT.value],
            private_key_file=credentials[DriverParams.CLIENT_KEY.value],
            cert_file=credentials[DriverParams.CLIENT_CERT.value],
            msg_timeout=5.0,
            retry_interval=0.5,
            timeout=timeout_s,
        )
        token, signature, session, _ = authenticator.authenticate(FLContext(), Signal())
        if not token:
            raise RunError("it gives no token")
        self._token = token
        set_add_auth_headers_filters(self._cell, DRIVER, token, signature, session)

    def _beat(self) -> None:
        while not self._closed.wait(HEARTBEAT_S):
            sign = Shareable()
            sign.set_peer_context(FLContext())
            headers = {CellMessageHeaderKeys.PROJECT_NAME: self._project, CellMessageHeaderKeys.JOB_IDS: []}
            self._tell(CellChannelTopic.HEART_BEAT, new_cell_message(headers, sign))

    def _tell(self, topic: str, message: Any) -> None:
        self._cell.send_request(
            target=FQCN.ROOT_SERVER,
            channel=CellChannel.SERVER_MAIN,
            topic=topic,
            request=message,
            timeout=5.0,
            optional=True,
        )

    def close(self) -> None:
        """Leave the federation."""
        self._closed.set()
        self._cell.core_cell.stop()
        CoreCell.ALL_CELLS.pop(DRIVER, None)  # FLARE keeps both for ever, as if a process were in one federation only
        for pool in set(StatsPoolManager.pools) - self._pools:
            del StatsPoolManager.pools[pool]


def _read_kit(kit: Path) -> tuple[dict[str, Any], str, dict[str, str]]:
    """The server's entry in a kit, its address, and the files of our certificate."""
    startup = kit / "startup"
    try:
        config = json.loads((startup / "fed_client.json").read_text())
    except (OSError, ValueError) as error:
        raise InputError(
            f"{kit} is no kit of a driver: {error}; give the folder 'driver' that provision wrote"
        ) from None
    server = config["servers"][0]
    files = {
        DriverParams.CA_CERT.value: str(startup / "rootCA.pem"),
        DriverParams.CLIENT_CERT.value: str(startup / "client.crt"),
        DriverParams.CLIENT_KEY.value: str(startup / "client.key"),
    }
    return server, server["service"]["target"], files
