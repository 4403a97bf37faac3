"""`./hlc sender`: the senders, their URLs, and the secrets with which they authenticate."""

import getpass
import json
import sys
import uuid
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from cli.known_senders import all_senders, entries_of, find_sender, locations_missing, new_secret, read_secrets, url_of
from cli.options import NeedsYesError, Settings, print_json
from cli.signing import is_usable
from cli.stack import Stack, StackError, for_stack
from create_conversation.senders.config import Sender, lacks_locations
from create_conversation.senders.verification import secrets_for

# Where to paste the URL and the secret; docs/senders.md has the details.
_PASTE = {
    "api": "Callers send it as the header Authorization: Bearer <secret>.",
    "token": (
        "Paste the URL into Zapier, Make, n8n, your form builder or script, and the secret into its header\n"
        "Authorization: Bearer <secret>, or X-Webhook-Token: <secret>. Where only a URL can be set: the URL\n"
        "that contains the secret."
    ),
    "typeform": (
        "In Typeform: the form, Connect, Webhooks, Add a webhook: paste the URL. Edit it, paste the secret into\n"
        "Secret, and switch the webhook on."
    ),
    "tally": (
        "In Tally: publish the form, Integrations, Webhooks, Connect: paste the URL as Endpoint URL and the secret\n"
        "under Add a signing secret."
    ),
    "highlevel-workflow": (
        'In HighLevel: Automation, Workflows, the workflow. Step "Webhook": method POST, the URL with the secret.\n'
        'Step "Custom Webhook": method POST, the URL, Authorization Bearer Token with the secret.'
    ),
    "highlevel-app": (
        "In HighLevel's developer portal: My Apps, the app, Advanced Settings, Webhooks: paste the URL and choose\n"
        "ContactCreate. HighLevel signs with its own key, so there is no secret."
    ),
    "standard-webhooks": (
        "In the sender's webhook settings: paste the URL as the endpoint and the secret as its signing secret. If the\n"
        "sender makes the secret itself: ./hlc sender import standard-webhooks asks for that one."
    ),
    "jotform": (
        "In Jotform: the form, Settings, Integrations, Webhooks: paste the URL with the secret in it, and complete\n"
        "the integration."
    ),
    "webflow": (
        "Webflow signs only webhooks that its API has made (docs/senders.md has the command), and makes the secret\n"
        "itself: ./hlc sender import webflow asks for that one."
    ),
    "wpforms": (
        "In WordPress: WPForms, the form, Settings, Webhooks: paste the URL as Request URL and the secret as Secret;\n"
        "Request Method POST, Request Format JSON; map the keys email, phone, first_name, last_name."
    ),
    "formstack": (
        "In Formstack: the form, Settings, Emails & Redirects, After the form is submitted: add a webhook, paste the\n"
        "URL, and the secret as HMAC key."
    ),
    "calendly": (
        "Calendly takes both by its API only: the URL as url and the secret as signing_key of a webhook subscription\n"
        "(docs/senders.md has the command)."
    ),
    "shopify": (
        "In Shopify's admin: Settings, Notifications, Webhooks, Create webhook: event Customer creation or Order\n"
        "creation, format JSON, the URL. Shopify makes the secret itself and shows it below the list of webhooks:\n"
        "./hlc sender import shopify asks for that one."
    ),
    "stripe": (
        "In Stripe: Workbench (or Developers), Webhooks, add an endpoint: event checkout.session.completed, the URL.\n"
        "Stripe makes the secret itself (Signing secret, whsec_…): ./hlc sender import stripe asks for that one."
    ),
    "google-ads": (
        "In Google Ads: the lead form asset, Export leads from Google Ads, Other data integration options (webhook):\n"
        "paste the URL as Webhook URL and the secret as Key."
    ),
    "elementor": (
        "In Elementor: the form, Actions After Submit, Webhook: paste the URL with the secret in it as Webhook URL."
    ),
    "gravity-forms": (
        "In WordPress: Forms, the form, Settings, Webhooks, Add New: the URL, method POST, format JSON, the request\n"
        "header Authorization with the value Bearer <secret>."
    ),
    "paperform": (
        "In Paperform: the form, After Submission, Webhooks, Add Webhook: paste the URL with the secret in it."
    ),
    "contact-form-7": (
        "In WordPress, with the plugin CF7 to Webhook: Contact, the form, Webhook: the URL, method POST, the header\n"
        "Authorization: Bearer <secret>, or the URL with the secret in it."
    ),
    "woocommerce": (
        "In WooCommerce: Settings, Advanced, Webhooks, Add webhook: topic Order created or Customer created, the URL.\n"
        "WooCommerce makes the secret itself: ./hlc sender import woocommerce asks for that one."
    ),
    "ninja-forms": (
        "In WordPress: Ninja Forms, the form, Emails & Actions, Webhooks: the URL with the secret in it, method POST,\n"
        "the args email, phone and name."
    ),
    "fluent-forms": (
        "In WordPress: Fluent Forms, the form, Settings & Integrations, WebHook, Add New: the URL, POST, JSON, the\n"
        "request header Authorization with the value Bearer <secret>, all fields."
    ),
    "formidable-forms": (
        "In WordPress: Formidable, the form, Settings, Actions & Notifications, Send API Data: the URL, and the whole\n"
        "secret (user:password) as Basic Auth; map the keys email, phone, first_name, last_name."
    ),
    "unbounce": (
        "In Unbounce: the page, Integrations, Webhooks, Add Webhook: the URL, the header X-Webhook-Token with the\n"
        "secret, or the URL with the secret in it."
    ),
    "hubspot-workflow": (
        "In HubSpot: the workflow, Send a webhook: POST, the URL, authentication API key: the secret as the request\n"
        "header X-Webhook-Token."
    ),
    "wufoo": (
        "In Wufoo: the form, Integrations, WebHook: the URL, and the secret as its Handshake Key; include field and\n"
        "form structures."
    ),
    "callrail": (
        "In CallRail: Settings, Integrations, Webhooks: the URL. CallRail makes the secret itself (the company's\n"
        "signing key): ./hlc sender import callrail asks for that one."
    ),
    "whatconverts": "In WhatConverts: the profile, Webhooks: the URL with the secret in it, for new leads.",
    "cognito-forms": (
        "In Cognito Forms: the form, Form Settings, Post JSON Data to a Website: the URL with the secret in it as\n"
        "Submit Entry Endpoint."
    ),
    "clickfunnels": (
        "In ClickFunnels 2.0: Workspace Settings, Webhooks, Add Endpoint: the URL. ClickFunnels makes the secret\n"
        "itself: ./hlc sender import clickfunnels asks for that one."
    ),
    "clickfunnels-classic": (
        "In ClickFunnels Classic: the funnel, Settings, Webhooks: the URL with the secret in it. It may refuse the\n"
        "URL: docs/senders.md says why, and what to do."
    ),
    "framer": "In Framer: the form, Send To, Webhook: paste the URL, and the secret as Secret.",
    "fillout": (
        "In Fillout: the form, Integrate, Webhook: the URL with the secret in it; or Advanced, with the header\n"
        "Authorization: Bearer <secret>."
    ),
    "heyflow": (
        "In Heyflow: the flow, Connect, Webhook: the URL, the header Authorization with the value Bearer <secret>; or\n"
        "the URL with the secret in it."
    ),
    "activecampaign": (
        "In ActiveCampaign: Settings, Developer, Manage webhooks, Add: the URL with the secret in it, initiated by\n"
        "Public."
    ),
    "standard-webhooks-v1a": "Paste the URL as the endpoint in the sender's webhook settings.",
}


