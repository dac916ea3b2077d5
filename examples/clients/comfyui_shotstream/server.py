"""What a shotstream server is asked over HTTP, by the standard library alone."""

import json
import os
import urllib.error
import urllib.parse
import urllib.request

#: Seconds without a byte after which a server counts as gone.
PATIENCE = 60


class ShotstreamError(RuntimeError):
    """A sentence about what went wrong; ComfyUI shows it at the node."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A key for one house is not shown at another."""

    def redirect_request(self, *_):
        return None


class Server:
    """A server by its address, as `http://127.0.0.1:8080`; without a key that of SHOTSTREAM_KEY, if any."""

    def __init__(self, address, key=""):
        address = address.strip().rstrip("/")
        if not address.startswith(("http://", "https://")):
            raise ShotstreamError(f"an address as http://127.0.0.1:8080 was expected, {address!r} came")
        self.address = address
        self.opener = urllib.request.build_opener(_NoRedirects)
        self.key = key.strip() or os.environ.get("SHOTSTREAM_KEY", "")

    def fetch(self, method, path, body=None):
        """The bytes of an answer."""
        heads = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        data = None
        if body is not None:
            heads["Content-Type"] = "application/json"
            data = json.dumps(body).encode()
        # Names come from hands; whatever stands in them is one piece of the address.
        path = urllib.parse.quote(path, safe="/?=&")
        asked = urllib.request.Request(self.address + path, data, heads, method=method)
        try:
            with self.opener.open(asked, timeout=PATIENCE) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            raise ShotstreamError(f"the server refused ({error.code}): {_reason(error)}") from None
        except (OSError, ValueError) as error:
            raise ShotstreamError(f"the server cannot be reached ({error}): {self.address}") from None

    def ask(self, method, path, body=None):
        """The JSON of an answer."""
        try:
            return json.loads(self.fetch(method, path, body))
        except ValueError:
            raise ShotstreamError(f"no shotstream server answers: {self.address}{path}") from None


def _reason(error):
    try:
        return json.load(error)["error"]["message"]
    except (ValueError, KeyError, TypeError, OSError):
        return error.reason
