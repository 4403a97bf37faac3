"""Try a HighLevel token with calls that change nothing, and report what it may do."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from cli.report import Report
from cli.stack import Stack
from create_conversation.errors import REASONS
from highlevel.client import DEFAULT_BASE_URL, HighLevel
from highlevel.responses import ApiResult, RateLimit, classify_failure
from shared.connection_pool import HttpResponse

CALL_SECONDS = 10.0
WHERE_SCOPES = (
    "add it in HighLevel under Settings, Private Integrations (the token stays the same); for an app add it in the "
    "developer portal, then ./hlc connect"
)
# An id that HighLevel has not given to any contact or conversation: a call about it changes nothing.
NO_SUCH_ID = "hlcDoctorNoSuchThing"


@dataclass(frozen=True, slots=True)
class Scope:
    """What a scope is for, what still works without it, and a call that needs it and changes nothing.

    `path` has placeholders `{location}` and `{id}`. A call with a `body` names no contact: HighLevel refuses it after
    it has checked token and scope.
    """

    name: str
    use: str
    without: str
    path: str
    body: Mapping[str, str] | None = None

    def probe(self, highlevel: HighLevel, token: str, location: str) -> ApiResult:
        """Make the call. The result is `found` if HighLevel has checked the scope and found nothing to refuse there."""
        path = self.path.format(location=urlencode({"locationId": location}), id=NO_SUCH_ID)
        body = None if self.body is None else json.dumps({**self.body, "locationId": location}).encode()
        answer = highlevel.call("GET" if body is None else "POST", path, token, body, CALL_SECONDS)
        result = classify_failure(answer)
        is_answered = isinstance(answer, HttpResponse) and answer.status == 200 and answer.body.startswith(b"{")
        # 403 in HighLevel's format, without one of its texts about token or scope: it is about the unknown id.
        is_about_the_id = result.reason == "ids_refused" or (result.status == 403 and result.reason == "upstream_error")
        return replace(result, outcome="found", reason="") if is_answered or is_about_the_id else result


_NOTHING = "without it no conversation is opened"
SCOPES = (
    Scope("conversations.write", "opens conversations, sets the unread badge", _NOTHING, "/conversations/", {}),
    Scope(
        "conversations.readonly",
        "finds the id and the unread count of a conversation that exists already",
        "without it all else works; answers for existing conversations have no id, and their badge stays",
        "/conversations/search?{location}&limit=1",
    ),
    Scope(
        "contacts.write",
        "creates the contact of a sender that knows only an e-mail or phone, writes notes, tags and fields",
        "without it such senders' submissions are rejected; those with a contact id are opened",
        "/contacts/upsert",
        {},
    ),
    Scope(
        "contacts.readonly",
        "finds a contact without changing it, and checks a contact id that a visitor may have typed",
        "without it the contact is upserted, which can change its primary address, and typed ids are not used",
        "/contacts/{id}",
    ),
)
# For Message=comment.
MESSAGE_SCOPES = (
    Scope(
        "conversations/message.write",
        "writes the submission's words as an internal comment",
        "without it they are written as a note of the contact",
        "/conversations/messages",
        {"type": "InternalComment", "contactId": "", "message": ""},
    ),
    Scope(
        "conversations/message.readonly",
        "checks after an unclear answer whether the comment was written",
        "without it all else works; such a comment can be written twice (possible_duplicate in the log)",
        "/conversations/{id}/messages?limit=1",
    ),
)
_DOWN = (
    "nothing to do: submissions are stored and retried automatically, at most 15 minutes after HighLevel works again; "
    "see https://status.gohighlevel.com"
)
ADVICE = {
    "token_refused": "the token is expired, revoked or mistyped: ./hlc token set; for an app: ./hlc connect",
    "token_kind_refused": "this is an agency's token: create one in the sub-account, then ./hlc token set; or "
    "./hlc connect",
    "location_refused": "the token belongs to another sub-account: ./hlc token set --location <its id>, or correct the "
    "location id; for an app: install it there too",
    "location_inactive": "the sub-account is suspended: submissions wait until it is active again",
    "version_refused": "./hlc deploy HighLevelApiVersion=2021-04-15",
    "base_url_refused": f"./hlc deploy HighLevelBaseUrl={DEFAULT_BASE_URL}",
    "upstream_unreachable": "check the network of this machine (the function uses its own)",
    "upstream_connection_lost": _DOWN,
    "upstream_timeout": _DOWN,
    "upstream_error": _DOWN,
    "upstream_unexpected": _DOWN,
}


def highlevel_of(stack: Stack, report: Report) -> HighLevel | None:
    """Return a client for the HighLevel that the stack calls; None, reported, if its address cannot be used."""
    base_url = stack.parameters.get("HighLevelBaseUrl", DEFAULT_BASE_URL)
    try:
        return HighLevel(base_url, stack.parameters.get("HighLevelApiVersion", "2021-04-15"))
    except ValueError as error:
        report.bad("HighLevel", f"HighLevelBaseUrl: {error}: {ADVICE['base_url_refused']}")
        return None


def writes_comments(stack: Stack) -> bool:
    """Whether the stack writes the submissions' words as internal comments."""
    return stack.parameters.get("Message") == "comment"


