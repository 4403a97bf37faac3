"""A mistake in presets.toml or senders.toml is found at start, and the message says where it is and what is right."""

import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from create_conversation.senders.answers import FORMATS
from create_conversation.senders.config import FIELDS, FUNCTIONS, PRESETS, JmesPath, SendersError, load
from create_conversation.senders.config_rules import check_entry

TOKEN = 'scheme = "token"\nwhere = ["bearer"]\nemail = "email"\n'
MAC = 'scheme = "mac"\nsig_header = "x-sig"\nsigned = "{body}"\nemail = "email"\n'
PUBKEY = 'scheme = "pubkey"\nsig_header = "x-sig"\nsigned = "{body}"\nkey_format = "spki_base64"\nemail = "email"\n'
EVENT = 'scheme = "event"\ncontact_id = "detail.id"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def mistake(folder: Path, text: str, file: str = "senders.toml") -> str:
    """What load() says of the user's file."""
    for name, shipped in (("senders.toml", b""), ("presets.toml", PRESETS.read_bytes())):
        (folder / name).write_bytes(shipped)
    (folder / file).write_text(text, "utf-8")
    with pytest.raises(SendersError) as error:
        load(folder, folder / "presets.toml")
    return str(error.value)


def test_the_shipped_files_are_valid_and_the_users_is_empty() -> None:
    assert load().keys() == tomllib.loads((PRESETS).read_text("utf-8")).keys()
    assert tomllib.loads((FUNCTIONS / "senders.toml").read_text("utf-8")) == {}


def test_the_commented_examples_of_the_users_file_are_valid(folder: Path) -> None:
    lines = (FUNCTIONS / "senders.toml").read_text("utf-8").splitlines()
    examples = [line.removeprefix("# ") for line in lines if re.match(r"# (\[\S+\]|\w+ = )", line)]
    (folder / "senders.toml").write_text("\n".join(examples), "utf-8")
    senders = load(folder)
    assert senders["our-site"].locations
    assert senders["highlevel-app"].app_id


def test_the_place_of_the_clone_does_not_matter(tmp_path: Path) -> None:
    folder = tmp_path / "a folder, Ünïcode"
    folder.mkdir()
    (folder / "senders.toml").write_bytes((FUNCTIONS / "senders.toml").read_bytes())
    assert load(folder).keys() == load().keys()


