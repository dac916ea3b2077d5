"""Requests no honest client sends: wrong keys, paths, heads and bodies."""

import time

from wire import connect, everything, raw, request

#: A page of the server's own machine that no request may ever show.
SECRETS = (b"root:x:", b"[workspace]")


def keys(target, report):
    """A key that is nearly right is wrong."""
    area = "wrong keys"
    if not target.key:
        return
    key = target.key
    wrong = {
        "none": [],
        "empty": ["Authorization: Bearer "],
        "another": ["Authorization: Bearer another-key-of-some-length"],
        "a prefix": [f"Authorization: Bearer {key[:-1]}"],
        "one letter more": [f"Authorization: Bearer {key}x"],
        "another scheme": [f"Authorization: Basic {key}"],
        "in the cookie of another name": [f"Cookie: key={key}"],
        "a cookie that is a prefix": [f"Cookie: shotstream_key={key[:-2]}"],
        "in a subprotocol of another name": [f"Sec-WebSocket-Protocol: {key}"],
        "a long one": [f"Authorization: Bearer {'x' * 30_000}"],
        "bytes that are no text": ["Authorization: Bearer \xff\xfe"],
        "two, the right one last": ["Authorization: Bearer wrong", f"Authorization: Bearer {key}"],
    }
    for name, heads in wrong.items():
        for path in ("/v1/stories", "/metrics", "/v1/videos"):
            report.status(area, f"{path}, key: {name}", [401], request(target, "GET", path, heads=heads, key=False))
    report.status(area, "in the address", [401], request(target, "GET", f"/v1/stories?key={key}", key=False))
    report.status(area, "the right one", [200], request(target, "GET", "/v1/stories"))
    for path in ("/studio/../v1/stories", "/watch/../v1/stories", "/v1/watch/../stories", "/login/../v1/stories",
                 "/studio/%2e%2e/v1/stories", "//v1/stories", "/./v1/stories", "/V1/stories", "/v1/stories/",
                 "/healthz/../v1/stories", "/studio//../../v1/stories"):
        found = request(target, "GET", path, key=False)
        report.note(area, f"around the door by {path}", "no story", found.status, found.status != 200)
    for body in (b"key=", b"key=wrong", b"", b"key=" + b"x" * 500_000, b"key=a&key=" + key.encode() + b"x"):
        heads = ["Content-Type: application/x-www-form-urlencoded"]
        report.status(area, f"login with {body[:20]!r}", [400, 401, 413, 422],
                      request(target, "POST", "/login", body, heads, key=False))


def paths(target, report):
    """Addresses that want to leave the server's own."""
    area = "paths"
    strange = [
        "/../../../../etc/passwd", "/studio/../../../../etc/passwd", "/studio/..%2f..%2f..%2fetc%2fpasswd",
        "/studio/%2e%2e/%2e%2e/Cargo.toml", "/studio/..%5c..%5cCargo.toml", "/studio/....//....//Cargo.toml",
        "/studio/index.html%00.js", "/studio/%00", "/studio/", "/studio", "/v1/stories/..", "/v1/stories/.",
        "/v1/stories/%2e%2e%2f%2e%2e/film.mp4", "/v1/stories/%00/film.mp4", "/v1/stories/a%00b",
        "/v1/stories/'%20OR%201=1%20--", "/v1/stories/%27%3BDROP%20TABLE%20story%3B--",
        "/v1/stories/story_x/pictures/../../../etc/passwd", "/v1/stories/story_x/pictures/..%2f..%2fstories.sqlite",
        "/v1/stories/x/pictures/" + "0" * 64, "/v1/watch/..", "/v1/watch/.", "/v1/watch/%00.%00", "/v1/watch/story_x.",
        "/v1/watch/x.y.z/film.mp4", "/v1/watch/." + "0" * 32, "/v1/videos/..%2fstories", "/v1/videos/video_%00/content",
        "/nothing", "/v1", "/v1/", "/%", "/%zz", "/v1/stories/%", "/v1/stories/" + "a" * 5_000, "/v1/stories/" + "%41" * 3_000,
        "/" + "/" * 3_000, "/" + "../" * 3_000,
    ]
    for path in strange:
        found = request(target, "GET", path)
        report.status(area, path[:60], [400, 404, 414], found)
        if any(secret in found.body for secret in SECRETS):
            report.note(area, path[:60], "no file of this machine", "one", False)
    for name, first, expected in [
        ("bytes that are no UTF-8", b"GET /v1/stories/%ff%fe", [400, 404]),
        ("raw bytes above 127", b"GET /v1/stories/\xff\xfe", [400, 404]),
        ("a raw NUL", b"GET /v1/stories/\0", [400]),
        ("no slash", b"GET v1/stories", [400]),
        ("an asterisk", b"GET *", [400, 404]),
        ("nothing", b"GET ", [400]),
        ("a space inside", b"GET /v1/stories /x", [400]),
        ("another server's", b"GET http://evil.example/v1/stories", [200, 400, 403, 404]),
        ("100 kB", b"GET /" + b"a" * 100_000, [404, 414, 431, 400]),
        ("4 MB", b"GET /" + b"a" * 4_000_000, [414, 431, 400, None]),
        ("a method of 1 MB", b"A" * 1_000_000 + b" /", [400, 414, 431, None]),
        ("an unknown method", b"EXPLODE /v1/stories", [405]),
        ("CONNECT", b"CONNECT evil.example:443", [400, 403, 404, 405]),
        ("TRACE", b"TRACE /v1/stories", [405]),
        ("DELETE of the list", b"DELETE /v1/stories", [405]),
        ("a newer HTTP", b"PRI *", [400, 404, 405, None]),
    ]:
        host = f"\r\nHost: {target.address}\r\nConnection: close\r\n".encode()
        bearer = "".join(f"{it}\r\n" for it in target.bearer()).encode()
        found = raw(target, first + b" HTTP/1.1" + host + bearer + b"\r\n")
        report.status(area, name, expected, found)


