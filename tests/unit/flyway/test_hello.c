/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>
#include "flyway/hello.h"

typedef struct {
    const char *what;
    void (*change)(HelloTerms *terms, FrameHello *hello, gint64 *now_us);
    FlywayCode expected;
} Row;

static void
right(HelloTerms *terms, FrameHello *hello, gint64 *now_us)
{
}

static void
newer_minor(HelloTerms *terms, FrameHello *hello, gint64 *now_us)
{
    hello->minor = 99;
    hello->abilities = G_MAXUINT64;
}

static void
other_major(HelloTerms *terms, FrameHello *hello, gint64 *now_us)
{
    hello->major = FLYWAY_MAJOR + 1;
}

static void
wrong_ticket(HelloTerms *terms, FrameHello *hello, gint64 *now_us)
{
    hello->ticket[31] ^= 1;
}

static void
wrong_used_ticket(HelloTerms *terms, FrameHello *hello, gint64 *now_us)
{
    terms->used = TRUE; /* whoever doesn't know the ticket doesn't learn of its use */
    hello->ticket[0] ^= 1;
}

static void
used_ticket(HelloTerms *terms, FrameHello *hello, gint64 *now_us)
{
    terms->used = TRUE;
}

static void
last_moment(HelloTerms *terms, FrameHello *hello, gint64 *now_us)
{
    *now_us = terms->expires_us;
}

static void
too_late(HelloTerms *terms, FrameHello *hello, gint64 *now_us)
{
    *now_us = terms->expires_us + 1;
}

static void
wrong_side(HelloTerms *terms, FrameHello *hello, gint64 *now_us)
{
    hello->side = FLYWAY_DESTINATION;
}

static void
wrong_id(HelloTerms *terms, FrameHello *hello, gint64 *now_us)
{
    hello->id[3] ^= 1;
}

static void
wrong_vm(HelloTerms *terms, FrameHello *hello, gint64 *now_us)
{
    hello->vm[3] ^= 1;
}

static void
wrong_self(HelloTerms *terms, FrameHello *hello, gint64 *now_us)
{
    hello->self[3] ^= 1;
}

static void
wrong_peer(HelloTerms *terms, FrameHello *hello, gint64 *now_us)
{
    memcpy(hello->peer, hello->self, 16);
}

static void
further(HelloTerms *terms, FrameHello *hello, gint64 *now_us)
{
    terms->used = TRUE;
    hello->further = TRUE;
    *now_us = terms->expires_us + 1000;
}

static void
further_of_nothing(HelloTerms *terms, FrameHello *hello, gint64 *now_us)
{
    hello->further = TRUE;
}

static void
further_with_wrong_ticket(HelloTerms *terms, FrameHello *hello, gint64 *now_us)
{
    further(terms, hello, now_us);
    hello->ticket[31] ^= 1;
}

static void
further_from_elsewhere(HelloTerms *terms, FrameHello *hello, gint64 *now_us)
{
    further(terms, hello, now_us);
    hello->self[3] ^= 1;
}

static const Row rows[] = {
    { "further connection, however late", further, FLYWAY_OK },
    { "further connection of no session", further_of_nothing, FLYWAY_WRONG },
    { "further connection, wrong ticket", further_with_wrong_ticket, FLYWAY_BAD_TICKET },
    { "further connection, wrong source", further_from_elsewhere, FLYWAY_WRONG },
    { "right", right, FLYWAY_OK },
    { "newer minor version", newer_minor, FLYWAY_OK },
    { "other major version", other_major, FLYWAY_BAD_VERSION },
    { "wrong ticket", wrong_ticket, FLYWAY_BAD_TICKET },
    { "wrong ticket where the right one was used", wrong_used_ticket, FLYWAY_BAD_TICKET },
    { "used ticket", used_ticket, FLYWAY_EXPIRED },
    { "ticket's last moment", last_moment, FLYWAY_OK },
    { "ticket too old", too_late, FLYWAY_EXPIRED },
    { "wrong direction", wrong_side, FLYWAY_WRONG },
    { "wrong migration", wrong_id, FLYWAY_WRONG },
    { "wrong VM", wrong_vm, FLYWAY_WRONG },
    { "wrong source", wrong_self, FLYWAY_WRONG },
    { "wrong destination", wrong_peer, FLYWAY_WRONG },
};

static void
test_judge(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        HelloTerms terms = { .side = FLYWAY_DESTINATION, .expires_us = 1000 };
        FrameHello hello = { .major = FLYWAY_MAJOR, .side = FLYWAY_SOURCE };
        char text[FRAME_TEXT_MAX + 1];
        gint64 now_us = 500;

        memset(terms.id, 1, 16);
        memset(terms.vm, 2, 16);
        memset(terms.self, 3, 16);
        memset(terms.peer, 4, 16);
        memset(terms.ticket, 5, 32);
        memcpy(hello.id, terms.id, 16);
        memcpy(hello.vm, terms.vm, 16);
        memcpy(hello.self, terms.peer, 16);
        memcpy(hello.peer, terms.self, 16);
        memcpy(hello.ticket, terms.ticket, 32);
        rows[i].change(&terms, &hello, &now_us);
        g_test_message("%s", rows[i].what);
        g_assert_cmpint(hello_judge(&terms, &hello, now_us, text), ==, rows[i].expected);
        g_assert_cmpuint(strlen(text) > 0, ==, rows[i].expected != FLYWAY_OK);
    }
}

int
main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/flyway/hello/judge", test_judge);
    return g_test_run();
}
