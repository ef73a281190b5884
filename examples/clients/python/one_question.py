#!/usr/bin/env python3
"""Asks one question and opens one case over gRPC, and shows how a refusal looks. It needs grpcio and grpcio-tools.

    echo 'RESIDENT NUMBER' | OFFICE_URL=http://127.0.0.1:7480 OFFICE_KEY=… python one_question.py married
"""

import os
import pathlib
import sys

import grpc

# The .proto files of this repository; a real system generates its code when it is built.
sys.path.append(str(pathlib.Path(__file__).resolve().parents[3] / "proto" / "proto"))
exchange = grpc.protos("exchange/v1/verification.proto")
office, office_services = grpc.protos_and_services("office/v1/office.proto")
cases, cases_services = grpc.protos_and_services("office/v1/cases.proto")


def question(service: str, subject: str, status: str):
    claim = exchange.Claim(attribute="marital_status", operator="equals", operands=[exchange.Value(text=status)])
    return office.VerifyRequest(
        provider="civil-affairs",
        service=service,
        subject=exchange.Subject(scheme="resident_id", value=subject),
        claims=[claim],
        purpose=exchange.Purpose(item="公租房申请"),
        case_number="GZF-2026-0001",
        officer="1024",
        # The same key with the same question gets the same answer: safe to send again after a broken connection.
        idempotency_key=f"GZF-2026-0001-{service}",
    )


def main() -> None:
    # Not an argument: it would show in the list of processes.
    subject, status = sys.stdin.readline().strip(), sys.argv[1]
    # The deadline travels to the provider, which stops looking then.
    options = {"metadata": [("authorization", f"Bearer {os.environ['OFFICE_KEY']}")], "timeout": 15}
    with grpc.insecure_channel(os.environ["OFFICE_URL"].removeprefix("http://")) as channel:
        node = office_services.VerificationsStub(channel)
        answer = node.Verify(question("marriage-registration", subject, status), **options)
        # UNAVAILABLE is no "no": ask again later, or go on with the paper.
        print(exchange.Verdict.Name(answer.verdicts[0].verdict).removeprefix("VERDICT_"), "receipt", answer.receipt)
        # A case asks for everything that its item needs, all departments at once.
        person = cases.CasePerson(role="applicant", values={"resident_id": subject, "marital_status": status})
        opening = cases.OpenCaseRequest(case_number="GZF-2026-0005", item="公租房申请", officer="1024", people=[person])
        opened = cases_services.CasesStub(channel).Open(opening, **options)
        print(opened.state)
        for proof in opened.proofs:
            print(cases.ProofOutcome.Name(proof.outcome).removeprefix("PROOF_OUTCOME_"), f"{proof.proof}: {proof.en}")
        refusal = node.Verify(question("no-such-service", subject, status), **options).refusal
        print(f"{refusal.code} ({refusal.field}): {refusal.next_step}")


if __name__ == "__main__":
    main()
