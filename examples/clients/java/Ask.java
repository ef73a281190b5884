// Asks one question and opens one case over HTTP with the JDK alone (17 or newer), and shows how a refusal looks. One file:
//   echo 'RESIDENT NUMBER' | OFFICE_URL=http://127.0.0.1:7480 OFFICE_KEY=… java Ask.java married
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

public class Ask {
    static final String QUESTION = """
        {"provider": "civil-affairs", "service": "%s", "subject": {"scheme": "resident_id", "value": "%s"},
         "claims": [{"attribute": "marital_status", "operator": "equals", "operands": ["%s"]}],
         "purpose": {"item": "公租房申请"}, "case_number": "GZF-2026-0001", "officer": "1024"}""";
    static final String CASE = """
        {"case_number": "GZF-2026-0003", "item": "公租房申请", "officer": "1024",
         "people": [{"role": "applicant", "values": {"resident_id": "%s", "marital_status": "%s"}}]}""";

    static HttpResponse<String> post(String path, String key, String body) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(System.getenv("OFFICE_URL") + path))
            .header("Authorization", "Bearer " + System.getenv("OFFICE_KEY"))
            .header("Content-Type", "application/json")
            // The same key with the same question gets the same answer: safe to send again after a broken connection.
            .header("Idempotency-Key", key)
            .header("Prefer", "wait=10")
            .timeout(Duration.ofSeconds(15))
            .POST(HttpRequest.BodyPublishers.ofString(body))
            .build();
        return HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
    }

    /** A text field; real programs use a JSON library. */
    static String field(HttpResponse<String> response, String name) {
        Matcher matcher = Pattern.compile("\"" + name + "\":\\s*\"([^\"]*)\"").matcher(response.body());
        return matcher.find() ? matcher.group(1) : "";
    }

    public static void main(String[] args) throws Exception {
        // Not an argument: it would show in the list of processes.
        String subject = new BufferedReader(new InputStreamReader(System.in)).readLine().trim();
        var answer = post("/v1/verifications", "GZF-2026-0001-1", QUESTION.formatted("marriage-registration", subject, args[0]));
        // UNAVAILABLE is no "no": ask again later, or go on with the paper.
        System.out.println(field(answer, "verdict") + " receipt " + field(answer, "receipt"));
        // A case asks for everything that its item needs, all departments at once.
        var opened = post("/v1/cases", "GZF-2026-0003", CASE.formatted(subject, args[0]));
        System.out.println(field(opened, "state") + "\n" + field(opened, "outcome") + " " + field(opened, "proof") + ": "
            + field(opened, "en"));
        var refused = post("/v1/verifications", "GZF-2026-0001-2", QUESTION.formatted("no-such-service", subject, args[0]));
        System.out.println(refused.statusCode() + " " + field(refused, "code") + " (" + field(refused, "field") + "): "
            + field(refused, "next_step"));
    }
}
