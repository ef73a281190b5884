// Asks one question and opens one case over HTTP with what Node has built in, and shows how a refusal looks. Node 22.18 or newer:
//   echo 'RESIDENT NUMBER' | OFFICE_URL=http://127.0.0.1:7480 OFFICE_KEY=… node ask.ts married
import { readFileSync } from "node:fs";

interface Verification {
  state: "answered" | "deferred" | "unanswered";
  verdicts: { attribute: string; verdict: "MATCH" | "MISMATCH" | "NO_RECORD" | "UNAVAILABLE" }[];
  receipt: string;
}
interface Case {
  state: "asking" | "waiting" | "complete";
  proofs: { proof: string; outcome: string; en: string }[];
}
interface Problem {
  status: number;
  code: string;
  field: string;
  next_step: string;
}

async function post<T>(path: string, key: string, body: unknown): Promise<T> {
  const response = await fetch(process.env.OFFICE_URL + path, {
    method: "POST",
    headers: {
      Authorization: `Bearer ${process.env.OFFICE_KEY}`,
      "Content-Type": "application/json",
      // The same key with the same question gets the same answer: safe to send again after a broken connection.
      "Idempotency-Key": key,
      Prefer: "wait=10",
    },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw (await response.json()) as Problem;
  return (await response.json()) as T;
}

// Not an argument: it would show in the list of processes.
const subject = readFileSync(0, "utf8").trim();
const status = process.argv[2];
const [item, officer] = ["公租房申请", "1024"];
const claims = [{ attribute: "marital_status", operator: "equals", operands: [status] }];
const about = { subject: { scheme: "resident_id", value: subject }, claims, purpose: { item }, officer };
const question = { provider: "civil-affairs", service: "marriage-registration", case_number: "GZF-2026-0001", ...about };
const answer = await post<Verification>("/v1/verifications", "GZF-2026-0001-1", question);
// UNAVAILABLE is no "no": ask again later, or go on with the paper.
console.log(answer.verdicts[0].verdict, "receipt", answer.receipt);
// A case asks for everything that its item needs, all departments at once.
const people = [{ role: "applicant", values: { resident_id: subject, marital_status: status } }];
const opened = await post<Case>("/v1/cases", "", { case_number: "GZF-2026-0004", item, officer, people });
console.log(opened.state);
for (const proof of opened.proofs) console.log(`${proof.outcome} ${proof.proof}: ${proof.en}`);
try {
  await post("/v1/verifications", "GZF-2026-0001-2", { ...question, service: "no-such-service" });
} catch (error) {
  const problem = error as Problem;
  console.log(`${problem.status} ${problem.code} (${problem.field}): ${problem.next_step}`);
}
