"""Builds the wheel of acc-msprobe-shim (PEP 517), unless mindstudio-probe is installed where it would go.

Besides the package it puts a .pth file beside it, which no declarative backend does.
"""

import base64
import hashlib
import sys
import sysconfig
import tarfile
import zipfile
from importlib.metadata import distributions
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    tomllib = None

HERE = Path(__file__).resolve().parent
_REAL = "mindstudio-probe"
_FILES = ("msprobe/__init__.py", "acc_msprobe_torch_npu.py")
_AT_START = ("acc_msprobe_shim.pth", "import acc_msprobe_torch_npu\n")


def _refuse_over_the_real_one():
    places = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    if any((found.metadata["Name"] or "").lower() == _REAL for found in distributions(path=list(places))):
        sys.exit(f"acc-msprobe-shim: {_REAL} is installed here and provides msprobe itself. Uninstall it first.")


def _project():
    text = (HERE / "pyproject.toml").read_text(encoding="utf-8")
    if tomllib is not None:
        return tomllib.loads(text)["project"]
    import re

    strings = dict(re.findall(r'^(name|version|description|requires-python|license) = "(.*)"$', text, re.MULTILINE))
    script = re.search(r'^msprobe = "(.*)"$', text, re.MULTILINE)[1]
    return {**strings, "dependencies": ["acc-compare"], "scripts": {"msprobe": script}}


def _metadata(project):
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {project['name']}",
        f"Version: {project['version']}",
        f"Summary: {project['description']}",
        f"License: {project['license']}",
        f"Requires-Python: {project['requires-python']}",
        *(f"Requires-Dist: {each}" for each in project["dependencies"]),
    ]
    return "\n".join([*lines, "", (HERE / "README.md").read_text(encoding="utf-8")])


def get_requires_for_build_wheel(config_settings=None):
    _refuse_over_the_real_one()
    return []


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    _refuse_over_the_real_one()
    project = _project()
    stem = f"{project['name'].replace('-', '_')}-{project['version']}"
    info = f"{stem}.dist-info"
    scripts = "".join(f"{name} = {place}\n" for name, place in project["scripts"].items())
    files = {name: (HERE / name).read_bytes() for name in _FILES}
    files[_AT_START[0]] = _AT_START[1].encode()
    files[f"{info}/METADATA"] = _metadata(project).encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: shim_backend\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/entry_points.txt"] = f"[console_scripts]\n{scripts}".encode()
    record = [f"{name},sha256={_digest(content)},{len(content)}" for name, content in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""]).encode()
    name = f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(Path(wheel_directory) / name, "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, content in files.items():
            wheel.writestr(path, content)
    return name


def build_sdist(sdist_directory, config_settings=None):
    project = _project()
    stem = f"{project['name'].replace('-', '_')}-{project['version']}"
    name = f"{stem}.tar.gz"
    with tarfile.open(Path(sdist_directory) / name, "w:gz") as archive:
        for path in ("pyproject.toml", "README.md", "shim_backend.py", *_FILES):
            archive.add(HERE / path, f"{stem}/{path}")
    return name


def _digest(content):
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
