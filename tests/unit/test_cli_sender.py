"""Which secrets `./hlc sender` accepts, and how it stores them beside those of other senders."""

import base64
import io
import json
import re
import uuid
from typing import Any, cast

import boto3
import pytest
from botocore.stub import ANY, Stubber

from cli import known_senders, sender
from cli.app import main
from cli.options import NeedsYesError, Settings
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
        clients = {"secretsmanager": client}
        stack = Stack("mine", outputs, {}, clients.__getitem__, hlc="./hlc --stack mine")
        monkeypatch.setattr(Settings, "connect", lambda _settings: stack)

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
    assert main(["sender", "add", "typeform"]) == 0
    (secret,) = stored.entries["typeform"]
    printed = capsys.readouterr().out
    assert stored.entries["api"] == "generated"
    assert len(secret) == 43
    assert secret not in printed
    assert "to see it: ./hlc --stack mine sender show typeform --reveal\n" in printed
    assert "https://api.example/webhooks/typeform\n" in printed
    assert "In Typeform: " in printed
    assert "within a minute" in printed
    assert "previous" not in printed
    assert "./hlc --stack mine send typeform" in printed


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
    command = "rotate" if expected_rest else "add"
    assert main(["sender", command, "tally"]) == 0
    secret, *rest = stored.entries["tally"]
    assert rest == expected_rest
    assert secrets_for(stored.stored[-1], "tally")[0] == secret
    unchanged = json.loads(f"{{{others}}}")
    assert {name: stored.entries[name] for name in unchanged} == unchanged
    assert ("./hlc --stack mine sender retire tally" in capsys.readouterr().out) is bool(expected_rest)


@pytest.mark.parametrize(("name", "closed"), [("typeform", True), ("api", False), ("highlevel-workflow", False)])
def test_closed_sender_of_a_stack_without_location_id(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, closed: bool
) -> None:
    Stored(monkeypatch, "{}").takes()
    assert main(["sender", "add", name]) == 0
    assert (f'put locations = ["<location id>"] under [{name}]' in capsys.readouterr().out) is closed


def test_revoke_previous_secrets(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    stored = Stored(monkeypatch, '{"api": ["new", "old"], "tally": ["t"]}')
    stored.takes()
    assert main(["sender", "retire", "api"]) == 0
    assert stored.entries == {"api": ["new"], "tally": ["t"]}
    Stored(monkeypatch, '{"api": "only"}')
    assert main(["sender", "retire", "api"]) == 0
    assert "nothing to revoke" in capsys.readouterr().out
    Stored(monkeypatch, "{}")
    with pytest.raises(StackError, match=r"no secret yet: \./hlc --stack mine sender add api"):
        main(["sender", "retire", "api"])


def test_sender_secrets_without_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = Stored(monkeypatch, None)
    stored.takes()
    assert main(["sender", "add", "api"]) == 0
    assert list(stored.entries) == ["api"]


@pytest.mark.parametrize("text", ["hush", "[]", '"hush"', '{"api": "hush"'])
def test_malformed_sender_secrets_are_not_changed(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    stored = Stored(monkeypatch, text)
    with pytest.raises(StackError, match="not a JSON object") as raised:
        main(["sender", "add", "typeform"])
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
        main(["sender", "add", "typeform"])


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
    assert main(["sender", "import", "tally"]) == 0
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
        main(["sender", "import", name])
    assert "nothing was stored" in str(raised.value)
    assert "hush" not in str(raised.value)
    assert stored.stored == []


def test_known_secret_is_refused_and_short_secret_gets_a_hint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Stored(monkeypatch, '{"tally": ["short", "old"]}')
    monkeypatch.setattr("sys.stdin", io.StringIO("short\n"))
    with pytest.raises(StackError, match="already has this secret"):
        main(["sender", "import", "tally"])
    assert "can guess a secret this short" in capsys.readouterr().err


def test_public_key_is_imported(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    stored = Stored(monkeypatch, "{}")
    stored.takes()
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{WHPK}\n"))
    assert main(["sender", "import", "standard-webhooks-v1a"]) == 0
    assert stored.entries == {"standard-webhooks-v1a": [WHPK]}
    printed = capsys.readouterr().out
    assert "stored the first public key" in printed
    assert "hlc send " not in printed


def test_sender_without_a_secret(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    stored = Stored(monkeypatch, "{}")
    assert main(["sender", "add", "highlevel-app"]) == 0
    printed = capsys.readouterr().out
    assert "put app_id under [highlevel-app] in functions/senders.toml" in printed
    assert "https://api.example/webhooks/highlevel-app\n" in printed
    assert stored.stored == []
    with pytest.raises(StackError, match="permissions"):
        main(["sender", "add", "event"])


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "_is_terminal", lambda: True)


def test_the_secret_is_shown_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], terminal: None
) -> None:
    Stored(monkeypatch, '{"highlevel-workflow": ["n&w", "old"]}')
    assert main(["sender", "show", "highlevel-workflow", "--reveal"]) == 0
    printed = capsys.readouterr().out
    assert "secret          n&w\n" in printed
    assert "previous secret old\n" in printed
    assert "https://api.example/webhooks/highlevel-workflow?token=n%26w\n" in printed


def test_http_basic_is_shown_in_parts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], terminal: None
) -> None:
    monkeypatch.setattr(known_senders, "load", lambda: {"crm": Sender("crm", "token", where=("basic",))})
    Stored(monkeypatch, '{"crm": "crm:pass:word"}')
    assert main(["sender", "show", "crm", "--reveal"]) == 0
    assert "as HTTP Basic   user crm, password pass:word\n" in capsys.readouterr().out


