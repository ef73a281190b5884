#!/usr/bin/env python3
"""Checks DSSE envelopes with securesystemslib, which nobody here wrote.

Arguments: a public key (64 hex digits) and a file with an envelope in DSSE's JSON. Ends with 0 where a signature by the
key verifies, with 1 where none does. Prints the payload's type and the number of its bytes.
"""

import json
import pathlib
import sys

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey


def main() -> int:
    public_key, file = sys.argv[1:]
    described = json.loads(pathlib.Path(file).read_text())
    key_id = described["signatures"][0]["keyid"]
    key = SSlibKey(key_id, "ed25519", "ed25519", {"public": public_key})
    envelope = Envelope.from_dict(described)
    try:
        envelope.verify([key], 1)
    except VerificationError as error:
        print(f"rejected: {error}")
        return 1
    print(f"accepted: {envelope.payload_type}, {len(envelope.payload)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
