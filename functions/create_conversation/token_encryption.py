"""Encryption of an issued token for the shared record in DynamoDB.

The key is made of the connection's client secret. A reader of the table without access to the secret HighLevelToken
reads no token; a reader of HighLevelToken can have tokens issued anyway.
"""

import base64
import hmac

from highlevel.oauth import OAuth


def encrypt(token: str, oauth: OAuth, location: str) -> str:
    """Return the encrypted token in base64, as DynamoDB takes bytes."""
    from nacl.secret import SecretBox  # only agencies need it

    return base64.b64encode(SecretBox(_key(oauth, location)).encrypt(token.encode())).decode("ascii")


def decrypt(encrypted: str, oauth: OAuth, location: str) -> str | None:
    """Return the token; None if it was encrypted for another connection or location, or is not in base64."""
    from nacl.exceptions import CryptoError
    from nacl.secret import SecretBox

    try:
        return SecretBox(_key(oauth, location)).decrypt(base64.b64decode(encrypted)).decode()
    except (CryptoError, ValueError):
        return None


def _key(oauth: OAuth, location: str) -> bytes:
    """Return 32 bytes for this connection and location only: a record copied to another location cannot be read."""
    about = f"token of a location\n{oauth.client_id}\n{oauth.company_id}\n{location}"
    return hmac.digest(oauth.client_secret.encode(), about.encode(), "sha256")
