"""Damaged pictures and damaged requests by the hundred thousand: nothing but an answer or one of our own errors.

Pictures: small files of every kind that is read, with bytes flipped, cut, repeated, mixed with another file or
invented, go to `varedit.images.read_image`. It must give a picture or an error of ours. Requests: forms and JSON, from
well-formed ones with odd values to bytes at random, go through the whole HTTP app with the embedded model behind it;
the answer must have a status below 500 (or 504, where the request set itself too short a deadline), and if it is an
error the one body that errors have. Memory must stay below a cap.

    python benchmarks/fuzz.py -o benchmarks/results/fuzz.json

Every input follows from --seed and its number.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import logging
import random
import resource
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from recipe import recipe, tell

from varedit.errors import VAREditError
from varedit.images import read_image
from varedit.pipeline import VAREditPipeline
from varedit.serving.app import create_app
from varedit.serving.engine import Engine
from varedit.serving.limits import EngineLimits
from varedit.serving.metrics import Metrics
from varedit.serving.service import Service
from varedit.serving.settings import ServerSettings

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
MODES = ("RGB", "RGBA", "L", "P", "1", "CMYK", "I;16", "LA")
MAX_PIXELS = 1_000_000
MEMORY_CAP = 1_500_000_000  # bytes that the process may hold at most
ODD = ("", "0", "-1", "1", "2", "1e400", "nan", "7abc", "\x00", "é", "true", "x" * 3000, "64x64", "1" * 40, "9" * 5000)
FIELDS = (
    *("prompt", "n", "size", "seed", "guidance_scale", "temperature", "top_k", "top_p", "stream", "partial_images"),
    *("model", "background", "output_format", "output_compression", "response_format", "quality", "deadline_ms"),
    *("negative_prompt", "metadata", "svg[x]", "frame_count", "mask", "image", "image[]", "images", "odd"),
)


def main() -> None:
    arguments = _arguments()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)  # parsers tell of every damaged byte
    started = time.perf_counter()
    pictures = fuzz_pictures(arguments.seed, arguments.pictures)
    tell(f"{sum(pictures.values())} pictures: {dict(pictures)}")
    requests = asyncio.run(fuzz_requests(arguments.seed, arguments.requests))
    tell(f"{sum(requests.values())} requests: {dict(requests)}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    report = recipe("pillow", "fastapi", "starlette", "python-multipart") | {
        "inputs": sum(pictures.values()) + sum(requests.values()),
        "pictures": dict(pictures.most_common()),
        "requests": dict(sorted(requests.items())),
        "seconds": round(time.perf_counter() - started),
        "peak_memory_mb": round(peak / 1e6),
        "memory_cap_mb": round(MEMORY_CAP / 1e6),
    }
    if peak > MEMORY_CAP:
        raise SystemExit(f"the process held {peak / 1e6:.0f} MB")
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    tell(json.dumps(report, indent=1))


def fuzz_pictures(seed: int, count: int) -> Counter[str]:
    """What became of damaged pictures; any error that is not ours ends the run with the input's number."""
    files = seeds()
    found: Counter[str] = Counter()
    for number in range(count):
        data = damaged(random.Random(f"{seed}:picture:{number}"), files)
        try:
            read_image(data, max_pixels=MAX_PIXELS, max_bytes=2**20)
            found["read"] += 1
        except VAREditError as error:
            found[getattr(error, "code", type(error).__name__)] += 1
        except BaseException as error:
            raise SystemExit(f"picture {number} raised {type(error).__name__}: {error}") from error
    return found


def seeds() -> list[bytes]:
    """A small file of each kind and mode that can be written."""
    pixels = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    files = []
    for kind in FORMATS:
        for mode in MODES:
            image = Image.fromarray(pixels)
            image = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
            buffer = io.BytesIO()
            try:
                image.save(buffer, kind, **({} if kind in ("BMP", "GIF") else {"exif": exif}))
            except (OSError, ValueError, KeyError):  # a kind that does not know the mode
                continue
            files.append(buffer.getvalue())
    return files


