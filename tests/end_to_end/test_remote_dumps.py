"""`acc compare` of two folders in a bucket, against a real server that speaks S3, on loopback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("moto")
s3fs = pytest.importorskip("s3fs")
pytestmark = pytest.mark.slow
SAMPLES = Path(__file__).parents[2] / "sample_dumps"
KEYS = {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "AWS_DEFAULT_REGION": "eu-west-1"}


@pytest.fixture(scope="module")
def bucket() -> Iterator[dict[str, str]]:
    """The environment in which `s3://runs` holds the sample dumps."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port)
        place = s3fs.S3FileSystem(
            key="none", secret="none", endpoint_url=url, client_kwargs={"region_name": "eu-west-1"}
        )
        place.mkdir("runs")
        for name in ("bench_statistics", "gelu_in_bfloat16", "bench_tensor", "real_data"):
            place.put(str(SAMPLES / name), f"runs/{name}", recursive=True)
        yield {**os.environ, **KEYS, "AWS_ENDPOINT_URL": url}
    finally:
        server.terminate()
        server.wait()


def _wait_for(port: int) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError("the server did not start")


def _advised(npu: str, bench: str, out: Path, environment: dict[str, str]) -> dict[str, object]:
    command = [sys.executable, "-m", "acc_compare", "compare", npu, bench, "-o", str(out), "--no-html", "-q"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1, ended.stderr
    (advisor,) = out.glob("accuracy_compare/advisor_*.json")
    found: dict[str, object] = json.loads(advisor.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize(
    ("npu", "bench"),
    [("gelu_in_bfloat16", "bench_statistics"), ("real_data", "bench_tensor")],
    ids=["numbers", "tensors"],
)
def test_sides_in_a_bucket_come_to_what_they_come_to_on_disk(
    npu: str, bench: str, tmp_path: Path, bucket: dict[str, str]
) -> None:
    far = _advised(f"s3://runs/{npu}", f"s3://runs/{bench}", tmp_path / "far", bucket)
    near = _advised(str(SAMPLES / npu), str(SAMPLES / bench), tmp_path / "near", bucket)
    assert far["suspects"]
    named = [[(s["name"], s["kind"], s["expected"]) for s in side["suspects"]] for side in (far, near)]  # type: ignore[attr-defined]
    assert named[0] == named[1]


def test_a_bucket_that_is_not_there_is_told_in_a_line(tmp_path: Path, bucket: dict[str, str]) -> None:
    command = [sys.executable, "-m", "acc_compare", "compare", "s3://none/npu", "s3://runs/bench_statistics"]
    ended = subprocess.run(command, env=bucket, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "s3://none/npu" in ended.stderr