@dataclass(frozen=True, slots=True)
class Stored:
    """A sender of a stack. `secrets`: its own, the newest first; `entries`: all senders', at that `version`."""

    stack: Stack
    sender: Sender
    secrets: tuple[str, ...]
    entries: dict[str, Any]
    version: str

    @classmethod
    def read(cls, settings: Settings, name: str) -> "Stored":
        """Read the secrets of that sender. Raises StackError for one that cannot have a secret."""
        sender = find_sender(name)
        if sender.scheme == "event":
            raise StackError(f"{sender.name} has no secret: AWS permissions decide who may put events on the bus")
        stack = settings.connect()
        text, version = read_secrets(stack)
        return cls(stack, sender, secrets_for(text, sender.name), entries_of(text), version)

    @property
    def what(self) -> str:
        """What the sender is known by, in words."""
        return "public key" if self.sender.scheme == "pubkey" else "secret"

    def error(self, text: str) -> StackError:
        """Return an error whose commands work on this stack."""
        return StackError(for_stack(text, self.stack.hlc))


def check(settings: Settings) -> int:
    """Check presets.toml and functions/senders.toml. Returns 0; raises StackError with the first mistake."""
    senders = all_senders()
    if settings.json:
        print_json({"senders": len(senders)})
    else:
        print(f"{len(senders)} senders, no mistakes")
    return 0