# --- entries ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "key", "right"),
    [
        # keys
        (TOKEN + 'emial = "x"', "emial", "did you mean email?"),
        (TOKEN + 'contact-id = "x"', "contact-id", "did you mean contact_id?"),
        (TOKEN + 'location = "x"', "location", "did you mean location"),
        (TOKEN + "xyzzy = 1", "xyzzy", "known are contact_id, custom_fields, email"),
        (TOKEN + "[a.nested]\nx = 1", "nested", "is not a key of scheme token"),
        (TOKEN + 'sig_header = "x"', "sig_header", "is not a key of scheme token"),
        (MAC + 'where = ["bearer"]', "where", "is not a key of scheme mac"),
        (MAC + 'public_keys = ["x"]', "public_keys", "is not a key of scheme mac"),
        (PUBKEY + 'encoding = "hex"', "encoding", "is not a key of scheme pubkey"),
        (PUBKEY + 'hash = "sha1"', "hash", "is not a key of scheme pubkey"),
        (MAC + 'hash = "md5"', "hash", "must be one of sha256, sha1"),
        (MAC + 'ping = "webhook id"', "ping", "must be the name of the one form field"),
        (MAC + 'ping = ""', "ping", "must be a text"),
        (TOKEN + 'ping = "webhook_id"', "ping", "is not a key of scheme token"),
        (EVENT + 'id = "json:id"', "id", "is not a key of scheme event"),
        (EVENT + 'detail-type = "x"', "detail-type", "did you mean detail_type?"),
        (TOKEN + 'mesage = "notes"', "mesage", "did you mean message?"),
        (TOKEN + 'tag = ["x"]', "tag", "did you mean tags?"),
        (TOKEN + "custom_field = { a = 'b' }", "custom_field", "did you mean custom_fields?"),
        # the message and the contact
        *(
            (TOKEN + f"message = {value}", "message", "must be true, false or a JMESPath")
            for value in ('""', "1", "[]")
        ),
        (TOKEN + 'message = "a["', "message", "is not JMESPath"),
        (TOKEN + 'message = "leng(a)"', "message", "JMESPath has no function leng"),
        *((TOKEN + f"form = {value}", "form", "must be a text") for value in ('""', "false", "[]")),
        (TOKEN + 'form = "a["', "form", "is not JMESPath"),
        *(
            (TOKEN + f"tags = {value}", "tags", "must be a list of texts")
            for value in ('"a"', "[]", '[""]', '[" "]', "[1]")
        ),
        (TOKEN + 'source = " "', "source", "must be a text"),
        *((TOKEN + f"source = {value}", "source", "must be a text") for value in ('""', "1", '["a"]')),
        *(
            (TOKEN + f"custom_fields = {value}", "custom_fields", "must be paths by the id of a custom field")
            for value in ("{}", '"a"', '["a"]', "true")
        ),
        (TOKEN + 'custom_fields = { "contact.budget" = "x" }', "custom_fields", "'contact.budget' is not the id of"),
        (TOKEN + "custom_fields = { abc = 5 }", "custom_fields", "abc: must be a text"),
        (TOKEN + 'custom_fields = { abc = "a[" }', "custom_fields", "abc: is not JMESPath"),
        *((TOKEN + f"update_contact = {value}", "update_contact", "must be true or false") for value in ('"yes"', "1")),
        *((TOKEN + f"user_id = {value}", "user_id", "must be a text") for value in ('""', "5")),
        (TOKEN + 'user_id = "ana@example.com"', "user_id", "must be the id of a HighLevel user"),
        (TOKEN + 'mentions = ["Ana Lind"]', "mentions", "must be ids of HighLevel users"),
        (TOKEN + 'mentions = "abc"', "mentions", "must be a list of texts"),
        # what is missing
        ('where = ["bearer"]\nemail = "email"', "scheme", "must be one of token, mac, pubkey, event"),
        ('scheme = "token"\nemail = "email"', "where", "is missing; scheme token needs it"),
        ('scheme = "mac"\nsigned = "{body}"\nemail = "x"', "sig_header", "is missing; scheme mac needs it"),
        ('scheme = "mac"\nsig_header = "x"\nemail = "x"', "signed", "is missing; scheme mac needs it"),
        (PUBKEY.replace('key_format = "spki_base64"\n', ""), "key_format", "is missing; scheme pubkey needs it"),
        ('scheme = "token"\nwhere = ["bearer"]', "contact_id", "name the contact by contact_id, email or phone"),
        ('scheme = "token"\nwhere = ["bearer"]\nfirst_name = "x"', "contact_id", "name the contact by"),
        (MAC + 'sig_format = "kv"', "sig_label", "is missing; sig_format kv needs it"),
        (MAC + 'sig_format = "space-list"', "sig_label", "is missing; sig_format space-list needs it"),
        (MAC.replace("{body}", "{ts}.{body}"), "ts", "is missing; signed holds {ts}"),
        (MAC.replace("{body}", "{id}.{body}"), "id", "is missing; signed holds {id}"),
        # one of a few
        (TOKEN.replace('"token"', '"hmac"'), "scheme", "must be one of token, mac, pubkey, event"),
        (TOKEN.replace('"token"', '["token"]'), "scheme", "must be one of"),
        (MAC + 'sig_format = "list"\nsig_label = "v1"', "sig_format", "must be one of plain, kv, space-list"),
        (MAC + 'encoding = "base64url"', "encoding", "must be one of hex, base64"),
        (MAC + 'ts = "header:x"\nts_unit = "us"', "ts_unit", "must be one of s, ms, iso8601"),
        (MAC + 'key_format = "hex"', "key_format", "must be one of utf8, whsec_base64"),
        (MAC + 'key_format = "spki_base64"', "key_format", "must be one of utf8, whsec_base64"),
        (PUBKEY.replace("spki_base64", "utf8"), "key_format", "must be one of spki_base64, whpk_base64"),
        (PUBKEY + 'requires = ["appId"]', "requires", 'can only be ["app_id"]'),
        (PUBKEY + "requires = []", "requires", "must be a list of texts"),
        # types
        *(
            (TOKEN.replace('"email"', value), "email", "must be a text")
            for value in ('""', "1", "true", "[]", '["email"]', "{ a = 1 }", "1979-05-27", "nan")
        ),
        *(
            (TOKEN.replace('["bearer"]', value), "where", 'must be a list of texts, such as ["…"]')
            for value in ('"bearer"', "[]", "[1]", '[""]', '["bearer", 1]', '{ a = "bearer" }')
        ),
        *(
            (TOKEN + f"locations = {value}", "locations", "must be a list of texts")
            for value in ('"loc1"', "[]", "[1]")
        ),
        *(
            (MAC + f"{key} = {value}", key, "must be a list of texts")
            for key in ("parse", "strip")
            for value in ('"a"', "[]")
        ),
        (EVENT + 'strip = ["a"]', "strip", "is not a key of scheme event"),
        *(
            (MAC + f'ts = "header:x"\ntolerance_s = {value}', "tolerance_s", "number of seconds from 1 to 86400")
            for value in ('"300"', "0", "-1", "86401", "true", "1.5", "inf", "[300]")
        ),
        # values
        *(
            (TOKEN.replace('"bearer"', f'"{place}"'), "where", f"'{place}' must be bearer, basic, header:")
            for place in ("Bearer", "cookie", "header:", "header:X-Key", "query:", "query:a b", "body", "json:x", "*")
        ),
        (TOKEN + 'locations = ["*", "loc1"]', "locations", 'must be location ids, or ["*"] for any'),
        (TOKEN + 'locations = ["a b"]', "locations", "must be location ids"),
        *(
            (TOKEN.replace('"email"', f'"{path}"'), "email", "is not JMESPath")
            for path in ("a[", "a || ", "a[?b", "a(", "]")
        ),
        (TOKEN + "when = \"kind = 'x'\"", "when", "is not JMESPath"),
        (TOKEN + 'id = "json:["', "id", "is not JMESPath"),
        *(
            (TOKEN + f'id = "{place}"', "id", "must be header:<name in lower case> or json:<JMESPath>")
            for place in ("id", "header:X")
        ),
        *(
            (MAC + f'ts = "{place}"', "ts", "must be header:<name>, kv:<label> or json:<member>")
            for place in ("t", "header:X", "json:a.b")
        ),
        (MAC.replace("x-sig", "X-Sig"), "sig_header", "must be a header's name in lower case"),
        (MAC.replace("x-sig", "x sig"), "sig_header", "must be a header's name in lower case"),
        *(
            (MAC.replace('"{body}"', f'"{signed}"'), "signed", "must hold {body}")
            for signed in ("x", "{ts}", "{body}{url}", "{body", "{body}}")
        ),
        (PUBKEY + 'public_keys = [""]', "public_keys", "must be a list of texts"),
    ],
)
def test_a_mistake_names_file_entry_key_and_what_is_right(entry: str, key: str, right: str, folder: Path) -> None:
    said = mistake(folder, f"[{'a' if '[a.nested]' in entry else 'our-site'}]\n{entry}")
    entry_name = "a" if "[a.nested]" in entry else "our-site"
    assert said.startswith(f"senders.toml: [{entry_name}] {key}: ")
    assert right in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("entry", "key", "right"),
    [
        (MAC.replace("{body}", "{id}.{body}") + 'id = "json:id"', "id", "header:"),
        (MAC.replace("{body}", "{ts}.{body}") + 'ts = "kv:t"', "ts", "kv"),
        (PUBKEY + 'public_keys = ["not a key"]', "public_keys", "Ed25519"),
        (PUBKEY + 'public_keys = ["MCowBQYDK2VwAyEA"]', "public_keys", "Ed25519"),
    ],
)
def test_an_entry_that_could_let_no_one_in_is_a_mistake(entry: str, key: str, right: str, folder: Path) -> None:
    said = mistake(folder, f"[our-site]\n{entry}")
    assert said.startswith(f"senders.toml: [our-site] {key}: ")
    assert right in said


