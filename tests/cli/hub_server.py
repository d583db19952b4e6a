"""A stand-in for the Hugging Face hub: the requests by which files are put there and fetched."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_stand_in"


@dataclass
class Hub:
    """Commits by repository: the files of each, oldest first."""

    address: str = ""
    commits: dict[str, list[dict[str, bytes]]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def files(self, repository: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """Return name and files of a revision: ``main``, or the name of a commit."""
        commits = self.commits[repository]
        names = [hashlib.sha1(f"{repository}{n}".encode()).hexdigest() for n in range(len(commits))]
        if revision == "main" and commits:
            return names[-1], commits[-1]
        return (revision, commits[names.index(revision)]) if revision in names else None


class Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_HEAD(self) -> None:
        self.serve(body=False)

    def do_GET(self) -> None:
        self.serve(body=True)

    def serve(self, body: bool) -> None:
        repository, _, rest = unquote(urlsplit(self.path).path)[1:].partition("/resolve/")
        revision, _, name = rest.partition("/")
        if repository not in self.hub.commits or (
            self.hub.private[repository] and not self.known()
        ):
            return self.fail(401, "RepoNotFound")
        found = self.hub.files(repository, revision)
        if found is None:
            return self.fail(404, "RevisionNotFound")
        commit, files = found
        if name not in files:
            return self.fail(404, "EntryNotFound", commit)
        tag = hashlib.sha1(files[name]).hexdigest()
        notes = {"X-Repo-Commit": commit, "ETag": f'"{tag}"'}
        return self.answer(200, files[name], notes, body)

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["Content-Length"]))
        path = urlsplit(self.path).path
        if not self.known():
            return self.fail(401, "")
        if path == "/api/repos/create":
            given = json.loads(text)
            name = f"{given['organization']}/{given['name']}"
            if given["organization"] != "me":
                return self.fail(403, "")
            code = 409 if name in self.hub.commits else 200
            if code == 200:
                self.hub.private[name] = given.get("visibility") == "private" or bool(
                    given.get("private")
                )
            self.hub.commits.setdefault(name, [])
            return self.reply(code, {"url": f"{self.hub.address}/{name}"})
        if path == "/api/validate-yaml":
            return self.reply(200, {"errors": [], "warnings": []})
        repository, _, verb = path.removeprefix("/api/models/").rpartition("/")[0].rpartition("/")
        if verb == "preupload":
            files = [
                {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                for one in json.loads(text)["files"]
            ]
            return self.reply(200, {"files": files})
        assert verb == "commit"
        return self.commit(repository, [json.loads(line) for line in text.splitlines()])

    def commit(self, repository: str, lines: list[dict]) -> None:
        values = {line["key"]: line["value"] for line in lines if line["key"] == "header"}
        self.hub.messages.append(values["header"]["summary"])
        before = self.hub.commits[repository][-1] if self.hub.commits[repository] else {}
        added = {
            line["value"]["path"]: base64.b64decode(line["value"]["content"])
            for line in lines
            if line["key"] == "file"
        }
        self.hub.commits[repository].append({**before, **added})
        found = self.hub.files(repository, "main")
        assert found
        url = f"{self.hub.address}/{repository}/commit/{found[0]}"
        self.reply(200, {"success": True, "commitUrl": url, "commitOid": found[0]})

    def known(self) -> bool:
        return self.headers.get("authorization") == f"Bearer {TOKEN}"

    def reply(self, code: int, value: object) -> None:
        self.answer(code, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def fail(self, code: int, why: str, commit: str = "") -> None:
        notes = {"X-Error-Code": why} if why else {}
        if commit:
            notes["X-Repo-Commit"] = commit
        self.answer(code, b"", notes)

    def answer(self, code: int, data: bytes, notes: dict[str, str], body: bool = True) -> None:
        self.send_response(code)
        for name, value in {**notes, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data)


@contextmanager
def serving() -> Iterator[Hub]:
    """Serve an empty hub on a free port of this machine."""
    hub = Hub()
    kind = type("OwnHandler", (Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
