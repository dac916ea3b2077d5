"""Lines of directors and viewers who do not keep to the protocol."""

import json
import threading
import time

from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import connect

from wire import closing_code, counted, frame, request, upgrade

MAX_MESSAGE = 128 << 10


class Line:
    """A director of a story of its own, who hears everything."""

    def __init__(self, target, story=None, options="?format=none"):
        self.target = target
        self.story = story or request(target, "POST", "/v1/stories", {"title": "abused"}).json()["id"]
        heads = {"Authorization": f"Bearer {target.key}"} if target.key else {}
        address = f"ws://{target.address}/v1/stories/{self.story}/direct{options}"
        self.line = connect(address, subprotocols=["shotstream.v1"], additional_headers=heads, max_size=None)

    def hear(self, *kinds, patience=10):
        """The next message of these kinds."""
        until = time.monotonic() + patience
        while True:
            said = self.line.recv(timeout=max(0.01, until - time.monotonic()))
            if isinstance(said, str) and json.loads(said)["type"] in kinds:
                return json.loads(said)

    def ask(self, ask):
        self.line.send(ask if isinstance(ask, (str, bytes)) else json.dumps({**ask, "event_id": "me"}))
        return self.hear("done", "error", "pong")


def directed(target, story=None):
    """A director who has a slot; the one given back last may take a moment to be free."""
    until = time.monotonic() + 20
    while True:
        line = Line(target, story)
        said = line.hear("session.created", "error")
        if said["type"] == "session.created":
            return line
        line.line.close()
        if story is None:
            _freed(target, line.story)
        if until < time.monotonic():
            raise SystemExit(f"no slot for a story that is attacked: {said['error']['message']}; serve with --sessions 2 or more")
        time.sleep(0.5)


def _freed(target, story):
    request(target, "DELETE", f"/v1/stories/{story}")


def words(target, report):
    """Text that means nothing, or too much: an error for each, and the line stays."""
    area = "words on a line"
    line = directed(target)
    append = {"type": "shot.append", "caption": "x"}
    wrong = [
        "", " ", "{", "[]", "null", "1", '"ping"', "{}", '{"type": null}', '{"type": "explode"}', '{"type": ["ping"]}', "\ufeff{}", "\0",
        '{"type": "ping"', '{"type": "ping"} {"type": "ping"}', "[" * 60_000, '{"type": "title", "title": ' + "[" * 60_000, '{"a":' * 20_000,
        {"type": "shot.append"}, {**append, "caption": None}, {**append, "caption": " "}, {**append, "caption": "x" * 30_000},
        {**append, "seed": -1}, {**append, "seed": 0.5}, {**append, "seed": 2**64}, {**append, "seed": "7"},
        {**append, "frames": 0}, {**append, "frames": 10}, {**append, "frames": -9}, {**append, "frames": 2**63}, {**append, "frames": 2**64 - 1},
        {**append, "caption": "\ud800"},
        {"type": "shot.retake", "shot": 0}, {"type": "shot.retake", "shot": 2**63}, {"type": "shot.retake", "shot": -1},
        {"type": "film.trim", "shots": 0}, {"type": "film.trim", "shots": 2**64 - 1}, {"type": "film.go_to", "take": 0},
        {"type": "film.go_to", "take": 2**32 - 1}, {"type": "film.go_to", "take": 2**32}, {"type": "film.choose", "take": 1},
        {"type": "frame.pin", "take": 1, "frame": 0}, {"type": "frame.pin", "take": 0, "frame": 2**63}, {"type": "frame.unpin", "take": 9, "frame": 9},
        {"type": "undo"}, {"type": "redo"}, {"type": "cut"}, {"type": "film.remake"}, {"type": "title"},
        {"type": "playback", "frame": -1}, {"type": "playback", "frame": 2**64}, {"type": "playback"},
        # Last, since a story that took them would rightly take others then.
        {"type": "title", "title": "x" * 100_000}, {**append, "frmaes": 9},
    ]
    for ask in wrong:
        shown = (ask if isinstance(ask, str) else json.dumps(ask))[:60]
        try:
            said = line.ask(ask)
        except (ConnectionClosed, TimeoutError) as error:
            report.note(area, shown, "an error", f"{type(error).__name__} {error}", False)
            line = directed(target, line.story)
            continue
        report.note(area, shown, "an error", said["type"], said["type"] == "error")
        well = line.ask({"type": "title", "title": "abused"})
        report.note(area, f"{shown}: the story can be directed on", "done", well["type"], well["type"] == "done")
        if well["type"] != "done":
            # A story that is dead would refuse everything else, and rightly so.
            line.line.close()
            _freed(target, line.story)
            line = directed(target)
        text = json.dumps(said)
        report.note("errors", f"{shown}: short, without a place of the server's disk", "short", len(text),
                    len(text) < 2_000 and "/src/" not in text and "stories.sqlite" not in text)
    line.line.send(json.dumps({"type": "ping", "event_id": "x" * 100_000}))
    report.note(area, "a ping with a long name", "pong", line.hear("pong", "error")["type"], True)
    line.line.close()
    _freed(target, line.story)