@pytest.mark.parametrize("name", ["your-email", "fields[email]", "E-mail address", "Straße"])
def test_a_forms_field_whose_name_is_not_jmespath_must_be_quoted(name: str, folder: Path) -> None:
    said = mistake(folder, "[our-site]\n" + TOKEN.replace('"email"', f'"{name}"'))
    assert said.startswith("senders.toml: [our-site] email: is not JMESPath")
    assert f"""'"{name}"'""" in said


@pytest.mark.parametrize(
    "name", ["Our-Site", "our_site", '"our site"', '"-x"', '"ö"', "x" * 64, '""', '"a/b"', '"a#b"']
)
def test_a_bad_name(name: str, folder: Path) -> None:
    said = mistake(folder, f"[{name}]\n{TOKEN}")
    assert said == f"senders.toml: [{name.strip('"')}]: a name has lower-case letters, digits and -, 63 at most"


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["presets.toml", "senders.toml"])
@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("[a\n", "line 1"),
        (f"[a]\n{TOKEN}email = 'again'\n", "line 5"),
        (f"[a]\n{TOKEN}[a]\n{TOKEN}", "line 5"),
        (f"[a]\n{TOKEN}phone = phone\n", "line 5"),
        (TOKEN, "scheme: put every key below the [name] of a sender"),
        (f"[[a]]\n{TOKEN}", "a: put every key below the [name] of a sender"),
        (f"[a]\n{TOKEN}phon = 'x'\n", "[a] phon: is not a key of scheme token; did you mean phone?"),
    ],
)
def test_a_mistake_names_its_file(file: str, text: str, right: str, folder: Path) -> None:
    said = mistake(folder, text, file)
    assert said.startswith(f"{file}: ")
    assert right in said


