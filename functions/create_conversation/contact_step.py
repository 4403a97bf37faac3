"""Find the contact of a person, or create it: the contact step of the use case.

A contact that HighLevel has is found without changing it. A new one is created under a claim on each of its addresses,
because HighLevel creates it twice where the location allows duplicates. Tags and custom fields come last.
"""

import hashlib
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from create_conversation.errors import DeferredError, Explanation, OutcomeName, RejectedError, SubmissionError
from create_conversation.highlevel_calls import Deadline, HighLevelCalls
from create_conversation.message_claims import Claim, ClaimItem, ClaimStore
from create_conversation.outcome import Outcome
from create_conversation.senders.mapping import Target
from shared.clock import Clock
from shared.observability import internal_error

ADDRESSES = ("email", "phone")
MAX_REFUSED_DETAILS = 3  # each costs one more create
CONTACT = "contact"  # the place of a claim
# HighLevel's search may not show a new contact yet: that long the claim says which one it is.
SEARCH_LAG_SECONDS = 600.0
# Without that search HighLevel itself refuses a second contact, where the location does not allow duplicates.
_NOT_SEARCHED = "search for the contact: scope_missing, contacts.readonly"
_SCOPE_TO_WRITE = "The token needs the scope contacts.write."


@dataclass(frozen=True, slots=True)
class _Held:
    """The claims of one create: on each address, with the item that it is in."""

    claims: tuple[tuple[ClaimItem, Claim], ...]

    @property
    def not_after(self) -> float:
        """Return when the call must have been sent, in Unix seconds."""
        return min(claim.not_after for _, claim in self.claims)


