"""Which secrets `make sender` accepts, and how it stores them beside those of other senders."""

import base64
import io
import json
import re
import uuid
from typing import Any, cast

import boto3
import pytest
from botocore.stub import ANY, Stubber

from cli import check_senders, known_senders, sender
from cli.signing import is_usable
from cli.stack import Stack, StackError
from create_conversation.senders.config import Sender, load
from create_conversation.senders.verification import secrets_for

WHPK = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="


class Stored:
    """A stack whose SenderSecrets holds a text and can be replaced."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
        client = boto3.client(
            "secretsmanager", region_name="eu-central-1", aws_access_key_id="a", aws_secret_access_key="b"
        )
        self.stubber = Stubber(client)
        self.stored: list[str] = []
        put = client.put_secret_value
        client.put_secret_value = self._note(put)  # type: ignore[method-assign]
        if text is None:
            self.stubber.add_client_error("get_secret_value", "ResourceNotFoundException")
        else:
            self.stubber.add_response("get_secret_value", {"SecretString": text, "VersionId": "v" * 36})
        self.stubber.activate()
        outputs = {
            "SenderSecretsArn": "arn:of:secrets",
            "WebhooksUrl": "https://api.example/webhooks",
            "ConversationsUrl": "https://api.example/conversations",
        }
        nothing: Any = None
        stack = Stack("mine", outputs, {}, nothing, client, nothing, nothing, nothing, nothing, nothing, "")
        monkeypatch.setattr(Stack, "connect", lambda _name: stack)

    def takes(self) -> None:
        self.stubber.add_response(
            "put_secret_value", {}, {"SecretId": "arn:of:secrets", "SecretString": ANY, "ClientRequestToken": ANY}
        )

    def _note(self, put: Any) -> Any:
        def note(**arguments: str) -> Any:
            answer = put(**arguments)
            self.stored.append(arguments["SecretString"])
            return answer

        return note

    @property
    def entries(self) -> dict[str, Any]:
        return cast(dict[str, Any], json.loads(self.stored[-1]))


def test_first_secret(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    stored = Stored(monkeypatch, '{"api": "generated"}')
    stored.takes()
    assert sender.main(["mine", "typeform"]) == 0
    (secret,) = stored.entries["typeform"]
    printed = capsys.readouterr().out
    assert stored.entries["api"] == "generated"
    assert len(secret) == 43
    assert printed.count(secret) == 1
    assert "https://api.example/webhooks/typeform\n" in printed
    assert "In Typeform: " in printed
    assert "within a minute" in printed
    assert "previous" not in printed
    assert "make send STACK=mine SENDER=typeform" in printed


@pytest.mark.parametrize(
    ("previous", "expected_rest"),
    [
        ('"old"', ["old"]),
        ('["old"]', ["old"]),
        ('["old", "older"]', ["old"]),
        ("17", []),
        ("[]", []),
        ('[null, "x"]', ["x"]),
    ],
)
def test_rotation_keeps_one_previous_secret_and_other_senders(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], previous: str, expected_rest: list[str]
) -> None:
    others = '"api": ["ä", "b"], "x": {"odd": [1.50, null]}'
    stored = Stored(monkeypatch, f'{{{others}, "tally": {previous}}}')
    stored.takes()
    assert sender.main(["mine", "tally"]) == 0
    secret, *rest = stored.entries["tally"]
    assert rest == expected_rest
    assert secrets_for(stored.stored[-1], "tally")[0] == secret
    unchanged = json.loads(f"{{{others}}}")
    assert {name: stored.entries[name] for name in unchanged} == unchanged
    assert ("RETIRE=1" in capsys.readouterr().out) is bool(expected_rest)


@pytest.mark.parametrize(("name", "closed"), [("typeform", True), ("api", False), ("highlevel-workflow", False)])
def test_closed_sender_of_a_stack_without_location_id(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, closed: bool
) -> None:
    Stored(monkeypatch, "{}").takes()
    assert sender.main(["mine", name]) == 0
    assert (f'put locations = ["<location id>"] under [{name}]' in capsys.readouterr().out) is closed


def test_revoke_previous_secrets(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    stored = Stored(monkeypatch, '{"api": ["new", "old"], "tally": ["t"]}')
    stored.takes()
    assert sender.main(["mine", "api", "--retire"]) == 0
    assert stored.entries == {"api": ["new"], "tally": ["t"]}
    Stored(monkeypatch, '{"api": "only"}')
    assert sender.main(["mine", "api", "--retire"]) == 0
    assert "nothing to revoke" in capsys.readouterr().out
    Stored(monkeypatch, "{}")
    with pytest.raises(StackError, match="no secret yet: make sender STACK=mine NAME=api"):
        sender.main(["mine", "api", "--retire"])


def test_sender_secrets_without_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = Stored(monkeypatch, None)
    stored.takes()
    assert sender.main(["mine", "api"]) == 0
    assert list(stored.entries) == ["api"]


@pytest.mark.parametrize("text", ["hush", "[]", '"hush"', '{"api": "hush"'])
def test_malformed_sender_secrets_are_not_changed(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    stored = Stored(monkeypatch, text)
    with pytest.raises(StackError, match="not a JSON object") as raised:
        sender.main(["mine", "typeform"])
    assert stored.stored == []
    assert "hush" not in str(raised.value)


def test_concurrent_change_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes derive the same id from the same version: Secrets Manager refuses the second one."""
    stored = Stored(monkeypatch, '{"api": "generated"}')
    expected = str(uuid.uuid5(uuid.NAMESPACE_OID, "v" * 36))
    stored.stubber.add_client_error(
        "put_secret_value",
        "ResourceExistsException",
        expected_params={"SecretId": ANY, "SecretString": ANY, "ClientRequestToken": expected},
    )
    with pytest.raises(StackError, match="nothing was stored: try again"):
        sender.main(["mine", "typeform"])


