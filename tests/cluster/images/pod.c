/* A pod of a model for tests of the router, on port 8000: GET /status says that the model acme/one is ready, each POST
 * takes 50 ms and is answered with the name of the host. After SIGTERM it refuses what is new, as a draining server
 * does, and ends a second later. */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static volatile sig_atomic_t draining;
static volatile int running;
static pthread_mutex_t device = PTHREAD_MUTEX_INITIALIZER;

static void stop(int number) { draining = 1; }

static void reply(int client, const char *status, const char *headers, const char *body) {
	char text[2048];
	int length = snprintf(text, sizeof text,
	                      "HTTP/1.1 %s\r\ncontent-type: application/json\r\n%scontent-length: %zu\r\n\r\n%s", status,
	                      headers, strlen(body), body);
	if (write(client, text, length) != length) return;
}

static void answer(int client, const char *request) {
	char body[1024], host[256] = "";
	if (!strncmp(request, "GET ", 4)) {
		snprintf(body, sizeof body,
		         "{\"version\":\"0\",\"state\":\"%s\",\"uptime_seconds\":1,\"device\":\"cpu\","
		         "\"models\":[{\"id\":\"acme/one\",\"state\":\"ready\"}],"
		         "\"capacity\":{\"running_rows\":%d,\"queued_rows\":0,\"free_rows\":%d,\"running_requests\":%d,"
		         "\"queued_requests\":0},\"work\":{\"predicted_seconds\":0,\"device_seconds_total\":0,"
		         "\"evaluations_total\":0,\"images_total\":0,\"last_step_age_seconds\":null}}",
		         draining ? "draining" : "ready", running, running ? 0 : 10, running);
		reply(client, strncmp(request, "GET /readyz", 11) || !draining ? "200 OK" : "503 Draining", "", body);
		return;
	}
	if (draining) {
		reply(client, "503 Draining", "x-imagegen-started: 0\r\n", "{}");
		return;
	}
	gethostname(host, sizeof host - 1);
	pthread_mutex_lock(&device);
	running = 1;
	usleep(50000);
	running = 0;
	pthread_mutex_unlock(&device);
	snprintf(body, sizeof body, "{\"data\":[{}],\"host\":\"%s\"}", host);
	reply(client, "200 OK", "x-imagegen-free-rows: 10\r\nx-imagegen-work-seconds: 0\r\nx-imagegen-device-seconds: 0.05\r\n",
	      body);
}

static void *serve(void *argument) {
	int client = (int)(long)argument;
	char request[65536];
	size_t received = 0;
	for (;;) {
		ssize_t got = read(client, request + received, sizeof request - 1 - received);
		if (got <= 0) break;
		received += got;
		request[received] = 0;
		char *end = strstr(request, "\r\n\r\n");
		if (!end) continue;
		char *length = strcasestr(request, "\r\ncontent-length:");
		size_t whole = end - request + 4 + (length ? strtoul(length + 17, 0, 10) : 0);
		if (received < whole) continue;
		answer(client, request);
		received = 0; /* nobody sends two requests at once here */
	}
	close(client);
	return 0;
}

static void *leave(void *argument) {
	while (!draining) usleep(10000);
	sleep(1);
	exit(0);
}

int main(void) {
	signal(SIGPIPE, SIG_IGN);
	signal(SIGTERM, stop);
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(8000)};
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 64)) return 1;
	pthread_t thread;
	pthread_create(&thread, 0, leave, 0);
	for (;;) {
		int client = accept(listener, 0, 0);
		if (client < 0) continue;
		if (!pthread_create(&thread, 0, serve, (void *)(long)client)) pthread_detach(thread);
	}
}