def test_a_file_that_is_not_a_text_or_is_missing(folder: Path) -> None:
    with pytest.raises(SendersError, match=r"^senders\.toml: "):
        load(folder)
    (folder / "senders.toml").write_bytes(b"[a]\nemail = '\xff'")
    with pytest.raises(SendersError, match=r"^senders\.toml: .*utf-8"):
        load(folder)


# --- entries under a preset's name ------------------------------------------------------------------------------------


def test_an_entry_under_a_presets_name_changes_only_its_keys(folder: Path) -> None:
    changes = '[typeform]\nlocations = ["loc1"]\nemail = "form_response.hidden.mail"\n[highlevel-app]\napp_id = "a1"\n'
    (folder / "senders.toml").write_text(changes, "utf-8")
    ours, theirs = load(), load(folder)
    paths = theirs["typeform"].paths
    assert theirs["typeform"] == replace(ours["typeform"], locations=("loc1",), paths=paths)
    assert theirs["highlevel-app"] == replace(ours["highlevel-app"], app_id="a1", paths=theirs["highlevel-app"].paths)
    for name in ours.keys() - {"typeform"}:
        assert {key: path.expression for key, path in ours[name].paths.items()} == {
            key: path.expression for key, path in theirs[name].paths.items()
        }
    assert theirs["typeform"].paths["email"].expression == "form_response.hidden.mail"
    assert theirs["typeform"].paths["contact_id"].expression == ours["typeform"].paths["contact_id"].expression
    assert theirs.keys() == ours.keys()


