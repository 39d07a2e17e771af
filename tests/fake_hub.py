"""A small hub of data sets on this machine: the few routes that `datasets` asks for, with data of the real shapes."""

import gzip
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

from fusebench.evaluate.data import SOURCES

COMMIT = "0123456789abcdef0123456789abcdef01234567"
CHOICES = {"text": ["a", "b"], "label": ["A", "B"]}
SHAPES = {
    "SaylorTwift/bbh": {"input": "Is {n} even?", "target": "No"},
    "allenai/ai2_arc": {"id": "Mercury_{n}", "question": "What is {n}?", "choices": CHOICES, "answerKey": "A"},
    "aps/super_glue": {"question": "is {n} even", "passage": "A number.", "idx": 0, "label": 1},
    "Rowan/hellaswag": {
        "ind": 0,
        "activity_label": "Roofing",
        "ctx_a": "A man.",
        "ctx_b": "he",
        "ctx": "A man. he {n}",
        "endings": ["a", "b", "c", "d"],
        "source_id": "v",
        "split": "val",
        "split_type": "indomain",
        "label": "3",
    },
    "allenai/openbookqa": {"id": "8-{n}", "question_stem": "Why {n}", "choices": CHOICES, "answerKey": "B"},
    "nuprl/MultiPL-E": {
        "name": "HumanEval_{n}",
        "language": "cpp",
        "prompt": "int f() {{\n",
        "doctests": "transform",
        "original": "{n}",
        "prompt_terminology": "reworded",
        "tests": "}}\n",
        "stop_tokens": ["\n}}"],
    },
}
"""One item of each data set, in its columns on the hub; `{n}` becomes the item's number."""


def item(shape: dict[str, object], n: int) -> dict[str, object]:
    return {k: v.format(n=n) if isinstance(v, str) and "{" in v else v for k, v in shape.items()}


def repositories() -> dict[str, dict[str, bytes]]:
    """Return path -> content of every data set that the suites read, and the file beside the hub under `""`."""
    found: dict[str, dict[str, bytes]] = {}
    cards: dict[str, list[str]] = {}
    for source in {source.test: source for source in SOURCES.values()}.values():
        name, config, split = source.hub
        if name == "json":
            rows = [item(SHAPES["nuprl/MultiPL-E"], n) for n in range(source.items)]
            found[""] = {"py.json": json.dumps(rows).encode()}
            continue
        config = config or "default"
        lines = "".join(json.dumps(item(SHAPES[name], n)) + "\n" for n in range(source.items))
        path = f"{config}/{split}.jsonl.gz"
        found.setdefault(name, {})[path] = gzip.compress(lines.encode(), mtime=0)
        cards.setdefault(name, []).append(
            f"- config_name: {config}\n  data_files:\n  - split: {split}\n    path: {path}\n"
        )
    for name, parts in cards.items():
        found[name]["README.md"] = f"---\nconfigs:\n{''.join(parts)}---\n# {name}\n".encode()
    return found


@contextmanager
def hub(files: dict[str, dict[str, bytes]]) -> Iterator[tuple[str, list[str]]]:
    """Yield the address of a server of these data sets, and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def answer(self, body: bytes, status: int = 200, **headers: str) -> None:
            self.send_response(status)
            for key, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(key.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def respond(self) -> None:
            path = unquote(urlsplit(self.path).path)
            asked.append(f"{self.command} {path}")
            parts = path.strip("/").split("/")
            if parts[0] == "raw":
                self.file(files.get("", {}).get(parts[-1]))
            elif parts[0] == "datasets" and parts[3:4] == ["resolve"]:
                self.file(files.get("/".join(parts[1:3]), {}).get("/".join(parts[5:])))
            elif parts[:2] == ["api", "datasets"] and "/".join(parts[2:4]) in files:
                self.api("/".join(parts[2:4]), parts[4:])
            else:
                self.missing()

        do_GET = do_HEAD = respond

        def missing(self) -> None:
            self.answer(b'{"error": "not here"}', 404, X_Error_Code="EntryNotFound")

        def file(self, content: bytes | None) -> None:
            if content is None:
                self.missing()
                return
            tag = hashlib.sha256(content).hexdigest()
            self.answer(content, X_Repo_Commit=COMMIT, ETag=f'"{tag}"', Accept_Ranges="none")

        def api(self, name: str, rest: list[str]) -> None:
            have = files[name]
            if rest[:1] == ["tree"]:
                under = "/".join(rest[2:])
                self.json([self.entry(name, path) for path in have if path.startswith(f"{under}/")])
            else:
                names = [{"rfilename": path} for path in have]
                info = {"id": name, "sha": COMMIT, "private": False, "gated": False, "disabled": False, "tags": []}
                self.json({**info, "downloads": 0, "likes": 0, "siblings": names})

        def entry(self, name: str, path: str) -> dict[str, object]:
            content = files[name][path]
            return {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}

        def json(self, value: object) -> None:
            self.answer(json.dumps(value).encode(), Content_Type="application/json")

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
