"""`acc serve`: the pages of a folder of dumps, on this machine alone."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

SERVE_HELP = """Serve the pages of all dumps below a folder, to this machine alone, until Ctrl-C.

The address that is printed holds a token; without it, and by any other host name, nothing is answered. It lists the
runs below DIR; each is shown alone or compared with another. A page is made anew when it is asked for after its run has
written more, and says so when there is more to show. On another machine: ssh -L PORT:127.0.0.1:PORT, with --port PORT.

\b
Examples:
  acc serve dumps
  acc serve dumps --port 8123 --lang zh
"""


def serve(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of dumps.", show_default=False)],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1. (0: any)")] = 0,
    lang: Annotated[str, typer.Option(help="Language of the pages: en, zh.")] = "en",
) -> None:
    from acc_compare.report.i18n import known_language
    from acc_compare.serving.pages import Pages
    from acc_compare.serving.server import Server

    with Server(Pages(folder.expanduser(), lang=known_language(lang)), port=port) as server:
        print(server.address, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()