def test_an_entry_with_a_scheme_takes_nothing_from_a_preset_of_its_name(folder: Path) -> None:
    """It may be older than the preset, which came with an update."""
    (folder / "senders.toml").write_text(f"[stripe]\n{TOKEN}", "utf-8")
    stripe = load(folder)["stripe"]
    assert (stripe.where, stripe.id, list(stripe.paths)) == (("bearer",), "", ["email"])


def test_a_mistake_in_a_changed_preset_is_one_of_the_users_file(folder: Path) -> None:
    said = mistake(folder, '[typeform]\nencoding = "base32"')
    assert said == "senders.toml: [typeform] encoding: must be one of hex, base64"


def test_a_key_of_a_preset_may_be_emptied(folder: Path) -> None:
    (folder / "senders.toml").write_text('[typeform]\nprefix = ""\n[highlevel-app]\napp_id = ""\n', "utf-8")
    senders = load(folder)
    assert senders["typeform"].prefix == senders["highlevel-app"].app_id == ""


def test_own_entries_stand_beside_the_presets(folder: Path) -> None:
    (folder / "senders.toml").write_text(f"[a]\n{TOKEN}\n[b-2]\n{MAC}\n[0]\n{EVENT}", "utf-8")
    senders = load(folder)
    assert senders.keys() == {*load(), "a", "b-2", "0"}
    assert (senders["b-2"].encoding, senders["b-2"].sig_format, senders["b-2"].tolerance_s) == ("base64", "plain", 300)


@pytest.mark.parametrize("change", ['source = "crm"', 'detail_type = "lead"'])
def test_the_entry_for_all_other_events_stays_one_for_all(change: str, folder: Path) -> None:
    assert mistake(folder, f"[event]\n{change}").startswith("senders.toml: [event] ")


@pytest.mark.parametrize("name", ["api", "event"])
def test_the_triggers_own_entries_keep_their_scheme(name: str, folder: Path) -> None:
    scheme = "event" if name == "api" else "token"
    assert mistake(folder, f'[{name}]\nscheme = "{scheme}"\n').startswith(f"senders.toml: [{name}] ")


def test_every_field_of_each_preset_is_compiled() -> None:
    entries = tomllib.loads((PRESETS).read_text("utf-8"))
    for name, sender in load().items():
        assert sender.paths.keys() - {"id", "when", "form"} == entries[name].keys() & set(FIELDS)
        assert all(path.expression for path in sender.paths.values())


@pytest.mark.parametrize(
    ("path", "right"),
    [
        ("startswith(kind, 'x')", "JMESPath has no function startswith; did you mean starts_with?"),
        ("starts_with(kind)", "starts_with takes 2 arguments, not 1"),
        ("a[?lower(b) == 'x'] | [0]", "JMESPath has no function lower"),
    ],
)
def test_a_call_that_could_only_fail_is_a_mistake(path: str, right: str, folder: Path) -> None:
    said = mistake(folder, f'[our-site]\n{TOKEN}\nwhen = "{path}"')
    assert said.startswith("senders.toml: [our-site] when: ")
    assert right in said


@pytest.mark.parametrize(
    ("expression", "parts"),
    [
        ("email", ["email"]),
        ("email || mail", ["email", "mail"]),
        ("a||b || c.d", ["a", "b", "c.d"]),
        ("a[?x || y].z || b", ["a[?x || y].z", "b"]),
        ("'a || b' || c", ["'a || b'", "c"]),
        ('"a || b" || c', ['"a || b"', "c"]),
        ("`[1, 2]` || c", ["`[1, 2]`", "c"]),
        ("(a || b) | [0]", ["(a || b) | [0]"]),
        ("a || b | [0]", ["a || b | [0]"]),
        ("(x | [0]) || b", ["(x | [0])", "b"]),
    ],
)
def test_the_alternatives_of_a_path(expression: str, parts: list[str]) -> None:
    assert [path.expression for path in JmesPath(expression).alternatives] == parts