@pytest.mark.parametrize("name", [name for name, entry in load().items() if entry.scheme in ("token", "mac")])
def test_new_secret_is_usable(name: str) -> None:
    entry = load()[name]
    assert is_usable(entry, known_senders.new_secret(entry))


def test_format_of_new_secrets() -> None:
    senders = load()
    key = known_senders.new_secret(senders["standard-webhooks"])
    assert key.startswith("whsec_")
    assert len(base64.b64decode(key.removeprefix("whsec_"))) == 32
    assert known_senders.new_secret(Sender("crm", "token", where=("basic",))).startswith("crm:")


def test_imported_secret_is_not_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    stored = Stored(monkeypatch, "{}")
    stored.takes()
    monkeypatch.setattr("sys.stdin", io.StringIO("theirs-and-long-enough\n"))
    assert sender.main(["mine", "tally", "--given"]) == 0
    assert stored.entries == {"tally": ["theirs-and-long-enough"]}
    printed = capsys.readouterr()
    assert "theirs" not in printed.out + printed.err


@pytest.mark.parametrize(
    ("name", "typed", "expected"),
    [
        ("tally", "", "nothing was entered"),
        ("standard-webhooks", "whsec_hush!", "must be whsec_ and base64"),
        ("standard-webhooks-v1a", "whsk_hush", "must be whpk_ and base64 of 32 bytes"),
        ("token", "hüsh", "printable characters"),
    ],
)
def test_unusable_secret_is_refused_and_not_printed(
    monkeypatch: pytest.MonkeyPatch, name: str, typed: str, expected: str
) -> None:
    stored = Stored(monkeypatch, "{}")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{typed}\n"))
    with pytest.raises(StackError, match=expected) as raised:
        sender.main(["mine", name, "--given"])
    assert "nothing was stored" in str(raised.value)
    assert "hush" not in str(raised.value)
    assert stored.stored == []


def test_known_secret_is_refused_and_short_secret_gets_a_hint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Stored(monkeypatch, '{"tally": ["short", "old"]}')
    monkeypatch.setattr("sys.stdin", io.StringIO("short\n"))
    with pytest.raises(StackError, match="already has this secret"):
        sender.main(["mine", "tally", "--given"])
    assert "can guess a secret this short" in capsys.readouterr().err


def test_public_key_is_imported(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    stored = Stored(monkeypatch, "{}")
    stored.takes()
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{WHPK}\n"))
    assert sender.main(["mine", "standard-webhooks-v1a"]) == 0
    assert stored.entries == {"standard-webhooks-v1a": [WHPK]}
    printed = capsys.readouterr().out
    assert "stored the first public key" in printed
    assert "make send" not in printed


def test_sender_without_a_secret(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    stored = Stored(monkeypatch, "{}")
    assert sender.main(["mine", "highlevel-app"]) == 0
    printed = capsys.readouterr().out
    assert "put app_id under [highlevel-app] in functions/senders.toml" in printed
    assert "https://api.example/webhooks/highlevel-app\n" in printed
    assert stored.stored == []
    with pytest.raises(StackError, match="permissions"):
        sender.main(["mine", "event"])


def test_url_that_contains_the_secret(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    stored = Stored(monkeypatch, "{}")
    stored.takes()
    sender.main(["mine", "highlevel-workflow"])
    (secret,) = stored.entries["highlevel-workflow"]
    assert f"https://api.example/webhooks/highlevel-workflow?token={secret}\n" in capsys.readouterr().out


def test_instructions_for_an_own_sender(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    own = {
        "crm": Sender("crm", "token", where=("basic",)),
        "site": Sender("site", "token", where=("header:x-key", "body:key")),
        "shop": Sender("shop", "mac", sig_header="x-shop"),
    }
    monkeypatch.setattr(known_senders, "load", lambda: own)
    for name, expected in (
        ("crm", "as HTTP Basic: user crm, password "),
        ("site", "the header x-key, or the member key of the body"),
        ("shop", "in the header x-shop"),
    ):
        Stored(monkeypatch, "{}").takes()
        assert sender.main(["mine", name]) == 0
        printed = capsys.readouterr().out
        assert expected in printed
        assert "make deploy" in printed


@pytest.mark.parametrize(
    ("name", "expected"),
    [("", "name a sender .*NAME=typeform.*known senders: api"), ("typefrom", "did you mean typeform.*senders.toml")],
)
def test_unknown_name(name: str, expected: str) -> None:
    with pytest.raises(StackError, match=expected):
        sender.main(["mine", name])


def test_mistake_in_the_sender_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check_senders.main() == 0
    assert re.fullmatch(r"\d+ senders, no mistakes\n", capsys.readouterr().out)
    (tmp_path / "presets.toml").write_text('[own]\nscheme = "tokn"')
    (tmp_path / "senders.toml").write_text("")
    monkeypatch.setattr(check_senders, "load", lambda: load(tmp_path, tmp_path / "presets.toml"))
    monkeypatch.setattr(known_senders, "load", lambda: load(tmp_path, tmp_path / "presets.toml"))
    assert check_senders.main() == 1
    expected = capsys.readouterr().err
    assert expected.startswith("presets.toml: [own] scheme: ")
    assert expected.count("\n") == 1
    with pytest.raises(StackError, match=r"presets.toml: \[own\] scheme"):
        sender.main(["mine", "typeform"])
