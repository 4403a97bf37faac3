"""The benchmark refuses handlers that answer wrongly, and counts correctly."""

import json
import shutil
import ssl
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from benchmarks.artifacts import ALL, artifacts
from benchmarks.measure import Measured, Workload, WrongAnswerError, count_calls, measure, summary, zipped_bytes
from benchmarks.report import document, tables, write_tables
from benchmarks.stand_ins import TOKEN, StandIns
from highlevel.client import HighLevel

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="Lambda's runtime client (awslambdaric) is for Linux only"),
]

ROOT = Path(__file__).parents[2]
SHORT = Workload(rounds=1, warm=8, block=40, long=40)
NAMES = [peer.name for peer in ALL]
OURS = ("ours", "message")


@pytest.fixture(scope="module")
def built() -> dict[str, Path]:
    return artifacts()


@pytest.fixture(scope="module")
def measured(built: dict[str, Path]) -> dict[str, Measured]:
    """One short round by TLS. Raises if a handler answers wrongly."""
    return measure(built, SHORT, tls=True)


@pytest.fixture(scope="module")
def calls(built: dict[str, Path]) -> dict[str, dict[str, list[str]]]:
    return count_calls(built["ours"])


@pytest.fixture(scope="module")
def figures(measured: dict[str, Measured], built: dict[str, Path], calls: dict[str, dict[str, list[str]]]) -> Any:
    return json.loads(json.dumps(document(measured, measured, built, SHORT, calls, tls=True)))


def test_the_artifacts_contain_nothing_that_lambda_provides(built: dict[str, Path]) -> None:
    for name, artifact in built.items():
        assert any(artifact.rglob("*.pyc")) == (name in OURS), name
        assert not {"boto3", "botocore"} & {path.name for path in artifact.iterdir()}, name
    assert (built["tutorial"] / "requests").is_dir()
    assert (built["sdk"] / "pymongo").is_dir()


def test_a_round_measures_every_figure_of_every_peer(measured: dict[str, Measured]) -> None:
    figures = {"first_answer_ms", "init_ms", "cpu_opened_ms", "cpu_repeated_ms", "cpu_failing_ms", "peak_mb"}
    figures |= {"connections_per_1000", "submission_p50_ms", "submission_p99_ms"}
    only_ours = {"breaker_open_ms", "cpu_breaker_open_ms", "long_peak_mb", "long_growth_mb"}
    assert list(measured) == NAMES
    for name, found in measured.items():
        assert set(found.values) == figures | (only_ours if name in OURS else set()), name
        assert all(value > 0 for figure in figures - {"connections_per_1000"} for value in found.values[figure]), name
        (init,), (answer,) = found.values["init_ms"], found.values["first_answer_ms"]
        assert init < answer


def test_it_counts_connections_and_calls(measured: dict[str, Measured]) -> None:
    connections = {name: found.values["connections_per_1000"] for name, found in measured.items()}
    assert connections == {name: [25.0] for name in NAMES} | {"tutorial": [1000.0], "null": [0.0]}  # one in 40 is 25
    none = {"highlevel": 0, "secretsmanager": 0, "dynamodb": 0, "sqs": 0}
    assert measured["ours"].calls == {
        "cold": none | {"highlevel": 1, "secretsmanager": 2, "dynamodb": 3},
        "opened": none | {"highlevel": 1, "dynamodb": 2},
        "repeated": none,  # from memory
        "failing": none | {"highlevel": 1, "dynamodb": 1, "sqs": 1},
        "breaker_open": none | {"dynamodb": 1, "sqs": 1},
    }
    assert measured["message"].calls == {
        "cold": none | {"highlevel": 3, "secretsmanager": 2, "dynamodb": 5},
        "opened": none | {"highlevel": 3, "dynamodb": 4},
        "repeated": none,
        "failing": none | {"highlevel": 1, "dynamodb": 1, "sqs": 1},
        "breaker_open": none | {"dynamodb": 1, "sqs": 1},
    }
    assert measured["tutorial"].calls["opened"] == none | {"highlevel": 1, "secretsmanager": 1}
    assert measured["powertools"].calls["repeated"] == none | {"dynamodb": 1}
    assert measured["null"].calls["opened"] == none


