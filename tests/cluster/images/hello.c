/* A web server for tests of the node: answers every request on port 8080 with the name of its host. */
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void stop(int number) { _exit(0); }

static void answer(int client) {
	char request[4096], name[256] = "", reply[512];
	if (read(client, request, sizeof request) <= 0) return;
	gethostname(name, sizeof name - 1);
	int length = snprintf(reply, sizeof reply, "HTTP/1.0 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(name), name);
	if (write(client, reply, length) != length) return;
}

int main(void) {
	signal(SIGTERM, stop);
	signal(SIGPIPE, SIG_IGN);
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(8080)};
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 64)) return 1;
	for (;;) {
		int client = accept(listener, 0, 0);
		if (client < 0) continue;
		answer(client);
		close(client);
	}
}
