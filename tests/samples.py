"""The samples of webhooks in `events/`: signed, and changed in each way that must be refused."""

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cli.signing import sign_event
from create_conversation.senders.body import read_body, without_members
from create_conversation.senders.config import TRUSTED, JmesPath, Sender, load
from create_conversation.senders.redaction import secret_members

ROOT = Path(__file__).parents[1]
LOCATION = "ve9EPM428h8vShlRW1KT"
SENDERS = load()
# A senders.toml that lets each preset name any location: for stacks of many, whose senders no visitor fills in.
ANYWHERE = "".join(f'[{name}]\nlocations = ["*"]\n\n' for name in SENDERS if name not in TRUSTED)
# The contact data of each sample that HighLevel must receive.
PEOPLE = {
    "typeform": {"email": "jane@example.com", "phone": "+15555550100", "firstName": "Jane"},
    "tally": {"email": "amir@example.com", "phone": "+15555550101", "name": "Amir Nasser"},
    "standard-webhooks": {
        "email": "lucia@example.com",
        "phone": "+15555550102",
        "firstName": "Lucía",
        "lastName": "Ruiz",
    },
    "jotform": {"email": "nora@example.com", "phone": "(555) 555-0110", "firstName": "Nora", "lastName": "Lind"},
    "webflow": {
        "email": "zaphod@example.com",
        "phone": "15555550111",
        "firstName": "Zaphod",
        "lastName": "Beeblebrox",
    },
    "wpforms": {"email": "mia@example.com", "phone": "+15555550112", "name": "Mia Koch"},
    "formstack": {"email": "yusuf@example.com", "phone": "(555) 555-0113", "firstName": "Yusuf", "lastName": "Demir"},
    "calendly": {"email": "tara@example.com", "phone": "+1 555-555-0114", "name": "Tara Singh"},
    "shopify": {"email": "lars@example.com", "phone": "+15555550115", "firstName": "Lars", "lastName": "Holm"},
    "stripe": {"email": "elif@example.com", "phone": "+15555550116", "name": "Elif Kaya"},
    "google-ads": {"email": "bruno@example.com", "phone": "+15555550117", "name": "Bruno Costa"},
    "elementor": {"email": "ama@example.com", "phone": "+1 555 555 0118", "name": "Ama Owusu"},
    "gravity-forms": {
        "email": "ivo@example.com",
        "phone": "(555) 555-0119",
        "firstName": "Ivo",
        "lastName": "Novak",
    },
    "paperform": {"email": "sofia@example.com", "phone": "+15555550120", "name": "Sofia Rossi"},
    "contact-form-7": {"email": "dana@example.com", "phone": "(555) 555-0131", "name": "Dana Reyes"},
    "woocommerce": {"email": "kai@example.com", "phone": "+1 555-555-0132", "firstName": "Kai", "lastName": "Dunn"},
    "ninja-forms": {"email": "owen@example.com", "phone": "(555) 555-0133", "name": "Owen Price"},
    "fluent-forms": {"email": "ruth@example.com", "phone": "+15555550134", "firstName": "Ruth", "lastName": "Adler"},
    "formidable-forms": {
        "email": "tess@example.com",
        "phone": "(555) 555-0135",
        "firstName": "Tess",
        "lastName": "Lang",
    },
    "unbounce": {"email": "iris@example.com", "phone": "(555) 555-0136", "firstName": "Iris", "lastName": "Boyd"},
    "hubspot-workflow": {"email": "vera@example.com", "phone": "+15555550137", "firstName": "Vera", "lastName": "Hahn"},
    "wufoo": {"email": "cora@example.com", "firstName": "Cora", "lastName": "Finch"},
    "callrail": {"email": "wade@example.com", "phone": "(555) 555-0139", "name": "Wade Tran"},
    "whatconverts": {"email": "jude@example.com", "phone": "+15555550140", "name": "Jude Park"},
    "cognito-forms": {"email": "opal@example.com", "phone": "(555) 555-0141", "firstName": "Opal", "lastName": "Reid"},
    "clickfunnels": {"email": "zoe@example.com", "phone": "+15555550142", "firstName": "Zoe", "lastName": "Quinn"},
    "clickfunnels-classic": {
        "email": "bram@example.com",
        "phone": "5555550143",
        "firstName": "Bram",
        "lastName": "Lowe",
    },
    "framer": {"email": "cleo@example.com", "phone": "+1 555 555 0144", "name": "Cleo Nash"},
    "fillout": {"email": "pia@example.com", "phone": "+15555550145", "name": "Pia Berg"},
    "heyflow": {"email": "kurt@example.com", "phone": "+1 555 555 0146", "firstName": "Kurt", "lastName": "Voss"},
    "activecampaign": {
        "email": "greta@example.com",
        "phone": "+1 555 555 0147",
        "firstName": "Greta",
        "lastName": "Hill",
    },
}


def secret_of(sender: str) -> str:
    """Return a secret in this sender's format."""
    return "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" if sender == "standard-webhooks" else f"the-secret-of-{sender}"


def sample_of(sender: str) -> dict[str, Any]:
    """Return the sender's API Gateway event, with placeholders for its credentials."""
    event: dict[str, Any] = json.loads((ROOT / "events" / f"webhook_{sender.replace('-', '_')}.json").read_text())
    return event


@dataclass(frozen=True)
class Sent:
    """A delivery as it is sent."""

    sender: Sender
    headers: dict[str, str]
    query: str
    body: bytes

    @classmethod
    def of(cls, name: str, body: bytes | None = None, secret: str = "") -> "Sent":
        """Sign the sample of that sender, or another body, now and by default with its own secret."""
        event = sample_of(name)
        if body is not None:
            event |= {"body": body.decode(), "isBase64Encoded": False}
        return cls(SENDERS[name], *sign_event(SENDERS[name], secret or secret_of(name), event, time.time()))

    def spoilt(self) -> "Sent":
        """Change one byte of the signed body, or of the secret."""
        if self.sender.scheme == "mac":
            at = len(self.body) // 2
            return replace(self, body=self.body[:at] + bytes([self.body[at] ^ 1]) + self.body[at + 1 :])
        secret = secret_of(self.sender.name)
        return Sent.of(self.sender.name, secret=secret[:-1] + chr(ord(secret[-1]) ^ 1))

    def without_credentials(self) -> "Sent":
        """Remove the header, query or member of the body that authenticates it."""
        if self.sender.scheme == "mac":
            return replace(
                self, headers={name: text for name, text in self.headers.items() if name != self.sender.sig_header}
            )
        credentials = {"authorization", *(place.removeprefix("header:") for place in self.sender.where)}
        headers = {name: value for name, value in self.headers.items() if name not in credentials}
        read = without_members(read_body(self.body, self.headers["content-type"]), secret_members(self.sender))
        headers["content-type"] = read.content_type
        return replace(self, headers=headers, query="", body=read.raw)

    def without_contact(self) -> "Sent":
        """Sign the sample with an invalid e-mail address and phone number."""
        body = self.body.replace(b"15555550111", b"null").replace(b"555", b"five")
        return Sent.of(self.sender.name, body.replace(b"@", b"-at-").replace(b"%40", b"-at-"))


def mistaken(sender: Sender) -> Sender:
    """Return the entry with a wrong mapping: what it takes for the location's id is not an id."""
    return replace(sender, paths=sender.paths | {"location_id": JmesPath("'no location id'")})
