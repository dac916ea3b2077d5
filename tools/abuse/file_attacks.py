"""Story files that are none, that are broken, and that grow when they are read."""

import gzip
import hashlib
import io
import json
import tarfile
import threading
import time

from wire import connect, request

MIB = 1 << 20


def packed(entries):
    """A tar of names and bytes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in entries:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def lying(name, size, data=b"", kind=b"0"):
    """One entry that says it is larger than it is, and no end."""
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT) + data


def journal(*records, began=None):
    """The lines of a journal."""
    return "".join(json.dumps(record) + "\n" for record in ([began] if began else []) + list(records)).encode()


def unpacked(file):
    """The journal and the blobs of an honest story file."""
    with tarfile.open(fileobj=io.BytesIO(file)) as archive:
        entries = [(member.name, archive.extractfile(member).read()) for member in archive]
    return [json.loads(line) for line in entries[0][1].splitlines()], entries[1:]


def told(target):
    """The file of a story with one short shot, told as a video."""
    video = request(target, "POST", "/v1/videos", {"prompt": "the fox walks", "seconds": 0.5}).json()["id"]
    until = time.monotonic() + 120
    while request(target, "GET", f"/v1/videos/{video}").json()["status"] != "completed":
        if until < time.monotonic():
            raise SystemExit("a video of half a second is not made in 120 s")
        time.sleep(0.2)
    file = request(target, "GET", f"/v1/stories/{video}/story.shotstory").body
    request(target, "DELETE", f"/v1/videos/{video}")
    return file


def files(target, report, memory):
    """Each is refused in a sentence, or taken and harmless; memory and time stay small."""
    area = "story files"
    honest = told(target)
    records, blobs = unpacked(honest)
    began = records[0]

    def take(name, expected, file, patience=60):
        before, start = memory.high(), time.monotonic()
        found = request(target, "POST", "/v1/stories/import", file, timeout=patience)
        report.status(area, name, expected, found)
        grown, took = memory.high() - before, time.monotonic() - start
        report.note(area, f"{name}: memory while it is read, MiB", f"{len(file) // MIB + 64} or less", grown, grown <= len(file) // MIB + 64)
        if 10 < took:
            report.note(area, f"{name}: time, s", "10 or less", f"{took:.1f}", False)
        if found.status != 201:
            report.note(area, f"{name}: the error is short, bytes", "2000 or less", len(found.body), len(found.body) <= 2_000)
            return
        id_ = found.json()["id"]
        for path in ("", "/film.mp4", "/story.shotstory", "/takes/1/film.mp4"):
            answer = request(target, "GET", f"/v1/stories/{id_}{path}", timeout=patience)
            report.note(area, f"{name}: it can be looked at: {path or '/'}", "no failure of the server", answer.status,
                        answer.status is not None and answer.status < 500)
        start = time.monotonic()
        listed = request(target, "GET", "/v1/stories", timeout=patience)
        report.note(area, f"{name}: the list takes, s", "1 or less", f"{time.monotonic() - start:.2f}", listed.status == 200 and time.monotonic() - start <= 1)
        request(target, "DELETE", f"/v1/stories/{id_}")

    take("an honest one", [201], honest)
    for part in (0, 1, 100, 511, 512, 513, 1024, len(honest) // 2, len(honest) - 1025):
        take(f"the first {part} bytes of it", [400], honest[:part])
    for at in (0, 257, 300, 600, len(honest) // 2):
        broken = bytearray(honest)
        broken[at] ^= 0xFF
        take(f"byte {at} of it turned", [400], bytes(broken))
    take("noise", [400], hashlib.sha512(b"noise").digest() * 2_000)
    take("zeros", [400], b"\0" * MIB)
    take("64 MiB of zeros, packed", [400], gzip.compress(b"\0" * (64 * MIB)))
    take("a whole story, packed", [400], gzip.compress(honest))
    whole = journal(*records)
    take("nothing but a journal", [400], packed([("story.jsonl", whole)]))
    take("two journals", [400], packed([("story.jsonl", whole), ("story.jsonl", whole), *blobs]))
    take("the blobs first", [400], packed([*blobs, ("story.jsonl", whole)]))
    take("a blob twice", [400], packed([("story.jsonl", whole), *blobs, blobs[0]]))
    take("a blob under another's name", [400], packed([("story.jsonl", whole), (blobs[0][0], blobs[1][1]), *blobs[1:]]))
    take("a blob too many", [400], packed([("story.jsonl", whole), *blobs, ("blobs/" + hashlib.sha256(b"x").hexdigest(), b"x")]))
    for name in ("../../../../tmp/escaped", "/tmp/escaped", "blobs/../../escaped", "blobs/" + "0" * 64 + "/../x", "blobs/" + "A" * 64, "blobs/" + "x" * 20_000):
        take(f"an entry named {name[:30]}", [400], packed([("story.jsonl", whole), (name, b"x"), *blobs]))
    for kind, what in ((tarfile.SYMTYPE, "a link"), (tarfile.LNKTYPE, "a hard link"), (tarfile.CHRTYPE, "a device"), (tarfile.DIRTYPE, "a folder")):
        info = tarfile.TarInfo(blobs[0][0])
        info.type, info.linkname = kind, "/etc/passwd"
        take(f"{what} for a blob", [400], packed([("story.jsonl", whole), (info, b""), *blobs[1:]]))
    info = tarfile.TarInfo("story.jsonl")
    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
    take("a link for a journal", [400], packed([(info, b"")]))
    take("a journal that says it has 8 GiB", [400], lying("story.jsonl", 8 << 30, b"{}\n"))
    take("a blob that says it has 8 GiB", [400], packed([("story.jsonl", whole)])[:-10240] + lying(blobs[0][0], 8 << 30, b"x" * 1024))
    take("a name of 32 MiB", [400], lying("././@LongLink", 32 * MIB, b"x" * (32 * MIB), b"L") + packed([("story.jsonl", whole)]))
    take("extra words of 32 MiB", [400], lying("pax", 32 * MIB, b"9 path=x\n" + b"x" * (32 * MIB - 9), b"x") + packed([("story.jsonl", whole)]))
    take("60 000 entries", [400], packed([("story.jsonl", journal(began))] + [(f"blobs/{i:064x}", b"") for i in range(60_000)]))
    take("a journal of 70 MiB", [400, 413], packed([("story.jsonl", b" " * (70 * MIB))]))
    take("a journal that never began", [400], packed([("story.jsonl", journal({"did": "undone"}))]))
    take("a journal that undoes nothing", [400], packed([("story.jsonl", journal({"did": "undone"}, began=began))]))
    take("a journal 100 000 brackets deep", [400], packed([("story.jsonl", b"[" * 100_000)]))
    take("a record of another program", [400], packed([("story.jsonl", journal({"did": "exploded"}, began=began))]))
    titled = {"did": "titled", "title": "x" * 1000}
    take("a title of 40 MiB", [400], packed([("story.jsonl", journal({"did": "titled", "title": "x" * (40 * MIB)}, began=began))]))
    take("300 000 records", [201, 400], packed([("story.jsonl", journal(*[{"did": "titled", "title": "x"}] * 300_000, began=began))]))
    take("40 MiB of records", [201, 400], packed([("story.jsonl", journal(*[titled] * 40_000, began=began))]))
    asked = [{"did": "asked", "take": i + 1, "parent": i or None, "caption": "x", "seed": 0, "frames": 33} for i in range(4_000)]
    edited = {"did": "edited", "edit": "append", "line": [take_["take"] for take_ in asked], "pins": []}
    take("4 000 shots in one film", [201, 400], packed([("story.jsonl", journal(*asked, edited, began=began))]))
    made = [record for record in records if record["did"] in ("asked", "edited", "made", "finished")]
    huge = [{**record, "frames": 2**63} if record["did"] == "made" else record for record in made]
    huge += [record for record in huge if record["did"] == "made"]
    order = {"asked": 0, "edited": 1, "made": 2, "finished": 3}
    take("two chunks of 2^63 frames", [201, 400], packed([("story.jsonl", journal(*sorted(huge, key=lambda it: order[it["did"]]), began=began)), *blobs]))
    fake = b"this is no film"
    hash_ = hashlib.sha256(fake).hexdigest()
    swapped = [{**record, "media": hash_} if record["did"] == "made" else record for record in records]
    names = {record["media"] for record in records if record["did"] == "made"}
    kept = [blob for blob in blobs if blob[0].split("/")[1] not in names]
    take("a film that is none", [201, 400], packed([("story.jsonl", journal(*swapped)), (f"blobs/{hash_}", fake), *kept]))
    sizes = [{**record, "frames": 10**9} if record["did"] == "asked" else record for record in records]
    take("a shot that was asked for with 10^9 frames", [201, 400], packed([("story.jsonl", journal(*sizes)), *blobs]))
    take("another model's recipe", [201, 400], packed([("story.jsonl", journal(*records[1:], began={**began, "recipe": "x" * 1_000_000})), *blobs]))
    _half_sent(target, report)


def _half_sent(target, report, count=50):
    """Files that are begun and never ended leave nothing when their senders go."""
    head = f"POST /v1/stories/import HTTP/1.1\r\nHost: {target.address}\r\nContent-Length: {200 * MIB}\r\n"
    head += "".join(f"{it}\r\n" for it in target.bearer()) + "\r\n"
    senders = []
    for _ in range(count):
        connection = connect(target)
        connection.sendall(head.encode() + b"x" * MIB)
        senders.append(connection)
    well = request(target, "GET", "/healthz")
    report.status("story files", f"{count} of 200 MiB that stop after one: is it well", [200], well)
    for connection in senders:
        connection.close()


def slow_list(target, report):
    """A heavy story must not hold up those who do something else."""
    area = "heavy stories"
    file = told(target)
    began = unpacked(file)[0][0]
    records = [{"did": "titled", "title": "x" * 200}] * 150_000
    found = request(target, "POST", "/v1/stories/import", packed([("story.jsonl", journal(*records, began=began))]), timeout=60)
    if found.status != 201:
        report.note(area, "a journal of 35 MiB is refused", "refused", found.status, found.status == 400)
        return
    id_ = found.json()["id"]
    stop, slowest = threading.Event(), 0.0

    def listing():
        while not stop.is_set():
            request(target, "GET", "/v1/stories", timeout=60)

    readers = [threading.Thread(target=listing, name="reader") for _ in range(8)]
    for reader in readers:
        reader.start()
    until = time.monotonic() + 5
    while time.monotonic() < until:
        slowest = max(slowest, request(target, "GET", "/healthz", timeout=60).took)
        time.sleep(0.05)
    stop.set()
    for reader in readers:
        reader.join()
    report.note(area, "8 who list a story of 35 MiB: is the server well, s", "1 or less", f"{slowest:.2f}", slowest <= 1)
    request(target, "DELETE", f"/v1/stories/{id_}")