def list_all(settings: Settings) -> int:
    """Print each sender with its state and URL. Returns 0."""
    senders = [sender for sender in all_senders().values() if sender.scheme != "event"]
    stack = settings.connect()
    text, _ = read_secrets(stack)
    entries_of(text)
    rows = [_facts(stack, sender, secrets_for(text, sender.name)) for sender in senders]
    if settings.json:
        print_json({"senders": rows})
        return 0
    width = max(len(row["name"]) for row in rows)
    for row in sorted(rows, key=lambda row: row["state"] != "open"):
        print(f"{row['name'].ljust(width)}  {row['state']:<11}  {row['url']}")
    print(f"\nOne of them: {stack.hlc} sender show <name>")
    return 0


def show(settings: Settings, name: str, *, reveal: bool) -> int:
    """Print how a sender authenticates, and with `reveal` its secret: on a terminal, or if `--yes` asks for it."""
    if reveal and not (settings.yes or _is_terminal()):
        raise NeedsYesError(
            "the secret would go to a file or another program: add --yes if you want that, or leave out --reveal"
        )
    stored = Stored.read(settings, name)
    facts = _facts(stored.stack, stored.sender, stored.secrets)
    if reveal:
        facts |= _revealed(stored)
    if settings.json:
        print_json(facts)
        return 0
    print(f"{'name':<16}{facts['name']}\n{'URL':<16}{facts['url']}\n{'state':<16}{facts['state']}")
    print(f"{'secrets':<16}{facts['secrets']}\n{'authentication':<16}{_how(stored.sender)}")
    for label, member in (("secret", "secret"), ("previous secret", "previous_secret"), ("URL with it", "secret_url")):
        if facts.get(member):
            print(f"{label:<16}{facts[member]}")
    if reveal and "basic" in stored.sender.where and ":" in facts["secret"]:
        user, _, password = facts["secret"].partition(":")
        print(f"{'as HTTP Basic':<16}user {user}, password {password}")
    _advise(stored, stored.sender.name)
    return 0


def _is_terminal() -> bool:
    return sys.stdout.isatty()


def _revealed(stored: Stored) -> dict[str, str | None]:
    if not stored.secrets:
        raise stored.error(f"{stored.sender.name} has no secret yet: {_create(stored.sender)}")
    newest, *previous = stored.secrets
    in_query = next((place for place in stored.sender.where if place.startswith("query:")), "")
    url = f"{url_of(stored.stack, stored.sender)}?{urlencode({in_query.removeprefix('query:'): newest})}"
    return {
        "secret": newest,
        "previous_secret": previous[0] if previous else None,
        "secret_url": url if in_query else None,
    }


def add(settings: Settings, name: str) -> int:
    """Create the first secret of a sender. Returns 0; raises StackError if it has one."""
    stored = Stored.read(settings, name)
    if stored.sender.public_keys:
        return _print_keyless(settings, stored)
    if stored.secrets:
        raise stored.error(
            f"{name} has a {stored.what} already: ./hlc sender show {name}; for another one: "
            f"{'./hlc sender import' if stored.sender.scheme == 'pubkey' else './hlc sender rotate'} {name}"
        )
    _check_can_create(stored)
    return _store(settings, stored, new_secret(stored.sender), is_shown=True)


def rotate(settings: Settings, name: str) -> int:
    """Create another secret of a sender; the previous one stays valid. Returns 0; raises StackError."""
    stored = Stored.read(settings, name)
    if stored.sender.public_keys:
        return _print_keyless(settings, stored)
    _check_can_create(stored)
    if not stored.secrets:
        raise stored.error(f"{name} has no secret yet: ./hlc sender add {name}")
    return _store(settings, stored, new_secret(stored.sender), is_shown=True)


