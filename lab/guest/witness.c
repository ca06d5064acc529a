/* SPDX-License-Identifier: Apache-2.0 */
/*
 * witness: runs in a guest and lets an observer outside tell what happened to that guest.
 *
 * Theory of operation
 *
 * Five threads, each with one duty, so that none can hold up another:
 *
 *   tick   (real-time) every 10 ms: counter += 1, one datagram to the observer.
 *   disk   every 100 ms: the counter goes to the next slot of a ring of sectors,
 *          O_DIRECT|O_DSYNC. Only when the write has returned is (sequence, counter) published as
 *          "synced"; the tick thread reports the last published pair in each datagram. So each
 *          pair that the observer ever saw must be found on the disk, until the ring comes round
 *          and a later sequence took its slot.
 *   dirty  every 10 ms: writes its share of N MB/s of pages, in order through a fixed working
 *          set; the first half of each page is random, the second half repeats (memory.h).
 *   memory (when nobody else wants the processor) 10 ms after the last time: checks the next pages of what dirty
 *          writes, and of a region that nobody writes, if there is one; every 250 ms it tells the
 *          observer what it found, in datagrams of a second kind.
 *   echo   answers UDP datagrams on port 7. One that says "GWW-SPOIL" changes a bit of the memory
 *          that is checked: a test must see it found.
 *
 * Invariants. A counter value is sent once. After a pause or a clock step nothing is made up for:
 * the rhythm starts anew from now, so a pause shows as one gap and never as a burst. The boot
 * number, drawn once at the start, tells a rebooted guest from one that runs twice.
 *
 * All integers on the wire and on the disk are little endian (the lab's guests are x86-64);
 * lab/godwitlab/records.py holds the same layout.
 */
#define _GNU_SOURCE
#include "memory.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define TICK_NS         (10 * 1000 * 1000L)
#define SYNC_NS         (100 * 1000 * 1000L)
#define NS_PER_S        (1000 * 1000 * 1000L)
#define SECTOR_BYTES    512
#define RING_SLOTS      65536       /* 32 MiB of disk, 109 minutes at ten a second */
#define RING_OFFSET     (1024 * 1024)
#define PAGE_BYTES      4096
#define ECHO_PORT       7
#define CHECKED_AT_ONCE 48          /* pages: less than 20 MB/s, an emulated guest has time left */
#define TOLD_EACH       25          /* times */
#define SPOIL           "GWW-SPOIL"

struct datagram {
    char magic[4];                  /* "GWW1" */
    uint32_t reserved;
    char name[32];
    uint64_t boot;
    uint64_t counter;
    uint64_t synced_sequence;       /* 0: nothing synced yet */
    uint64_t synced_counter;
    uint64_t realtime_ns;
    uint64_t monotonic_ns;
};

struct memory_datagram {
    char magic[4];                  /* "GWM1" */
    uint32_t reserved;
    char name[32];
    uint64_t boot;
    struct memory_found found;
};

struct slot {
    char magic[4];                  /* "GWD1" */
    uint32_t reserved;
    uint64_t boot;
    uint64_t sequence;              /* from 1 */
    uint64_t counter;
};

struct witness {
    /* read-only after start */
    const char *name, *disk, *observer_mac, *interface;
    struct sockaddr_in observer;
    uint64_t boot;
    long dirty_mb_per_s, set_mb, still_mb;
    /* shared */
    atomic_uint_fast64_t counter;
    pthread_mutex_t lock;           /* guards the pair below */
    uint64_t synced_sequence, synced_counter;
};

static struct witness self = {
    .interface = "eth0",
    .lock = PTHREAD_MUTEX_INITIALIZER,
};