@dataclass(frozen=True, slots=True)
class ContactStep:
    """Finds, creates and completes contacts. All threads may share it."""

    calls: HighLevelCalls
    claims: ClaimStore
    clock: Clock = time

    def find_or_create(self, target: Target, deadline: Deadline) -> Outcome:
        """Find or create the person's contact; go on without what HighLevel refuses, as long as an address is left.

        If its message does not say which of the two it refuses, the e-mail address is left out first. If the phone
        number alone is refused too, it was the number: then the e-mail address is tried alone.
        """
        dropped: list[str] = []
        details = person_details(target)
        others = {"email": [*target.more_emails], "phone": [*target.more_phones]}
        doubted: dict[str, str] = {}
        while True:
            outcome = _with_contact(self._find_or_create(target, details, deadline))
            refused, is_named = _refused_detail(outcome, details)
            if not refused:
                return _refusal_explained(outcome, dropped)
            dropped.append(refused)
            left = {name: value for name, value in details.items() if name != refused}
            if not is_named and not doubted and "phone" in left:
                doubted = {"email": details["email"]}
            elif others[refused]:
                left[refused] = others[refused].pop(0)
            elif refused == "phone" and doubted:
                left, doubted = left | doubted, {}
                dropped.remove("email")
            if not left.keys() & others.keys() or len(dropped) > MAX_REFUSED_DETAILS:
                return _refusal_explained(outcome, dropped)
            details = left

    # --- search, else create under a claim ----------------------------------------------------------------------------

    def _find_or_create(self, target: Target, details: Mapping[str, str], deadline: Deadline) -> Outcome:
        outcome = self._search(target, details, deadline)
        can_search = outcome.reason != "scope_missing"
        if can_search and outcome.name != OutcomeName.MISSING:
            return outcome
        held = self._claim(target, details, can_search)
        if isinstance(held, Outcome):
            return held
        try:
            outcome = self._create(target, details, deadline, held.not_after, can_search)
        except SubmissionError:  # before the call
            self._release(held)
            raise
        self._save_or_release(held, outcome)
        return outcome if can_search else without(outcome, _NOT_SEARCHED)

    def _search(self, target: Target, details: Mapping[str, str], deadline: Deadline) -> Outcome:
        """Ask HighLevel for the contact. `missing` also where it refuses to search for such an address."""
        email, phone, highlevel = details.get("email", ""), details.get("phone", ""), self.calls.highlevel

        def call(token: str, within: float) -> Any:
            return highlevel.search_contact(token, target.location, email=email, phone=phone, within=within)

        outcome = self.calls.call(target.location, deadline, call)
        is_refused = outcome.reason in ("contact_refused", "ids_refused")
        return replace(outcome, name=OutcomeName.MISSING, reason="") if is_refused else outcome

    def _create(
        self, target: Target, details: Mapping[str, str], deadline: Deadline, not_after: float, can_search: bool
    ) -> Outcome:
        """Create the contact, without source and custom fields if HighLevel seems to refuse these.

        HighLevel has answered 422 and created the contact all the same: after a refusal the search is asked again.
        """
        extras = _extras(target)
        outcome = self._create_with(target, {**details, **extras}, deadline, not_after)
        if found := self._refused_but_created(target, details, deadline, outcome, can_search):
            return found
        if outcome.reason != "contact_refused" or not extras or _named(outcome, details):
            return outcome
        outcome = self._create_with(target, details, deadline, not_after)
        found = self._refused_but_created(target, details, deadline, outcome, can_search)
        return without(found or outcome, "source and custom fields: refused by HighLevel")

    def _refused_but_created(
        self, target: Target, details: Mapping[str, str], deadline: Deadline, outcome: Outcome, can_search: bool
    ) -> Outcome | None:
        if outcome.name != OutcomeName.REJECTED or not can_search:
            return None
        found = self._search(target, details, deadline)
        return found if found.name == OutcomeName.FOUND else None

    def _create_with(self, target: Target, details: Mapping[str, Any], deadline: Deadline, not_after: float) -> Outcome:
        highlevel, location = self.calls.highlevel, target.location
        outcome = self.calls.call(
            location,
            deadline,
            lambda token, within: highlevel.create_contact(
                token, location, details, within=within, not_after=not_after
            ),
        )
        return replace(outcome, detail=_SCOPE_TO_WRITE) if outcome.reason == "scope_missing" else outcome

    # --- the claims ---------------------------------------------------------------------------------------------------

    def _claim(self, target: Target, details: Mapping[str, str], can_search: bool) -> _Held | Outcome:
        """Claim each address; an outcome if another attempt has created the contact, or is about to."""
        claims: list[tuple[ClaimItem, Claim]] = []
        for name in ADDRESSES:
            if name not in details:
                continue
            claimed = self._claim_address(_address_key(target.location, details[name]), can_search)
            if isinstance(claimed, Outcome):
                self._release(_Held((*claims,)))
                return claimed
            claims.append(claimed)
        return _Held((*claims,))

    def _claim_address(self, key: str, can_search: bool) -> tuple[ClaimItem, Claim] | Outcome:
        """Claim one address, unless a claim of it says which contact was created.

        The search has just shown that HighLevel has no such contact, or does not show it yet. Where the token may not
        search, there is only the claim.
        """
        claim = self.claims.new(CONTACT, 0.0)
        item = self.claims.write(ClaimItem(key), claim)
        if item:
            return item, claim
        item = self.claims.read(key)
        if claim in item.claims:  # the connection sent it twice
            return item, claim
        earlier = item.of(0.0, math.inf)
        lag = SEARCH_LAG_SECONDS if can_search else math.inf
        if earlier and earlier.result and self.clock.time() < earlier.claimed_at + lag:
            return found_contact(earlier.result)
        if earlier and self.claims.is_held(earlier):
            return Outcome("deferred", "already_claimed", retry_after=self.claims.retry_after(earlier))
        claim = self.claims.new(CONTACT, 0.0, earlier)
        taken = self.claims.write(item, claim, earlier)
        return (taken, claim) if taken else Outcome("deferred", "already_claimed")

    def _save_or_release(self, held: _Held, outcome: Outcome) -> None:
        """Save or release the claims, as the create ended; what is not known is taken over later."""
        if outcome.name == OutcomeName.FOUND and outcome.upstream:
            self._save(held, str(outcome.upstream.contact))
        elif outcome.name == OutcomeName.REJECTED or _is_certainly_not_created(outcome):
            self._release(held)

    def _save(self, held: _Held, contact: str) -> None:
        for item, claim in held.claims:
            try:
                self.claims.write(item, replace(claim, result=contact, is_complete=True), claim)
            except DeferredError:  # the next attempt finds the contact by the search
                return

    def _release(self, held: _Held) -> None:
        for item, claim in held.claims:
            self.claims.release(item, claim)

    # --- tags and fields ----------------------------------------------------------------------------------------------

    def write_fields(self, target: Target, contact: str, deadline: Deadline) -> Outcome | None:
        """Add the sender's tags, and change the contact where its entry allows it. None, or why it is not done.

        Both may be done again: a tag that is added twice is one tag.
        """
        try:
            return self._add_tags(target, contact, deadline) or self._update(target, contact, deadline)
        except (DeferredError, RejectedError) as error:
            return Outcome.from_error(error)
        except Exception as error:  # noqa: BLE001 the conversation is open: its outcome stays
            internal_error(error)
            return Outcome("deferred", "internal_error")

    def _add_tags(self, target: Target, contact: str, deadline: Deadline) -> Outcome | None:
        tags, highlevel = target.fields.tags, self.calls.highlevel
        if not tags:
            return None
        outcome = self.calls.call(
            target.location,
            deadline,
            lambda token, within: highlevel.add_tags(token, contact, tags, within=within),
        )
        return _not_written(outcome, "tags")

    def _update(self, target: Target, contact: str, deadline: Deadline) -> Outcome | None:
        changes, highlevel = _changes(target), self.calls.highlevel
        if not changes:
            return None
        outcome = self.calls.call(
            target.location,
            deadline,
            lambda token, within: highlevel.update_contact(token, contact, changes, within=within),
        )
        return _not_written(outcome, "contact")


