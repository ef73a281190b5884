// Asks one question over HTTP with what Node has built in, and shows how a refusal looks. Node 22.18 or newer runs it as it is:
//   echo 'RESIDENT NUMBER' | OFFICE_URL=http://127.0.0.1:7480 OFFICE_KEY=… node ask.ts married
import { readFileSync } from "node:fs";

interface Verification {
  id: string;
  state: "answered" | "deferred" | "refused" | "unanswered";
  verdicts: { attribute: string; verdict: "MATCH" | "MISMATCH" | "NO_RECORD" | "UNAVAILABLE" }[];
  receipt: string;
}

interface Problem {
  status: number;
  code: string;
  field: string;
  detail: string;
  next_step: string;
}

async function ask(service: string, subject: string, status: string): Promise<Verification> {
  const response = await fetch(`${process.env.OFFICE_URL}/v1/verifications`, {
    method: "POST",
    headers: {
      Authorization: `Bearer ${process.env.OFFICE_KEY}`,
      "Content-Type": "application/json",
      // The same key with the same question gets the same answer: safe to send again after a broken connection.
      "Idempotency-Key": `GZF-2026-0001-${service}`,
      Prefer: "wait=10",
    },
    body: JSON.stringify({
      provider: "civil-affairs",
      service,
      subject: { scheme: "resident_id", value: subject },
      claims: [{ attribute: "marital_status", operator: "equals", operands: [status] }],
      purpose: { item: "公租房申请" },
      case_number: "GZF-2026-0001",
      officer: "1024",
    }),
  });
  if (!response.ok) throw (await response.json()) as Problem;
  return (await response.json()) as Verification;
}

// Not an argument: it would show in the list of processes.
const subject = readFileSync(0, "utf8").trim();
const status = process.argv[2];
const answer = await ask("marriage-registration", subject, status);
// UNAVAILABLE is no "no": ask again later, or go on with the paper.
console.log(answer.verdicts[0].verdict, "receipt", answer.receipt);
try {
  await ask("no-such-service", subject, status);
} catch (error) {
  const problem = error as Problem;
  console.log(`${problem.status} ${problem.code} (${problem.field}): ${problem.next_step}`);
}
