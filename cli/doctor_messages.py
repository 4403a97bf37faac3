"""For `./hlc doctor`: what became of the submissions' words, and whether another stack writes them too."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from botocore.exceptions import ClientError

from cli.report import Report
from cli.stack import DENIED, Stack

_OUTPUTS = {"SenderSecretsArn", "HighLevelTokenArn", "WebhooksUrl"}  # of a stack of this application


def check_messages(stack: Stack, lines: Iterable[Mapping[str, Any]], report: Report) -> None:
    """Report the last hour's comments, and those that HighLevel refused."""
    if stack.parameters.get("Message", "off") == "off":
        return
    statuses: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for line in lines:
        if "message_status" not in line:  # the local AWS may return other lines
            continue
        status = str(line["message_status"])
        statuses[status] += 1
        if status == "refused" or (status == "note" and stack.parameters["Message"] == "comment"):
            refused[f"{line.get('message_reason') or 'refused'} in {line.get('location_id', '?')}"] += 1
    counted = ", ".join(f"{count} {status}" for status, count in statuses.most_common()) or "none"
    if not refused:
        report.good("messages", f"in the last hour: {counted}")
        return
    why = ", ".join(f"{reason} ({count} times)" for reason, count in refused.most_common(5))
    report.bad(
        "messages",
        f"in the last hour: {counted}. HighLevel refused the comment: {why}. A note of the contact was written instead "
        "where that was possible; see the line of the scope, and docs/tokens.md",
    )


def check_other_stacks(stack: Stack, report: Report) -> None:
    """Warn of stacks in the same account and region that serve the same location."""
    location = stack.parameters.get("LocationId")
    if not location:
        return
    try:
        pages = stack.formation.get_paginator("describe_stacks").paginate()
        others = [each for page in pages for each in page["Stacks"] if each["StackName"] != stack.name]
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in DENIED:
            return  # it may only see its own stack
        raise
    for other in others:
        outputs = {output["OutputKey"] for output in other.get("Outputs", [])}
        parameters = {each["ParameterKey"]: each.get("ParameterValue") for each in other.get("Parameters", [])}
        if outputs >= _OUTPUTS and parameters.get("LocationId") == location:
            report.warn(
                "other stacks",
                f"{other['StackName']} serves the same location: a delivery that both get is written twice. "
                "Give each sender the URL of one of them only",
            )
