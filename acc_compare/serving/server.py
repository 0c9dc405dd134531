"""Answers on loopback alone, and only to who knows the token in the address.

A page of another site could ask a server on this machine for something, or make a name of its own lead here; neither
knows the token, and a host by another name than this machine's own is refused before it is looked at.
"""

from __future__ import annotations

import contextlib
import hmac
import secrets
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

from acc_compare.serving.pages import NoSuchPage, Pages
from dump.format.errors import AccError, ConfigError

HOST = "127.0.0.1"
_NAMES = (HOST, "localhost")
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Server(ThreadingHTTPServer):
    """Serves `pages` on `port` of loopback, any free one for 0.  Raises ConfigError where the port is taken."""

    daemon_threads = True

    def __init__(self, pages: Pages, *, port: int = 0) -> None:
        self.pages = pages
        self.token = secrets.token_urlsafe(24)
        try:
            super().__init__((HOST, port), _Answering)
        except (OSError, OverflowError) as error:
            raise ConfigError(
                f"--port: port {port} of {HOST} cannot be had ({error}). Leave it out for any."
            ) from error

    @property
    def address(self) -> str:
        """Where the list of runs is."""
        return f"http://{HOST}:{self.server_port}/{self.token}/"

    def server_close(self) -> None:
        super().server_close()
        self.pages.close()


class _Answering(BaseHTTPRequestHandler):
    server: Server
    server_version = "acc"
    sys_version = ""
    timeout = 30

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        if not self._is_asked_here():
            self._send(HTTPStatus.FORBIDDEN, b"Forbidden\n", "text/plain")
            return
        path, _, query = self.path.partition("?")
        address = unquote(path.split("/", 2)[2]) if path.count("/") > 1 else ""
        pages = self.server.pages
        try:
            if query == "state":
                self._send(HTTPStatus.OK, pages.state(address).encode("ascii"), "text/plain")
            else:
                self._send(HTTPStatus.OK, pages.page(address), "text/html")
        except NoSuchPage:
            self._send(HTTPStatus.NOT_FOUND, b"There is no such page.\n", "text/plain")
        except AccError as error:
            self._send(HTTPStatus.NOT_FOUND, f"{error}\n".encode("utf-8", "replace"), "text/plain")

    def _is_asked_here(self) -> bool:
        """By this machine's own name, with the token, and by no other site's page."""
        port = self.server.server_port
        host = self.headers.get("Host", "")
        token = self.path.split("/", 2)[1] if self.path.startswith("/") else ""
        known = hmac.compare_digest(token.partition("?")[0].encode("utf-8", "replace"), self.server.token.encode())
        foreign = self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")
        return host in {f"{name}:{port}" for name in _NAMES} and known and not foreign

    def _send(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing: a log of addresses would be a log of tokens."""

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError):  # the reader has gone
            super().handle()
