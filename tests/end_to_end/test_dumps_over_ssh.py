"""`acc compare` of two folders on a machine that is reached by ssh: a real sshd, on loopback."""

from __future__ import annotations

import getpass
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
READS = [name for name in ("sshfs", "paramiko") if importlib.util.find_spec(name) is not None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(SSHD is None or shutil.which("ssh-keygen") is None, reason="no sshd"),
    pytest.mark.skipif(not READS, reason="nothing that reads over ssh"),
]
SAMPLES = Path(__file__).parents[2] / "sample_dumps"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """The URL of this machine's root folder, and the environment of a user whom it lets in."""
    home = tmp_path_factory.mktemp("home")
    keys = home / ".ssh"
    keys.mkdir(mode=0o700)
    for name in ("id_ed25519", "host"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / name)], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (keys / "known_hosts").write_text(f"[127.0.0.1]:{port} {(keys / 'host.pub').read_text()}")
    settings = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": keys / "host",
        "AuthorizedKeysFile": keys / "id_ed25519.pub",
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "Subsystem": "sftp internal-sftp",
    }
    (home / "sshd").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    assert SSHD is not None
    server = subprocess.Popen([SSHD, "-D", "-f", str(home / "sshd"), "-E", str(home / "log")])
    try:
        _wait_for(server, port)
        yield f"ssh://{getpass.getuser()}@127.0.0.1:{port}", {**os.environ, "HOME": str(home)}
    finally:
        server.terminate()
        server.wait()


def _wait_for(server: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if server.poll() is not None:
            break
        time.sleep(0.1)
    pytest.skip("sshd does not start here")


def _said(npu: str, bench: str, out: Path, environment: dict[str, str]) -> str:
    command = [sys.executable, "-m", "acc_compare", "compare", npu, bench, "-o", str(out), "--no-html", "-q"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 1, ended.stderr
    return ended.stdout.splitlines()[0]


@pytest.mark.parametrize(
    ("npu", "bench"),
    [("gelu_in_bfloat16", "bench_statistics"), ("real_data", "bench_tensor")],
    ids=["numbers", "tensors"],
)
def test_sides_on_another_machine_come_to_what_they_come_to_here(
    npu: str, bench: str, tmp_path: Path, machine: tuple[str, dict[str, str]]
) -> None:
    url, environment = machine
    far = _said(f"{url}{SAMPLES / npu}", f"{url}{SAMPLES / bench}", tmp_path / "far", environment)
    near = _said(str(SAMPLES / npu), str(SAMPLES / bench), tmp_path / "near", environment)
    assert far == near
    assert far.startswith("DIFFERENT")
