"""Post payload files to a running `make serve`, signed as their senders sign them, and print the answers.

`PYTHONPATH=functions:. .tools/cli/bin/python -m tests.replay tests/data/reports/*.json`. A sender without a secret
gets one. The log has the outcomes (`./hlc logs --stack local`), GET <HighLevel>/_local the contacts.
"""

import http.client
import json
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from cli.known_senders import all_senders, entries_of, new_secret, read_secrets
from cli.options import Settings
from cli.sender import store_secrets
from cli.signing import sign
from cli.stack import Stack
from create_conversation.senders.config import Sender
from tests.payloads import on_the_wire

NOTICED_SECONDS = 11.0  # how long the function may go on without a secret that was made a moment ago


def main(files: list[str]) -> None:
    """Post each file in turn."""
    stack, senders = Stack.connect(Settings("local")), all_senders()
    for file in files:
        spec = json.loads(Path(file).read_text("utf-8"))
        sender = senders.get(spec["sender"])
        if sender is None:
            print(f"{file}: there is no sender {spec['sender']}")
            continue
        body, content_type = on_the_wire(spec)
        body = body.replace(b"UNIQUE", str(time.time_ns()).encode())
        headers, query, body = sign(sender, _secret_of(sender, stack), body, content_type, time.time())
        given = {name.lower(): text for name, text in spec.get("headers", {}).items() if "<" not in text}
        url = urlsplit(stack.output("WebhooksUrl"))
        connection = http.client.HTTPConnection(str(url.hostname), url.port, timeout=30)
        path = f"{url.path}/{sender.name}?{query}"
        connection.request("POST", path, body, {**given, **headers, "Content-Type": content_type})
        response = connection.getresponse()
        print(file, response.status, response.read().decode()[:300], "| expected:", json.dumps(spec["expected"]))
        connection.close()


def _secret_of(sender: Sender, stack: Stack) -> str:
    text, version = read_secrets(stack)
    entries = entries_of(text)
    if sender.name not in entries:
        entries[sender.name] = [new_secret(sender)]
        store_secrets(stack, entries, version)
        time.sleep(NOTICED_SECONDS)
    entry = entries[sender.name]
    return entry if isinstance(entry, str) else str(entry[0])


if __name__ == "__main__":
    main(sys.argv[1:])
