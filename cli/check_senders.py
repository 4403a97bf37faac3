"""Check presets.toml and functions/senders.toml for mistakes: `python -m cli.check_senders`."""

import sys

from create_conversation.senders.config import SendersError, load


def main() -> int:
    """Print the first mistake, or the number of senders. Returns 1 or 0."""
    try:
        senders = load()
    except SendersError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(senders)} senders, no mistakes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
