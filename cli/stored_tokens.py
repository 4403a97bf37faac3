"""Check the tokens that a stack has stored, and the rotation of an OAuth connection. Changes nothing."""

import time

from cli.report import Report
from cli.rotation import rotation_of
from cli.stack import Stack
from cli.token_check import (
    ADVICE,
    CALL_SECONDS,
    WHERE_SCOPES,
    check_token,
    explain_result,
    highlevel_of,
    writes_comments,
)
from highlevel.client import HighLevel
from highlevel.oauth import OAuth, OAuthError, issue_location_token
from highlevel.responses import ApiResult
from highlevel.tokens import TokenError, Tokens, read_tokens

STUCK_SECONDS = 900.0  # longer than the four steps of a rotation take
# Reasons that end a rotation permanently. All other failures are transient.
_ROTATION_ADVICE = {
    "grant_refused": "HighLevel does not accept the refresh token any more. A refresh token works once: it was used "
    "and the answer was lost, another stack uses the same connection, the app was uninstalled, or the token was unused "
    "for a year. Retries cannot fix this: ./hlc connect",
    "client_refused": "HighLevel does not accept the client id with this client secret (perhaps the secret was "
    "replaced): ./hlc connect",
    "oauth_refused": "HighLevel refuses the call: ./hlc connect",
    "token_refused": "HighLevel does not accept the token that it has just issued; the rotation is tried again. If "
    "this goes on: ./hlc connect",
    "not_oauth": "the secret contains no connection: ./hlc connect, or ./hlc deploy RotateToken=false",
    "oauth_malformed": "the secret cannot be read as a connection: ./hlc connect",
    "no_token": "the secret has no value: ./hlc connect",
    "not_pending": "its label AWSPENDING was removed meanwhile: Secrets Manager starts the next rotation",
    "pending_superseded": "a rotation of a previous connection blocks it: ./hlc connect removes it",
    "location_inactive": "the sub-account is suspended; the rotation continues automatically once it is active again",
    "base_url_refused": ADVICE["base_url_refused"],
}


def check_stored_tokens(stack: Stack, location: str | None, report: Report) -> None:
    """Report whether the stored tokens work: at that location, else at the stack's, else at each that has its own."""
    tokens = _tokens(stack, report)
    if tokens is None:
        return
    highlevel = highlevel_of(stack, report)
    if highlevel is None:
        return
    named = location or stack.parameters.get("LocationId")
    locations = [named] if named else [each for each in tokens.by_location if each != "*"]
    if not locations:
        report.bad("location", "enter one: ./hlc doctor --location <location id>")
    for each in locations:
        try:
            agency = tokens.oauth if tokens.oauth and tokens.oauth.user_type == "Company" else None
            token = _issued_token(highlevel, agency, each) if agency else tokens.of(each)
        except TokenError as error:
            make = "./hlc connect" if tokens.oauth else f"./hlc token set --location {each}"
            report.bad(f"token of {each}", f"{error}: {make}")
            continue
        except OAuthError as error:
            report.bad(f"token of {each}", _explain_issue(error))
            continue
        check_token(highlevel, token, each, report, comments=writes_comments(stack))


def _tokens(stack: Stack, report: Report) -> Tokens | None:
    manager = stack.secrets_manager
    make, connect = "./hlc token set", "./hlc connect"
    try:
        found = manager.get_secret_value(SecretId=stack.output("HighLevelTokenArn"))
        text = found.get("SecretString", "")
        tokens = read_tokens(text)
    except manager.exceptions.ResourceNotFoundException:
        report.bad("HighLevelToken", f"it has no value yet: {make}, or {connect} for an OAuth app")
        return None
    except TokenError as error:
        report.bad("HighLevelToken", f"{error}: {connect if '"oauth"' in text else make}")
        return None
    if tokens.oauth:
        usable = _check_connection(tokens.oauth, connect, report)
        _check_rotation(stack, found["CreatedDate"].timestamp(), report)
        return tokens if usable else None
    own = [location for location in tokens.by_location if location != "*"]
    parts = [f"a token for {', '.join(own)}"] if own else []
    if "*" in tokens.by_location:
        parts.append("a token for all other locations" if own else "one token for all locations")
    report.good("HighLevelToken", " and ".join(parts) or "readable")
    if manager.describe_secret(SecretId=found["ARN"]).get("RotationEnabled"):
        report.bad("rotation", f"attached, but {_ROTATION_ADVICE['not_oauth']}")
    return tokens