def damaged(source: random.Random, files: list[bytes]) -> bytes:
    """One input, somewhere between a whole file and noise."""
    data = bytearray(source.choice(files))
    for _ in range(source.randint(0, 4)):
        place = source.randrange(max(1, len(data)))
        match source.randrange(6):
            case 0:
                for _ in range(source.randint(1, 8)):
                    if data:
                        data[source.randrange(len(data))] = source.randrange(256)
            case 1:
                del data[place:]
            case 2:
                data[place:place] = source.randbytes(source.randint(1, 64))
            case 3:
                other = source.choice(files)
                data[place:] = other[source.randrange(len(other)) :]
            case 4:
                data[place : place + 4] = source.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 65535)).to_bytes(4, "big")
            case 5:
                data[place : place + source.randint(1, 32)] = b""
    return bytes(data) if source.random() < 0.98 else source.randbytes(source.randint(0, 200))


async def fuzz_requests(seed: int, count: int) -> Counter[str]:
    """Statuses of damaged requests to the whole app; a 5xx ends the run with the input's number."""
    pipeline = VAREditPipeline.from_pretrained(device="cpu")
    engine = Engine(pipeline, EngineLimits.of(pipeline))
    engine.start()
    service = Service(lambda: engine, ServerSettings(max_upload_bytes=2**16, max_pixels=MAX_PIXELS), Metrics(), engine)
    app = create_app(service)
    files = seeds()
    found: Counter[str] = Counter()
    try:
        for number in range(count):
            source = random.Random(f"{seed}:request:{number}")
            headers, body = request(source, files)
            status, answer = await answered(app, headers, body)
            found[str(status)] += 1
            if (status >= 500 and status != 504) or (status >= 400 and set(json.loads(answer)) != {"error"}):
                raise SystemExit(f"request {number} was answered {status}: {answer[:300]!r}")
    finally:
        await asyncio.to_thread(engine.close)
    return found


def request(source: random.Random, files: list[bytes]) -> tuple[dict[str, str], bytes]:
    """Headers and body of one request; nearly all of them are wrong somewhere, so that few cost an edit."""
    make: Callable[[random.Random, list[bytes]], tuple[dict[str, str], bytes]] = source.choice((form, form, as_json))
    headers, body = make(source, files)
    if source.random() < 0.3:
        body = damaged(source, [body])
    if source.random() < 0.05:
        headers["content-type"] = source.choice(("", "text/plain", "multipart/form-data", "application/json; x=\x01"))
    return headers, body


def fields(source: random.Random) -> list[tuple[str, str]]:
    chosen = [(source.choice(FIELDS), source.choice(ODD)) for _ in range(source.randint(0, 4))]
    if source.random() < 0.9:
        chosen.append(("prompt", source.choice(("darker",) * 12 + ODD)))
    return chosen


def form(source: random.Random, files: list[bytes]) -> tuple[dict[str, str], bytes]:
    parts = [
        f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'.encode()
        for name, text in fields(source)
    ]
    for _ in range(source.choice((0, 1, 1, 1, 2))):
        name = source.choice(("image", "image", "image[]", "mask"))
        head = f'--x\r\nContent-Disposition: form-data; name="{name}"; filename="a"\r\n\r\n'.encode()
        parts.append(head + damaged(source, files) + b"\r\n")
    source.shuffle(parts)
    return {"content-type": "multipart/form-data; boundary=x"}, b"".join(parts) + b"--x--\r\n"


def as_json(source: random.Random, files: list[bytes]) -> tuple[dict[str, str], bytes]:
    odd: tuple[Any, ...] = (*ODD, None, True, [], {}, -1, 1.5, 1e308, 10**400, [[]], "\ud800", {"image_url": 1})
    body: dict[str, Any] = {name: source.choice(odd) for name, _ in fields(source)}
    text = base64.b64encode(damaged(source, files)).decode()
    url = source.choice(("data:image/png;base64,", "data:;base64,", "data:", "https://example.com/")) + text
    body["images"] = source.choice(([{"image_url": url}], [{"image_url": url}], [{"file_id": "x"}], [1], url, odd[-5]))
    return {"content-type": "application/json"}, json.dumps(body).encode()


async def answered(app: Any, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
    """Call the app as a web server would: (status, body)."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]
    status, parts = 0, []

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status
        status = message.get("status", status)
        parts.append(message.get("body", b""))

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/v1/images/edits",
        "raw_path": b"/v1/images/edits",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost"), *((k.encode(), v.encode("latin-1")) for k, v in headers.items())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    await app(scope, receive, send)
    return status, b"".join(parts)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=4_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "results" / "fuzz.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