def check_token(highlevel: HighLevel, token: str, location: str, report: Report, *, comments: bool) -> bool:
    """Try the token with calls that change nothing. Returns whether it can open conversations there.

    `comments`: whether the stack writes comments, which need scopes of their own.
    """
    search = _search(highlevel, token, location)
    if search.reason == "rate_limited":
        _check_quota(location, search.rate_limit, report, refused=True)
        return False
    if search.outcome != "found" and search.reason != "scope_missing":
        report.bad(
            "HighLevel" if search.reason.startswith("upstream_") else f"token of {location}", explain_result(search)
        )
        return False
    report.good(f"token of {location}", "HighLevel accepts it")
    scopes = (*SCOPES, *(MESSAGE_SCOPES if comments else ()))
    results = {
        scope.name: search if scope.name == "conversations.readonly" else scope.probe(highlevel, token, location)
        for scope in scopes
    }
    for scope in scopes:
        _check_scope(scope, results[scope.name], report)
    limits = [each.rate_limit for each in (search, *results.values()) if each.rate_limit]
    _check_quota(location, limits[-1] if limits else None, report)
    return results["conversations.write"].outcome == "found"


def check_token_alone(highlevel: HighLevel, token: str, report: Report) -> bool:
    """Try a token whose location is unknown. Returns whether HighLevel accepts it.

    HighLevel refuses the invented location only after it has accepted the token.
    """
    search = _search(highlevel, token, "unknown")
    if search.outcome != "found" and search.reason not in ("location_refused", "ids_refused", "scope_missing"):
        report.bad("HighLevel" if search.reason.startswith("upstream_") else "token", explain_result(search))
        return False
    report.good("token", "HighLevel accepts it; to check its scopes: ./hlc doctor --location <location id>")
    return True


def _search(highlevel: HighLevel, token: str, location: str) -> ApiResult:
    """Return the result `found` for an answer to the search, else the reason why there is none."""
    query = urlencode({"locationId": location, "limit": 1})
    answer = highlevel.call("GET", f"/conversations/search?{query}", token, None, CALL_SECONDS)
    result = classify_failure(answer)
    if isinstance(answer, HttpResponse) and answer.status == 200 and b'"conversations"' in answer.body:
        return ApiResult("found", status=200, rate_limit=result.rate_limit)
    return result


def _check_scope(scope: Scope, result: ApiResult, report: Report) -> None:
    what = f"scope {scope.name}"
    if result.outcome == "found":
        report.good(what, scope.use)
    elif result.reason == "scope_missing":
        report.bad(what, f"the token lacks this scope, which {scope.use}; {scope.without}: {WHERE_SCOPES}")
    elif scope in MESSAGE_SCOPES and result.reason == "token_refused":  # accepted for the other calls
        report.bad(
            what,
            f"HighLevel refuses comments from this kind of token ({result.status}); the words are written as notes of "
            "the contact. To stop trying: ./hlc deploy Message=note",
        )
    else:
        report.bad(what, explain_result(result))


def explain_result(result: ApiResult) -> str:
    """Explain HighLevel's answer, or the lack of one, and what to do."""
    reason = REASONS.get(result.reason)
    title = reason.title if reason else "Unexpected success response from HighLevel"
    status = f" ({result.status})" if result.status else ""
    todo = ADVICE.get(result.reason) or (reason.advice if reason and result.outcome == "rejected" else "")
    return f"{title}{status}: {todo or 'run this again later'}"


def _check_quota(location: str, limit: RateLimit | None, report: Report, *, refused: bool = False) -> None:
    """Report the rate limit. `refused`: HighLevel refused the call with 429."""
    quota = f"quota of {location}"
    if limit is None:
        if refused:
            report.bad(quota, "used up (429); HighLevel does not say for how long; submissions wait")
        else:
            report.good(quota, "HighLevel announces none")
        return
    seconds = f"{limit.interval_ms / 1000:g} s" if limit.interval_ms else "window"
    left = f"{_number(limit.remaining)} of {_number(limit.max)} calls left in this {seconds}"
    if limit.daily_remaining == 0:
        report.bad(
            quota,
            "none left today: submissions are stored and retried automatically until HighLevel's next day begins. "
            "All integrations of the location share this quota: find the one that used it up",
        )
    elif refused:
        report.bad(quota, f"{left}: used up for now; submissions wait for the next window; run this again later")
    else:
        report.good(quota, f"{left}, {_number(limit.daily_remaining)} left today")


def _number(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"