def import_secret(settings: Settings, name: str) -> int:
    """Ask for the secret or public key that the sender has created, and store it. Returns 0; raises StackError."""
    stored = Stored.read(settings, name)
    if stored.sender.public_keys:
        return _print_keyless(settings, stored)
    secret = _asked(stored.sender)
    if secret in stored.secrets:
        raise StackError(f"{name} already has this {stored.what}; nothing was stored")
    return _store(settings, stored, secret, is_shown=False)


def retire(settings: Settings, name: str) -> int:
    """Revoke all secrets of a sender but the newest. Returns 0; raises StackError if it has none."""
    stored = Stored.read(settings, name)
    if not stored.secrets:
        raise stored.error(f"{name} has no secret yet: {_create(stored.sender)}")
    revoked = len(stored.secrets) - 1
    if revoked:
        stored.entries[name] = [stored.secrets[0]]
        store_secrets(stored.stack, stored.entries, stored.version)
    if settings.json:
        print_json({"name": name, "revoked": revoked})
    elif revoked:
        print(f"only the newest secret of {name} is left; the others stop working within a minute")
    else:
        print(f"{name} has only one secret: nothing to revoke")
    return 0


def _check_can_create(stored: Stored) -> None:
    if stored.sender.scheme == "pubkey":
        raise stored.error(
            f"{stored.sender.name} signs with its own key: {_create(stored.sender)} asks for the public one"
        )


def _create(sender: Sender) -> str:
    return f"./hlc sender {'import' if sender.scheme == 'pubkey' else 'add'} {sender.name}"


def _store(settings: Settings, stored: Stored, secret: str, *, is_shown: bool) -> int:
    """Store a secret as the newest, and print where to paste what. The previous newest stays valid."""
    name = stored.sender.name
    stored.entries[name] = [secret, *stored.secrets[:1]]
    store_secrets(stored.stack, stored.entries, stored.version)
    secrets = (secret, *stored.secrets[:1])
    if settings.json:
        print_json(_facts(stored.stack, stored.sender, secrets))
        return 0
    print(f"stored {'a new' if stored.secrets else 'the first'} {stored.what} of {name}\n")
    print(f"  URL     {url_of(stored.stack, stored.sender)}")
    if is_shown:
        print(f"  secret  to see it: {stored.stack.hlc} sender show {name} --reveal")
    _advise(stored, name, stored_now=True)
    return 0


def _facts(stack: Stack, sender: Sender, secrets: tuple[str, ...]) -> dict[str, Any]:
    """Return what is known of a sender, without its secrets."""
    return {
        "name": sender.name,
        "url": url_of(stack, sender),
        "state": _state(stack, sender, secrets),
        "secrets": len(secrets),
        "authentication": _authentication(sender),
    }


def _state(stack: Stack, sender: Sender, secrets: tuple[str, ...]) -> str:
    if lacks_locations(sender, stack.parameters.get("LocationId")):
        return "no location"
    if sender.public_keys:
        return "no app id" if "app_id" in sender.requires and not sender.app_id else "open"
    if not secrets:
        return "no secret"
    return "open" if any(is_usable(sender, secret) for secret in secrets) else "bad secret"


def _authentication(sender: Sender) -> dict[str, Any]:
    """Describe how the sender authenticates, with the keys of its entry (docs/senders.md)."""
    if sender.scheme == "token":
        return {"scheme": "token", "where": list(sender.where)}
    described = {"scheme": sender.scheme, "sig_header": sender.sig_header, "signed": sender.signed}
    return described | ({"hash": sender.hash} if sender.scheme == "mac" else {})


def _how(sender: Sender) -> str:
    """Say where the secret or the signature is."""
    if sender.scheme == "token":
        places = [_PLACES[place.partition(":")[0]].format(place.partition(":")[2]) for place in sender.where]
        return f"the secret in {', or '.join(places)}"
    kind = "HMAC" if sender.scheme == "mac" else "Ed25519 signature"
    return f"{kind} of {sender.signed} in the header {sender.sig_header}"


