#!/usr/bin/env python3
"""Checks an inclusion proof with pymerkle, which nobody here wrote.

The argument is a JSON file as `exchange-node evidence unpack` writes it: index, size, leaf and root and the path between
them. Ends with 0 where the proof holds, with 1 where it does not.
"""

import base64
import json
import pathlib
import sys

from pymerkle import InvalidProof, verify_inclusion
from pymerkle.core import _inclusion_path_layout
from pymerkle.proof import InclusionProof


def main() -> int:
    proof = json.loads(pathlib.Path(sys.argv[1]).read_text())
    path = [base64.b64decode(proof["leaf_hash_base64"])]
    path += [base64.b64decode(hash) for hash in proof["inclusion_base64"]]
    # pymerkle counts from one. Which hash stands on which side follows from index and size alone.
    index, size = proof["index"] + 1, proof["size"]
    rule, _ = _inclusion_path_layout(index, size)
    theirs = InclusionProof("sha256", True, size, index, rule, path)
    try:
        verify_inclusion(path[0], base64.b64decode(proof["root_base64"]), theirs, index=index, size=size)
    except InvalidProof as error:
        print(f"rejected: {error}")
        return 1
    print(f"accepted: entry {proof['index']} of {size}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
