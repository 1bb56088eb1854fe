import http.server
import socket
import threading
import time

import pytest

from jaxvae.data.network import why_unreachable


@pytest.fixture
def server():
    """A loopback server that answers 200 to HEAD /, 503 to every other HEAD, and records what it is asked."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.server.asked.append(self.path)
            self.send_response(200 if self.path == "/" else 503)
            self.end_headers()

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_reachable(server):
    assert why_unreachable(f"http://127.0.0.1:{server.server_port}/") is None


def test_http_error_is_a_reason(server):
    reason = why_unreachable(f"http://127.0.0.1:{server.server_port}/missing")
    assert reason == "127.0.0.1 answered HTTP 503"


def test_closed_port_is_a_reason(closed_port):
    assert why_unreachable(f"http://127.0.0.1:{closed_port}/") == "no connection to 127.0.0.1 (ConnectionError)"


def test_silent_server_is_a_reason():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        reason = why_unreachable(f"http://127.0.0.1:{silent.getsockname()[1]}/", seconds=0.3)
    assert reason.startswith("no connection to 127.0.0.1 (")


def test_hanging_dns_is_given_up(hanging_dns):
    start = time.perf_counter()
    assert why_unreachable("http://example.org/", seconds=0.3) == "no connection to example.org (no answer in 0.3 s)"
    assert time.perf_counter() - start < 2


def test_proxy_is_asked_instead(server, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    assert why_unreachable("http://host.invalid/file") == "host.invalid answered HTTP 503"
    assert server.asked == ["http://host.invalid/file"]


def test_dead_proxy_is_a_reason(closed_port, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed_port}")
    assert why_unreachable("http://host.invalid/file") == "no connection to host.invalid (ProxyError)"