def _asked(sender: Sender) -> str:
    """Ask for the secret or public key that the sender has created. An error contains no part of it."""
    what = "public key" if sender.scheme == "pubkey" else "secret"
    if not sys.stdin.isatty():
        secret = sys.stdin.readline().strip()
    elif what == "public key":
        secret = input(f"public key of {sender.name}: ").strip()
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)
            try:
                secret = getpass.getpass(f"secret of {sender.name} (is not shown): ").strip()
            except getpass.GetPassWarning:
                raise StackError("this terminal cannot hide what you type: pipe the secret in") from None
    if not secret:
        raise StackError("nothing was entered and nothing was stored")
    if not is_usable(sender, secret):
        required = {
            "whsec_base64": "whsec_ and base64",
            "whpk_base64": "whpk_ and base64 of 32 bytes",
            "spki_base64": "the base64 of an Ed25519 key in SPKI (what is in a PEM file), on one line",
        }.get(sender.key_format, "printable characters, without blanks at the ends")
        raise StackError(f"this {what} cannot work for {sender.name}: it must be {required}; nothing was stored")
    if len(secret) < 16:
        print("hint: an attacker can guess a secret this short; it is stored anyway", file=sys.stderr)
    return secret


def store_secrets(stack: Stack, entries: Mapping[str, Any], version: str) -> None:
    """Store the entries as the successor of `version`. Raises StackError if another process was faster."""
    manager = stack.secrets_manager
    # Two processes derive the same id from the same version: Secrets Manager refuses the second one.
    token = str(uuid.uuid5(uuid.NAMESPACE_OID, version)) if version else str(uuid.uuid4())
    try:
        manager.put_secret_value(
            SecretId=stack.output("SenderSecretsArn"), SecretString=json.dumps(entries), ClientRequestToken=token
        )
    except manager.exceptions.ResourceExistsException:
        raise StackError(
            "SenderSecrets was changed at the same time or set back to an older version; nothing was stored: try again"
        ) from None


def _advise(stored: Stored, name: str, *, stored_now: bool = False) -> None:
    """Print where to paste URL and secret, and what else the sender needs."""
    stack, sender = stored.stack, stored.sender
    advice = [_PASTE.get(name) or _paste_generic(sender)]
    if lacks_locations(sender, stack.parameters.get("LocationId")):
        advice.append(f"{name} is closed (401): {locations_missing(name)}")
    if "app_id" in sender.requires and not sender.app_id:
        advice.append(
            f"It is closed until it knows your app: put app_id under [{name}] in functions/senders.toml, then "
            "./hlc deploy\nThe app id is the part of the app's client id before the -."
        )
    if stored_now and stored.secrets:
        advice.append(f"The previous {stored.what} stays valid. To revoke it: ./hlc sender retire {name}")
    if stored_now:
        advice.append(f"The new {stored.what} works within 10 seconds; a revoked one stops working within a minute.")
    if sender.scheme != "pubkey" and name != "api" and (stored.secrets or stored_now):
        advice.append(f"Try it: ./hlc send {name}")
    print(f"\n{for_stack('\n'.join(advice), stack.hlc)}")


def _print_keyless(settings: Settings, stored: Stored) -> int:
    if settings.json:
        print_json(_facts(stored.stack, stored.sender, ()))
        return 0
    name = stored.sender.name
    print(f"{name} needs no secret: its public key is in presets.toml or senders.toml\n")
    print(f"  URL     {url_of(stored.stack, stored.sender)}")
    _advise(stored, name)
    return 0


def _paste_generic(sender: Sender) -> str:
    """Say where to paste URL and secret of a sender that the user has added."""
    if sender.scheme == "token":
        where = f"The sender puts {_how(sender)}."
    elif sender.scheme == "mac":
        where = (
            "Paste both where the sender asks for a webhook's URL and signing secret. "
            f"Its signature is in the header {sender.sig_header}."
        )
    else:
        where = "Paste the URL as the endpoint in the sender's webhook settings."
    return f"{where}\nIf its entry in functions/senders.toml is new, then ./hlc deploy"


_PLACES = {
    "bearer": "the header Authorization: Bearer <secret>",
    "basic": "HTTP Basic, where the secret is user:password",
    "header": "the header {}",
    "query": "the parameter {} of the URL",
    "body": "the member {} of the body",
}
