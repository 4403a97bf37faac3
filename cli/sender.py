"""Create or rotate a sender's secret: `python -m cli.sender [STACK] NAME [--given | --retire]`."""

import getpass
import json
import sys
import uuid
import warnings
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from cli.known_senders import entries_of, find_sender, locations_missing, new_secret, read_secrets, url_of
from cli.signing import is_usable
from cli.stack import Stack, StackError, for_stack, parser, run
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
        "sender makes the secret itself: make sender NAME=standard-webhooks GIVEN=1 asks for that one."
    ),
    "jotform": (
        "In Jotform: the form, Settings, Integrations, Webhooks: paste the URL with the secret in it, and complete\n"
        "the integration."
    ),
    "webflow": (
        "Webflow signs only webhooks that its API has made (docs/senders.md has the command), and makes the secret\n"
        "itself: make sender NAME=webflow GIVEN=1 asks for that one."
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
        "make sender NAME=shopify GIVEN=1 asks for that one."
    ),
    "stripe": (
        "In Stripe: Workbench (or Developers), Webhooks, add an endpoint: event checkout.session.completed, the URL.\n"
        "Stripe makes the secret itself (Signing secret, whsec_…): make sender NAME=stripe GIVEN=1 asks for that one."
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
        "WooCommerce makes the secret itself: make sender NAME=woocommerce GIVEN=1 asks for that one."
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
        "signing key): make sender NAME=callrail GIVEN=1 asks for that one."
    ),
    "whatconverts": "In WhatConverts: the profile, Webhooks: the URL with the secret in it, for new leads.",
    "cognito-forms": (
        "In Cognito Forms: the form, Form Settings, Post JSON Data to a Website: the URL with the secret in it as\n"
        "Submit Entry Endpoint."
    ),
    "clickfunnels": (
        "In ClickFunnels 2.0: Workspace Settings, Webhooks, Add Endpoint: the URL. ClickFunnels makes the secret\n"
        "itself: make sender NAME=clickfunnels GIVEN=1 asks for that one."
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Create, import or revoke a secret, and print what to paste where. Returns 0; raises StackError."""
    options = _options(arguments)
    sender = find_sender(options.name, "make sender NAME=")
    if sender.scheme == "event":
        raise StackError(f"{sender.name} has no secret: AWS permissions decide who may put events on the bus")
    stack = Stack.connect(options.stack)
    if sender.public_keys:
        _print_keyless(stack, sender)
        return 0
    text, version = read_secrets(stack)
    entries = entries_of(text)
    current = secrets_for(text, sender.name)
    if options.retire:
        return _retire(stack, sender, entries, current, version)

    asked = options.given or sender.scheme == "pubkey"
    secret = _asked(sender) if asked else new_secret(sender)
    if secret in current:
        raise StackError(f"{sender.name} already has this secret; nothing was stored")
    entries[sender.name] = [secret, *current[:1]]
    store_secrets(stack, entries, version)
    _print(stack, sender, secret, rotated=bool(current), shown=not asked)
    return 0


def _options(arguments: Sequence[str] | None) -> Any:
    options = parser(
        "Create a sender's secret, or rotate it: the previous secret stays valid beside the new one. Prints the URL,\n"
        "the secret (only once) and where to paste both."
    )
    options.add_argument(
        "name",
        metavar="NAME",
        help="an entry of presets.toml or functions/senders.toml",
    )
    what = options.add_mutually_exclusive_group()
    what.add_argument(
        "--given",
        action="store_true",
        help="import the secret that the sender has created: ask for it without echo, or read a line of standard input",
    )
    what.add_argument("--retire", action="store_true", help="revoke all secrets but the newest")
    return options.parse_args(arguments)


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


def _retire(stack: Stack, sender: Sender, entries: dict[str, Any], current: tuple[str, ...], version: str) -> int:
    if not current:
        raise StackError(for_stack(f"{sender.name} has no secret yet: make sender NAME={sender.name}", stack.argument))
    if len(current) == 1:
        print(f"{sender.name} has only one secret: nothing to revoke")
        return 0
    entries[sender.name] = [current[0]]
    store_secrets(stack, entries, version)
    print(f"only the newest secret of {sender.name} is left; the others stop working within a minute")
    return 0


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


def _print(stack: Stack, sender: Sender, secret: str, *, rotated: bool, shown: bool) -> None:
    what = "public key" if sender.scheme == "pubkey" else "secret"
    url = url_of(stack, sender)
    in_query = next((place.removeprefix("query:") for place in sender.where if place.startswith("query:")), "")
    once = ", shown only this once" if shown else ""
    print(f"stored {'a new' if rotated else 'the first'} {what} of {sender.name}{once}\n")
    print(f"  URL     {url}")
    if shown:
        print(f"  secret  {secret}")
        if in_query:
            print(
                f"  or, where you can set only a URL, this URL alone:\n          {url}?{urlencode({in_query: secret})}"
            )
        if "basic" in sender.where and ":" in secret:
            user, _, password = secret.partition(":")
            print(f"  as HTTP Basic: user {user}, password {password}")
    advice = [_PASTE.get(sender.name) or _paste_generic(sender)]
    if lacks_locations(sender, stack.parameters.get("LocationId")):
        advice.append(f"{sender.name} is closed (401): {locations_missing(sender.name)}")
    if rotated:
        advice.append(f"The previous {what} stays valid. To revoke it: make sender NAME={sender.name} RETIRE=1")
    advice.append(f"The new {what} works within 10 seconds; a revoked one stops working within a minute.")
    if sender.scheme != "pubkey" and sender.name != "api":
        advice.append(f"Try it: make send SENDER={sender.name}")
    print()
    print(for_stack("\n".join(advice), stack.argument))


def _print_keyless(stack: Stack, sender: Sender) -> None:
    print(f"{sender.name} needs no secret: its public key is in presets.toml or senders.toml\n")
    print(f"  URL     {url_of(stack, sender)}\n")
    print(_PASTE.get(sender.name, "Paste the URL as the endpoint in the sender's webhook settings."))
    if "app_id" in sender.requires and not sender.app_id:
        closed = (
            f"It is closed until it knows your app: put app_id under [{sender.name}] in functions/senders.toml, then "
            "make deploy.\nThe app id is the part of the app's client id before the -."
        )
        print(for_stack(closed, stack.argument))


def _paste_generic(sender: Sender) -> str:
    """Say where to paste URL and secret of a sender that the user has added."""
    if sender.scheme == "token":
        places = [_PLACES[place.partition(":")[0]].format(place.partition(":")[2]) for place in sender.where]
        where = f"The sender puts the secret into {', or '.join(places)}."
    elif sender.scheme == "mac":
        where = (
            "Paste both where the sender asks for a webhook's URL and signing secret. "
            f"Its signature is in the header {sender.sig_header}."
        )
    else:
        where = "Paste the URL as the endpoint in the sender's webhook settings."
    return f"{where}\nA new entry in functions/senders.toml works only after: make deploy"


_PLACES = {
    "bearer": "the header Authorization: Bearer <secret>",
    "basic": "HTTP Basic, where the secret is user:password",
    "header": "the header {}",
    "query": "the parameter {} of the URL",
    "body": "the member {} of the body",
}


if __name__ == "__main__":
    run(main)