def test_the_alternatives_of_a_preset_are_the_whole_path() -> None:
    for sender in load().values():
        for path in sender.paths.values():
            assert " || ".join(each.expression for each in path.alternatives).split() == path.expression.split()


@pytest.mark.parametrize(
    ("entry", "key", "right"),
    [
        (TOKEN + 'format = "typefrom"', "format", "must be one of activecampaign, calendly"),
        (TOKEN + "format = 1", "format", "must be a text"),
        (TOKEN + 'retries = "yes"', "retries", "must be true or false"),
        (EVENT + "retries = true", "retries", "is not a key of scheme event"),
        ('scheme = "token"\nwhere = ["bearer"]', "contact_id", "or name the payload's format"),
    ],
)
def test_a_mistake_in_the_mapping_keys(folder: Path, entry: str, key: str, right: str) -> None:
    said = mistake(folder, f"[own]\n{entry}")
    assert said.startswith(f"senders.toml: [own] {key}: ")
    assert right in said


def test_an_entry_needs_no_path_if_it_names_a_format(folder: Path) -> None:
    (folder / "senders.toml").write_text('[own]\nscheme = "token"\nwhere = ["bearer"]\nformat = "typeform"\n', "utf-8")
    own = load(folder)["own"]
    assert (own.format, own.retries, own.paths) == ("typeform", False, {})
    assert load(folder)["typeform"].retries


def test_the_users_file_is_checked_when_the_function_starts(folder: Path) -> None:
    (folder / "senders.toml").write_text(f'[own]\n{TOKEN}phone = "]"\n', "utf-8")
    with pytest.raises(SendersError, match="is not JMESPath"):
        load(folder, check_presets=False)
    assert load(check_presets=False).keys() == load().keys()


# --- any entry --------------------------------------------------------------------------------------------------------

PATHS = st.sampled_from(["email", "a.b", '"your-email"', "a || b", "a[?b == 'c'] | [0]", "a[", "lower(a)", "join(a)"])
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), max_size=8)
LISTS = st.lists(
    TEXTS | st.sampled_from(["bearer", "basic", "header:x-key", "body:a", "*", "loc1", "app_id"]), max_size=3
)
GOOD = {
    "scheme": st.sampled_from(["token", "mac", "pubkey", "event"]),
    **dict.fromkeys([*FIELDS, "when"], PATHS),
    **dict.fromkeys(["where", "locations", "parse", "strip", "public_keys", "requires"], LISTS),
    "sig_header": st.sampled_from(["x-sig", "X-Sig"]),
    "sig_format": st.sampled_from(["plain", "kv", "space-list"]),
    "sig_label": st.just("v1"),
    "signed": st.sampled_from(["{body}", "{ts}.{body}", "{id}.{ts}.{body}", "{", "{0}{body}"]),
    "key_format": st.sampled_from(["utf8", "whsec_base64", "spki_base64", "whpk_base64"]),
    "ts": st.sampled_from(["header:x-time", "kv:t", "json:time", "t"]),
    "ts_unit": st.sampled_from(["s", "ms", "iso8601"]),
    "tolerance_s": st.integers(-1, 90_000),
    "id": st.sampled_from(["header:x-id", "json:id", "json:[", "id"]),
    "format": st.sampled_from([*FORMATS, "unknown"]),
    "encoding": st.sampled_from(["hex", "base64"]),
    "retries": st.booleans(),
}
VALUES = TEXTS | st.integers() | st.booleans() | st.floats() | LISTS | st.dictionaries(TEXTS, TEXTS, max_size=1)
SHIPPED = tomllib.loads(PRESETS.read_text("utf-8"))


