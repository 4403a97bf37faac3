"""The table of reason codes in docs/api.md, made from `errors.REASONS`; `python -m tests.reasons_table` prints it."""

from create_conversation.errors import REASONS, OutcomeName

HEADER = "| reason | outcome | status | what it means | what to do |"
# For the reasons that say nothing themselves.
_TODO = {
    OutcomeName.INVALID: "Fix the request.",
    OutcomeName.IGNORED: "Nothing.",
    OutcomeName.UNAUTHORIZED: "Send a secret of this sender.",
    OutcomeName.REJECTED: "Fix what the detail names, then redrive.",
    OutcomeName.DEFERRED: "Nothing: it is tried again.",
    OutcomeName.NOT_STORED: "Send it again.",
}


def rows() -> list[str]:
    """Write a row for each reason, in the order of the outcomes."""
    order = [*_TODO]
    listed = sorted(REASONS.items(), key=lambda item: order.index(item[1].outcome))
    return [
        f"| `{name}` | {reason.outcome} | {reason.status} | {reason.title} | {reason.advice or _TODO[reason.outcome]} |"
        for name, reason in listed
    ]


if __name__ == "__main__":
    print("\n".join([HEADER, "|---|---|---|---|---|", *rows()]))