def _issued_token(highlevel: HighLevel, oauth: OAuth, location: str) -> str:
    """Issue a token of that location as the function does. It is not stored, and other tokens stay valid."""
    token = issue_location_token(
        highlevel, str(oauth.access_token), str(oauth.company_id), location, within=CALL_SECONDS
    )
    return Tokens({location: token.access_token}).of(location)


def _explain_issue(error: OAuthError) -> str:
    what = {
        "scope_missing": f"the connection lacks the scope oauth.write: {WHERE_SCOPES}",
        "location_refused": "the app is not installed there, or the location belongs to another agency",
        "token_kind_refused": "the connection is for one sub-account: ./hlc connect, and choose the whole agency",
        "token_refused": "HighLevel does not accept the agency's access token: wait for a rotation, or ./hlc connect",
    }.get(error.reason, explain_result(ApiResult("deferred", error.reason)))
    return f"HighLevel does not issue it{f' ({error.status})' if error.status else ''}: {what}"


def _check_connection(oauth: OAuth, connect: str, report: Report) -> bool:
    """Report the connection. Returns whether its access token can be used."""
    agency = f"the agency {oauth.company_id}" if oauth.company_id else "an agency"
    whose = f"the connection of {agency if oauth.user_type == 'Company' else 'a sub-account'}"
    left = None if oauth.expires_at is None else oauth.expires_at - time.time()
    if oauth.user_type == "Company" and not oauth.company_id:
        report.bad("HighLevelToken", f"the connection of an agency has no company_id: {connect}")
    elif oauth.access_token is None:
        report.bad("HighLevelToken", f"{whose} has no access token yet: wait for a rotation, or {connect}")
    elif left is not None and left <= 0:
        report.bad(
            "HighLevelToken",
            f"{whose}: its access token expired {_span(-left)} ago; see the line rotation, or {connect}",
        )
    else:
        expires = "" if left is None else f"; its access token expires in {_span(left)}"
        report.good("HighLevelToken", f"{whose}{expires}")
        return True
    return False


def _check_rotation(stack: Stack, stored_at: float, report: Report) -> None:
    """Report whether the connection is renewed automatically and, if not, why."""
    rotation = rotation_of(stack, stack.output("HighLevelTokenArn"), stored_at)
    ago = "" if rotation.at is None else f" {_span(time.time() - rotation.at)} ago"
    if not rotation.is_attached:
        attach = "./hlc deploy RotateToken=true"
        report.bad("rotation", f"nothing renews the access token, which expires after a day: {attach}")
    if rotation.failure is not None:
        todo = _ROTATION_ADVICE.get(rotation.failure, "Secrets Manager tries again; run this again later")
        report.bad("rotation", f"failed{ago}, {rotation.failure}: {todo}")
    elif rotation.is_pending and (rotation.at or stored_at) < time.time() - STUCK_SECONDS:
        report.bad("rotation", "one has begun and has not ended (AWSPENDING is left): ./hlc connect removes it")
    elif rotation.is_attached:
        done = f"renewed{ago}" if rotation.at is not None and not rotation.is_pending else "attached"
        following = f", next until {rotation.next_at:%Y-%m-%d %H:%M %Z}" if rotation.next_at else ""
        report.good("rotation", f"{done}{following}")


def _span(seconds: float) -> str:
    """Format a duration in minutes, or in hours from two hours on."""
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{round(seconds / 3600)} h"
