"""Profiling over ssh, against a real sshd on loopback; the scripts, with the shells that devices have."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgecut.ir import extract, files
from edgecut.ir.errors import EdgecutError, ModelError, TargetError, UsageError
from edgecut.ir.program import Program
from edgecut.profilers import application, remote, transport
from edgecut.profilers.ondevice import NO_RUNTIME
from edgecut.profilers.transport import Done, LostError, Ssh
from edgecut.targets import tflite

ARGUMENTS = ["--runs", "5", "--seconds", "0.2"]


@pytest.fixture(scope="module")
def model(convnet: Program, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.tflite"
    path.write_bytes(tflite.emit(convnet, [extract.named_cut(convnet, "edge-only")]).data)
    return path


@dataclass
class Server:
    """An sshd of our own: its folder, its port, and the ssh client's configuration for it."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def left(self) -> list[str]:
        return [str(p) for p in self.home.rglob("*") if p.is_file()]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    sshd = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if sshd is None or shutil.which("ssh") is None:
        pytest.skip("OpenSSH's sshd is not installed")
    keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f"]
    for name in ("host", "user"):
        subprocess.run([*keygen, str(tmp_path / name)], check=True)
    (tmp_path / "authorized").write_text((tmp_path / "user.pub").read_text())
    (tmp_path / "home").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # What the session sees: our own cache folder, and this Python, which has LiteRT.
    binaries = tmp_path / "bin"
    binaries.mkdir()
    (binaries / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (binaries / "python3").chmod(0o755)
    (tmp_path / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {tmp_path}/host\n"
        f"AuthorizedKeysFile {tmp_path}/authorized\n"
        f"PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
        f"SetEnv XDG_CACHE_HOME={tmp_path}/home PYTHON={binaries}/python3\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sshd, "-D", "-e", "-f", str(tmp_path / "sshd_config")], stderr=subprocess.DEVNULL
    )
    # The user's own ssh configuration, by way of a wrapper: the client reads it from the account's home.
    host = (tmp_path / "host.pub").read_text().split()
    (tmp_path / "known").write_text(f"[127.0.0.1]:{port} {host[0]} {host[1]}\n")
    (tmp_path / "config").write_text(f"UserKnownHostsFile {tmp_path}/known\nIdentityFile {tmp_path}/user\n")
    client = tmp_path / "client"
    client.mkdir()
    (client / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {tmp_path}/config "$@"\n')
    (client / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{client}:{os.environ['PATH']}")
    monkeypatch.setattr(remote, "PAUSE_S", 0.1)
    _wait(port, process)
    yield Server(tmp_path, port, process)
    process.terminate()
    process.wait()


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(100):
        if process.poll() is not None:
            pytest.skip("sshd does not start here")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    pytest.fail("sshd does not listen")


def url(server: Server) -> str:
    return f"ssh://127.0.0.1:{server.port}"


def test_a_profile_comes_back_and_nothing_stays(server: Server, model: Path) -> None:
    found = remote.profile(transport.open_transport(url(server)), model, ARGUMENTS)
    assert found.sha256 == files.sha256(model)
    assert found.signatures[0].whole.median_s > 0
    assert [o for o in found.signatures[0].operators if "Conv" in o.name]
    assert found.machine.name
    assert server.left() == []


def test_keep_leaves_what_was_sent(server: Server, model: Path) -> None:
    remote.profile(transport.open_transport(url(server)), model, ARGUMENTS, keep=True)
    assert {Path(p).name for p in server.left()} == {
        "edgecut-profile.pyz", "model.tflite", "profile.json", "profile.sh",
    }  # fmt: skip


def test_the_whole_pass_over_ssh(server: Server, convnet: Program) -> None:
    from edgecut.ir import annotations
    from edgecut.passes.base import Context
    from edgecut.passes.profile.profile import ProfileTargets

    program = ProfileTargets(edge=url(server), cloud="x86-vm", runs=5).run(convnet.copy(), Context())
    profile = annotations.require(program.model, annotations.Profile, "")
    assert profile.edge == url(server)
    assert profile.edge_total is not None
    assert profile.edge_total.source == "measured"


def test_an_unknown_host_key_is_refused_and_not_added(server: Server, model: Path) -> None:
    (server.folder / "known").write_text("")
    with pytest.raises(TargetError, match="host key is unknown"):
        remote.profile(transport.open_transport(url(server)), model, ARGUMENTS)
    assert (server.folder / "known").read_text() == ""


def test_a_server_that_is_not_there(server: Server, model: Path) -> None:
    server.process.send_signal(signal.SIGTERM)
    server.process.wait()
    with pytest.raises(TargetError, match=r"cannot be reached: .*refused"):
        remote.profile(transport.open_transport(url(server)), model, ARGUMENTS)


def test_a_device_without_litert_is_told_how_to_install_it(server: Server, model: Path) -> None:
    python = server.folder / "bin" / "python3"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')  # no site-packages
    with pytest.raises(TargetError, match="pip install numpy ai-edge-litert"):
        remote.profile(transport.open_transport(url(server)), model, ARGUMENTS)
    assert server.left() == []


def test_a_model_that_litert_refuses_there(server: Server, tmp_path: Path) -> None:
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(b"\x1c\0\0\0TFL3" + bytes(200))
    with pytest.raises(ModelError, match="LiteRT"):
        remote.profile(transport.open_transport(url(server)), broken, ARGUMENTS)
    assert server.left() == []


@dataclass(frozen=True)
class Flaky:
    """A real connection that breaks at a chosen command, once, after a part of what was sent has arrived."""

    real: Ssh
    breaks_at: str
    state: dict[str, int]

    @property
    def where(self) -> str:
        return self.real.where

    @property
    def home(self) -> str:
        return self.real.home

    def run(self, script: str, *, stdin: bytes = b"", timeout_s: float) -> Done:
        self.state["bytes"] = self.state.get("bytes", 0) + len(stdin)
        if self.breaks_at in script and not self.state.get("broken"):
            self.state["broken"] = 1
            if stdin:
                self.real.run(script, stdin=stdin[: len(stdin) // 2], timeout_s=timeout_s)
                self.state["bytes"] -= len(stdin) - len(stdin) // 2
            raise LostError("the device went away")
        return self.real.run(script, stdin=stdin, timeout_s=timeout_s)


def flaky(server: Server, breaks_at: str) -> Flaky:
    real = transport.open_transport(url(server))
    assert isinstance(real, Ssh)
    return Flaky(real, breaks_at, {})


def test_sending_goes_on_where_it_broke_off(server: Server, model: Path) -> None:
    device = flaky(server, "model.tflite")
    remote.profile(device, model, ARGUMENTS)
    scripts = len(application.application()) + len(application.PROFILE_SH)
    assert device.state["broken"] == 1
    assert device.state["bytes"] == scripts + model.stat().st_size


def test_a_reboot_while_it_runs_is_told_and_can_be_gone_on_from(server: Server, model: Path) -> None:
    device = flaky(server, "sh profile.sh")
    with pytest.raises(TargetError, match="connection was lost while the model ran"):
        remote.profile(device, model, ARGUMENTS)
    assert len(server.left()) == 3
    before = device.state["bytes"]
    assert remote.profile(device, model, ARGUMENTS).signatures
    assert device.state["bytes"] == before  # nothing was sent again
    assert server.left() == []


def test_a_full_disk_there(server: Server, model: Path) -> None:
    """The account's shell is told that no file may exceed 1 KiB: writing fails as on a full disk."""
    real = transport.open_transport(url(server))
    assert isinstance(real, Ssh)

    @dataclass(frozen=True)
    class Small(Flaky):
        def run(self, script: str, *, stdin: bytes = b"", timeout_s: float) -> Done:
            limited = f"trap '' XFSZ; ulimit -f 1; {script}" if stdin else script
            return self.real.run(limited, stdin=stdin, timeout_s=timeout_s)

    with pytest.raises(TargetError, match=r"cannot write there: .*File too large"):
        remote.profile(Small(real, "never", {}), model, ARGUMENTS)
    assert server.left() == []


def test_a_device_that_hangs_is_given_up(server: Server) -> None:
    with pytest.raises(TargetError, match="did not answer within"):
        transport.open_transport(url(server)).run("sleep 30", timeout_s=0.5)


def test_adb_is_the_same_protocol(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No Android device is at hand: a program called adb runs the commands here, and notes its call."""
    (tmp_path / "adb").write_text(
        f'#!/bin/sh\necho "$1 $2 $3 $4" >> {tmp_path}/calls\n'
        f'export PYTHON={sys.executable}\nexec sh -c "$5"\n'
    )
    (tmp_path / "adb").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    device = transport.Adb("adb://emulator-5554", "emulator-5554", home=str(tmp_path / "device"))
    assert remote.profile(device, model, ARGUMENTS).signatures
    assert set((tmp_path / "calls").read_text().splitlines()) == {"-s emulator-5554 shell -T"}
    assert not list((tmp_path / "device").rglob("*"))


@pytest.mark.parametrize(
    "address",
    ["ssh://", "ssh://-oProxyCommand=x", "ssh://host:port", "adb://", "adb://-s", "ssh://a/b", "http://x"],
)
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(UsageError, match="is no address of a device"):
        transport.open_transport(address)


def test_addresses() -> None:
    found = transport.open_transport("ssh://pi@board.local:2222")
    assert isinstance(found, Ssh)
    assert (found.destination, found.port) == ("pi@board.local", 2222)
    six = transport.open_transport("ssh://pi@[fe80::1]:22")
    assert isinstance(six, Ssh)
    assert six.destination == "pi@fe80::1"


@pytest.mark.parametrize("shell", ["sh", "dash", "bash"])
def test_the_device_part_runs_by_itself(tmp_path: Path, model: Path, shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    application.write(tmp_path)
    shutil.copy(model, tmp_path / "my model.tflite")
    done = subprocess.run(
        [shell, str(tmp_path / "profile.sh"), str(tmp_path / "my model.tflite"), *ARGUMENTS],
        env={"PATH": os.environ["PATH"], "PYTHON": sys.executable},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["file"] == "my model.tflite"


def test_the_device_part_says_what_is_missing(tmp_path: Path) -> None:
    application.write(tmp_path)
    script = [shutil.which("sh") or "sh", str(tmp_path / "profile.sh"), "m.tflite"]
    nothing = subprocess.run(
        script,
        env={"PATH": "/usr/bin:/bin", "PYTHON": "no-such-python"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert nothing.returncode == NO_RUNTIME
    assert "no no-such-python here" in nothing.stderr
    absent = subprocess.run(
        script,
        env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert absent.returncode == ModelError.exit_code
    assert "m.tflite: no such file" in absent.stderr


def test_the_script_is_clean(tmp_path: Path) -> None:
    application.write(tmp_path)
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(
        ["shellcheck", "-s", "sh", str(tmp_path / "profile.sh")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_application_depends_on_its_sources_alone() -> None:
    assert application.application() == application.application()
    assert issubclass(TargetError, EdgecutError)