@settings(derandomize=True, database=None, deadline=None, max_examples=500)
@given(
    name=st.sampled_from(["our-site", "typeform", "event", "api", "Bad"]),
    shipped=st.sampled_from([*SHIPPED.values()]),
    changes=st.dictionaries(st.sampled_from([*GOOD, "emial"]), st.just(None), max_size=3).flatmap(
        lambda keys: st.fixed_dictionaries({key: st.one_of(GOOD.get(key, TEXTS), VALUES) for key in keys})
    ),
    removed=st.sets(st.sampled_from([*GOOD]), max_size=2),
)
def test_any_entry_is_a_sender_or_a_mistake_that_names_its_key(
    name: str, shipped: dict[str, object], changes: dict[str, object], removed: set[str]
) -> None:
    entry = {key: value for key, value in (shipped | changes).items() if key not in removed}
    try:
        check_entry("senders.toml", name, entry)
    except SendersError as error:
        said = str(error)
    else:
        assert entry["scheme"] != "token" or entry["where"]
        assert entry["scheme"] not in ("mac", "pubkey") or "{body}" in str(entry["signed"])
        for key in entry.keys() & set(FIELDS):
            JmesPath(str(entry[key])).search({"email": "a@example.com"})
        return
    named = re.fullmatch(r"senders\.toml: \[[\w-]+\](?: (\w+))?: \S.*", said)
    assert named, said
    assert named[1] is None or named[1] in {*entry, *shipped, *GOOD}
    assert len(said.splitlines()) == 1


# --- the message and the contact --------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [TOKEN, MAC, PUBKEY], ids=["token", "mac", "pubkey"])
def test_an_entry_says_what_becomes_of_the_submission(base: str, folder: Path) -> None:
    keys = """
message = "notes"
form = "form.name"
user_id = "u1"
mentions = ["u1", "u2"]
tags = ["a", "b"]
source = "Website"
custom_fields = { yVbmUM5aWtAJ1cgPh2tF = "budget" }
update_contact = true
"""
    (folder / "senders.toml").write_text(f"[our-site]\n{base}{keys}", "utf-8")
    sender = load(folder)["our-site"]
    assert (sender.message, sender.user_id, sender.mentions) == ("notes", "u1", ("u1", "u2"))
    assert (sender.tags, sender.contact_source, sender.update_contact) == (("a", "b"), "Website", True)
    assert sender.custom_fields["yVbmUM5aWtAJ1cgPh2tF"].search({"budget": 5}) == 5
    assert sender.paths["message"].search({"notes": "Hi"}) == "Hi"
    assert sender.paths["form"].search({"form": {"name": "Quote"}}) == "Quote"


def test_without_these_keys_there_is_a_message_and_nothing_else() -> None:
    for name, sender in load().items():
        assert sender.message is (name not in ("highlevel-app", "highlevel-workflow"))
        others = (sender.user_id, sender.mentions, sender.tags, sender.contact_source, sender.custom_fields)
        assert (*others, sender.update_contact) == ("", (), (), "", {}, False)


def test_a_preset_is_changed_in_its_message_only(folder: Path) -> None:
    (folder / "senders.toml").write_text('[typeform]\nmessage = false\n[event]\ntags = ["event"]\n', "utf-8")
    senders = load(folder)
    assert senders["typeform"].message is False
    assert senders["typeform"].paths.keys() == load()["typeform"].paths.keys()
    assert senders["event"].tags == ("event",)


def test_the_source_of_an_event_s_entry_is_not_the_source_of_a_contact(folder: Path) -> None:
    (folder / "senders.toml").write_text(f'[our-shop]\n{EVENT}source = "shop"\n', "utf-8")
    sender = load(folder)["our-shop"]
    assert (sender.source, sender.contact_source) == ("shop", "")


@pytest.mark.parametrize(
    "key",
    ['tags = ["x"]', 'source = "x"', "custom_fields = { a = 'b' }", "update_contact = true", 'user_id = "u"'],
)
def test_no_preset_chooses_what_becomes_of_the_contact(key: str, folder: Path) -> None:
    said = mistake(folder, f"[a]\n{TOKEN}{key}\n", "presets.toml")
    assert said == f"presets.toml: [a] {key.partition(' ')[0]}: can only be set in senders.toml"
