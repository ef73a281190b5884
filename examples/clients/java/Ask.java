// Asks one question over HTTP with the JDK alone (Java 11 or newer), and shows how a refusal looks. One file, no build:
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
    static final HttpClient CLIENT = HttpClient.newHttpClient();

    static HttpResponse<String> ask(String service, String subject, String status) throws Exception {
        String question = """
            {"provider": "civil-affairs", "service": "%s",
             "subject": {"scheme": "resident_id", "value": "%s"},
             "claims": [{"attribute": "marital_status", "operator": "equals", "operands": ["%s"]}],
             "purpose": {"item": "公租房申请"}, "case_number": "GZF-2026-0001", "officer": "1024"}
            """.formatted(service, subject, status);
        HttpRequest request = HttpRequest.newBuilder(URI.create(System.getenv("OFFICE_URL") + "/v1/verifications"))
            .header("Authorization", "Bearer " + System.getenv("OFFICE_KEY"))
            .header("Content-Type", "application/json")
            // The same key with the same question gets the same answer: safe to send again after a broken connection.
            .header("Idempotency-Key", "GZF-2026-0001-" + service)
            .header("Prefer", "wait=10")
            .timeout(Duration.ofSeconds(15))
            .POST(HttpRequest.BodyPublishers.ofString(question))
            .build();
        return CLIENT.send(request, HttpResponse.BodyHandlers.ofString());
    }

    /** A text field of a flat JSON object; real programs use a JSON library. */
    static String field(String json, String name) {
        Matcher matcher = Pattern.compile("\"" + name + "\":\\s*\"([^\"]*)\"").matcher(json);
        return matcher.find() ? matcher.group(1) : "";
    }

    static void show(HttpResponse<String> response) {
        String body = response.body();
        if (response.statusCode() == 201 || response.statusCode() == 202) {
            // UNAVAILABLE is no "no": ask again later, or go on with the paper.
            System.out.println(field(body, "verdict") + " receipt " + field(body, "receipt"));
        } else {
            System.out.println(response.statusCode() + " " + field(body, "code") + " (" + field(body, "field") + "): "
                + field(body, "next_step"));
        }
    }

    public static void main(String[] args) throws Exception {
        // Not an argument: it would show in the list of processes.
        String subject = new BufferedReader(new InputStreamReader(System.in)).readLine().trim();
        show(ask("marriage-registration", subject, args[0]));
        show(ask("no-such-service", subject, args[0]));
    }
}