def test_the_secret_goes_elsewhere_only_with_yes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(NeedsYesError, match="add --yes"):
        main(["sender", "show", "typeform", "--reveal"])
    Stored(monkeypatch, '{"typeform": "hush"}')
    assert main(["sender", "show", "typeform", "--reveal", "--json", "--yes"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["name"], shown["url"], shown["secret"]) == (
        "typeform",
        "https://api.example/webhooks/typeform",
        "hush",
    )
    assert shown["authentication"] == {
        "scheme": "mac",
        "sig_header": "typeform-signature",
        "signed": "{body}",
        "hash": "sha256",
    }


@pytest.mark.parametrize("words", [["show", "typeform"], ["list"], ["retire", "typeform"]], ids=" ".join)
@pytest.mark.parametrize("more", [[], ["--json"], ["--json", "--yes"]], ids=" ".join)
def test_no_other_command_prints_a_secret(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    terminal: None,
    words: list[str],
    more: list[str],
) -> None:
    Stored(monkeypatch, '{"typeform": ["hush"], "api": "silence"}')
    assert main(["sender", *words, *more]) == 0
    printed = capsys.readouterr()
    assert "hush" not in printed.out + printed.err
    assert "silence" not in printed.out + printed.err
    if more:
        json.loads(printed.out)


@pytest.mark.parametrize(
    ("command", "secrets", "expected"),
    [
        pytest.param("add", '{"tally": ["t"]}', "tally has a secret already: .* sender rotate tally", id="a second"),
        pytest.param("rotate", "{}", "tally has no secret yet: .* sender add tally", id="none to rotate"),
    ],
)
def test_add_and_rotate_name_each_other(
    monkeypatch: pytest.MonkeyPatch, command: str, secrets: str, expected: str
) -> None:
    stored = Stored(monkeypatch, secrets)
    with pytest.raises(StackError, match=expected):
        main(["sender", command, "tally"])
    assert stored.stored == []


def test_instructions_for_an_own_sender(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    own = {
        "crm": Sender("crm", "token", where=("basic",)),
        "site": Sender("site", "token", where=("header:x-key", "body:key")),
        "shop": Sender("shop", "mac", sig_header="x-shop"),
    }
    monkeypatch.setattr(known_senders, "load", lambda: own)
    for name, expected in (
        ("crm", "HTTP Basic, where the secret is user:password"),
        ("site", "the header x-key, or the member key of the body"),
        ("shop", "in the header x-shop"),
    ):
        Stored(monkeypatch, "{}").takes()
        assert main(["sender", "add", name]) == 0
        printed = capsys.readouterr().out
        assert expected in printed
        assert "./hlc --stack mine deploy" in printed


@pytest.mark.parametrize(
    ("name", "expected"),
    [("xyz", "no sender xyz; known senders: api, .*senders.toml"), ("typefrom", "did you mean typeform.*senders.toml")],
)
def test_unknown_name(name: str, expected: str) -> None:
    with pytest.raises(StackError, match=expected):
        main(["sender", "add", name])


def test_mistake_in_the_sender_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sender", "check"]) == 0
    assert re.fullmatch(r"\d+ senders, no mistakes\n", capsys.readouterr().out)
    (tmp_path / "presets.toml").write_text('[own]\nscheme = "tokn"')
    (tmp_path / "senders.toml").write_text("")
    monkeypatch.setattr(known_senders, "load", lambda: load(tmp_path, tmp_path / "presets.toml"))
    with pytest.raises(StackError, match=r"^presets.toml: \[own\] scheme: .*$"):
        main(["sender", "check"])
    with pytest.raises(StackError, match=r"presets.toml: \[own\] scheme"):
        main(["sender", "add", "typeform"])
