"""A real server and real requests: who is answered, with what, and when it is made anew."""

from __future__ import annotations

import http.client
import re
import shutil
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from acc_compare.serving import pages as pages_module
from acc_compare.serving.pages import Pages
from acc_compare.serving.server import Server
from dump.format.errors import ConfigError

SAMPLES = Path(__file__).resolve().parents[3] / "sample_dumps"


@dataclass
class Served:
    root: Path
    server: Server

    def get(self, path: str, *, method: str = "GET", **headers: str) -> tuple[int, str, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=60)
        connection.request(method, path, headers={key.replace("_", "-"): value for key, value in headers.items()})
        answer = connection.getresponse()
        content = answer.read().decode("utf-8")
        connection.close()
        return answer.status, content, dict(answer.getheaders())

    def page(self, address: str = "", **headers: str) -> tuple[int, str, dict[str, str]]:
        return self.get(f"/{self.server.token}/{address}", **headers)

    def links(self, kind: str) -> list[str]:
        return re.findall(rf'href="({kind}/[^"]+)"', self.page()[1])


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    root = tmp_path / "dumps"
    shutil.copytree(SAMPLES / "gelu_in_bfloat16", root / "npu")
    shutil.copytree(SAMPLES / "bench_statistics", root / "gpu")
    with Server(Pages(root)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Served(root, server)
        server.shutdown()
        thread.join()


def test_the_list_leads_to_each_run_and_to_each_pair(served: Served) -> None:
    status, content, headers = served.page()
    assert status == 200
    assert len(served.links("graph")) == 2
    assert len(served.links("compare")) == 2
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert "connect-src &#x27;self&#x27;" in content


def test_a_run_alone_and_two_compared(served: Served) -> None:
    assert "Values through the run" in served.page(served.links("graph")[0])[1]
    found = [served.page(link)[1] for link in served.links("compare")]
    assert all("Functional.gelu.1.forward" in content for content in found)


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", {}),
        ("/wrong/", {}),
        ("/{token}x/", {}),
        ("/{token}/", {"Host": "example.com"}),
        ("/{token}/", {"Host": "example.com:{port}"}),
        ("/{token}/", {"Host": "127.0.0.1"}),
        ("/{token}/", {"Sec_Fetch_Site": "cross-site"}),
        ("/{token}/?state", {"Host": "attacker.test:{port}"}),
        ("/{token}x", {}),
    ],
)
def test_nobody_else_is_answered(served: Served, path: str, headers: dict[str, str]) -> None:
    known = {"token": served.server.token, "port": str(served.server.server_port)}
    shown = {key: value.format(**known) for key, value in headers.items()}
    assert served.get(path.format(**known), **shown)[:2] == (403, "Forbidden\n")


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_this_machine_is(served: Served, name: str) -> None:
    assert served.page(Host=f"{name}:{served.server.server_port}")[0] == 200


@pytest.mark.parametrize(
    "address",
    [
        "graph/000000000000/",
        "graph/",
        "nothing/",
        "compare/a/b/c/d",
        "../../etc/passwd",
        "graph/{run}/../../secret",
        "graph/{run}/%2e%2e%2fsecret",
        "graph/{run}/nothing.html",
    ],
)
def test_no_other_file_is_read(served: Served, address: str) -> None:
    run = served.links("graph")[0].split("/")[1]
    assert served.page(address.format(run=run))[:2] == (404, "There is no such page.\n")


def test_nothing_can_be_written(served: Served) -> None:
    assert served.page(method="POST")[0] == 501
    assert served.page(method="HEAD")[:2] == (200, "")


def test_a_page_is_made_anew_when_a_job_writes_more(served: Served) -> None:
    link = served.links("graph")[0]  # gpu
    first = served.page(link)[1]
    state = served.page(f"{link}?state")[1]
    assert f'data-state="{state}"' in first
    assert served.page(link)[1] == first
    shutil.copytree(served.root / "gpu" / "step0", served.root / "gpu" / "step1")
    assert served.page(f"{link}?state")[1] != state
    assert "graph_step1_rank0.html" in served.page(link)[1]
    assert "Values through the run" in served.page(f"{link}graph_step1_rank0.html")[1]


def test_what_cannot_be_compared_is_said_on_the_page(served: Served) -> None:
    shutil.copytree(SAMPLES / "md5", served.root / "digests")
    found = [served.page(link)[:2] for link in served.links("compare")]
    assert [status for status, _ in found] == [200] * 6
    assert sum("Record both sides" in content for _, content in found) == 4


def test_what_is_kept_is_bounded_and_removed_at_the_end(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages_module, "KEPT", 1)
    for link in served.links("graph"):
        served.page(link)
    (made,) = served.server.pages._made.values()
    assert Path(made.folder.name).is_dir()
    served.server.pages.close()
    assert not Path(made.folder.name).exists()


def test_only_loopback_listens(served: Served) -> None:
    assert served.server.server_address[0] == "127.0.0.1"


def test_a_port_that_is_taken(served: Served) -> None:
    with pytest.raises(ConfigError, match="--port"):
        Server(Pages(served.root), port=served.server.server_port)


def test_a_reader_that_goes_away_breaks_nothing(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.server.server_port)) as connection:
        connection.sendall(b"GET /")
    assert served.page()[0] == 200
