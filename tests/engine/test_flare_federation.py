"""A federation whose owners run their sites themselves, and what strangers on its wires and ports can do: nothing."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import os
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from processes import listening, running
from tampering import Wire

from orbitune.cli.provision_command import provision_command
from orbitune.engine import flare_calls
from orbitune.engine.flare import FlareEngine
from orbitune.engine.flare_answers import Answers
from orbitune.engine.flare_frames import MAX_FRAME_BYTES, seal
from orbitune.engine.flare_kits import keep_inside, provision
from orbitune.engine.flare_processes import end, free_port, last_lines, start, wait_for_port
from orbitune.engine.protocol import Unreachable
from orbitune.errors import InputError, RunError

net_utils = pytest.importorskip("nvflare.fuel.f3.drivers.net_utils")
message = pytest.importorskip("nvflare.fuel.f3.message")
defs = pytest.importorskip("nvflare.fuel.f3.cellnet.defs")
msgpack = pytest.importorskip("msgpack")

from orbitune.engine.flare_link import Link  # noqa: E402 # needs FLARE
from orbitune.engine.flare_site import Host, SitePeers  # noqa: E402

# FLARE's client drops its sockets unclosed while it tries to connect again.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

MAKE = "counting_worker:make"

HELLO = 4
"""Type of FLARE's first frame (nvflare/fuel/f3/sfm/constants.py)."""


