"""A server of files on 127.0.0.1 that can misbehave: it cuts, lies about lengths, answers with errors and with web pages."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE = b"<!DOCTYPE html><html><body>Sign in first</body></html>"


@dataclass
class FileServer:
    """What the server has and how it behaves. Tests change it between requests."""

    files: dict[str, bytes] = field(default_factory=dict)  # by path
    root: str = ""  # its address
    ranges: bool = True  # it takes Range
    tag: str = '"v1"'  # ETag. "" sends none
    cut_after: list[int] = field(default_factory=list)  # of each next answer: the bytes that are sent before a cut
    length: int | None = None  # the Content-Length that is claimed, -1 for none
    page: bool = False  # it answers with a web page
    status: int = 200  # another one is an error
    asked: list[tuple[str, str]] = field(default_factory=list)  # path and Range of each request

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answers one request."""
        wanted = handler.headers.get("Range", "")
        self.asked.append((handler.path, wanted))
        content = self.files.get(handler.path)
        if self.status != 200 or content is None:
            handler.send_error(404 if content is None else self.status)
            return
        body, status, extra = content, 200, {}
        if wanted and self.ranges and handler.headers.get("If-Range", self.tag) == self.tag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                body, status, extra = b"", 416, {"Content-Range": f"bytes */{len(content)}"}
            else:
                extra = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
                body, status = content[start:], 206
        if self.page:
            body = PAGE
        handler.send_response(status)
        handler.send_header("Content-Type", "text/html" if self.page else "application/octet-stream")
        if self.tag:
            handler.send_header("ETag", self.tag)
        if self.length != -1:
            handler.send_header("Content-Length", str(self.length or len(body)))
        for name, value in extra.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body[: self.cut_after.pop(0)] if self.cut_after else body)


@contextmanager
def serve() -> Iterator[FileServer]:
    """A server for the block."""
    found = FileServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.answer(self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.root = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
