"""A stand-in for Grafana's HTTP API: as much of it as `cvat-analytics dashboards` and `smoke` call, below a sub-path.

It proves what we send and how we take the answers that Grafana documents, and nothing about Grafana itself. Where a `grafana`
is on PATH the same tests run against that one (`tests/dashboards/grafana.py`).
https://grafana.com/docs/grafana/latest/developers/http_api/
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.serving import served

Answer = tuple[int, Any]


@dataclass
class StandIn:
    """What this Grafana holds, and what it was asked."""

    password: str
    prefix: str = "/analytics"
    anonymous: bool = False
    """Whether everybody is let in, as by the Grafana of CVAT's stock compose."""
    lists: dict[str, list[Any]] = field(default_factory=dict)
    """What else it lists, by path: users, alert rules, datasources."""
    allow_ui_updates: bool = True
    version: str = "13.2.3"
    dashboards: dict[str, dict[str, Any]] = field(default_factory=dict)
    provisioned: set[str] = field(default_factory=set)
    newer: set[str] = field(default_factory=set)
    """Uids of dashboards that are stored in the newer form."""
    unconvertible: str = ""
    convert: Callable[[dict[str, Any]], dict[str, Any]] = lambda model: model
    """What the newer form makes of the classic one, there and back."""
    messages: list[str] = field(default_factory=list)
    folder_of: dict[str, str] = field(default_factory=dict)
    folders: dict[str, str] = field(default_factory=lambda: {"CVAT": "folder1"})

    query: Callable[[str], dict[str, Any]] = lambda sql: {
        "status": 200,
        "frames": [{"schema": {"fields": []}, "data": {"values": [[3], [55]]}}],
    }
    """What the datasource's plugin makes of a query; its health is always well, as a ping is."""

    def provision(self, model: dict[str, Any]) -> None:
        """Have a dashboard, as the file provider puts it."""
        self._store(model)
        self.provisioned.add(model["uid"])
        self.folder_of[model["uid"]] = self.folders["CVAT"]

    def _store(self, model: dict[str, Any]) -> None:
        before = self.dashboards.get(model["uid"], {})
        self.dashboards[model["uid"]] = {
            **json.loads(json.dumps(model)),
            "id": before.get("id", len(self.dashboards) + 1),
            "version": before.get("version", 0) + 1,
        }

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> Answer:
        """Return status and JSON for a request below the sub-path."""
        if method == "GET" and path in self.lists:
            return 200, self.lists[path]
        if (method, path) == ("GET", "/api/health"):
            return 200, {"database": "ok", "version": self.version}
        if (method, path) == ("GET", "/api/user"):
            return 200, {"login": "admin"}
        if (method, path) == ("PUT", "/api/user/password"):
            if body["oldPassword"] != self.password or body["newPassword"] != body["confirmNew"]:
                return 401, {"message": "invalid old password"}
            self.password = body["newPassword"]
            return 200, {"message": "User password changed"}
        if (method, path) == ("GET", "/api/search"):
            return 200, [
                {"uid": uid, "title": model["title"], "type": "dash-db"}
                for uid, model in self.dashboards.items()
            ]
        if (method, path) == ("GET", "/api/folders"):
            return 200, [{"uid": uid, "title": title} for title, uid in self.folders.items()]
        if (method, path) == ("POST", "/api/folders"):
            self.folders[body["title"]] = "made"
            return 200, {"uid": "made", "title": body["title"]}
        if (method, path) == ("POST", "/api/dashboards/db"):
            return self._save(body)
        if (method, path) == ("GET", "/apis/dashboard.grafana.app"):
            return 200, {"versions": [{"version": version} for version in ("v0alpha1", "v1beta1", "v2beta1")]}
        if (method, path) == ("POST", "/api/ds/query"):
            return self._query(body)
        if re.fullmatch(r"/api/datasources/uid/[\w-]+/health", path):
            return 200, {"status": "OK", "message": "Data source is working"}
        match = re.fullmatch(r"/api/dashboards/uid/([\w-]+)", path)
        if method == "GET" and match:
            return self._get(match[1])
        match = re.fullmatch(
            r"/apis/dashboard\.grafana\.app/v1beta1/namespaces/default/dashboards/([\w-]+)", path
        )
        if method == "GET" and match:
            model = self.convert(self.dashboards[match[1]])
            failed = {"conversion": {"failed": bool(self.unconvertible), "error": self.unconvertible}}
            return 200, {"metadata": {"name": match[1]}, "spec": model, "status": failed}
        return 404, {"message": "Not found"}

    def _get(self, uid: str) -> Answer:
        if uid not in self.dashboards:
            return 404, {"message": "Dashboard not found"}
        if uid in self.newer:
            url = f"/apis/dashboard.grafana.app/v2beta1/namespaces/default/dashboards/{uid}"
            return 406, {"message": f"dashboard api version not supported, use {url} instead"}
        meta = {"folderUid": self.folder_of.get(uid, ""), "provisioned": uid in self.provisioned}
        return 200, {"dashboard": self.dashboards[uid], "meta": meta}

    def _query(self, body: Any) -> Answer:
        """Answer as Grafana does: a refused query's reason stands with the query, and the whole is a bad request."""
        if not body.get("queries") or not {"from", "to"} <= body.keys():
            return 400, {"message": "no queries found"}
        for query in body["queries"]:
            if not query.get("refId") or not query.get("datasource", {}).get("uid"):
                return 400, {"message": "query does not contain a valid data source identifier"}
        results = {query["refId"]: self.query(query["rawSql"]) for query in body["queries"]}
        return 400 if any("error" in each for each in results.values()) else 200, {"results": results}

    def _save(self, body: Any) -> Answer:
        model = body["dashboard"]
        if model["uid"] in self.provisioned and not self.allow_ui_updates:
            return 400, {"message": "Cannot save provisioned dashboard"}
        stored = self.dashboards.get(model["uid"])
        if stored and not body.get("overwrite") and model.get("version") != stored["version"]:
            return 412, {"message": "The dashboard has been changed by someone else"}
        self._store(model)
        self.newer.discard(model["uid"])
        self.folder_of[model["uid"]] = body.get("folderUid", "")
        self.messages.append(body.get("message", ""))
        return 200, {"uid": model["uid"], "status": "success"}

    def admitted(self, header: str) -> bool:
        """Return whether a request carries the administrator's login, or needs none."""
        return (
            self.anonymous
            or header == "Basic " + base64.b64encode(f"admin:{self.password}".encode()).decode()
        )


@contextmanager
def serving(grafana: StandIn) -> Iterator[tuple[str, int]]:
    """Serve the stand-in and yield its address."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            pass

        def _respond(self) -> None:
            target = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            if not target.path.startswith(grafana.prefix + "/"):
                status, content = 404, {"message": "Not found"}
            else:
                path = target.path.removeprefix(grafana.prefix)
                if path != "/api/health" and not grafana.admitted(self.headers.get("Authorization", "")):
                    status, content = 401, {"message": "Invalid username or password"}
                else:
                    status, content = grafana.answer(str(self.command), path, parse_qs(target.query), body)
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = _respond

    with served(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        yield ("127.0.0.1", server.server_port)