def heads(target, report):
    """Heads too many, too long, and those that two readers would read in two ways."""
    area = "heads"
    host, bearer = f"Host: {target.address}", "".join(f"{it}\r\n" for it in target.bearer())

    def status(name, expected, head, body=b"", first="GET /v1/models HTTP/1.1", with_host=True):
        lines = f"{first}\r\n" + (f"{host}\r\n" if with_host else "") + bearer
        data = lines.encode() + (head if isinstance(head, bytes) else head.encode("latin-1")) + b"\r\n" + body
        report.status(area, name, expected, raw(target, data, timeout=5))

    status("a head of 1 MB", [431, 400, None], "X: " + "a" * 1_000_000 + "\r\n")
    status("a name of 100 kB", [431, 400, None], "a" * 100_000 + ": x\r\n")
    status("10 000 of them", [431, 400, None], "".join(f"X-{i}: y\r\n" for i in range(10_000)))
    status("90 of them", [200], "".join(f"X-{i}: y\r\n" for i in range(90)))
    status("the same 50 times", [200], "X: y\r\n" * 50)
    status("no Host", [400, 403] if not target.key else [400, 200], "", with_host=False)
    status("an empty Host", [400, 403] if not target.key else [400, 200], "Host: \r\n", with_host=False)
    status("two Hosts", [400, 403], "Host: evil.example\r\n")
    status("two Hosts, ours last", [400, 403], f"Host: evil.example\r\n{host}\r\n", with_host=False)
    if not target.key:
        status("a Host from elsewhere", [403], "Host: evil.example\r\n", with_host=False)
        status("a Host that begins like ours", [403], f"Host: {target.host}.evil.example\r\n", with_host=False)
    status("an Origin from elsewhere", [403], "Origin: http://evil.example\r\n")
    status("two Origins, ours first", [400, 403], f"Origin: http://{target.address}\r\nOrigin: http://evil.example\r\n")
    status("no colon", [400], "nonsense\r\n")
    status("a space before the colon", [400], "X : y\r\n")
    status("a folded line", [400, 200], "X: a\r\n b\r\n")
    status("a NUL in a value", [400], b"X: a\0b\r\n")
    status("a bare carriage return in a value", [400], b"X: a\rb: c\r\n")
    status("lengths that differ", [400], "Content-Length: 5\r\nContent-Length: 6\r\n", b"hello!")
    status("a list of lengths", [400], "Content-Length: 5, 5\r\n", b"hello")
    status("a negative length", [400], "Content-Length: -1\r\n")
    status("a length with a sign", [400], "Content-Length: +5\r\n", b"hello")
    status("a length beyond 64 bits", [400], "Content-Length: 99999999999999999999999\r\n")
    status("a length in hexadecimal", [400], "Content-Length: 0x5\r\n", b"hello")
    status("an unknown transfer coding", [400, 501], "Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n")
    status("chunked, and then not", [400, 501], "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", b"0\r\n\r\n")

    # Two requests in one: whoever reads the length sees one, whoever reads the chunks sees two.
    hidden = f"GET /v1/stories HTTP/1.1\r\n{host}\r\n\r\n".encode()
    both = f"POST /login HTTP/1.1\r\n{host}\r\nContent-Length: {5 + len(hidden)}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    found, closed = everything(target, both.encode() + hidden)
    answers = found.count(b"HTTP/1.1 ")
    report.note(area, "length and chunks at once", "one answer, then hung up", f"{answers} answers, {'hung up' if closed else 'open'}",
                answers <= 1 and closed)
    for name, body in [
        ("a chunk size beyond 64 bits", b"fffffffffffffffff\r\nx\r\n0\r\n\r\n"),
        ("a chunk size that is none", b"zz\r\nx\r\n0\r\n\r\n"),
        ("a negative chunk size", b"-1\r\nx\r\n0\r\n\r\n"),
        ("a chunk size of 1 MB of zeros", b"0" * 1_000_000 + b"1\r\nx\r\n0\r\n\r\n"),
        ("a chunk extension of 1 MB", b"1;" + b"a" * 1_000_000 + b"\r\nx\r\n0\r\n\r\n"),
        ("trailers of 1 MB", b"0\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n"),
    ]:
        first = "POST /v1/stories HTTP/1.1"
        head = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
        status(name, [400, 413, 422, 431, None], head, body, first)

    for range_ in ("bytes=0-18446744073709551615", "bytes=18446744073709551615-", "bytes=-0", "bytes=-18446744073709551616",
                   "bytes=" + ",".join(["0-1"] * 1_000), "bytes=--1", "lines=0-1", "bytes=1-0", "bytes=\xff"):
        found = request(target, "GET", "/studio/studio.js", heads=[f"Range: {range_}"])
        report.status(area, f"range {range_[:40]}", [200, 206, 416], found)


