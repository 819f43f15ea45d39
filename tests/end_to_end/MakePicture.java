import java.io.ByteArrayInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;

/**
 * Makes two pictures at each base URL as the JDK's client does it by itself: it offers HTTP/2 with the first request of
 * a connection. Prints protocol, status and size of each answer; one body has a length, the other comes in chunks.
 */
public class MakePicture {
    private static final byte[] BODY =
        "{\"prompt\": \"a red circle\", \"model\": \"imagegen/shapes\", \"size\": \"64x64\", \"num_inference_steps\": 1}".getBytes();

    public static void main(String[] urls) throws Exception {
        for (String url : urls) {
            make(url, BodyPublishers.ofByteArray(BODY));
            make(url, BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(BODY)));
        }
    }

    private static void make(String url, BodyPublisher body) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(url + "/v1/images/generations"))
            .header("content-type", "application/json")
            .timeout(Duration.ofSeconds(60))
            .POST(body)
            .build();
        HttpResponse<String> answer = HttpClient.newHttpClient().send(request, BodyHandlers.ofString());
        boolean picture = answer.body().contains("\"b64_json\"");
        System.out.println(answer.version() + " " + answer.statusCode() + (picture ? " a picture" : answer.body()));
    }
}
