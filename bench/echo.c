/* The WebSocket origin of bench/run: agrees to every upgrade (RFC 6455 section 4.2.2), then sends back what it gets.
 *
 *   echo PORT
 *
 * One epoll loop, edge-triggered. No frame is parsed: what comes back is the client's own bytes.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SIZE = 128 * 1024, HEAD = 4096, EVENTS = 512, KEY = 24 };
static const char GUID[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/* `head` until the upgrade is done; `out` holds what the socket has yet to take. */
struct client {
  int fd, upgraded;
  size_t length, from, until;
  char *head, *out;
};

static char scratch[SIZE];

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static uint32_t rotate(uint32_t word, int by) { return word << by | word >> (32 - by); }

/* SHA-1 of a text of at most 119 bytes: two blocks are enough for a key and the GUID. */
static void sha1(const char *text, size_t length, unsigned char digest[20]) {
  unsigned char padded[128] = {0};
  size_t blocks = length < 56 ? 1 : 2;
  memcpy(padded, text, length);
  padded[length] = 0x80;
  padded[blocks * 64 - 2] = length * 8 >> 8;
  padded[blocks * 64 - 1] = length * 8;
  uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0}, w[80];
  for (size_t block = 0; block < blocks; block++) {
    const unsigned char *at = padded + block * 64;
    for (int i = 0; i < 16; i++, at += 4) w[i] = (uint32_t)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3];
    for (int i = 16; i < 80; i++) w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
    for (int i = 0; i < 80; i++) {
      uint32_t f = i < 20 ? (b & c) | (~b & d) : i < 40 || i >= 60 ? b ^ c ^ d : (b & c) | (b & d) | (c & d);
      uint32_t k = i < 20 ? 0x5a827999 : i < 40 ? 0x6ed9eba1 : i < 60 ? 0x8f1bbcdc : 0xca62c1d6;
      uint32_t next = rotate(a, 5) + f + e + k + w[i];
      e = d, d = c, c = rotate(b, 30), b = a, a = next;
    }
    h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e;
  }
  for (int i = 0; i < 20; i++) digest[i] = h[i / 4] >> (24 - i % 4 * 8);
}

static void base64(const unsigned char digest[20], char text[29]) {
  static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  unsigned char bytes[21] = {0};
  memcpy(bytes, digest, 20);
  for (int i = 0, o = 0; i < 21; i += 3, o += 4) {
    uint32_t group = bytes[i] << 16 | bytes[i + 1] << 8 | bytes[i + 2];
    for (int n = 0; n < 4; n++) text[o + n] = letters[group >> (18 - 6 * n) & 63];
  }
  text[27] = '=';
  text[28] = 0;
}

/* Ends with a reset: thousands of tunnels end at once, and none shall leave a port in TIME_WAIT. */
static void end(struct client *client) {
  struct linger now = {.l_onoff = 1};
  setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  close(client->fd);
  free(client->head);
  free(client->out);
  free(client);
}

/* Sends what it can and keeps the rest; 0 when the client is gone. */
static int reply(struct client *client, const char *bytes, size_t length) {
  ssize_t sent = send(client->fd, bytes, length, MSG_NOSIGNAL);
  if (sent < 0 && errno != EAGAIN) return 0;
  if (sent < 0) sent = 0;
  if ((size_t)sent == length) return 1;
  if (!client->out && !(client->out = malloc(SIZE))) fail("malloc");
  memcpy(client->out, bytes + sent, length - sent);
  client->from = 0;
  client->until = length - sent;
  return 1;
}

/* Reads the request head and answers 101; 0 when the client is gone or asked for something else. */
static int upgrade(struct client *client) {
  ssize_t got = recv(client->fd, client->head + client->length, HEAD - 1 - client->length, 0);
  if (got < 0 && errno == EAGAIN) return 1;
  if (got <= 0) return 0;
  client->length += got;
  client->head[client->length] = 0;
  char *over = strstr(client->head, "\r\n\r\n");
  if (!over) return client->length < HEAD - 1;
  char *key = strcasestr(client->head, "\r\nsec-websocket-key:");
  if (!key || key > over) return 0;
  key += strlen("\r\nsec-websocket-key:");
  while (*key == ' ') key++;
  char text[KEY + sizeof GUID], accept[29], answer[256];
  unsigned char digest[20];
  snprintf(text, sizeof text, "%.*s%s", KEY, key, GUID);
  sha1(text, strlen(text), digest);
  base64(digest, accept);
  int length = snprintf(answer, sizeof answer,
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
      "Sec-WebSocket-Accept: %s\r\n\r\n", accept);
  client->upgraded = 1;
  size_t early = client->head + client->length - (over + 4);
  int alive = reply(client, answer, length) && (!early || reply(client, over + 4, early));
  free(client->head);
  client->head = NULL;
  return alive;
}

/* Sends back what comes while the socket takes it; 0 when the client is gone. `ends`: no event follows this one. */
static int serve(struct client *client, int ends) {
  if (!client->upgraded && !upgrade(client)) return 0;
  while (client->upgraded) {
    while (client->from < client->until) {
      ssize_t sent = send(client->fd, client->out + client->from, client->until - client->from, MSG_NOSIGNAL);
      if (sent < 0) return errno == EAGAIN;
      client->from += sent;
    }
    ssize_t got = recv(client->fd, scratch, SIZE, 0);
    if (got < 0) return errno == EAGAIN;
    if (got == 0 || !reply(client, scratch, got)) return 0;
    if (got < SIZE && !ends && client->from == client->until) return 1; /* empty: the next event tells of more */
  }
  return 1;
}

static void welcome(int epoll, int fd) {
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  struct client *client = calloc(1, sizeof *client);
  if (!client || !(client->head = malloc(HEAD))) fail("malloc");
  client->fd = fd;
  struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = client};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event)) fail("epoll_ctl");
}

int main(int argc, char **argv) {
  if (argc != 2) return fprintf(stderr, "echo PORT\n"), 2;
  struct sockaddr_in here = {
      .sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), epoll = epoll_create1(0);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listener, (struct sockaddr *)&here, sizeof here) || listen(listener, 4096)) fail("listen");
  struct epoll_event accepting = {.events = EPOLLIN}, events[EVENTS];
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &accepting)) fail("epoll_ctl");
  for (;;) {
    int count = epoll_wait(epoll, events, EVENTS, -1);
    for (int i = 0; i < count; i++) {
      struct client *client = events[i].data.ptr;
      if (client) {
        int ends = events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);
        if (!serve(client, ends)) end(client); /* one event per descriptor and batch, so nobody else holds it */
        continue;
      }
      int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
      if (fd >= 0) welcome(epoll, fd);
    }
  }
}