def has_fields(target: Target) -> bool:
    """Return whether something is to be written into the contact."""
    return bool(target.fields.tags or _changes(target))


def person_details(target: Target) -> dict[str, str]:
    """Return the addresses and names of the person, as HighLevel's create takes them, without empty ones."""
    person = target.person
    if person is None:
        return {}
    details = {
        "email": person.email,
        "phone": person.phone,
        "firstName": person.first_name,
        "lastName": person.last_name,
        "name": person.full_name,
    }
    return {name: value for name, value in details.items() if value}


def person_addresses(target: Target) -> list[str]:
    """Return the person's e-mail address and phone number, where there is one."""
    details = person_details(target)
    return [details[name] for name in ADDRESSES if name in details]


def found_contact(contact: str) -> Outcome:
    """Return the outcome of a contact that was found without a call."""
    return Outcome(OutcomeName.FOUND, contact=contact)


def without(outcome: Outcome, note: str) -> Outcome:
    """Add to an outcome what it was done without."""
    return replace(outcome, explanation=outcome.explanation + Explanation(dropped=(note,)))


def _address_key(location: str, address: str) -> str:
    """Return the key of an address's claim, without the address: the same for each spelling of a phone number."""
    spelled = address.casefold() if "@" in address else re.sub(r"[^\d+]", "", address)
    return f"address#{location}#{hashlib.sha256(spelled.encode()).hexdigest()[:32]}"


def _extras(target: Target) -> dict[str, Any]:
    """Return what a new contact gets besides addresses and names."""
    fields = target.fields
    extras: dict[str, Any] = {"source": fields.source} if fields.source else {}
    return extras | _custom_fields(target)


def _custom_fields(target: Target) -> dict[str, Any]:
    values = [{"id": name, "field_value": value} for name, value in target.fields.custom_fields.items()]
    return {"customFields": values} if values else {}


def _changes(target: Target) -> dict[str, Any]:
    """Return what an existing contact gets, where the sender's entry allows to change it: names and custom fields."""
    if not target.fields.update_contact:
        return {}
    names = {name: value for name, value in person_details(target).items() if name not in ADDRESSES}
    return names | _custom_fields(target)


def _not_written(outcome: Outcome, what: str) -> Outcome | None:
    if outcome.name == OutcomeName.WRITTEN:
        return None
    detail = f"{what}: {_SCOPE_TO_WRITE}" if outcome.reason == "scope_missing" else f"{what} not written."
    return replace(outcome, detail=detail)


def _is_certainly_not_created(outcome: Outcome) -> bool:
    if outcome.name != OutcomeName.DEFERRED:
        return False
    return outcome.upstream is None or not outcome.upstream.is_sent or outcome.upstream.status in (401, 429)


def _named(outcome: Outcome, details: Mapping[str, str]) -> list[str]:
    """Return the addresses that HighLevel's message names."""
    message = outcome.upstream.message if outcome.upstream else ""
    return [name for name in ADDRESSES if name in details and name in message]


def _with_contact(outcome: Outcome) -> Outcome:
    """Add the id that HighLevel's answer contains."""
    if outcome.name != OutcomeName.FOUND or outcome.upstream is None:
        return outcome
    return replace(outcome, contact=outcome.upstream.contact)


def _refused_detail(outcome: Outcome, details: Mapping[str, str]) -> tuple[str, bool]:
    """Return the detail that HighLevel refuses, and whether that is certain.

    It is the one that HighLevel's message names, or the only one; else the e-mail address is assumed.
    """
    if outcome.reason != "contact_refused" or outcome.upstream is None:
        return "", False
    present = [name for name in ADDRESSES if name in details]
    named = _named(outcome, details)
    return next(iter(named or present), ""), bool(named) or len(present) == 1


def _refusal_explained(outcome: Outcome, dropped: list[str]) -> Outcome:
    """Add to the outcome what was dropped before, and to a refusal HighLevel's message."""
    for name in dropped:
        outcome = without(outcome, f"{name}: refused by HighLevel")
    if outcome.reason != "contact_refused" or outcome.upstream is None:
        return outcome
    message = outcome.upstream.message
    return replace(outcome, detail=f"HighLevel: {message}." if message else "HighLevel's message may not be shown.")