def bodies(target, report):
    """Bodies that are no stories and no videos."""
    area = "bodies"
    kind = ["Content-Type: application/json"]

    def post(name, expected, path, body, heads=kind):
        report.status(area, f"{path}: {name}", expected, request(target, "POST", path, body, heads))

    refused = [400, 413, 415, 422]
    for path in ("/v1/stories", "/v1/videos"):
        for name, body in [
            ("nothing", b""), ("half an object", b'{"title": "'), ("a list", b"[]"), ("a number", b"1"), ("no UTF-8", b'{"title": "\xff"}'),
            ("half a surrogate", b'{"title": "\\ud800", "prompt": "\\ud800"}'),
            ("400 000 brackets deep", b"[" * 400_000), ("100 000 objects deep", b'{"title":' * 100_000),
            ("deep inside a field", b'{"title": "x", "prompt": "x", "shots": ' + b"[" * 300_000 + b"]" * 300_000 + b"}"),
            ("2 MB", b'{"title": "' + b"x" * (2 << 20) + b'"}'), ("a number with 100 000 digits", b'{"seed": ' + b"9" * 100_000 + b', "prompt": "x"}'),
            ("a seed of 1e400", b'{"seed": 1e400, "prompt": "x"}'), ("a negative seed", b'{"seed": -1, "prompt": "x"}'),
            ("half a seed", b'{"seed": 0.5, "prompt": "x"}'),
        ]:
            post(name, refused, path, body)
        post("no kind", [400, 415], path, b"{}", [])
        post("another kind", [400, 415], path, b"{}", ["Content-Type: text/plain"])
    post("an unknown field", refused, "/v1/stories", b'{"titel": "x"}')
    post("the same field twice", refused, "/v1/stories", b'{"title": "a", "title": "b"}')
    post("a title of 30 000", refused, "/v1/stories", b'{"title": "' + b"x" * 30_000 + b'"}')
    for name, body in [
        ("no prompt", {}), ("a blank prompt", {"prompt": "  "}), ("a prompt of 30 000", {"prompt": "x" * 30_000}),
        ("no seconds", {"prompt": "x", "seconds": "NaN"}), ("endless seconds", {"prompt": "x", "seconds": "inf"}),
        ("a year of seconds", {"prompt": "x", "seconds": 31e6}), ("seconds below nothing", {"prompt": "x", "seconds": -1}),
        ("a seed of 1e300", {"prompt": "x", "seed": 1e300}), ("2 000 shots", {"shots": [{"prompt": "x"}] * 2_000}),
        ("no shots", {"shots": []}), ("shots that are none", {"shots": [1, None, "x"]}), ("another size", {"prompt": "x", "size": "99999x99999"}),
    ]:
        found = request(target, "POST", "/v1/videos", body)
        report.status(area, f"/v1/videos: {name}", [400, 404, 413, 422], found)
        if found.status == 200:
            request(target, "DELETE", f"/v1/videos/{found.json()['id']}")
    form = "multipart/form-data; boundary="
    part = b'--x\r\ncontent-disposition: form-data; name="prompt"\r\n\r\n'
    for name, heads, body in [
        ("no boundary", [f"Content-Type: {form.split(';')[0]}"], b""), ("an empty boundary", [f"Content-Type: {form}"], b"--\r\n"),
        ("a form that breaks off", [f"Content-Type: {form}x"], part + b"a"), ("a form of 900 kB and no end", [f"Content-Type: {form}x"], part + b"a" * 900_000),
        ("20 000 fields", [f"Content-Type: {form}x"], (part.replace(b"prompt", b"other") + b"\r\n") * 12_000 + b"--x--\r\n"),
        ("a form of 2 MB", [f"Content-Type: {form}x"], part + b"a" * (2 << 20) + b"\r\n--x--\r\n"),
    ]:
        post(name, refused, "/v1/videos", body, heads)
    for query in ("limit=-1", "limit=99999999999999999999", "limit=x", "after=none", "order=" + "x" * 5_000, "%ff=%ff", "limit=1&limit=2"):
        report.status(area, f"/v1/videos?{query[:30]}", [200, 400, 404, 422], request(target, "GET", f"/v1/videos?{query}"))
    story = request(target, "POST", "/v1/stories", {"seed": 2**64 - 1, "title": "\0\u202e\U0001f98a", "global": "\0"})
    report.status(area, "/v1/stories: the largest seed, and characters nobody sees", [201, 400, 422], story)
    if story.status == 201:
        id_ = story.json()["id"]
        found = request(target, "GET", f"/v1/stories/{id_}")
        report.note(area, "the largest seed is kept", 2**64 - 1, found.json().get("seed"), found.json().get("seed") == 2**64 - 1)
        report.status(area, "a story is forgotten", [200], request(target, "DELETE", f"/v1/stories/{id_}"))
        report.status(area, "and then it is gone", [404], request(target, "DELETE", f"/v1/stories/{id_}"))