def test_the_page_has_a_table_row_for_each_peer(measured: dict[str, Measured], figures: Any, tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    shutil.copy(ROOT / "docs/benchmarks.md", page)
    for _ in range(2):
        write_tables(page, figures)
    written = page.read_text()
    assert written.count(tables(figures)) == 1
    assert written.startswith("# Benchmarks\n")
    assert "## How it is measured" in written
    for peer in ALL:
        rows = tables(figures).partition("## Start")[2].splitlines()
        row = next(line for line in rows if peer.title in line)
        assert f"{measured[peer.name].values['first_answer_ms'][0]:.0f} (" in row
    assert "awslambdaric" in written


SEARCH, CREATE = "GET /contacts/search/duplicate", "POST /contacts/"
OPEN, COMMENT = "POST /conversations/", "POST /conversations/messages"
READ, BADGE = "GET /conversations/{id}", "PUT /conversations/{id}"
CALLS = {
    "nothing": {
        "contact id": [OPEN],
        "e-mail address, known": [SEARCH, OPEN],
        "e-mail address, new": [SEARCH, CREATE, OPEN],
        "contact id, its second submission": [],
        "the same again": [],
    },
    "message": {
        "contact id": [OPEN, COMMENT],
        "e-mail address, known": [SEARCH, OPEN, COMMENT],
        "e-mail address, new": [SEARCH, CREATE, OPEN, COMMENT],
        "contact id, its second submission": [COMMENT],
        "the same again": [],
    },
    "message and badge": {
        "contact id": [OPEN, COMMENT, BADGE],
        "e-mail address, known": [SEARCH, OPEN, COMMENT, BADGE],
        "e-mail address, new": [SEARCH, CREATE, OPEN, COMMENT, BADGE],
        "contact id, its second submission": [COMMENT, READ, BADGE],
        "the same again": [],
    },
}


def test_it_counts_the_calls_to_highlevel_of_the_artifact(calls: dict[str, dict[str, list[str]]], figures: Any) -> None:
    assert calls == CALLS
    row = f"| message and badge | e-mail address, known | 4 | `{SEARCH}`, `{OPEN}`, `{COMMENT}`, `{BADGE}` |"
    assert row in tables(figures).splitlines()


def test_the_page_compares_the_results_with_the_targets(figures: Any) -> None:
    medians = figures["medians"]
    bloated = medians["usual order"] | {"ours": medians["usual order"]["ours"] | {"artifact_mb": 6.0}}
    rows = tables(figures | {"medians": medians | {"usual order": bloated}}).partition("## Start")[0].splitlines()
    assert "|  | at most | hoped for | both orders | usual order | reversed order |" in rows
    (artifact,) = (row for row in rows if row.startswith("| artifact, MB zipped | 5 |"))
    size = f"{figures['peers']['ours']['artifact_bytes'] / 1e6:.2f}"
    assert artifact == f"| artifact, MB zipped | 5 | 5 | {size} | 6.00 (missed) | {size} |"


def test_the_page_begins_with_the_figures_in_which_a_peer_is_better(figures: Any) -> None:
    medians = figures["medians"]["both orders"]
    better = {name: found | {"cpu_opened_ms": 1.0} if name == "sdk" else found for name, found in medians.items()}
    better["ours"] = medians["ours"] | {"cpu_opened_ms": 2.0, "artifact_mb": 0.5}
    written = tables(figures | {"medians": figures["medians"] | {"both orders": better}})
    first = written.partition("## In short")[0]
    assert first.index("## Where a peer is better") < 500
    assert "| CPU of an opened submission, ms | official SDK | 2.00 | 1.00 | 2.00 | It makes one call" in first
    assert "artifact zipped, MB |" not in first


def test_the_values_of_both_orders_are_joined() -> None:
    one, other = Measured({"a": [1.0, 2.0], "b": [3.0]}), Measured({"a": [9.0]}, {"opened": {"sqs": 1.0}})
    assert one.joined(other) == Measured({"a": [1.0, 2.0, 9.0], "b": [3.0]}, {"opened": {"sqs": 1.0}})


def test_a_page_without_marks_is_not_changed(figures: Any, tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text("# Benchmarks\n")
    with pytest.raises(ValueError, match="marks"):
        write_tables(page, figures)
    assert page.read_text() == "# Benchmarks\n"


def test_a_handler_that_does_not_open_conversations_is_not_measured(built: dict[str, Path]) -> None:
    with pytest.raises(WrongAnswerError, match=r"tutorial.*without the conversation"):
        measure(built | {"tutorial": built["null"]}, SHORT)


def test_a_handler_that_does_not_start_is_not_measured(built: dict[str, Path]) -> None:
    with pytest.raises(WrongAnswerError, match="Unable to import module"):
        measure(built | {"ours": built["null"]}, SHORT)


def test_the_same_artifact_has_the_same_size(built: dict[str, Path], tmp_path: Path) -> None:
    copied = shutil.copytree(built["tutorial"], tmp_path / "copy", copy_function=shutil.copyfile)
    assert zipped_bytes(copied) == zipped_bytes(built["tutorial"]) > 100_000


def test_the_summary_has_medians_and_quartiles() -> None:
    assert summary([5, 1, 2, 3, 4]) == {"median": 3, "q1": 2, "q3": 4, "min": 1, "max": 5, "n": 5}
    assert summary([7]) == {"median": 7, "q1": 7, "q3": 7, "min": 7, "max": 7, "n": 1}


# The stand-ins


@pytest.fixture
def stand_ins() -> Iterator[StandIns]:
    with StandIns() as started:
        yield started


def post(stand_ins: StandIns, path: str = "/conversations/", **headers: str) -> tuple[int, Any]:
    given = {"Authorization": f"Bearer {TOKEN}", "Version": "2021-04-15", "Content-Type": "application/json"}
    request = urllib.request.Request(
        stand_ins.environment["HIGHLEVEL_BASE_URL"] + path,
        json.dumps({"locationId": "location", "contactId": "contact"}).encode(),
        {name: value for name, value in (given | headers).items() if value},
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return response.status, json.load(response)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)["message"]


def test_the_stand_in_refuses_what_highlevel_refuses(stand_ins: StandIns) -> None:
    assert post(stand_ins, "/conversations") == (404, "Cannot POST /conversations")
    assert post(stand_ins, Version="") == (401, "version header was not found.")
    assert post(stand_ins, Authorization="Bearer pit-other") == (401, "Invalid Private Integration token")
    assert post(stand_ins)[0] == 201
    assert post(stand_ins) == (400, "Conversation with the contact id:contact already exists!")
    stand_ins.fail(True)
    assert post(stand_ins)[0] == 503
    stand_ins.fail(False)
    assert post(stand_ins)[0] == 400


def test_the_stand_in_counts_calls_since_the_last_question(stand_ins: StandIns) -> None:
    for _ in range(3):
        post(stand_ins)
    assert stand_ins.counted() == {"highlevel": 3, "POST /conversations/": 3, "connections": 3}
    assert not stand_ins.counted()


def test_a_client_without_the_authority_is_refused_by_tls() -> None:
    with StandIns(tls=True) as stand_ins:
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            post(stand_ins)
        context = ssl.create_default_context(cafile=stand_ins.environment["SSL_CERT_FILE"])
        assert len(context.get_ca_certs()) > 1
        url = stand_ins.environment["HIGHLEVEL_BASE_URL"]
        with pytest.raises(HTTPError, match="404"):
            urllib.request.urlopen(url, timeout=5, context=context)


def test_a_highlevel_with_an_unknown_certificate_is_not_called() -> None:
    with StandIns(tls=True) as stand_ins:
        url = stand_ins.environment["HIGHLEVEL_BASE_URL"]
        result = HighLevel(url).create_conversation("a-token-of-highlevel", "location", "contact", within=5)
        assert (result.outcome, result.reason) == ("deferred", "upstream_unreachable")
        assert not stand_ins.counted()["highlevel"]