class Federation:
    """Owners "a", "b" and one whose wire to the server is tapped, "tapped"; and their processes."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.kits = provision(["a", "tapped"], folder / "kits", port=self.port, factories=[MAKE])
        self.wire = Wire(self.port)
        redirect(self.kits["tapped"], self.wire.port)
        keep_inside(self.kits["server"])
        corrupt(self.kits["server"], folder)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.start("server")
        wait_for_port(self.port, self.processes["server"], self.kits["server"] / "printed.txt", 60.0)
        for site in ("a", "tapped"):
            self.start(site)
        self.engine = self.connect()

    def start(self, name: str) -> None:
        self.processes[name] = start(self.kits[name], name)

    def connect(self) -> FlareEngine:
        engine = FlareEngine(address=self.kits["driver"])
        for site in ("a", "tapped"):
            engine.place(site, MAKE, {"closed": str(self.folder / "closed")})
        return engine

    def printed(self, name: str) -> str:
        return (self.kits[name] / "printed.txt").read_text(errors="replace")

    def close(self) -> None:
        self.engine.close()
        for process in self.processes.values():
            end(process)
        self.wire.close()


def redirect(kit: Path, port: int) -> None:
    """Let a site connect to another port than that of its server."""
    file = kit / "startup" / "fed_client.json"
    config = json.loads(file.read_text())
    config["servers"][0]["service"]["target"] = f"localhost:{port}"
    file.write_text(json.dumps(config))


def corrupt(kit: Path, folder: Path) -> None:
    """Let a server do what a component of ours says."""
    file = kit / "local" / "resources.json"
    resources = json.loads(file.read_text())
    resources["components"].append({"id": "spy", "path": "cheating_server.Spy", "args": {"folder": str(folder)}})
    file.write_text(json.dumps(resources))


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    federation = Federation(tmp_path_factory.mktemp("federation"))
    try:
        yield federation
    finally:
        federation.close()
        gc.collect()  # the sockets that FLARE dropped, while their warnings are still ours


def until(there: Callable[[], bool], seconds: float = 20.0) -> None:
    end_s = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end_s
        time.sleep(0.05)


def taken(federation: Federation, site: str) -> list[str]:
    found: list[str] = federation.engine.call(site, "taken", {}, timeout_s=20.0).header["taken"]
    return found


def digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


# -- owners -----------------------------------------------------------------------------------------------------------


def test_sites_of_owners_are_called_and_call_each_other(federation: Federation) -> None:
    body = os.urandom(10_000)
    assert federation.engine.call("a", "send", {"to": "tapped"}, body).header["sender"] == "a"
    assert digest(body) in taken(federation, "tapped")
    assert federation.engine.alive("a") and not federation.engine.alive("b")


def test_the_driver_cannot_end_a_process_of_an_owner(federation: Federation) -> None:
    with pytest.raises(RunError, match="belongs to its owner"):
        federation.engine.kill("a")


def test_a_site_runs_no_code_but_that_its_owner_allows(federation: Federation) -> None:
    for factory in ("os:system", "subprocess:run", "counting_worker:CountingWorker", "orbitune_evil:make"):
        with pytest.raises(RunError, match=f"a cannot be placed.*a does not run {factory}"):
            FlareEngine.place(_fresh(federation.engine), "a", factory, {})


def _fresh(engine: FlareEngine) -> FlareEngine:
    """The same engine, as if nothing had been placed."""
    copy = object.__new__(FlareEngine)
    copy.__dict__ |= engine.__dict__ | {"_placed": set()}
    return copy


def test_only_the_driver_places_workers() -> None:
    host = Host(SitePeers("a", flare_calls.Calls(lambda member, data, limit_s: b"")), (MAKE,))
    text = json.dumps({"factory": MAKE, "owner": "x", "header": {"closed": os.devnull}})
    refused = host.handle("site", "b", "place", text, b"")
    assert refused is not None and not refused.done and "only driver may" in refused.text
    assert host.handle("worker", "driver", "taken", "{}", b"") is None, "nothing was placed"
    placed = host.handle("site", "driver", "place", text, b"")
    assert placed is not None and placed.done
    answered = host.handle("worker", "b", "taken", "{}", b"")
    assert answered is not None and answered.done


HOST, WORK = "orbitune.execute.host:make_host", "orbitune.learn.nodes:make_work"
SECRET = {"name": "module", "source": "os:getcwd"}


@pytest.mark.parametrize(
    ("factory", "header", "refused"),
    [
        (HOST, {"work": "os:getcwd"}, "os:getcwd"),
        (HOST, {"work": WORK, "model": SECRET}, "os:getcwd"),
        (HOST, {"work": ["os:getcwd"]}, "os:getcwd"),
        (MAKE, {"model": SECRET}, "os:getcwd"),
        (HOST, {"work": "orbitune.learn.spread_worker:make_spread_worker"}, "orbitune.learn.spread_worker"),
        ("orbitune.learn.spread_worker:make_spread_worker", {}, "orbitune.learn.spread_worker"),
    ],
)
def test_no_code_comes_in_by_the_header(factory: str, header: dict[str, object], refused: str) -> None:
    host = Host(SitePeers("a", flare_calls.Calls(lambda member, data, limit_s: b"")), (MAKE,))
    text = json.dumps({"factory": factory, "owner": "x", "header": header})
    with pytest.raises(RunError, match="a does not run .*" + refused):
        host.handle("site", "driver", "place", text, b"")


def test_an_owner_may_let_a_model_or_all_in() -> None:
    for named in (("os:getcwd", MAKE), ("*",)):
        host = Host(SitePeers("a", flare_calls.Calls(lambda member, data, limit_s: b"")), named)
        text = json.dumps({"factory": MAKE, "owner": "x", "header": {"model": SECRET, "closed": os.devnull}})
        placed = host.handle("site", "driver", "place", text, b"")
        assert placed is not None and placed.done


def test_sites_stay_when_the_driver_leaves_and_take_the_next_one(federation: Federation) -> None:
    federation.engine.close()
    federation.engine.close()
    assert (federation.folder / "closed").read_text() == "closed\nclosed\n"
    assert all(process.poll() is None for process in federation.processes.values())
    federation.engine = federation.connect()
    assert taken(federation, "a") == []


def test_a_site_that_its_owner_started_again_has_no_worker(federation: Federation) -> None:
    end(federation.processes["a"])
    federation.start("a")
    until(lambda: federation.engine._owner_of("a", 1.0) is not None)
    assert not federation.engine.alive("a")
    with pytest.raises(Unreachable, match="no worker has been placed"):
        federation.engine.call("a", "taken", {})
    federation.engine.place("a", MAKE, {"closed": str(federation.folder / "closed")})
    assert federation.engine.alive("a")


def test_a_server_that_was_ended_and_started_again(federation: Federation) -> None:
    end(federation.processes["server"])
    with pytest.raises(Unreachable):
        federation.engine.call("a", "taken", {}, timeout_s=20.0)
    federation.start("server")
    until(lambda: _reached(federation, "a") and _reached(federation, "tapped"), 60.0)
    assert federation.engine.call("a", "send", {"to": "tapped"}, b"after").header["sender"] == "a"


def _reached(federation: Federation, site: str) -> bool:
    try:
        federation.engine.call(site, "taken", {}, timeout_s=5.0)
    except RunError:
        return False
    return True


# -- kits -------------------------------------------------------------------------------------------------------------


def test_kits_keep_their_secrets(federation: Federation) -> None:
    authority = federation.folder / "kits" / "authority"
    assert authority.stat().st_mode & 0o077 == 0
    state = json.loads((authority / "orbitune" / "state" / "cert.json").read_text())
    secret = state["root_pri_key"].split("\n")[1]
    for kit in federation.kits.values():
        assert kit.stat().st_mode & 0o077 == 0
        assert not any(secret in file.read_text(errors="replace") for file in kit.rglob("*") if file.is_file())


@pytest.mark.parametrize("name", ["", "driver", "server", "localhost", "authority", "a.b", "../a", "_admin_1"])
def test_names_that_sites_cannot_have(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="site"):
        provision([name], tmp_path)


@pytest.mark.parametrize("host", ["", "::1", "my_host", "-a", "a-", "a..b", "a.", "driver", "a" * 65, "localhost\n"])
def test_names_that_a_server_cannot_have(tmp_path: Path, host: str) -> None:
    with pytest.raises(InputError, match=r"as relay\.example\.org or 10\.0\.0\.3"):
        provision(["a"], tmp_path / "kits", host)
    assert not (tmp_path / "kits").exists()


@pytest.mark.parametrize("host", ["10.0.0.3", "a", "relay-1.example.org", "server", "a" * 64])
def test_names_that_a_server_can_have(tmp_path: Path, host: str) -> None:
    assert (provision(["b"], tmp_path, host)["server"] / "startup" / "server.crt").exists()


def test_the_command_says_which_kit_goes_where(tmp_path: Path) -> None:
    into = tmp_path / "kits"
    asked = ["plane-0", "ground", "--into", str(into), "--server", "relay.example.org", "--port", "9000"]
    told = CliRunner().invoke(provision_command, [*asked, "--json"], catch_exceptions=False)
    content = json.loads(told.output)
    assert content["server"] == "relay.example.org:9000"
    assert list(content["kits"]) == ["server", "driver", "plane-0", "ground"]
    for name, kit in content["kits"].items():
        key = Path(kit) / "startup" / ("server.key" if name == "server" else "client.key")
        assert key.stat().st_mode & 0o077 == 0
        config = (key.parent / ("fed_server.json" if name == "server" else "fed_client.json")).read_text()
        assert "relay.example.org:9000" in config and '"connection_security": "mtls"' in config
    told = CliRunner().invoke(provision_command, asked, catch_exceptions=False)
    assert "the owner of plane-0" in told.output


def test_a_folder_that_is_no_kit(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no kit of a driver"):
        FlareEngine(address=tmp_path)


# -- strangers --------------------------------------------------------------------------------------------------------


def test_all_ports_are_on_the_loopback(federation: Federation) -> None:
    pids = {pid for process in federation.processes.values() for pid in running(process.pid)}
    assert {address for address, _ in listening(pids)} == {"127.0.0.1"}


def joins(port: int, context: ssl.SSLContext | None, name: str) -> bool:
    """Whether FLARE's server keeps the connection of somebody who calls himself so."""
    said = msgpack.packb({"endpoint_name": name, "timestamp": 0.0})
    greeting = struct.pack(">IHBBHHHH", 16 + len(said), 0, HELLO, 0, 0, 0, 1, 0) + said
    with contextlib.ExitStack() as stack:
        wire = stack.enter_context(socket.create_connection(("127.0.0.1", port), 5.0))
        try:
            if context is not None:
                wire = stack.enter_context(context.wrap_socket(wire))
            wire.settimeout(2.0)
            wire.sendall(greeting)
            while wire.recv(4096):
                pass
        except TimeoutError:
            return True
        except OSError:
            pass
        return False


