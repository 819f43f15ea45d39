/* A server that answers every request with a picture's worth of JSON, as cheaply as a machine can.
 *
 *     gcc -O2 -o upstream upstream.c && ./upstream PORT
 *
 * Stands behind a router in benchmarks/router_hop.py: one written in Python would be what is measured. It speaks just
 * enough HTTP/1.1 for that: keep-alive, and bodies with a length. "bytes-N" in a request's body, which every proxy passes
 * on, asks for a reply of N bytes.
 * GET /status and GET /v1/models say that the model bench/one is ready and idle.
 */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <fcntl.h>

enum { MOST_CONNECTIONS = 4096, MOST_REQUEST = 1 << 16, MOST_REPLY = 1 << 23 };

struct connection {
    char in[MOST_REQUEST];
    size_t received;
    const char *out;      /* what is left of the reply */
    size_t left;
    char head[512];
    size_t head_left, head_sent;
};

static struct connection *connections[MOST_CONNECTIONS];

/* Replies that were asked for, by size. */
static struct { size_t size; char *body; } replies[16];

static const char BEFORE[] = "{\"created\":1,\"data\":[{\"b64_json\":\"";
static const char AFTER[] = "\"}]}";

static char *reply_of(size_t size) {
    int n = 0;
    while (n < 15 && replies[n].body && replies[n].size != size)
        n++;
    if (replies[n].size != size) {
        replies[n].size = size;
        replies[n].body = realloc(replies[n].body, size);
        memset(replies[n].body, 'A', size);
        memcpy(replies[n].body, BEFORE, sizeof BEFORE - 1);
        memcpy(replies[n].body + size - (sizeof AFTER - 1), AFTER, sizeof AFTER - 1);
    }
    return replies[n].body;
}

static const char STATUS[] =
    "{\"version\":\"0\",\"state\":\"ready\",\"uptime_seconds\":1,\"device\":\"cpu\","
    "\"models\":[{\"id\":\"bench/one\",\"state\":\"ready\"}],"
    "\"capacity\":{\"running_rows\":0,\"queued_rows\":0,\"free_rows\":100000,\"running_requests\":0,"
    "\"queued_requests\":0,\"requests_at_once\":100000},"
    "\"work\":{\"predicted_seconds\":0,\"device_seconds_total\":0,\"evaluations_total\":0,\"images_total\":0,"
    "\"last_step_age_seconds\":null}}";

static const char *header(const char *head, const char *name) {
    const char *found = strcasestr(head, name);
    return found ? found + strlen(name) : NULL;
}

/* Returns the bytes of the first whole request in the buffer, 0 when it is not whole yet. */
static size_t whole_request(struct connection *c) {
    c->in[c->received] = 0;
    char *end = strstr(c->in, "\r\n\r\n");
    if (!end)
        return 0;
    const char *length = header(c->in, "\r\ncontent-length:");
    size_t whole = (size_t)(end - c->in) + 4 + (length ? strtoul(length, NULL, 10) : 0);
    return c->received >= whole ? whole : 0;
}

static void prepare(struct connection *c) {
    const char *size = strstr(c->in, "bytes-");
    if (strncmp(c->in, "GET /status", 11) == 0) {
        c->out = STATUS;
        c->left = sizeof STATUS - 1;
    } else {
        c->left = size ? strtoul(size + 6, NULL, 10) : 1000;
        if (c->left > MOST_REPLY || c->left < 100)
            c->left = 1000;
        c->out = reply_of(c->left);
    }
    c->head_sent = 0;
    c->head_left = (size_t)snprintf(c->head, sizeof c->head,
                                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                                    "x-imagegen-free-rows: 100000\r\nx-imagegen-work-seconds: 0\r\n"
                                    "content-length: %zu\r\n\r\n", c->left);
}

/* Returns 1 when the reply is sent, 0 when the socket is full, -1 when the connection is over. */
static int push(int fd, struct connection *c) {
    while (c->head_left || c->left) {
        const char *from = c->head_left ? c->head + c->head_sent : c->out;
        size_t much = c->head_left ? c->head_left : c->left;
        ssize_t sent = send(fd, from, much, MSG_NOSIGNAL | (c->head_left ? MSG_MORE : 0));
        if (sent < 0)
            return errno == EAGAIN ? 0 : -1;
        if (c->head_left) {
            c->head_sent += (size_t)sent;
            c->head_left -= (size_t)sent;
        } else {
            c->out += sent;
            c->left -= (size_t)sent;
        }
    }
    return 1;
}

static void forget(int fd) {
    free(connections[fd]);
    connections[fd] = NULL;
    close(fd);
}

static void serve(int fd) {
    struct connection *c = connections[fd];
    int state = push(fd, c);
    while (state == 1) {
        size_t whole = whole_request(c);
        if (!whole) {
            ssize_t got = recv(fd, c->in + c->received, sizeof c->in - 1 - c->received, 0);
            if (got > 0) {
                c->received += (size_t)got;
                continue;
            }
            state = got < 0 && errno == EAGAIN ? 0 : -1;
            break;
        }
        prepare(c);
        memmove(c->in, c->in + whole, c->received - whole);
        c->received -= whole;
        state = push(fd, c);
    }
    if (state < 0)
        forget(fd);
}

static void greet(int poll, int listening) {
    int fd;
    while ((fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        int on = 1;
        if (fd >= MOST_CONNECTIONS) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        connections[fd] = calloc(1, sizeof(struct connection));
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.fd = fd};
        epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
    }
}

int main(int count, char **arguments) {
    if (count != 2) {
        fprintf(stderr, "usage: upstream PORT\n");
        return 2;
    }
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(arguments[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listening, (struct sockaddr *)&address, sizeof address) || listen(listening, 1024)) {
        perror("upstream");
        return 1;
    }
    int poll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listening}, events[64];
    epoll_ctl(poll, EPOLL_CTL_ADD, listening, &event);
    for (;;) {
        int ready = epoll_wait(poll, events, 64, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.fd == listening)
                greet(poll, listening);
            else if (connections[events[i].data.fd])
                serve(events[i].data.fd);
        }
    }
}
