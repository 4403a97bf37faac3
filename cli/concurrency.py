"""Whether the account's concurrency is enough for callers while retries run: for `./hlc doctor` and `./hlc deploy`."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient

# What is left for callers at least. While HighLevel hangs, a request takes 4 seconds: ten take 2.5 requests a second.
FOR_CALLERS = 10
_QUOTA = "L-B99A9384"
WANTED = 1000  # AWS's usual limit, which a new account gets on request


def too_little_concurrency(functions: "LambdaClient", retry_concurrency: int) -> str:
    """Say why the account's concurrency does not suffice, and what to do; "" if it does. Raises an error of AWS."""
    limits = functions.get_account_settings()["AccountLimit"]
    unreserved = limits["UnreservedConcurrentExecutions"]
    needed = retry_concurrency + FOR_CALLERS
    if unreserved >= needed:
        return ""
    reserved = limits["ConcurrentExecutions"] - unreserved
    others = f", of which other functions have reserved {reserved}" if reserved else ""
    return (
        f"the account may run {limits['ConcurrentExecutions']} functions at the same time{others}; this stack needs "
        f"{needed}: {retry_concurrency} for retries and {FOR_CALLERS} for callers, who otherwise get 503 while "
        f"HighLevel is slow. Raise the quota {_QUOTA}: "
        "aws service-quotas request-service-quota-increase --service-code lambda "
        f"--quota-code {_QUOTA} --desired-value {WANTED} --region {functions.meta.region_name}"
    )