def stranger(kit: Path | None) -> ssl.SSLContext:
    """Somebody who does not look whom he talks to, with the certificate of a kit or none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if kit is not None:
        context.load_cert_chain(kit / "startup" / "client.crt", kit / "startup" / "client.key")
    return context


def test_strangers_are_refused(federation: Federation, tmp_path: Path) -> None:
    port = federation.port
    others = provision(["b"], tmp_path, port=port)
    later = provision(["b"], federation.folder / "kits", port=port)["b"]  # the same authority: one more site
    assert not joins(port, None, "b"), "no TLS"
    assert not joins(port, stranger(None), "b"), "no certificate"
    assert not joins(port, stranger(others["b"]), "b"), "a certificate of another project"
    assert not joins(port, stranger(later), "a") and not joins(port, stranger(later), "driver"), "of another name"
    assert joins(port, stranger(later), "b"), "this test sees an answer where there is one"


def test_a_site_does_not_talk_to_the_server_of_another_project(federation: Federation, tmp_path: Path) -> None:
    startup = provision(["b"], tmp_path, port=federation.port)["b"] / "startup"
    parameters = {"scheme": "tcp", "secure": True, "ca_cert": str(startup / "rootCA.pem")}
    parameters |= {"client_cert": str(startup / "client.crt"), "client_key": str(startup / "client.key")}
    context = net_utils.get_ssl_context(parameters, ssl_server=False)  # as FLARE's own clients do it
    with (
        socket.create_connection(("127.0.0.1", federation.port), 5.0) as plain,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        context.wrap_socket(plain)


def test_a_frame_that_is_not_encrypted_for_its_receiver_is_refused(federation: Federation) -> None:
    core = federation.engine._cell.core
    core.send_request("orbitune", "frame", "a", message.Message(payload=seal(b"", {"kind": "hello"})), timeout=1.0)
    assert "refused from driver: a frame that is not encrypted" in federation.printed("a")


def test_a_frame_that_is_too_long_is_refused() -> None:
    answers = Answers(lambda *said: pytest.fail("delivered"))
    headers = {defs.MessageHeaderKey.SECURE: True, defs.MessageHeaderKey.ORIGIN: "a"}
    assert Link._receive(message.Message(headers, bytes(MAX_FRAME_BYTES + 1)), answers) is None


# -- a server that cheats ---------------------------------------------------------------------------------------------


def test_the_server_reads_nothing(federation: Federation) -> None:
    body, before = b"raw image " * 100, (federation.folder / "relayed").stat().st_size
    federation.engine.call("a", "send", {"to": "tapped"}, body)
    relayed = (federation.folder / "relayed").read_bytes()[before:]
    assert len(relayed) > 2 * len(body), "to a, and from a to the other"
    assert b"raw image" not in relayed and b"kind" not in relayed


def test_what_the_server_changes_is_not_delivered(federation: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flare_calls, "SLACK_S", 0.5)  # how long a lost frame is waited for
    monkeypatch.setattr(flare_calls, "HOLD_S", 0.5)
    before, body = taken(federation, "a"), os.urandom(2000)
    (federation.folder / "change").touch()
    assert federation.engine.call("a", "take", {}, body).header["taken"] == [*before, digest(body)]
    assert not (federation.folder / "change").exists()


def test_what_the_server_repeats_is_not_delivered(federation: Federation) -> None:
    before, body = taken(federation, "a"), os.urandom(2000)
    (federation.folder / "repeat").touch()
    federation.engine.call("a", "take", {}, body)
    until(lambda: "has been here before" in federation.printed("a"))
    assert taken(federation, "a") == [*before, digest(body)]


# -- a wire that somebody sits on -------------------------------------------------------------------------------------


def test_a_changed_byte_on_the_wire_breaks_the_connection_and_is_not_delivered(federation: Federation) -> None:
    wire, body = federation.wire, os.urandom(200_000)
    before, connections = taken(federation, "tapped"), wire.connections
    wire.flip_next = True
    with contextlib.suppress(RunError):  # it cannot be reached until it has connected again
        federation.engine.call("tapped", "take", {}, body, timeout_s=30.0)
    assert not wire.flip_next
    until(lambda: wire.connections > connections and _reached(federation, "tapped"))
    after = taken(federation, "tapped")
    assert after in (before, [*before, digest(body)])


def test_a_repeated_piece_on_the_wire_breaks_the_connection_and_is_not_delivered(federation: Federation) -> None:
    wire, body = federation.wire, os.urandom(20_000)
    wire.carried.clear()
    federation.engine.call("tapped", "take", {}, body)
    before, connections = taken(federation, "tapped"), wire.connections
    wire.repeat(b"".join(wire.carried))
    until(lambda: wire.connections > connections and _reached(federation, "tapped"))
    assert taken(federation, "tapped") == before


def test_what_a_process_printed_is_told(federation: Federation, tmp_path: Path) -> None:
    assert "client" in last_lines(federation.kits["a"] / "printed.txt", 100)
    assert "nothing" in last_lines(tmp_path / "none")
