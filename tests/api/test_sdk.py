"""The public cvat-sdk client, unmodified, against the service."""

from __future__ import annotations

import csv
import io
import json
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.api.harness import FakeVector

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from cvat_sdk import Client, models
    from cvat_sdk.api_client import ApiClient, Configuration, exceptions
    from cvat_sdk.core.client import AccessTokenCredentials
    from cvat_sdk.core.downloading import Downloader

from tests.api.data import START
from tests.api.harness import Api
from tests.waiting import until


@pytest.fixture
def sdk(api: Api) -> Iterator[ApiClient]:
    with ApiClient(Configuration(host=api.url, username="owner", password="password-of-owner")) as client:
        yield client
        client.rest_client.pool_manager.clear()


def rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def test_an_export_in_three_steps(sdk: ApiClient) -> None:
    _, first_answer = sdk.events_api.list(
        _from=START - timedelta(hours=1), to=datetime.now(UTC), filename="x.csv", _parse_response=False
    )
    assert first_answer.status == 202
    query_id = json.loads(first_answer.data)["query_id"]
    until(
        lambda: sdk.events_api.list(query_id=query_id, _parse_response=False)[1],
        "the file is made",
        lambda answer: (answer.status, answer.data) == (201, b""),
    )
    _, file = sdk.events_api.list(query_id=query_id, action="download", _parse_response=False)
    assert (file.status, len(rows(file.data))) == (200, 15)
    assert file.headers["content-disposition"] == 'attachment; filename="x.csv"'


def test_an_export_of_the_newer_form(sdk: ApiClient) -> None:
    asked, answer = sdk.events_api.create_export(job_id=100, filename="x.csv", location="local")
    assert answer.status == 202
    request, _ = until(
        lambda: sdk.requests_api.retrieve(asked.rq_id),
        "the export is done",
        lambda found: found[0].status.value in ("finished", "failed"),
    )
    assert (request.status.value, request.progress, request.owner.username) == ("finished", 1, "owner")
    assert request.operation.type == "export:events"
    login = {"Authorization": sdk.configuration.get_basic_auth_token()}
    answer = sdk.rest_client.GET(request.result_url, headers=sdk.get_common_headers() | login)
    assert len(rows(answer.data)) == 10
    listed, _ = sdk.requests_api.list()
    assert asked.rq_id in [each.id for each in listed.results]
    with pytest.raises(exceptions.ApiException) as caught:
        sdk.requests_api.create_cancel(asked.rq_id)
    assert caught.value.status == 409


def test_events_go_in(sdk: ApiClient, vector: FakeVector) -> None:
    vector.requests.clear()
    now = datetime.now(UTC)
    event = models.EventRequest(scope="save:job", timestamp=now, job_id=100, duration=5, payload="{}")
    body = models.ClientEventsRequest(events=[event], timestamp=now)
    stored, answer = sdk.events_api.create(body, x_organization="first")
    assert answer.status == 201
    assert (stored.events[0].scope, stored.events[0].user_name, stored.events[0].org_id) == (
        "save:job",
        "owner",
        1,
    )
    assert vector.requests[0][0]["job_id"] == 100


def test_what_is_refused_is_an_exception(sdk: ApiClient) -> None:
    with pytest.raises(exceptions.ForbiddenException):
        sdk.events_api.list(job_id=300)
    with pytest.raises(exceptions.NotFoundException):
        sdk.requests_api.retrieve("00000000-0000-0000-0000-000000000000")


def test_the_clients_own_way_to_make_and_download_a_file(api: Api, tmp_path: Path) -> None:
    with Client(api.url, check_server_version=False) as client:
        client.login(AccessTokenCredentials("token-of-maintainer"))
        client.organization_slug = "first"
        client.config.status_check_period = 0.05
        endpoint = client.api_client.events_api.create_export_endpoint
        path = Downloader(client).prepare_and_download_file_from_endpoint(
            endpoint, tmp_path, query_params={"user_id": 4, "filename": "their events.csv"}
        )
        assert (path.name, len(rows(path.read_bytes()))) == ("their events.csv", 10)
        # it takes the bytes as they come: they must not be compressed
        assert path.read_bytes().startswith(b"scope,obj_name")
        client.api_client.rest_client.pool_manager.clear()
