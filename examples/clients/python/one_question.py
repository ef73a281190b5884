#!/usr/bin/env python3
"""Asks one question over gRPC, and shows how a refusal looks: the shortest client. `ask.py` beside it is a whole one.

    echo 'RESIDENT NUMBER' | OFFICE_URL=http://127.0.0.1:7480 OFFICE_KEY=… python one_question.py married
"""

import os
import sys

import grpc

from ask import PROTO_ROOT, load_messages

office, service, exchange = load_messages(PROTO_ROOT)


def ask(node, asked: str, subject: str, status: str):
    question = office.VerifyRequest(
        provider="civil-affairs",
        service=asked,
        subject=exchange.Subject(scheme="resident_id", value=subject),
        claims=[
            exchange.Claim(attribute="marital_status", operator="equals", operands=[exchange.Value(text=status)])
        ],
        purpose=exchange.Purpose(item="公租房申请"),
        case_number="GZF-2026-0001",
        officer="1024",
        # The same key with the same question gets the same answer: safe to send again after a broken connection.
        idempotency_key=f"GZF-2026-0001-{asked}",
    )
    # The deadline travels to the provider, which stops looking then.
    return node.Verify(question, metadata=[("authorization", f"Bearer {os.environ['OFFICE_KEY']}")], timeout=15)


def main() -> None:
    # Not an argument: it would show in the list of processes.
    subject, status = sys.stdin.readline().strip(), sys.argv[1]
    with grpc.insecure_channel(os.environ["OFFICE_URL"].removeprefix("http://")) as channel:
        node = service.VerificationsStub(channel)
        for asked in ["marriage-registration", "no-such-service"]:
            answer = ask(node, asked, subject, status)
            if answer.HasField("refusal"):
                print(f"{answer.refusal.code} ({answer.refusal.field}): {answer.refusal.next_step}")
                continue
            # UNAVAILABLE is no "no": ask again later, or go on with the paper.
            verdicts = [exchange.Verdict.Name(claim.verdict).removeprefix("VERDICT_") for claim in answer.verdicts]
            print(", ".join(verdicts), "receipt", answer.receipt)


if __name__ == "__main__":
    main()
