#!/usr/bin/env python3
"""Asks another department one question through the own node's office port, and prints the result as JSON.

What a department's back-office software would do, in a language that the node is not written in. The client's code is
generated from the .proto files of this repository each time it starts; a real system would do that when it is built.
README.md, beside this file, has an example. Out of scope: retries, and reading the applicant's form.
"""

import argparse
import importlib
import json
import os
import pathlib
import re
import sys
import tempfile
import types

import grpc
from grpc_tools import protoc

# The exit codes are those of `exchange-node verify`.
DONE, FAILURE, USAGE, UNREACHABLE, MISMATCH, NO_RECORD, UNAVAILABLE, REFUSED = range(8)

# The longest names first: "a>=b" is not "a" ">" "=b".
OPERATORS = {"<=": "at_most", ">=": "at_least", "!=": "not_equals", "=": "equals", "<": "before", ">": "after"}

PROTO_ROOT = pathlib.Path(__file__).resolve().parents[3] / "proto" / "proto"
PROTO_FILES = ["exchange/v1/verification.proto", "office/v1/office.proto"]


def load_messages(proto_root: pathlib.Path) -> tuple[types.ModuleType, types.ModuleType, types.ModuleType]:
    """Generates the client's code and loads it: the office's messages, its service, and the exchange's messages."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = ["protoc", f"-I{proto_root}", f"--python_out={folder}", f"--grpc_python_out={folder}", *PROTO_FILES]
        if protoc.main(arguments) != 0:
            sys.exit(f"the .proto files under {proto_root} cannot be compiled")
        sys.path.insert(0, folder)
        try:
            names = ["office.v1.office_pb2", "office.v1.office_pb2_grpc", "exchange.v1.verification_pb2"]
            office, service, exchange = (importlib.import_module(name) for name in names)
        finally:
            sys.path.remove(folder)
    return office, service, exchange


def pair(text: str) -> tuple[str, str]:
    """Reads NAME=VALUE."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def claim(text: str) -> tuple[str, str, str]:
    """Reads ATTRIBUTE, an operator and a value, for example annual_income<=60000."""
    found = re.fullmatch(r"(\w+)(<=|>=|!=|=|<|>)(.+)", text, re.DOTALL)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no claim: write it like annual_income<=60000")
    attribute, operator, value = found.groups()
    return attribute, OPERATORS[operator], value


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("service", type=lambda text: text.split("/", 1), metavar="DEPARTMENT/SERVICE")
    parser.add_argument("--office", required=True, metavar="HOST:PORT", help="the own node's office port")
    parser.add_argument("--claim", type=claim, action="append", required=True, metavar="ATTRIBUTE=VALUE")
    parser.add_argument("--input", type=pair, action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--item", required=True, help="the public service item it is for")
    parser.add_argument("--case", required=True, help="the case number")
    parser.add_argument("--officer", required=True, help="the officer who asks")
    parser.add_argument("--scheme", default="resident_id", help="how the subject is identified")
    parser.add_argument("--evidence", metavar="FILE", help="also exports the evidence to this file")
    parser.add_argument("--proto", type=pathlib.Path, default=PROTO_ROOT, help="the folder of the .proto files")
    parsed = parser.parse_args()
    if len(parsed.service) != 2:
        parser.error("the service is written DEPARTMENT/SERVICE")
    return parsed


def question(args: argparse.Namespace, subject: str, office: types.ModuleType, exchange: types.ModuleType):
    """The question. Values travel as text: the node reads them as the types that the service declares."""

    def value(text: str):
        return exchange.Value(text=text)

    return office.VerifyRequest(
        provider=args.service[0],
        service=args.service[1],
        subject=exchange.Subject(scheme=args.scheme, value=subject),
        inputs=[exchange.Input(name=name, value=value(text)) for name, text in args.input],
        claims=[
            exchange.Claim(attribute=attribute, operator=operator, operands=[value(text)])
            for attribute, operator, text in args.claim
        ],
        purpose=exchange.Purpose(item=args.item),
        case_number=args.case,
        officer=args.officer,
    )


def result(answer, office: types.ModuleType, exchange: types.ModuleType) -> dict:
    """The result for printing, in the names of the .proto files."""
    verdicts = [
        {
            "attribute": verdict.attribute,
            "operator": verdict.operator,
            "verdict": exchange.Verdict.Name(verdict.verdict).removeprefix("VERDICT_"),
            "by_absence": verdict.by_absence,
            "reason": verdict.reason,
        }
        for verdict in answer.verdicts
    ]
    told = {
        "state": office.State.Name(answer.state).removeprefix("STATE_"),
        "verdicts": verdicts,
        "unanswered": answer.unanswered,
        "receipt": answer.receipt,
        "elapsed_ms": round(answer.elapsed_ms, 3),
    }
    if answer.HasField("refusal"):
        refusal = answer.refusal
        told["refused_by"] = answer.refused_by
        told["refusal"] = {
            "code": refusal.code,
            "field": refusal.field,
            "message": refusal.message,
            "next_step": refusal.next_step,
        }
    return told


def exit_code(told: dict) -> int:
    """The worst of the verdicts; a refusal is none."""
    if told["state"] == "REFUSED":
        return REFUSED
    verdicts = {verdict["verdict"] for verdict in told["verdicts"]}
    worst = [("MISMATCH", MISMATCH), ("UNAVAILABLE", UNAVAILABLE), ("NO_RECORD", NO_RECORD)]
    return next((code for name, code in worst if name in verdicts), DONE if verdicts else UNAVAILABLE)


def main() -> int:
    args = arguments()
    key = os.environ.get("OFFICE_KEY", "")
    if not key:
        print("put the office key into the environment variable OFFICE_KEY", file=sys.stderr)
        return USAGE
    # Not an argument: it would stay in the shell's history and show in the list of processes.
    subject = sys.stdin.readline().strip()
    if not subject:
        print("say on standard input whom the question is about, on one line", file=sys.stderr)
        return USAGE
    office, service, exchange = load_messages(args.proto)
    metadata = [("authorization", f"Bearer {key}")]
    try:
        # The office port is on loopback, so there is no TLS here; the key is asked for there too.
        with grpc.insecure_channel(args.office) as channel:
            node = service.VerificationsStub(channel)
            answer = node.Verify(question(args, subject, office, exchange), metadata=metadata, timeout=60)
            if args.evidence and answer.receipt:
                wanted = office.ExportEvidenceRequest(receipt=answer.receipt)
                bundle = node.ExportEvidence(wanted, metadata=metadata, timeout=60).bundle
                pathlib.Path(args.evidence).write_bytes(bundle)
    except grpc.RpcError as error:
        print(f"{error.code().name}: {error.details()}", file=sys.stderr)
        return UNREACHABLE if error.code() is grpc.StatusCode.UNAVAILABLE else FAILURE
    told = result(answer, office, exchange)
    print(json.dumps(told, ensure_ascii=False, indent=2))
    return exit_code(told)


if __name__ == "__main__":
    sys.exit(main())