def queue(target, report, count=150):
    """Videos that are asked for faster than they are made: a queue has an end."""
    area = "a queue of videos"
    answers = [request(target, "POST", "/v1/videos", {"prompt": f"the fox walks {number}", "seconds": 0.5}) for number in range(count)]
    taken = [answer.json()["id"] for answer in answers if answer.status == 200]
    refused = sorted({answer.status for answer in answers if answer.status != 200}, key=str)
    report.note(area, f"of {count} some are refused, with 429 or 503", "[429] or [503]", f"{len(taken)} taken, {refused}", refused in ([429], [503]))
    for id_ in taken:
        request(target, "DELETE", f"/v1/videos/{id_}")
    listed = request(target, "GET", "/v1/videos?limit=100").json()["data"]
    report.note(area, "those that are forgotten are gone", 0, len(listed), not listed)


def downloads(target, report, memory, story, count=200):
    """Readers of the film who take nothing: its bytes are not kept once for each of them."""
    area = "downloads"
    size = len(request(target, "GET", f"/v1/stories/{story}/film.mp4", timeout=60).body)
    head = f"GET /v1/stories/{story}/film.mp4 HTTP/1.1\r\nHost: {target.address}\r\n" + "".join(f"{it}\r\n" for it in target.bearer())
    before, readers = memory.now(), []
    for _ in range(count):
        connection = connect(target, receive_buffer=4096)
        connection.sendall(f"{head}\r\n".encode())
        readers.append(connection)
    until, most = time.monotonic() + 8, 0
    while time.monotonic() < until:
        most = max(most, memory.now() - before)
        time.sleep(0.2)
    report.status(area, "is the server well", [200], request(target, "GET", "/healthz"))
    report.note(area, f"{count} who ask for {size >> 10} KiB and take nothing, MiB", "100 or less", most, most <= 100)
    for connection in readers:
        connection.close()