def playback(target, report):
    """Whoever says to have seen what was never made neither stops the story nor lets it run away."""
    area = "playback"
    for frame_number in (10**6, 2**63 - 1, 2**64 - 1):
        line = directed(target)
        line.line.send(json.dumps({"type": "playback", "frame": frame_number}))
        line.ask({"type": "shot.append", "caption": "the fox walks", "frames": 9 + 12 * 9})
        time.sleep(6)
        made = sum(chunk["frames"] for take in request(target, "GET", f"/v1/stories/{line.story}").json()["takes"] for chunk in take["chunks"])
        report.note(area, f"frame {frame_number} before there was any: the story goes on", "frames", made, 0 < made)
        # Nothing was shown yet: two chunks beyond the stream's beginning are 24 frames.
        report.note(area, f"frame {frame_number} before there was any: two chunks ahead at most", "24 or less", made, made <= 24)
        line.line.close()
        _freed(target, line.story)


def frames(target, report):
    """Frames that break RFC 6455, and messages that are too large."""
    area = "frames"
    story = request(target, "POST", "/v1/stories", {"title": "abused"}).json()["id"]
    path = f"/v1/stories/{story}/direct?format=none"
    large = b"x" * (MAX_MESSAGE + 1)
    half = b"x" * (MAX_MESSAGE // 2 + 1)
    ends = {
        "a binary message": (frame(2, b"x"), [1003]),
        "an empty binary message": (frame(2), [1003]),
        "a byte too much": (frame(1, large), [1009, 0]),
        "two halves that are too much": (frame(1, half, final=False) + frame(0, half), [1009, 0]),
        "a length of 2^63": (frame(1, b"x", length=1 << 63), [1002, 1009, 0]),
        "a length of 4 GB": (frame(1, b"x", length=1 << 32), [1002, 1009, 0]),
        "10 000 pieces of 20 bytes": (frame(1, b"x" * 20, final=False) + frame(0, b"x" * 20, final=False) * 10_000, [1009, 0]),
        "no mask": (frame(1, b'{"type":"ping"}', masked=False), [1002, 0]),
        "a reserved bit": (frame(1, b"x", reserved=4), [1002, 0]),
        "an unknown opcode": (frame(3, b"x"), [1002, 0]),
        "an unknown control": (frame(11, b"x"), [1002, 0]),
        "a ping of 126 bytes": (frame(9, b"x" * 126), [1002, 0]),
        "half a ping": (frame(9, b"x", final=False), [1002, 0]),
        "a piece of nothing": (frame(0, b"x"), [1002, 0]),
        "text that is no UTF-8": (frame(1, b"\xff\xfe"), [1007, 1002, 0]),
        "a close with one byte": (frame(8, b"x"), [1002, 1000, 1005, 0]),
        "a close with a forbidden code": (frame(8, b"\x03\xee"), [1002, 1000, 1005, 1006, 0]),
        "HTTP in the middle": (b"GET / HTTP/1.1\r\n\r\n", [1002, 0]),
    }
    for name, (data, expected) in ends.items():
        connection, status = upgrade(target, path)
        with connection:
            if status != 101:
                report.note(area, name, 101, status, False)
                continue
            try:
                connection.sendall(data)
            except OSError:
                pass
            code = closing_code(connection, 5)
            said = {None: "stays open", 0: "hung up"}.get(code, code)
            report.note(area, name, " or ".join("hung up" if it == 0 else str(it) for it in expected), said, code in expected)
    connection, status = upgrade(target, path)
    with connection:
        connection.sendall(frame(9, b"x") * 20_000)
        connection.sendall(frame(1, b'{"type":"ping"}'))
        connection.settimeout(10)
        seen = b""
        try:
            while b"pong" not in seen[-4096:]:
                seen += connection.recv(1 << 16)
        except OSError:
            pass
        report.note(area, "20 000 pings, then a message", "it is answered", "answered" if b'"pong"' in seen else "not answered", b'"pong"' in seen)
    for name, heads, where, expected in [
        ("no such story", [], "/v1/stories/none/direct", [404]),
        ("no such format", [], f"/v1/stories/{story}/direct?format=avi", [400]),
        ("an origin from elsewhere", ["Origin: http://evil.example"], path, [403]),
        ("no such watch link", [], "/v1/watch/none.0", [404]),
        ("a watch link that is not sealed", [], f"/v1/watch/{story}.{'0' * 32}", [404]),
        ("an older WebSocket", ["Sec-WebSocket-Version: 8"], path, [400, 426, 101]),
    ]:
        connection, status = upgrade(target, where, heads)
        connection.close()
        report.note(area, name, expected, status, status in expected)
    report.status(area, "no upgrade", [400, 426], request(target, "GET", path))
    _freed(target, story)


def flood(target, report, asks=600):
    """Everything at once: hundreds of shots, then all taken back; others are served meanwhile."""
    area = "asking at once"
    line = directed(target)
    start = time.monotonic()
    refused = done = 0

    def listen():
        nonlocal refused, done
        try:
            while done + refused < asks:
                kind = line.hear("done", "error", patience=60)["type"]
                done, refused = done + (kind == "done"), refused + (kind == "error")
        except (ConnectionClosed, TimeoutError):
            pass

    listener = threading.Thread(target=listen, name="listener")
    listener.start()
    slowest = 0.0
    for number in range(asks):
        line.line.send(json.dumps({"type": "shot.append", "event_id": str(number), "caption": f"the fox walks {number} " + "far " * 50}))
        if number % 100 == 0:
            slowest = max(slowest, request(target, "GET", "/healthz").took)
    while listener.is_alive():
        slowest = max(slowest, request(target, "GET", "/healthz").took)
        listener.join(0.2)
    took = time.monotonic() - start
    report.note(area, f"{asks} shots: every one has an answer", asks, done + refused, done + refused == asks)
    report.note(area, "is the server well meanwhile, s", "2 or less", f"{slowest:.2f}", slowest <= 2)
    report.note(area, f"{asks} shots are taken, s", "60 or less", f"{took:.1f}", took <= 60)
    line.ask({"type": "film.trim", "shots": 0})
    line.line.close()
    _freed(target, line.story)


def crowded(target, report):
    """More stories than slots: each beyond them is told so, and no slot is lost."""
    area = "no slot free"
    lines, refused = [], 0
    try:
        for _ in range(8):
            line = Line(target)
            said = line.hear("session.created", "error")
            if said["type"] == "error":
                refused += 1
                try:
                    line.line.recv(timeout=5)
                    code = "open"
                except ConnectionClosed as closed:
                    code = closed.rcvd.code if closed.rcvd else "hung up"
                report.note(area, "a story too many", "overloaded_error and 1013", f"{said['error']['type']} and {code}",
                            said["error"]["type"] == "overloaded_error" and code == 1013)
                _freed(target, line.story)
            else:
                lines.append(line)
    except (InvalidHandshake, OSError) as error:
        report.note(area, "a story too many", "an error on the line", error, False)
    report.note(area, "of 8 stories some are refused", "some", refused, 0 < refused)
    for line in lines:
        line.line.close()
        _freed(target, line.story)


class Sleepers:
    """Viewers who take nothing: opened at the start, looked at in the end."""

    LONGEST = 70

    def __init__(self, target, story, count=30):
        self.target, self.began, self.sockets = target, time.monotonic(), []
        token = request(target, "POST", f"/v1/stories/{story}/watch").json()["token"]
        for number in range(count):
            path = f"/v1/watch/{token}" if number % 3 else f"/v1/stories/{story}/direct"
            connection, status = upgrade(target, path, receive_buffer=4096)
            if status == 101:
                self.sockets.append(connection)

    def end(self, report):
        """Their ends of the connections cannot tell: what was sent before still waits to be taken."""
        time.sleep(max(0.0, self.LONGEST - (time.monotonic() - self.began)))
        viewers = counted(self.target, "viewers")
        for connection in self.sockets:
            connection.close()
        report.note("slow readers", f"of {len(self.sockets)} viewers who take nothing and a director only he is left after {self.LONGEST} s",
                    1, int(viewers), viewers == 1)
