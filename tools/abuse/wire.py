"""Bytes to the server and back, without the manners of an HTTP library."""

import base64
import ipaddress
import json
import os
import socket
import struct
import time
from dataclasses import dataclass, field

PATIENCE = 15.0


@dataclass
class Target:
    """The server under attack, which must be on this machine."""

    host: str
    port: int
    key: str | None = None

    def __post_init__(self):
        if not ipaddress.ip_address(self.host).is_loopback:
            raise SystemExit("only a server on this machine is attacked: 127.0.0.0/8 was expected")

    @property
    def address(self):
        return f"{self.host}:{self.port}"

    def bearer(self):
        return [f"Authorization: Bearer {self.key}"] if self.key else []


@dataclass
class Answer:
    """What came back; `status` is None where the server hung up or said nothing."""

    status: int | None
    head: str = ""
    body: bytes = b""
    took: float = 0.0
    #: Whether the server closed the connection.
    closed: bool = False

    def json(self):
        return json.loads(self.body)


@dataclass
class Report:
    """Everything that was tried, and how it went."""

    rows: list = field(default_factory=list)

    def note(self, area, what, expected, found, right):
        self.rows.append((area, what, str(expected), str(found), bool(right)))
        if not right:
            print(f"  WRONG {area}: {what}: expected {expected}, found {found}", flush=True)

    def status(self, area, what, expected, answer):
        """An answer with one of the expected statuses; None stands for a connection hung up on."""
        found = answer.status if answer.status is not None else ("hung up" if answer.closed else "silence")
        right = answer.status in expected if answer.status is not None else (None in expected and answer.closed)
        names = " or ".join("hung up" if it is None else str(it) for it in expected)
        self.note(area, what, names, found, right)

    def table(self):
        areas = {}
        for area, _, _, _, right in self.rows:
            tried, wrong = areas.get(area, (0, 0))
            areas[area] = (tried + 1, wrong + (not right))
        width = max(map(len, areas))
        lines = [f"{'attack':<{width}}  tried  wrong"]
        lines += [f"{area:<{width}}  {tried:5}  {wrong:5}" for area, (tried, wrong) in areas.items()]
        lines += [f"wrong: {area}: {what}: expected {expected}, found {found}"
                  for area, what, expected, found, right in self.rows if not right]
        return "\n".join(lines)


def connect(target, source=None, timeout=PATIENCE, receive_buffer=None):
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(timeout)
    if source:
        connection.bind((source, 0))
    connection.connect((target.host, target.port))
    return connection


def _read_answer(connection, until):
    """One answer, as far as it comes."""
    data, closed, ends = bytearray(), False, None
    while time.monotonic() < until:
        connection.settimeout(max(0.01, until - time.monotonic()))
        try:
            piece = connection.recv(1 << 18)
        except TimeoutError:
            break
        except OSError:
            closed = True
            break
        if not piece:
            closed = True
            break
        data += piece
        if ends is None and (head := data.find(b"\r\n\r\n")) != -1:
            ends = _end_of(bytes(data[:head]).lower(), head + 4)
        if ends is not None and (data.endswith(b"0\r\n\r\n") if ends == -1 else ends <= len(data)):
            break
    return bytes(data), closed


def _end_of(head, start):
    """Where the answer with this head ends; -1 where its last chunk says so."""
    if head.split(b" ", 2)[1:2] in ([b"100"], [b"101"], [b"304"]):
        return start
    for line in head.split(b"\r\n")[1:]:
        if line.startswith(b"content-length:"):
            return start + int(line.split(b":")[1])
    return -1 if b"\r\ntransfer-encoding: chunked" in head else float("inf")


def raw(target, data, timeout=PATIENCE):
    """Send bytes as they are and read the answer."""
    start = time.monotonic()
    try:
        connection = connect(target, None, timeout)
    except OSError:
        return Answer(None, closed=True)
    with connection:
        try:
            connection.sendall(data)
        except OSError:
            pass  # A server that refuses early does not read on; its answer may still be there.
        got, closed = _read_answer(connection, start + timeout)
    head, _, body = got.partition(b"\r\n\r\n")
    parts = head.split(b" ", 2)
    status = int(parts[1]) if head.startswith(b"HTTP/1.") and 1 < len(parts) and parts[1][:3].isdigit() else None
    if b"transfer-encoding: chunked" in head.lower():
        body = _joined(body)
    return Answer(status, head.decode("latin-1"), body, time.monotonic() - start, closed)


