"""Requests made from our own OpenAPI description by Schemathesis, right ones and wrong ones: none may be answered 5xx.

504 is left out of that: it is the answer to a deadline that the request itself has set too short.

    pip install schemathesis
    python benchmarks/schema_requests.py -o benchmarks/results/schema-requests.json

A server is started with the embedded model. Takes some minutes.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import subprocess
import sys
import tempfile
import threading
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

SAID = re.compile(r"open (http://[^ ]+) ")


def main() -> None:
    arguments = _arguments()
    command = [sys.executable, "-m", "varedit", "serve", "--port", "0", "--drain-delay", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None, "it was asked for"
        found = SAID.search(server.stderr.readline())
        if found is None:
            raise SystemExit("the server did not start")
        lines: list[str] = []
        reader = threading.Thread(target=lambda: lines.extend(iter(server.stderr.readline, "")))  # type: ignore[union-attr]
        reader.start()
        code = asked(found[1], arguments)
        server.send_signal(signal.SIGTERM)
        if server.wait(60) != 0:
            raise SystemExit(f"the server ended with {server.returncode}")
        reader.join()
    statuses = counted(lines)
    report: dict[str, Any] = {
        "command": f"python benchmarks/schema_requests.py {' '.join(sys.argv[1:])}",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "versions": {name: version(name) for name in ("schemathesis", "fastapi", "starlette")},
        "max_examples": arguments.max_examples,
        "requests": sum(statuses.values()),
        "statuses": statuses,
        "schemathesis_exit_code": code,  # 1 where it met a 504
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    sys.stderr.write(json.dumps(report, indent=1) + "\n")
    if any(status >= "500" and status != "504" for status in statuses) or code not in (0, 1):
        raise SystemExit("some request was answered 5xx")


def asked(url: str, arguments: argparse.Namespace) -> int:
    """Let Schemathesis ask; its exit code. It runs elsewhere, as it leaves files behind."""
    options = ["--checks", "not_a_server_error", "--max-examples", str(arguments.max_examples)]
    options += ["--seed", str(arguments.seed), "--mode", "all", "--wait-for-schema", "60"]
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", *options]
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run(command, cwd=folder).returncode


def counted(lines: list[str]) -> dict[str, int]:
    """Answers by status, from the server's log."""
    statuses: dict[str, int] = {}
    for line in lines:
        if line.startswith("{") and "status" in (record := json.loads(line)):
            statuses[str(record["status"])] = statuses.get(str(record["status"]), 0) + 1
    return dict(sorted(statuses.items()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max-examples", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).parent / "results" / "schema-requests.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
