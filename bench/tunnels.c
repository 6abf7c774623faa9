/* WebSocket tunnels that play ping-pong: each sends a message, waits for its echo and sends the next.
 *
 *   tunnels PORT TUNNELS SIZE SECONDS
 *
 * Prints a summary as JSON. `bytes` is what was sent and came back, so twice the messages' size.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { SCRATCH = 64 * 1024, EVENTS = 64, CHECKED = 16 };
static const char UPGRADE[] =
    "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
static const char ACCEPT[] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="; /* to that key: RFC 6455 section 1.3 */

struct tunnel {
  int fd;
  size_t sent, got;
  uint64_t begun;
};

static char *message, scratch[SCRATCH];
static size_t size, taken_count, taken_room, failed;
static uint32_t *taken;

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000ull + time.tv_nsec;
}

static int dial(int port) {
  struct sockaddr_in there = {
      .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  struct timeval limit = {.tv_sec = 5};
  int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (fd < 0 || connect(fd, (struct sockaddr *)&there, sizeof there)) fail("connect");
  if (send(fd, UPGRADE, sizeof UPGRADE - 1, MSG_NOSIGNAL) < 0) fail("send");
  char head[4096];
  size_t length = 0;
  while (length < sizeof head - 1) {
    ssize_t got = recv(fd, head + length, sizeof head - 1 - length, 0);
    if (got <= 0) fail("no answer to the upgrade");
    head[length += got] = 0;
    if (strstr(head, "\r\n\r\n")) break;
  }
  if (strncmp(head, "HTTP/1.1 101", 12) || !strstr(head, ACCEPT)) {
    fprintf(stderr, "the upgrade was answered\n%s\n", head);
    exit(1);
  }
  if (fcntl(fd, F_SETFL, O_NONBLOCK)) fail("fcntl");
  return fd;
}

static int lose(struct tunnel *tunnel) {
  close(tunnel->fd);
  tunnel->fd = -1;
  failed++;
  return 0;
}

static int write_on(struct tunnel *tunnel) {
  while (tunnel->sent < size) {
    ssize_t sent = send(tunnel->fd, message + tunnel->sent, size - tunnel->sent, MSG_NOSIGNAL);
    if (sent < 0) return errno == EAGAIN ? 1 : lose(tunnel);
    tunnel->sent += sent;
  }
  return 1;
}

/* An echo is compared by its length and by the first bytes of every piece of it. */
static int read_on(struct tunnel *tunnel) {
  while (tunnel->got < size) {
    ssize_t got = recv(tunnel->fd, scratch, SCRATCH, 0);
    if (got < 0) return errno == EAGAIN ? 1 : lose(tunnel);
    if (got == 0 || tunnel->got + got > size) return lose(tunnel);
    size_t checked = got < CHECKED ? got : CHECKED;
    if (memcmp(scratch, message + tunnel->got, checked)) return lose(tunnel);
    tunnel->got += got;
  }
  return 1;
}

static void note(uint64_t begun) {
  if (taken_count == taken_room) {
    taken_room = taken_room ? taken_room * 2 : 1 << 16;
    if (!(taken = realloc(taken, taken_room * sizeof *taken))) fail("realloc");
  }
  taken[taken_count++] = (now() - begun) / 1000;
}

static void play(struct tunnel *tunnel, uint64_t until) {
  while (tunnel->fd >= 0 && write_on(tunnel) && read_on(tunnel) && tunnel->got == size) {
    note(tunnel->begun);
    tunnel->begun = now();
    if (tunnel->begun >= until) return;
    tunnel->sent = tunnel->got = 0;
  }
}

static int by_size(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

int main(int argc, char **argv) {
  if (argc != 5) return fprintf(stderr, "tunnels PORT TUNNELS SIZE SECONDS\n"), 2;
  int port = atoi(argv[1]), count = atoi(argv[2]), epoll = epoll_create1(0);
  size = atoi(argv[3]);
  struct tunnel *tunnels = calloc(count, sizeof *tunnels);
  if (!tunnels || !(message = malloc(size))) fail("malloc");
  for (size_t i = 0; i < size; i++) message[i] = i * 7 + i / 251;
  for (int i = 0; i < count; i++) {
    tunnels[i].fd = dial(port);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = &tunnels[i]};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, tunnels[i].fd, &event)) fail("epoll_ctl");
  }
  uint64_t begun = now(), until = begun + strtod(argv[4], NULL) * 1e9;
  for (int i = 0; i < count; i++) tunnels[i].begun = begun;
  struct epoll_event events[EVENTS];
  while (now() < until) {
    int ready = epoll_wait(epoll, events, EVENTS, 100);
    for (int i = 0; i < ready; i++) play(events[i].data.ptr, until);
  }
  size_t silent = 0;
  for (int i = 0; i < count; i++) silent += tunnels[i].fd >= 0 && now() - tunnels[i].begun > 2000000000ull;
  qsort(taken, taken_count, sizeof *taken, by_size);
  printf("{\"requests\": %zu, \"failed\": %zu, \"p99\": %.6f, \"bytes\": %.0f}\n", taken_count, failed + silent,
      taken_count ? taken[taken_count * 99 / 100] / 1e6 : 0, 2.0 * size * taken_count);
  return 0;
}