def everything(target, data, timeout=3.0):
    """Send bytes and read all that comes in so many seconds, and whether the server hung up."""
    got, until = b"", time.monotonic() + timeout
    with connect(target) as connection:
        connection.sendall(data)
        while (left := until - time.monotonic()) > 0:
            connection.settimeout(left)
            try:
                piece = connection.recv(1 << 16)
            except TimeoutError:
                return got, False
            except OSError:
                return got, True
            if not piece:
                return got, True
            got += piece
    return got, False


def counted(target, name):
    """What the server counts under a name in its metrics."""
    lines = request(target, "GET", "/metrics").body.decode().splitlines()
    return next((float(line.split()[-1]) for line in lines if line.startswith(f"shotstream_{name} ")), None)


def _joined(rest):
    whole = b""
    while b"\r\n" in rest:
        size, _, rest = rest.partition(b"\r\n")
        size = int(size.split(b";")[0] or b"0", 16)
        if size == 0:
            break
        whole, rest = whole + rest[:size], rest[size + 2:]
    return whole


def request(target, method, path, body=b"", heads=(), key=True, timeout=PATIENCE):
    """An ordinary request with its own connection."""
    if isinstance(body, (dict, list)):
        body, heads = json.dumps(body).encode(), ["Content-Type: application/json", *heads]
    lines = [f"{method} {path} HTTP/1.1", f"Host: {target.address}", "Connection: close", f"Content-Length: {len(body)}"]
    lines += [*(target.bearer() if key else ()), *heads]
    return raw(target, "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body, timeout)


def upgrade(target, path, heads=(), receive_buffer=None):
    """A connection that speaks WebSocket from now on, and the server's answer."""
    nonce = base64.b64encode(os.urandom(16)).decode()
    lines = [f"GET {path} HTTP/1.1", f"Host: {target.address}", "Upgrade: websocket", "Connection: Upgrade",
             "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {nonce}", *target.bearer(), *heads]
    connection = connect(target, receive_buffer=receive_buffer)
    connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        if not byte:
            break
        head += byte
    status = int(head.split(b" ", 2)[1]) if head else None
    return connection, status


def frame(opcode, payload=b"", final=True, masked=True, reserved=0, length=None):
    """One WebSocket frame; `length` lies about how long it is."""
    size = len(payload) if length is None else length
    head = bytes([final << 7 | reserved << 4 | opcode])
    mask_bit = 0x80 if masked else 0
    if size < 126:
        head += bytes([mask_bit | size])
    elif size < 1 << 16:
        head += bytes([mask_bit | 126]) + struct.pack(">H", size)
    else:
        head += bytes([mask_bit | 127]) + struct.pack(">Q", size)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def closing_code(connection, timeout=PATIENCE):
    """Read frames until the server closes: its code, 0 if it hung up without one, None if it does not."""
    until, data = time.monotonic() + timeout, b""
    while time.monotonic() < until:
        connection.settimeout(max(0.01, until - time.monotonic()))
        try:
            piece = connection.recv(1 << 16)
        except TimeoutError:
            return None
        except OSError:
            return 0
        if not piece:
            return 0
        data += piece
        while True:
            taken = _frame_of(data)
            if taken is None:
                break
            opcode, payload, data = taken
            if opcode == 8:
                return struct.unpack(">H", payload[:2])[0] if 2 <= len(payload) else 1005
    return None


def _frame_of(data):
    if len(data) < 2:
        return None
    size, at = data[1] & 0x7F, 2
    if size == 126:
        size, at = (struct.unpack(">H", data[2:4])[0], 4) if 4 <= len(data) else (None, 0)
    elif size == 127:
        size, at = (struct.unpack(">Q", data[2:10])[0], 10) if 10 <= len(data) else (None, 0)
    if size is None or len(data) < at + size:
        return None
    return data[0] & 0x0F, data[at:at + size], data[at + size:]
