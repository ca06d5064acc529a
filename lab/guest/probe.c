/* SPDX-License-Identifier: Apache-2.0 */
/*
 * probe: pings one address in a fixed rhythm and reports the gaps as JSON.
 *
 * Theory of operation. One thread, real-time where allowed. Each period an ICMP echo request goes
 * out with its number; replies are read as they come, with the kernel's receive time, so that a
 * late wake-up of this process does not look like a gap of the guest. The longest gap is the
 * longest time between two replies that followed each other (or between the last reply and the
 * end). A probe whose answer has not come one second after the last was sent is lost. Answers
 * that come twice count as duplicates.
 *
 * usage: probe ADDRESS SECONDS INTERVAL_MS
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S    1000000000L
#define NS_PER_MS   1000000L
#define GAPS_MAX    64
#define GAP_LISTED_NS (20 * NS_PER_MS)

struct gap {
    int64_t at_ns, length_ns;
};

struct run {
    int fd;
    uint16_t id;
    int64_t start_ns, interval_ns, last_reply_ns, longest_ns;
    uint32_t count, sent, send_errors, answered, duplicates, gaps_seen;
    uint8_t *seen;              /* one byte a probe */
    struct gap gaps[GAPS_MAX];
};

struct echo {
    struct icmphdr header;
    uint32_t number;
    char fill[20];
};

static int64_t
now_ns(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (int64_t) ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

static uint16_t
checksum(const void *data, size_t bytes)
{
    const uint16_t *word = data;
    uint32_t sum = 0;

    for (size_t i = 0; i < bytes / 2; i++)
        sum += word[i];
    sum = (sum & 0xffff) + (sum >> 16);
    sum += sum >> 16;
    return (uint16_t) ~sum;
}

static void
send_one(struct run *run)
{
    struct echo echo = { .header = { .type = ICMP_ECHO } };

    echo.header.un.echo.id = run->id;
    echo.header.un.echo.sequence = htons((uint16_t) run->sent);
    echo.number = run->sent;
    echo.header.checksum = checksum(&echo, sizeof(echo));
    if (send(run->fd, &echo, sizeof(echo), MSG_DONTWAIT) < 0)
        run->send_errors++;     /* counts as lost: no answer will come */
    run->sent++;
}

static void
note_gap(struct run *run, int64_t until_ns)
{
    int64_t length = until_ns - run->last_reply_ns;

    if (length > run->longest_ns)
        run->longest_ns = length;
    if (length < GAP_LISTED_NS)
        return;
    if (run->gaps_seen < GAPS_MAX)
        run->gaps[run->gaps_seen] = (struct gap) { run->last_reply_ns - run->start_ns, length };
    run->gaps_seen++;
}

static int64_t
receive_time(struct msghdr *msg)
{
    struct timespec ts;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_TIMESTAMPNS) {
            memcpy(&ts, CMSG_DATA(c), sizeof(ts));
            return (int64_t) ts.tv_sec * NS_PER_S + ts.tv_nsec;
        }
    }
    return now_ns(CLOCK_REALTIME);
}

static void
read_replies(struct run *run)
{
    char packet[256], control[128];
    struct iovec iov = { packet, sizeof(packet) };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

    for (;;) {
        size_t ip_bytes;
        struct echo echo;
        ssize_t n;
        int64_t at;

        msg.msg_control = control;
        msg.msg_controllen = sizeof(control);
        n = recvmsg(run->fd, &msg, MSG_DONTWAIT);
        if (n < 0)
            return;
        ip_bytes = (size_t) (packet[0] & 0x0f) * 4;
        if ((size_t) n < ip_bytes + sizeof(echo))
            continue;
        memcpy(&echo, packet + ip_bytes, sizeof(echo));
        if (echo.header.type != ICMP_ECHOREPLY || echo.header.un.echo.id != run->id ||
            echo.number >= run->sent)
            continue;
        if (run->seen[echo.number]++ > 0) {
            run->duplicates++;
            continue;
        }
        at = receive_time(&msg);
        run->answered++;
        note_gap(run, at);
        run->last_reply_ns = at;
    }
}

/* Reads replies until the given moment of CLOCK_MONOTONIC. */
static void
read_until(struct run *run, int64_t until_ns)
{
    struct pollfd p = { .fd = run->fd, .events = POLLIN };

    for (;;) {
        int64_t left = until_ns - now_ns(CLOCK_MONOTONIC);
        struct timespec ts = { left / NS_PER_S, left % NS_PER_S };

        if (left <= 0)
            return;
        if (ppoll(&p, 1, &ts, NULL) > 0)
            read_replies(run);
    }
}

static void
report(const struct run *run)
{
    uint32_t lost = run->sent - run->answered;
    uint32_t listed = run->gaps_seen < GAPS_MAX ? run->gaps_seen : GAPS_MAX;

    printf("{\"sent\": %u, \"lost\": %u, \"duplicates\": %u, \"longest_gap_ms\": %.2f, "
           "\"interval_ms\": %.3f, \"gaps_over_20ms\": %u, \"gaps\": [",
           run->sent, lost, run->duplicates, (double) run->longest_ns / NS_PER_MS,
           (double) run->interval_ns / NS_PER_MS, run->gaps_seen);
    for (uint32_t i = 0; i < listed; i++)
        printf("%s{\"at_ms\": %.1f, \"gap_ms\": %.2f}", i > 0 ? ", " : "",
               (double) run->gaps[i].at_ns / NS_PER_MS,
               (double) run->gaps[i].length_ns / NS_PER_MS);
    printf("]}\n");
}

static void
open_socket(struct run *run, const char *address)
{
    struct sockaddr_in to = { .sin_family = AF_INET };
    int on = 1;

    if (inet_pton(AF_INET, address, &to.sin_addr) != 1) {
        fprintf(stderr, "probe: '%s' is not an IPv4 address\n", address);
        exit(2);
    }
    run->fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
    if (run->fd < 0 || connect(run->fd, (struct sockaddr *) &to, sizeof(to)) < 0) {
        fprintf(stderr, "probe: raw socket to %s: %s\n", address, strerror(errno));
        exit(1);
    }
    setsockopt(run->fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on));
}

int
main(int argc, char **argv)
{
    struct sched_param priority = { .sched_priority = 10 };
    struct run run = { .id = (uint16_t) getpid() };
    int64_t next;

    if (argc != 4 || atof(argv[2]) <= 0 || atof(argv[3]) <= 0) {
        fprintf(stderr, "usage: probe ADDRESS SECONDS INTERVAL_MS\n");
        return 2;
    }
    open_socket(&run, argv[1]);
    run.interval_ns = (int64_t) (atof(argv[3]) * NS_PER_MS);
    run.count = (uint32_t) (atof(argv[2]) * NS_PER_S / (double) run.interval_ns);
    run.seen = calloc(run.count + 1, 1);
    if (run.seen == NULL)
        return 1;
    sched_setscheduler(0, SCHED_FIFO, &priority);
    run.start_ns = run.last_reply_ns = now_ns(CLOCK_REALTIME);
    next = now_ns(CLOCK_MONOTONIC);
    while (run.sent < run.count) {
        send_one(&run);
        next += run.interval_ns;
        read_until(&run, next);
    }
    note_gap(&run, now_ns(CLOCK_REALTIME));
    for (int64_t end = next + NS_PER_S; run.answered < run.sent && next < end;
         next += 20 * NS_PER_MS)
        read_until(&run, next);
    report(&run);
    free(run.seen);
    return run.answered > 0 ? 0 : 1;
}
