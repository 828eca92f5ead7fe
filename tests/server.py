"""HTTP servers on this machine, for tests of downloads."""

import contextlib
import functools
import http.server
import threading


class _Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serve(handler):
    """Answer requests by a handler; give the server's address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        )
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def serve_folder(folder):
    """Serve the files of a folder; give the server's address."""
    return serve(functools.partial(_Files, directory=str(folder)))
