/* The floor of bench/run: bytes between a client and an upstream connection of its own, nothing parsed.
 *
 *   relay PORT UPSTREAM_PORT
 *
 * One epoll loop, edge-triggered, one read and one write per direction and message; what a full socket does not take
 * waits in the pair's buffer. No proxy of plain HTTP/1.1 can do with fewer system calls, short of splice.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SIZE = 128 * 1024, EVENTS = 512 };

/* One end of a pair; `out` is what this end has yet to take. */
struct end {
  int fd;
  struct end *other;
  size_t from, until;
  char *out;
};

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static struct sockaddr_in loopback(int port) {
  return (struct sockaddr_in){
      .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static struct end *new_end(int fd) {
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  struct end *end = calloc(1, sizeof *end);
  if (!end) fail("calloc");
  end->fd = fd;
  return end;
}

static void watch(int epoll, struct end *end) {
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = end};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, end->fd, &event)) fail("epoll_ctl");
}

/* Ends stay allocated: an event of the same batch may still point to them. */
static void close_pair(struct end *end) {
  if (end->fd < 0) return;
  close(end->fd);
  close(end->other->fd);
  free(end->out);
  free(end->other->out);
  end->fd = end->other->fd = -1;
  end->out = end->other->out = NULL;
}

static char scratch[SIZE];

/* Reads from `end` while its other end takes everything. */
static void pump(struct end *end) {
  struct end *to = end->other;
  while (end->fd >= 0) {
    while (to->from < to->until) {
      ssize_t sent = send(to->fd, to->out + to->from, to->until - to->from, MSG_NOSIGNAL);
      if (sent < 0 && errno == EAGAIN) return;
      if (sent < 0) return close_pair(end);
      to->from += sent;
    }
    ssize_t got = recv(end->fd, scratch, SIZE, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) return close_pair(end);
    ssize_t sent = send(to->fd, scratch, got, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return close_pair(end);
    if (sent < 0) sent = 0;
    if (sent < got) {
      if (!to->out && !(to->out = malloc(SIZE))) fail("malloc");
      memcpy(to->out, scratch + sent, got - sent);
      to->from = 0;
      to->until = got - sent;
      return;
    }
    if (got < SIZE) return; /* the socket is empty: the next event tells of more */
  }
}

int main(int argc, char **argv) {
  if (argc != 3) return fprintf(stderr, "relay PORT UPSTREAM_PORT\n"), 2;
  struct sockaddr_in here = loopback(atoi(argv[1])), there = loopback(atoi(argv[2]));
  int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), epoll = epoll_create1(0);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listener, (struct sockaddr *)&here, sizeof here) || listen(listener, 4096)) fail("listen");
  struct epoll_event accepting = {.events = EPOLLIN}, events[EVENTS];
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &accepting)) fail("epoll_ctl");
  for (;;) {
    int count = epoll_wait(epoll, events, EVENTS, -1);
    for (int i = 0; i < count; i++) {
      struct end *end = events[i].data.ptr;
      if (end) {
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) pump(end);
        if (events[i].events & EPOLLOUT && end->from < end->until) pump(end->other);
        continue;
      }
      int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
      if (client < 0) continue;
      int upstream = socket(AF_INET, SOCK_STREAM, 0);
      if (upstream < 0 || connect(upstream, (struct sockaddr *)&there, sizeof there)) fail("connect");
      if (fcntl(upstream, F_SETFL, O_NONBLOCK)) fail("fcntl");
      struct end *a = new_end(client), *b = new_end(upstream);
      a->other = b;
      b->other = a;
      watch(epoll, a);
      watch(epoll, b);
    }
  }
}