static void
die(const char *what)
{
    fprintf(stderr, "witness: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t
clock_ns(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (uint64_t) ts.tv_sec * NS_PER_S + (uint64_t) ts.tv_nsec;
}

/* Sleeps until *next + period; where that is long past (a pause), the rhythm starts from now. */
static void
wait_period(uint64_t *next, uint64_t period_ns)
{
    struct timespec ts;
    uint64_t now;

    *next += period_ns;
    ts.tv_sec = (time_t) (*next / NS_PER_S);
    ts.tv_nsec = (long) (*next % NS_PER_S);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
        ;
    now = clock_ns(CLOCK_MONOTONIC);
    if (now > *next + period_ns)
        *next = now;
}

/* The observer's hardware address never changes: no ARP may delay a datagram. */
static void
pin_observer(int fd)
{
    struct arpreq req = { .arp_flags = ATF_PERM | ATF_COM };
    unsigned int b[6];

    if (self.observer_mac == NULL)
        return;
    if (sscanf(self.observer_mac, "%x:%x:%x:%x:%x:%x", &b[0], &b[1], &b[2], &b[3], &b[4],
               &b[5]) != 6) {
        errno = EINVAL;
        die("--observer-mac");
    }
    memcpy(&req.arp_pa, &self.observer, sizeof(self.observer));
    req.arp_ha.sa_family = ARPHRD_ETHER;
    for (int i = 0; i < 6; i++)
        req.arp_ha.sa_data[i] = (char) b[i];
    snprintf(req.arp_dev, sizeof(req.arp_dev), "%s", self.interface);
    if (ioctl(fd, SIOCSARP, &req) < 0)
        perror("witness: SIOCSARP");
}

static void *
tick_thread(void *unused)
{
    struct datagram d = { .magic = { 'G', 'W', 'W', '1' } };
    struct sched_param priority = { .sched_priority = 20 };
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    uint64_t next;

    (void) unused;
    if (fd < 0)
        die("socket");
    pthread_setschedparam(pthread_self(), SCHED_FIFO, &priority);
    pin_observer(fd);
    snprintf(d.name, sizeof(d.name), "%s", self.name);
    d.boot = self.boot;
    for (next = clock_ns(CLOCK_MONOTONIC);;) {
        wait_period(&next, TICK_NS);
        d.counter = atomic_fetch_add(&self.counter, 1) + 1;
        pthread_mutex_lock(&self.lock);
        d.synced_sequence = self.synced_sequence;
        d.synced_counter = self.synced_counter;
        pthread_mutex_unlock(&self.lock);
        d.realtime_ns = clock_ns(CLOCK_REALTIME);
        d.monotonic_ns = clock_ns(CLOCK_MONOTONIC);
        /* A datagram that can't be sent is lost: the observer sees the missing counter. */
        sendto(fd, &d, sizeof(d), MSG_DONTWAIT, (struct sockaddr *) &self.observer,
               sizeof(self.observer));
    }
    return NULL;
}

static void *
disk_thread(void *unused)
{
    int fd = open(self.disk, O_RDWR | O_DIRECT | O_DSYNC | O_CLOEXEC);
    struct slot *slot = aligned_alloc(PAGE_BYTES, PAGE_BYTES);
    uint64_t sequence = 0, next;

    (void) unused;
    if (fd < 0 || slot == NULL)
        die(self.disk);
    memset(slot, 0, PAGE_BYTES);
    memcpy(slot->magic, "GWD1", 4);
    slot->boot = self.boot;
    for (next = clock_ns(CLOCK_MONOTONIC);;) {
        off_t at;

        wait_period(&next, SYNC_NS);
        slot->sequence = sequence + 1;
        slot->counter = atomic_load(&self.counter);
        at = RING_OFFSET + (off_t) (slot->sequence % RING_SLOTS) * SECTOR_BYTES;
        if (pwrite(fd, slot, SECTOR_BYTES, at) != SECTOR_BYTES) {
            perror("witness: write to the disk");
            continue;
        }
        sequence++;
        pthread_mutex_lock(&self.lock);
        self.synced_sequence = slot->sequence;
        self.synced_counter = slot->counter;
        pthread_mutex_unlock(&self.lock);
    }
    return NULL;
}

static void *
dirty_thread(void *unused)
{
    uint64_t per_tick = (uint64_t) self.dirty_mb_per_s * 1000 * 1000 / (NS_PER_S / TICK_NS);
    uint64_t owed = 0, next;

    (void) unused;
    for (next = clock_ns(CLOCK_MONOTONIC);;) {
        wait_period(&next, TICK_NS);
        for (owed += per_tick; owed >= PAGE_BYTES; owed -= PAGE_BYTES)
            memory_dirty_next();
    }
    return NULL;
}

static void *
memory_thread(void *unused)
{
    struct memory_datagram d = { .magic = { 'G', 'W', 'M', '1' }, .boot = self.boot };
    struct sched_param none = { .sched_priority = 0 };
    const struct timespec pause = { .tv_nsec = TICK_NS };
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    (void) unused;
    if (fd < 0)
        die("socket");
    pthread_setschedparam(pthread_self(), SCHED_IDLE, &none);
    snprintf(d.name, sizeof(d.name), "%s", self.name);
    memory_fill();
    for (unsigned int time = 1;; time++) {
        clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
        for (int i = 0; i < CHECKED_AT_ONCE; i++)
            memory_check_next();
        if (time % TOLD_EACH != 0)
            continue;
        d.found = *memory_found();
        sendto(fd, &d, sizeof(d), MSG_DONTWAIT, (struct sockaddr *) &self.observer,
               sizeof(self.observer));
    }
    return NULL;
}

static void *
echo_thread(void *unused)
{
    struct sockaddr_in here = { .sin_family = AF_INET, .sin_port = htons(ECHO_PORT) };
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    static char buffer[2048];

    (void) unused;
    if (fd < 0 || bind(fd, (struct sockaddr *) &here, sizeof(here)) < 0)
        die("echo port");
    for (;;) {
        struct sockaddr_in from;
        socklen_t from_len = sizeof(from);
        ssize_t n = recvfrom(fd, buffer, sizeof(buffer), 0, (struct sockaddr *) &from, &from_len);

        if (n == sizeof(SPOIL) - 1 && memcmp(buffer, SPOIL, sizeof(SPOIL) - 1) == 0)
            memory_spoil();
        if (n >= 0)
            sendto(fd, buffer, (size_t) n, MSG_DONTWAIT, (struct sockaddr *) &from, from_len);
    }
    return NULL;
}

static void
start(void *(*body)(void *))
{
    pthread_t thread;

    errno = pthread_create(&thread, NULL, body, NULL);
    if (errno != 0)
        die("thread");
}

static const struct option options[] = {
    { "name", required_argument, NULL, 'n' },
    { "observer", required_argument, NULL, 'o' },
    { "observer-mac", required_argument, NULL, 'm' },
    { "interface", required_argument, NULL, 'i' },
    { "port", required_argument, NULL, 'p' },
    { "disk", required_argument, NULL, 'k' },
    { "dirty", required_argument, NULL, 'd' },
    { "set", required_argument, NULL, 's' },
    { "still", required_argument, NULL, 't' },
    { NULL, 0, NULL, 0 },
};

static void
parse(int argc, char **argv)
{
    int c;

    self.observer.sin_family = AF_INET;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {
        case 'n': self.name = optarg; break;
        case 'o': self.observer.sin_addr.s_addr = inet_addr(optarg); break;
        case 'm': self.observer_mac = optarg; break;
        case 'i': self.interface = optarg; break;
        case 'p': self.observer.sin_port = htons((uint16_t) atoi(optarg)); break;
        case 'k': self.disk = optarg; break;
        case 'd': self.dirty_mb_per_s = atol(optarg); break;
        case 's': self.set_mb = atol(optarg); break;
        case 't': self.still_mb = atol(optarg); break;
        default: exit(2);
        }
    }
    if (self.name == NULL || self.observer.sin_port == 0) {
        fprintf(stderr, "usage: witness --name NAME --observer ADDRESS --port PORT"
                        " [--observer-mac MAC] [--interface NAME] [--disk DEVICE]"
                        " [--dirty MB/s --set MB] [--still MB]\n");
        exit(2);
    }
}

static void
start_memory(void)
{
    bool dirty = self.dirty_mb_per_s > 0 && self.set_mb > 0;

    if (!dirty && self.still_mb <= 0)
        return;
    memory_setup(self.boot, dirty ? (size_t) self.set_mb << 20 : 0, (size_t) self.still_mb << 20);
    if (dirty)
        start(dirty_thread);
    start(memory_thread);
}

int
main(int argc, char **argv)
{
    parse(argc, argv);
    if (getrandom(&self.boot, sizeof(self.boot), GRND_NONBLOCK) != sizeof(self.boot))
        self.boot = clock_ns(CLOCK_REALTIME) * 2654435761u ^ clock_ns(CLOCK_MONOTONIC);
    if (self.disk != NULL)
        start(disk_thread);
    start_memory();
    start(echo_thread);
    tick_thread(NULL);
    return 0;
}
